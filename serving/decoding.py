"""Decode an upload in a process of its own, so that it cannot harm the service."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from kinoflow.monitor import inputs
from kinoflow.monitor.inputs import Header
from kinoflow.system.sandbox import Bounds, LateError, OutOfBoundsError, run_sandboxed
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo, decode_frames, open_video
from kinoflow.video.spec import ClipSpec, Frames
from serving import measures
from serving.limits import TooMuchVideo, limited
from serving.refusals import Refusal

Result = TypeVar("Result")


def decode(
    path: Path, clip: ClipSpec, bounds: Bounds, deadline: float
) -> tuple[Frames, float, Header]:
    """Sample a clip from the video file at `path`.

    Returns uint8 RGB (T, H, W, 3), how many seconds decoding took without the wait for a decoder,
    and what the file says of itself.

    Args:
        path: the file.
        clip: what to sample from it.
        bounds: how much time and memory decoding may take, and how many uploads are decoded at a
            time; with the limits of the video, if they are `UploadBounds`.
        deadline: when decoding must have ended, on the clock of time.monotonic().

    Raises Refusal as `sandboxed` does.
    """
    (frames, header), seconds = sandboxed(partial(_sampled, spec=clip), path, bounds, deadline)
    measures.decoded(seconds)
    return frames, seconds, header


def decode_first(path: Path, bounds: Bounds, deadline: float) -> None:
    """Decode one frame, to refuse at once what is no video or claims to be beyond the limits.

    Args:
        path: the file.
        bounds: as for `decode`.
        deadline: as for `decode`.

    Raises Refusal as `sandboxed` does.
    """
    sandboxed(_first, path, bounds, deadline)


def sandboxed(
    function: Callable[[Path], Result], path: Path, bounds: Bounds, deadline: float
) -> tuple[Result, float]:
    """Return `function(path)`, called in a process that decodes, and how many seconds it took.

    Args:
        function: reads the file.
        path: of the upload.
        bounds: as for `decode`.
        deadline: as for `decode`.

    Raises Refusal: 400 for a file that is no video or exceeds the bounds; 413 for a video beyond
    the limits; 503 if decoding did not begin before the deadline; 504 if it began but did not end
    by then.
    """
    try:
        begun = time.monotonic()
        result, seconds = run_sandboxed(
            partial(_timed, function=limited(function, bounds)), path, bounds, deadline=deadline
        )
        measures.waited("decoder", time.monotonic() - begun - seconds)
        return result, seconds
    except LateError as late:
        if late.begun:
            raise Refusal(504, f"the upload was not decoded in time: {late}") from None
        raise Refusal(503, f"the service is busy, try again later: {late}") from None
    except TooMuchVideo as beyond:
        raise Refusal(413, str(beyond)) from None
    except (UnreadableVideo, OutOfBoundsError) as problem:
        raise Refusal(
            400, f"the upload cannot be read as a video: {problem}", reason="unreadable"
        ) from None


def _timed(path: Path, function: Callable[[Path], Result]) -> tuple[Result, float]:
    begun = time.monotonic()
    return function(path), time.monotonic() - begun


def _first(path: Path) -> None:
    with open_video(path) as video:
        next(decode_frames(video))


def _sampled(path: Path, spec: ClipSpec) -> tuple[Frames, Header]:
    return sample(path, spec), inputs.header(path)
