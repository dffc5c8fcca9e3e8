"""Write H.264 in MP4 such that equal frames give equal bytes, on any computer of one kind."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from kinoflow.system import files

# the index goes first, so that a browser plays before all is there; no versions of libraries inside
_MP4 = {"movflags": "+faststart", "fflags": "+bitexact"}
# x264's AVX-512 code for macroblock trees reads memory that nothing was written to wherever a
# picture is not a multiple of 128 pixels wide, and what it read shows in the bytes. Every processor
# that NumPy's wheels run on has these, and they took the same time.
_PROCESSOR = {"x264-params": "asm=SSE2Fast,SSSE3,SSE4.2"}
_PROCESSORS = ("x86_64", "amd64")


@contextmanager
def creating(path: Path) -> Iterator[OutputContainer]:
    """An MP4 file to write to; it is there at the end of the block, whole or not at all.

    Args:
        path: the file, .mp4.
    """
    with (
        files.replacing(path) as partial,
        av.open(str(partial), "w", format="mp4", options=_MP4) as out,
    ):
        yield out


def add_stream(out: OutputContainer, rate: Fraction, options: Mapping[str, str]) -> av.VideoStream:
    """Add a stream of H.264 whose bytes follow from its frames.

    Args:
        out: the file, of `creating`.
        rate: frames per second.
        options: of x264, as FFmpeg names them: crf, preset.

    Returns:
        The stream; its width and height, both even, are still to be set.
    """
    given = dict(options)
    if platform.machine().lower() in _PROCESSORS:
        given |= _PROCESSOR
    stream = out.add_stream("libx264", rate=rate, options=given)
    # how frames are shared out between threads shows in the bytes
    stream.codec_context.thread_count = 1
    stream.pix_fmt = "yuv420p"
    return stream
