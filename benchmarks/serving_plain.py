"""The service that people write first, for comparison: FastAPI, OpenCV, model.predict.

    uvicorn benchmarks.serving_plain:app

The variable BUNDLE names a bundle. It decodes the same frames of a video and averages the same
views as kinoflow does, in the threads that FastAPI has for such functions.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import FastAPI, File, HTTPException, UploadFile

from kinoflow import bundle
from kinoflow.video.sampling import frame_indices
from kinoflow.video.spec import Frames

app = FastAPI()
_bundle = bundle.load(Path(os.environ["BUNDLE"]))
_model = _bundle.model
_model.predict(_bundle.views(np.zeros(_bundle.clip.shape, np.uint8)), verbose=0)


@app.get("/readyz")
def ready() -> str:
    """Whether the model is loaded."""
    return "ok"


@app.post("/predict")
def predict(video: Annotated[UploadFile, File()]) -> dict[str, Any]:
    """The label of a video."""
    begun = time.perf_counter()
    with tempfile.NamedTemporaryFile(suffix=".avi") as file:
        file.write(video.file.read())
        file.flush()
        clip = _clip(file.name)
    decoded = time.perf_counter()
    probabilities = _model.predict(_bundle.views(clip), verbose=0).mean(axis=0)
    ended = time.perf_counter()
    return {
        "label": _bundle.labels[int(probabilities.argmax())],
        "confidence": float(probabilities.max()),
        "milliseconds": {
            "decode": 1000 * (decoded - begun),
            "inference": 1000 * (ended - decoded),
        },
    }


def _clip(path: str) -> Frames:
    spec = _bundle.clip
    capture = cv2.VideoCapture(path)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(frame_indices(max(1, total), spec.frames).tolist())
    frames: dict[int, Frames] = {}
    for index in range(total):
        more, frame = capture.read()
        if not more:
            break
        if index in wanted:
            small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
            frames[index] = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)
    capture.release()
    if not frames:
        raise HTTPException(400, "this is no video")
    last = max(frames)
    order = frame_indices(max(1, total), spec.frames).tolist()
    return np.stack([frames.get(index, frames[last]) for index in order])
