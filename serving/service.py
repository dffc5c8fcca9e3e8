"""The service: a video goes in, the model's answer comes out."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import bentoml
import numpy as np
from pydantic import BaseModel
from starlette.responses import JSONResponse

from kinoflow import bundle
from kinoflow.system import terminal
from kinoflow.system.sandbox import Bounds, LateError, OutOfBoundsError, run_sandboxed
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from serving import hosts
from serving.hosts import KnownHosts
from serving.privacy import OwnPagesOnly
from serving.settings import ROOT, SETTINGS
from serving.uploads import Received, Upload, on_disk
from serving.visits import Refusal, Visits

_DECODING = Bounds(SETTINGS.timeout_s, SETTINGS.memory_mb, SETTINGS.decoders)
_BUSY = {429, 503, 507}  # of HTTP: the same request may be answered later


class Guess(BaseModel):
    label: str
    confidence: float


class Milliseconds(BaseModel):
    decode: float  # from the file to the clip
    inference: float  # the model alone, without the wait for its turn


class Model(BaseModel):
    candidate: str
    bento: str  # its version
    device: str  # cpu:0, gpu:0


class Answer(BaseModel):
    """What the model sees in a video; confidences and probabilities lie in [0, 1]."""

    label: str
    confidence: float
    top: list[Guess]  # the likeliest first
    probabilities: dict[str, float]  # of every label, in the model's order
    milliseconds: Milliseconds
    model: Model


@bentoml.service(
    name="kinoflow",
    description="Says which action a video shows: POST it to /predict, in the field `video`.",
    # Visits keeps time and counts, since BentoML's own limits count requests that are still
    # being sent and forget those that go on after their time is up
    traffic={"timeout": 2 * SETTINGS.timeout_s},
)
class Kinoflow:
    """The bundle packed beside this code, behind HTTP."""

    def __init__(self) -> None:
        """Load the model and use it once; BentoML answers /readyz only after that."""
        terminal.quiet()
        # TensorFlow would otherwise take all memory of a GPU that others may be using too
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.bundle = bundle.load(ROOT / "bundle")
        # Requests are decoded side by side but take turns at the model: it uses every core by
        # itself, and Keras does not promise that two threads may call one model.
        self.turn = threading.Lock()
        # as many as there are turns: a request that has one finds a thread
        self.threads = anyio.CapacityLimiter(SETTINGS.max_concurrency)
        self.bundle.predict(np.zeros((1, *self.bundle.clip.shape), np.uint8))
        import keras

        self.model = Model(
            candidate=self.bundle.description.name,
            bento=bentoml.server_context.bento_version or "",
            device=keras.distribution.list_devices()[0],
        )

    @bentoml.api(input_spec=Upload, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def predict(self, video: Received | Refusal) -> Answer | JSONResponse:
        """Say which action a video shows.

        Any format that the decoder reads will do, whatever its name and content type say. An
        upload that is no video is answered 400, one too large 413, both with a sentence.
        """
        try:
            # here and not in a thread, so that a refusal never waits for one
            if isinstance(video, Refusal):
                raise video
            return await anyio.to_thread.run_sync(self._look, video, limiter=self.threads)
        except (UnreadableVideo, OutOfBoundsError) as problem:
            refusal = Refusal(400, f"the upload cannot be read as a video: {problem}")
        except Refusal as raised:
            refusal = raised
        later = {"Retry-After": "1"} if refusal.status in _BUSY else None
        return JSONResponse({"error": str(refusal)}, refusal.status, headers=later)

    def _look(self, video: Received) -> Answer:
        with on_disk(video.file) as path:
            return self._answer(path, video.deadline)

    def _answer(self, path: Path, deadline: float) -> Answer:
        started = time.monotonic()
        # elsewhere, since an upload that crashes the decoder must not take the service along
        sampled = partial(sample, spec=self.bundle.clip)
        try:
            clip = run_sandboxed(sampled, path, _DECODING, deadline=deadline)
        except LateError as late:
            if late.begun:
                raise Refusal(504, f"the upload was not decoded in time: {late}") from None
            raise Refusal(503, f"the service is busy, try again later: {late}") from None
        decoded = time.monotonic()
        if not self.turn.acquire(timeout=max(0, deadline - decoded)):
            raise Refusal(503, "the service is busy, try again later: the model was never free")
        try:
            begun = time.monotonic()
            probabilities = self.bundle.predict(clip[None])[0]
            answered = time.monotonic()
        finally:
            self.turn.release()

        order = np.argsort(-probabilities, kind="stable")[: SETTINGS.top_k]
        top = [
            Guess(label=self.bundle.labels[i], confidence=float(probabilities[i])) for i in order
        ]
        return Answer(
            label=top[0].label,
            confidence=top[0].confidence,
            top=top,
            probabilities=dict(zip(self.bundle.labels, probabilities.tolist(), strict=True)),
            milliseconds=Milliseconds(
                decode=round(1000 * (decoded - started), 3),
                inference=round(1000 * (answered - begun), 3),
            ),
            model=self.model,
        )


# no class any more
Kinoflow.add_asgi_middleware(OwnPagesOnly)  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(KnownHosts, names=hosts.from_environment())  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(  # type: ignore[attr-defined]
    Visits,
    seconds=SETTINGS.timeout_s,
    turns=SETTINGS.max_concurrency,
    megabytes=SETTINGS.max_concurrency * SETTINGS.max_upload_mb,
)
