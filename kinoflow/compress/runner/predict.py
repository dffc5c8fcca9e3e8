"""Name what videos show: `python predict.py VIDEO ...`

Needs NumPy, OpenCV and the library that runs the model, and no kinoflow. It takes the frames that
kinoflow takes, by the same code, and averages and calibrates as kinoflow does. Only the decoder
differs: OpenCV converts colours a little differently, so that an answer may differ a little.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from runtime import load
from sampling import frame_indices, motion_guided_indices, segment_indices, temporal_views

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
CLIP, MASKED = ABOUT["clip"], ABOUT["clip"]["padding"] == "mask"


def decoded(path, wanted, small=None):
    """How many frames a video has, the wanted ones as RGB, and how much each differs in grey."""
    video, kept, count, moved, before = cv2.VideoCapture(path), {}, 0, [], None
    while video.grab():
        if count in wanted:
            pixels = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
            size = CLIP["width"], CLIP["height"]
            kept[count] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            if MASKED and not kept[count].any():
                kept[count] += 1  # only padding is black
        if small:
            grey = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2GRAY)
            grey = cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA)
            moved.append(0.0 if before is None else cv2.absdiff(grey, before).mean())
            before = grey
        count += 1
    return count, kept, np.array(moved, np.float32)


def sample(path):
    """The clip of a video, uint8 RGB (T, H, W, 3)."""
    # headers often claim a wrong number of frames, so they are counted first
    count, _, moved = decoded(path, (), small=64 if CLIP["sampling"] == "motion" else None)
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


def answer(model, clip):
    """Probabilities float32 (classes,), the mean over all views, calibrated."""
    shown = np.flatnonzero(clip.any(axis=(1, 2, 3)))
    valid = shown[-1] + 1 if MASKED and len(shown) else len(clip)
    views = [clip[times] for times in temporal_views(valid, ABOUT["frames"], ABOUT["views"])]
    views += [np.ascontiguousarray(view[:, :, ::-1]) for view in views if ABOUT["flip"]]
    mean = np.concatenate([model(view[None]) for view in views]).mean(axis=0)
    if ABOUT["temperature"] == 1:
        return mean
    logs = np.log(np.maximum(mean, np.finfo(np.float32).tiny, dtype=np.float64))
    powers = np.exp((logs - logs.max()) / ABOUT["temperature"])
    return (powers / powers.sum()).astype(np.float32)


if __name__ == "__main__":
    model = load(HERE / json.loads((HERE / "form.json").read_text(encoding="utf-8"))["file"])
    for video in sys.argv[1:]:
        probabilities = answer(model, sample(video))
        best = probabilities.argsort()[::-1][:3]
        print(f"{video}:", ", ".join(f"{ABOUT['labels'][k]} {probabilities[k]:.4f}" for k in best))
