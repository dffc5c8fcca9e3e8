"""Decode an upload in a process of its own, so that it cannot harm the service."""

from functools import partial
from pathlib import Path

from kinoflow.system.sandbox import Bounds, LateError, OutOfBoundsError, run_sandboxed
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec, Frames
from serving.refusals import Refusal


def decode(path: Path, clip: ClipSpec, bounds: Bounds, deadline: float) -> Frames:
    """The clip uint8 (T, H, W, 3) sampled from the video file at `path`.

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
        return run_sandboxed(partial(sample, spec=clip), path, bounds, deadline=deadline)
    except LateError as late:
        if late.begun:
            raise Refusal(504, f"the upload was not decoded in time: {late}") from None
        raise Refusal(503, f"the service is busy, try again later: {late}") from None
    except (UnreadableVideo, OutOfBoundsError) as problem:
        raise Refusal(400, f"the upload cannot be read as a video: {problem}") from None
