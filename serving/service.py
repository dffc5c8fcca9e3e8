"""The service: a video goes in, the model's answer comes out."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import bentoml
import numpy as np
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse

from kinoflow import bundle, console
from kinoflow.bounded import Bounds, OutOfBoundsError, bounded
from kinoflow.video import UnreadableVideo, sample
from serving.privacy import OwnPagesOnly
from serving.settings import ROOT, SETTINGS
from serving.uploads import Refusal, Upload, on_disk

_DECODING = Bounds(SETTINGS.timeout_s, SETTINGS.memory_mb)


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
    traffic={"timeout": SETTINGS.timeout_s, "max_concurrency": SETTINGS.max_concurrency},
    threads=SETTINGS.max_concurrency,
)
class Kinoflow:
    """The bundle packed beside this code, behind HTTP."""

    def __init__(self) -> None:
        """Load the model and use it once; BentoML answers /readyz only after that."""
        console.quiet()
        # TensorFlow would otherwise take all memory of a GPU that others may be using too
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.bundle = bundle.load(ROOT / "bundle")
        # Requests are decoded side by side but take turns at the model: it uses every core by
        # itself, and Keras does not promise that two threads may call one model.
        self.turn = threading.Lock()
        self.bundle.predict(np.zeros((1, *self.bundle.clip.shape), np.uint8))
        import keras

        self.model = Model(
            candidate=self.bundle.description.name,
            bento=bentoml.server_context.bento_version or "",
            device=keras.distribution.list_devices()[0],
        )

    @bentoml.api(input_spec=Upload, output_spec=Answer)  # type: ignore[untyped-decorator]
    def predict(self, video: UploadFile | Refusal) -> Answer | JSONResponse:
        """Say which action a video shows.

        Any format that the decoder reads will do, whatever its name and content type say. An
        upload that is no video is answered 400, one too large 413, both with a sentence.
        """
        try:
            with on_disk(video) as path:
                return self._answer(path)
        except (UnreadableVideo, OutOfBoundsError) as problem:
            refusal = Refusal(400, f"the upload cannot be read as a video: {problem}")
        except Refusal as raised:
            refusal = raised
        return JSONResponse({"error": str(refusal)}, refusal.status)

    def _answer(self, path: Path) -> Answer:
        started = time.perf_counter()
        # elsewhere, since an upload that crashes the decoder must not take the service along
        clip = bounded(partial(sample, spec=self.bundle.clip), path, _DECODING)
        decoded = time.perf_counter()
        with self.turn:
            begun = time.perf_counter()
            probabilities = self.bundle.predict(clip[None])[0]
            answered = time.perf_counter()

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


Kinoflow.add_asgi_middleware(OwnPagesOnly)  # type: ignore[attr-defined]  # no class any more
