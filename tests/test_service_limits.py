"""What a video may have at most: told by its header, or found while it is decoded."""

import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from kinoflow.video.decoder import survey
from kinoflow.video.spec import ClipSpec
from serving import limits
from serving.decoding import decode
from serving.limits import Limits, TooMuchVideo, UploadBounds
from serving.piped import Piped
from serving.refusals import Refusal
from tests.media import moving_square, write_video

CLIP = ClipSpec(4, 16, 16)


def bounds(seconds: float = 100, frames: int = 1000, megapixels: float = 1) -> UploadBounds:
    return UploadBounds(60, 2048, limits=Limits(seconds, frames, megapixels))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """12 frames of 64 by 48 pixels, 25 a second."""
    return write_video(tmp_path / "video.avi", moving_square(12))


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """The same number of frames without a header that tells it; the last ones are larger."""
    path = tmp_path / "stream.mjpeg"
    with path.open("wb") as file:
        for number in range(12):
            height, width = (96, 128) if number > 8 else (48, 64)
            file.write(jpeg(np.full((height, width, 3), 20 * number, np.uint8)))
    return path


def jpeg(pixels: np.ndarray) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = pixels.shape[1], pixels.shape[0]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", 1  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


BEYOND = [
    (bounds(frames=11), "more than 11 frames"),
    (bounds(seconds=0.4), "longer than 0.4 s"),
    (bounds(megapixels=0.003), "0.003"),
]


@pytest.mark.parametrize(("given", "says"), BEYOND)
def test_a_video_beyond_a_limit_is_refused_with_a_sentence(
    video: Path, given: UploadBounds, says: str
) -> None:
    with pytest.raises(Refusal, match=f"the video .*{says}") as refusal:
        decode(video, CLIP, given, time.monotonic() + 60)
    assert refusal.value.status == 413
    with pytest.raises(TooMuchVideo, match=says):
        [*Piped(video, CLIP, 0.2, given).windows()]


@pytest.mark.parametrize(("given", "says"), [*BEYOND, (bounds(megapixels=0.01), "0.01")])
def test_what_no_header_tells_is_found_while_decoding(
    stream: Path, given: UploadBounds, says: str
) -> None:
    for function in (
        lambda path: decode(path, CLIP, given, time.monotonic() + 60),
        limits.limited(partial(survey, wanted=()), given),
    ):
        with pytest.raises((Refusal, TooMuchVideo), match=says):
            function(stream)


def test_within_the_limits_nothing_changes(video: Path, stream: Path) -> None:
    exact = bounds(seconds=0.48, frames=12, megapixels=128 * 96 / 1e6)
    for path in (video, stream):
        limited, *_ = decode(path, CLIP, exact, time.monotonic() + 60)
        free, *_ = decode(path, CLIP, bounds(), time.monotonic() + 60)
        assert np.array_equal(limited, free)
    # and the process that decoded it decodes others without
    assert survey(video, ())[0].frames == 12
