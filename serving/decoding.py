"""Decode an upload in a process of its own, so that it cannot harm the service."""

import time
from functools import partial
from pathlib import Path

from kinoflow.system.sandbox import Bounds, LateError, OutOfBoundsError, run_sandboxed
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec, Frames
from serving import measures
from serving.refusals import Refusal


def decode(path: Path, clip: ClipSpec, bounds: Bounds, deadline: float) -> tuple[Frames, float]:
    """Sample a clip from the video file at `path`.

    Returns uint8 RGB (T, H, W, 3), and how many seconds decoding took without the wait for a
    decoder.

    Args:
        path: the file.
        clip: what to sample from it.
        bounds: how much time and memory decoding may take, and how many uploads are decoded at a
            time.
        deadline: when decoding must have ended, on the clock of time.monotonic().

    Raises Refusal: 400 for a file that is no video or exceeds the bounds; 503 if decoding did not
    begin before the deadline; 504 if it began but did not end by then.
    """
    try:
        begun = time.monotonic()
        frames, seconds = run_sandboxed(
            partial(_sampled, spec=clip), path, bounds, deadline=deadline
        )
        measures.waited("decoder", time.monotonic() - begun - seconds)
        measures.decoded(seconds)
        return frames, seconds
    except LateError as late:
        if late.begun:
            raise Refusal(504, f"the upload was not decoded in time: {late}") from None
        raise Refusal(503, f"the service is busy, try again later: {late}") from None
    except (UnreadableVideo, OutOfBoundsError) as problem:
        raise Refusal(
            400, f"the upload cannot be read as a video: {problem}", reason="unreadable"
        ) from None


def _sampled(path: Path, spec: ClipSpec) -> tuple[Frames, float]:
    begun = time.monotonic()
    return sample(path, spec), time.monotonic() - begun
