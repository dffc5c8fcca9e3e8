"""The service: a video goes in, the model's answer comes out."""

import os
import threading
import time

import anyio
import anyio.to_thread
import bentoml
import numpy as np
from pydantic import BaseModel
from starlette.responses import JSONResponse

from kinoflow import bundle
from kinoflow.bundle import Probabilities
from kinoflow.system import terminal
from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import Frames
from serving import hosts, settings
from serving.admission import AdmissionControl
from serving.decoding import decode
from serving.hosts import KnownHosts
from serving.privacy import OwnPagesOnly
from serving.refusals import Refusal
from serving.uploads import Upload, UploadForm, written

# BentoML's decorators want their values at import
_SETTINGS = settings.load()
_DECODING = Bounds(_SETTINGS.timeout_s, _SETTINGS.memory_mb, _SETTINGS.decoders)
_TRY_AGAIN = {429, 503, 507}  # of HTTP: the same request may be answered later


class Guess(BaseModel):
    label: str
    confidence: float


class Milliseconds(BaseModel):
    decode: float  # from the file to the clip
    inference: float  # the model alone, without the wait until it is free


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
    # AdmissionControl enforces the deadline; this is a second bound, should that one fail
    traffic={"timeout": 2 * _SETTINGS.timeout_s},
)
class Kinoflow:
    """The bundle packed beside this code, behind HTTP."""

    def __init__(self) -> None:
        """Load the model and use it once; BentoML answers /readyz only after that."""
        terminal.quiet()
        # TensorFlow would otherwise take all memory of a GPU that others may be using too
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.bundle = bundle.load(settings.ROOT / "bundle")
        # Requests are decoded side by side but use the model one after the other: it takes every
        # core by itself, and Keras does not promise that two threads may call one model.
        self.model_is_free = threading.Lock()
        # as many as there are slots, so that a request with a slot never waits for a thread
        self.threads = anyio.CapacityLimiter(_SETTINGS.max_concurrency)
        self.bundle.predict(np.zeros((1, *self.bundle.clip.shape), np.uint8))
        import keras

        self.model = Model(
            candidate=self.bundle.description.name,
            bento=bentoml.server_context.bento_version or "",
            device=keras.distribution.list_devices()[0],
        )

    @bentoml.api(input_spec=UploadForm, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def predict(self, video: Upload | Refusal) -> Answer | JSONResponse:
        """Say which action a video shows.

        The video may have any format that the decoder reads; its name and content type do not
        matter. An upload that is no video is answered with 400, one that is too large with 413,
        both with a sentence that says why.
        """
        try:
            # raised before a thread is asked for, so that a refusal never waits for one
            if isinstance(video, Refusal):
                raise video
            return await anyio.to_thread.run_sync(self._answer, video, limiter=self.threads)
        except Refusal as refusal:
            headers = {"Retry-After": "1"} if refusal.status in _TRY_AGAIN else None
            return JSONResponse({"error": str(refusal)}, refusal.status, headers=headers)

    def _answer(self, upload: Upload) -> Answer:
        with written(upload) as path:
            started = time.monotonic()
            clip = decode(path, self.bundle.clip, _DECODING, upload.deadline)
            decoding = time.monotonic() - started
        probabilities, inference = self._predict(clip, upload.deadline)
        order = np.argsort(-probabilities, kind="stable")[: _SETTINGS.top_k]
        labels = self.bundle.labels
        top = [Guess(label=labels[i], confidence=float(probabilities[i])) for i in order]
        return Answer(
            label=top[0].label,
            confidence=top[0].confidence,
            top=top,
            probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
            milliseconds=Milliseconds(
                decode=round(1000 * decoding, 3), inference=round(1000 * inference, 3)
            ),
            model=self.model,
        )

    def _predict(self, clip: Frames, deadline: float) -> tuple[Probabilities, float]:
        """Probabilities (classes,) of a clip, and how many seconds the model took."""
        if not self.model_is_free.acquire(timeout=max(0, deadline - time.monotonic())):
            raise Refusal(503, "the service is busy, try again later: the model was never free")
        try:
            started = time.monotonic()
            probabilities = self.bundle.predict(clip[None])[0]
            return probabilities, time.monotonic() - started
        finally:
            self.model_is_free.release()


# the decorator has made a service of the class; the middleware added first sees a request first
Kinoflow.add_asgi_middleware(OwnPagesOnly)  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(KnownHosts, names=hosts.from_environment())  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(  # type: ignore[attr-defined]
    AdmissionControl,
    seconds=_SETTINGS.timeout_s,
    slots=_SETTINGS.max_concurrency,
    max_upload_mb=_SETTINGS.max_upload_mb,
)
