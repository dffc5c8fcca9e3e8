"""What an explanation needs of a video: its clip, and the same frames as people watch them."""

from dataclasses import dataclass, replace
from pathlib import Path

from kinoflow.video.decoder import Wanted, index_rule, probe, sample, survey
from kinoflow.video.spec import ClipSpec, Frames

_HIGH, _WIDE = 180, 640  # pixels of a frame as people watch it, at most


@dataclass(frozen=True)
class Footage:
    """A video's clip."""

    clip: Frames  # uint8 RGB (T, H, W, 3), as the model takes it
    frames: Frames  # uint8 RGB (T, H', W', 3), the same ones as people watch them
    seconds: float  # of the video; 0 where that is not known


def footage(path: Path, spec: ClipSpec) -> Footage:
    """Sample a video's clip in both sizes; the file is decoded once if its header is right.

    Args:
        path: the video.
        spec: of the clip, which is the one that `kinoflow.sample` gives.

    Raises UnreadableVideo as the decoder does.
    """
    rule = index_rule(spec)
    clip: Frames | None = None
    frames: Frames | None = None
    if rule is None:
        info = probe(path)
    else:

        def large(width: int, height: int) -> ClipSpec:
            return readable(spec, width, height)

        info, (clip, frames) = survey(path, [Wanted(rule, spec), Wanted(rule, large)])
    if clip is None or frames is None:
        clip = sample(path, spec)
        frames = sample(path, readable(spec, info.width, info.height))
    return Footage(clip, frames, info.seconds)


def readable(spec: ClipSpec, width: int, height: int) -> ClipSpec:
    """The spec with frames of a size for people: at most 180 pixels high and 640 wide.

    Args:
        spec: which frames the clip has.
        width: of the video, in pixels; the aspect ratio is kept.
        height: of the video, in pixels.
    """
    share = min(1, _HIGH / height, _WIDE / width)
    return replace(spec, height=max(1, round(height * share)), width=max(1, round(width * share)))
