"""Name what videos show: `python predict.py VIDEO ...`

Needs NumPy, OpenCV and the library that runs the model, and no kinoflow. It takes the frames that
kinoflow takes, by the same code, scales them alike, and averages and calibrates alike. Only the
decoder is OpenCV's. It gives the same pixels for most files, but skips damaged frames in another
way, and knows other codecs.
"""

import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np
from runtime import load
from sampling import frame_indices, motion_guided_indices, segment_indices, temporal_views

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
CLIP, MASKED = ABOUT["clip"], ABOUT["clip"]["padding"] == "mask"


def decoded(path: str, wanted: Collection[int]) -> tuple[int, dict[int, np.ndarray], np.ndarray]:
    """How many frames a video has, the wanted ones, and how much each differs from the last."""
    video, count, kept = cv2.VideoCapture(path), 0, {}
    moved, before = [], None
    while video.grab():
        if count in wanted:
            frame = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
            frame = cv2.resize(frame, (CLIP["width"], CLIP["height"]), interpolation=cv2.INTER_AREA)
            # with masks, only padding is black
            kept[count] = np.ones_like(frame) if MASKED and not frame.any() else frame
        if CLIP["sampling"] == "motion" and not wanted:
            grey = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2GRAY)
            grey = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
            moved.append(0.0 if before is None else cv2.absdiff(grey, before).mean())
            before = grey
        count += 1
    return count, kept, np.array(moved, np.float32)


def sample(path: str) -> np.ndarray:
    """The clip of a video, uint8 RGB (T, H, W, 3)."""
    count, _, moved = decoded(path, ())  # headers often claim a wrong number of frames
    if not count:
        sys.exit(f"error: {path} cannot be read")
    if CLIP["sampling"] == "motion":
        chosen = motion_guided_indices(moved, CLIP["frames"])
    else:
        rule = segment_indices if CLIP["sampling"] == "segment" else frame_indices
        chosen = rule(count, CLIP["frames"])
    frames = decoded(path, set(chosen.tolist()))[1]
    clip = np.stack([frames[index] for index in chosen.tolist()])
    if MASKED:
        clip[count:] = 0
    return clip


def answer(model: Callable[[np.ndarray], np.ndarray], clip: np.ndarray) -> np.ndarray:
    """Probabilities of the classes (N,): the mean over all views, calibrated."""
    shown = np.flatnonzero(clip.any(axis=(1, 2, 3)))
    valid = int(shown[-1]) + 1 if MASKED and len(shown) else len(clip)
    views = [clip[times] for times in temporal_views(valid, ABOUT["frames"], ABOUT["views"])]
    views += [np.ascontiguousarray(view[:, :, ::-1]) for view in views] * ABOUT["flip"]
    mean = np.concatenate([model(view[None]) for view in views]).mean(axis=0)
    logs = np.log(np.maximum(mean, np.finfo(np.float32).tiny, dtype=np.float64))
    powers = np.exp((logs - logs.max()) / ABOUT["temperature"])
    return np.asarray(powers / powers.sum())


if __name__ == "__main__":
    model = load(HERE / json.loads((HERE / "form.json").read_text(encoding="utf-8"))["file"])
    for video in sys.argv[1:]:
        found = answer(model, sample(video))
        best = found.argsort()[::-1][:3]
        print(f"{video}:", ", ".join(f"{ABOUT['labels'][k]} {found[k]:.4f}" for k in best))
