"""Name what videos show: `python predict.py VIDEO ...`

Needs NumPy, OpenCV and the library that runs the model, and no kinoflow. It takes the frames that
kinoflow takes, by the same code, scales them alike, and averages and calibrates alike. Only the
decoder is OpenCV's. It gives the same pixels for most files, but skips damaged frames in another
way, and knows other codecs.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from runtime import load
from sampling import temporal_views
from video import sample

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
FORM = json.loads((HERE / "form.json").read_text(encoding="utf-8"))


def answer(model: Callable[[np.ndarray], np.ndarray], clip: np.ndarray) -> np.ndarray:
    """Probabilities of the classes (N,) for a clip (T, H, W, 3): the mean over its views."""
    shown = np.flatnonzero(clip.any(axis=(1, 2, 3)))
    masked = ABOUT["clip"]["padding"] == "mask" and len(shown)
    valid = int(shown[-1]) + 1 if masked else len(clip)
    views = [clip[times] for times in temporal_views(valid, ABOUT["frames"], ABOUT["views"])]
    views += [np.ascontiguousarray(view[:, :, ::-1]) for view in views] * ABOUT["flip"]
    count, size = len(views), FORM["batch"]
    views += views[-1:] * (-count % size)  # a file takes batches of one size
    batches = np.stack(views).reshape(-1, size, *views[0].shape)
    return calibrated(np.concatenate([*map(model, batches)])[:count].mean(axis=0))


def calibrated(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (N,), as sure as the model was right on validation clips."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny, dtype=np.float64))
    powers = np.exp((logs - logs.max()) / ABOUT["temperature"])
    return np.asarray(powers / powers.sum())


if __name__ == "__main__":
    model = load(HERE / FORM["file"])
    for path in sys.argv[1:]:
        found = answer(model, sample(path, ABOUT["clip"]))
        best = found.argsort()[::-1][:3]
        print(f"{path}:", ", ".join(f"{ABOUT['labels'][k]} {found[k]:.4f}" for k in best))
