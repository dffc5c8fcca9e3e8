"""What may be opened as a video: files that hold one, and for live answers URLs of any kind."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from kinoflow.video import ClipSpec, UnreadableVideo, probe, sample, stream
from tests.media import ffmpeg, moving_square, write_video
from tests.test_odd_videos import H264, SOURCE

SPEC = ClipSpec(2, 8, 8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.avi", moving_square(20))


SMALL = ("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=0.4")
# suffix -> how it is made, where that is not what ffmpeg does by itself
CONTAINERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("mp4", "mov", "mkv", "avi", "mpg", "ts", "flv", "wmv", "mxf", "nut"), ()),
    **dict.fromkeys(("gif", "apng", "y4m", "h264", "m2v", "mjpeg", "rm", "wtv"), ()),
    "webm": ("-c:v", "libvpx"),
    "ivf": ("-c:v", "libvpx"),
    "3gp": ("-c:v", "h263"),
    "ogv": ("-c:v", "libtheora"),
    "hevc": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "obu": ("-c:v", "libsvtav1"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_files_of_every_usual_kind_are_videos(tmp_path: Path, suffix: str) -> None:
    ffmpeg(*SMALL, *CONTAINERS[suffix], tmp_path / f"a.{suffix}")
    # by what they hold, as an upload has no name
    content = tmp_path / "video"
    (tmp_path / f"a.{suffix}").rename(content)
    assert probe(content).frames == 10
    assert sample(content, SPEC).std() > 10


def lists_of(video: Path) -> dict[str, str]:
    """Texts that make FFmpeg read other files, or addresses, by the name they are given."""
    return {
        "list": f"ffconcat version 1.0\nfile {video.name}\n",
        "a.ffconcat": f"ffconcat version 1.0\nfile {video.name}\n",
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video.name}\n#EXT-X-ENDLIST\n",
        "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 49170 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "a.ans": "what was written on this screen " * 200,
    }


@pytest.mark.parametrize("name", ["list", "a.ffconcat", "a.m3u8", "a.sdp", "a.ans"])
def test_a_list_or_a_text_is_no_video(video: Path, name: str) -> None:
    path = video.parent / name
    path.write_text(lists_of(video)[name])
    for read in (probe, partial(sample, spec=SPEC), lambda path: next(stream(path, SPEC))):
        for given in (path, str(path)):
            with pytest.raises(UnreadableVideo, match="cannot be opened"):
                read(given)


def test_a_pattern_is_no_sequence_of_files(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "%d.jpg"):
        cv2.imwrite(str(tmp_path / name), moving_square(1)[0])
    with pytest.raises(UnreadableVideo, match="cannot be opened"):
        probe(tmp_path / "%d.jpg")


def test_an_address_is_no_file() -> None:
    for read in (probe, partial(sample, spec=SPEC)):
        with pytest.raises(UnreadableVideo, match="no such file"):
            read("http://127.0.0.1:9/a.avi")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(video: Path) -> Iterator[str]:
    """Of the folder of the video."""
    handler = partial(Quiet, directory=str(video.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_live_answers_take_urls_and_playlists(
    video: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (clip, *_) = stream(f"{address}/a.avi", SPEC)
    np.testing.assert_array_equal(clip, next(stream(video, SPEC)))
    ffmpeg(*SOURCE, *H264, "-f", "hls", "-hls_time", "1", video.parent / "live.m3u8")
    clips = list(stream(f"{address}/live.m3u8", SPEC))
    assert len(clips) == 29


def test_out_of_memory_while_opening_is_told_as_memory(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise av.error.MemoryError(12, "Cannot allocate memory")

    # the system's part is played, since no file makes it do this at the same place everywhere
    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(MemoryError):
        probe(video)
