"""The clip of a video, read by OpenCV."""

import sys
from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
from sampling import frame_indices, motion_guided_indices, segment_indices

Spec = dict[str, Any]  # how a video is sampled: "clip" of bundle.json


def sample(path: str, spec: Spec) -> np.ndarray:
    """The clip of a video, uint8 RGB (T, H, W, 3). Ends the program if it cannot be read."""
    count, _, moved = decoded(path, (), spec)  # headers often claim a wrong number of frames
    if not count:
        sys.exit(f"error: {path} cannot be read")
    if spec["sampling"] == "motion":
        chosen = motion_guided_indices(moved, spec["frames"])
    else:
        rule = segment_indices if spec["sampling"] == "segment" else frame_indices
        chosen = rule(count, spec["frames"])
    frames = decoded(path, set(chosen.tolist()), spec)[1]
    clip = np.stack([frames[index] for index in chosen.tolist()])
    if spec["padding"] == "mask":
        clip[count:] = 0
    return clip


def decoded(
    path: str, wanted: Collection[int], spec: Spec
) -> tuple[int, dict[int, np.ndarray], np.ndarray]:
    """How many frames a video has, the wanted ones, and how much each differs from the last."""
    video, count, kept = cv2.VideoCapture(path), 0, {}
    moved, before = [], None
    while video.grab():
        if count in wanted:
            frame = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
            size = spec["width"], spec["height"]
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            # with masks, only padding is black
            masked = spec["padding"] == "mask" and not frame.any()
            kept[count] = np.ones_like(frame) if masked else frame
        if spec["sampling"] == "motion" and not wanted:
            grey = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2GRAY)
            grey = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
            moved.append(0.0 if before is None else cv2.absdiff(grey, before).mean())
            before = grey
        count += 1
    return count, kept, np.array(moved, np.float32)
