"""Awkward files, judged by ffmpeg's own frames: sampled rightly, or refused with a reason."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kinoflow.config import Params
from kinoflow.data.clips import ClipStore
from kinoflow.data.exploration import pair_indices, pair_spec, pair_starts
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.system.sandbox_process import end_idle_processes
from kinoflow.video import ClipSpec, Frames, UnreadableVideo, frame_indices, probe, runs, sample
from kinoflow.video.decoder import Wanted, index_rule, survey
from stages import catalog, extract
from tests.media import ffmpeg, footage

BOUNDS = Bounds(seconds=20, memory_mb=512)


def frames_by_ffmpeg(path: Path, height: int, width: int) -> Frames:
    """Every frame that ffmpeg decodes, none doubled or dropped to keep a rate: (T, H, W, 3)."""
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def agrees_with_ffmpeg(path: Path) -> None:
    info = probe(path)
    expected = frames_by_ffmpeg(path, info.height, info.width)
    assert info.frames == len(expected)
    clip = sample(path, ClipSpec(8, info.height, info.width))
    right = frame_indices(len(expected), 8)

    def difference(indices: NDArray[np.int64]) -> NDArray[np.float64]:
        others = expected[indices.clip(0, len(expected) - 1)]
        pairs = zip(clip.astype(np.int16), others, strict=True)
        return np.array([np.abs(one - other).mean() for one, other in pairs])

    # chroma is interpolated in more than one way, most visibly between interlaced lines
    assert (difference(right) < 3).all()
    # where little moves, the frames beside the right one pass for it too: it has to be the nearest
    for beside in (right - 1, right + 1):
        assert (difference(right) <= difference(beside)).all()


SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=3")
INTERLACED = ("-flags", "+ildct+ilme")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "12")
HDR = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
# name -> arguments that make it
MADE = {
    "b_frames.mp4": (*SOURCE, *H264),
    "packed.avi": (*SOURCE, "-c:v", "mpeg4", "-bf", "2", "-vtag", "XVID"),
    "variable_rate.mp4": (
        *SOURCE,
        "-vf",
        "select='not(mod(n,3))+gt(n,20)'",
        "-fps_mode",
        "vfr",
        *H264,
    ),
    "odd_size.mkv": (*SOURCE, "-vf", "crop=95:63", "-c:v", "ffv1"),
    "bt709.mp4": (*SOURCE, *H264, "-colorspace", "bt709", "-color_range", "tv"),
    "full_range.mp4": (*SOURCE, "-vf", "format=yuvj420p", "-c:v", "mjpeg", "-q:v", "2"),
    "ten_bit.webm": (*SOURCE, "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le"),
    "hdr.mkv": (*SOURCE, "-vf", f"format=yuv420p12le,{HDR}", "-c:v", "ffv1"),
    # a picture without colours: ffmpeg itself converts those of interlaced lines in two ways
    "interlaced.mpg": (*SOURCE, "-vf", "hue=s=0", "-c:v", "mpeg2video", "-r", "25", *INTERLACED),
    "av1.mkv": (*SOURCE, "-c:v", "libsvtav1"),
    "still.gif": (*SOURCE, "-frames:v", "1"),
    "moving.gif": SOURCE,
}


@pytest.mark.parametrize("name", MADE)
def test_awkward_files_are_sampled_as_ffmpeg_decodes_them(tmp_path: Path, name: str) -> None:
    ffmpeg(*MADE[name], tmp_path / name)
    agrees_with_ffmpeg(tmp_path / name)


def one_pass_gives_what_separate_ones_give(path: Path) -> None:
    info, starts = probe(path), pair_starts(probe(path).frames, 5)
    pairs = Wanted(partial(pair_indices, pairs=5), pair_spec)
    for spec in (
        ClipSpec(8, 32, 48),
        ClipSpec(32, 64, 64, padding="mask"),
        ClipSpec(8, 32, 48, "segment"),
    ):
        rule = index_rule(spec)
        assert rule is not None
        found, (clip, kept) = survey(path, [Wanted(rule, spec), pairs])
        assert found == info
        if clip is not None:
            np.testing.assert_array_equal(clip, sample(path, spec))
        if kept is not None:
            separate = list(runs(path, starts, pair_spec(info.width, info.height)))
            np.testing.assert_array_equal(kept, np.concatenate(separate))
        # only of a file with damage, or with frames that are not shown, nothing is kept
        if path.name != "corrupted.mp4":
            assert clip is not None
            assert (kept is None) == (not starts)


@pytest.mark.parametrize("name", MADE)
def test_one_pass_gives_what_separate_ones_give(tmp_path: Path, name: str) -> None:
    ffmpeg(*MADE[name], tmp_path / name)
    one_pass_gives_what_separate_ones_give(tmp_path / name)


def test_one_pass_gives_what_separate_ones_give_of_odd_real_files(real_data: Path) -> None:
    for path in sorted((real_data / "odd-videos").iterdir()):
        one_pass_gives_what_separate_ones_give(path)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_videos_stand_upright(tmp_path: Path, degrees: int) -> None:
    ffmpeg(*SOURCE, *H264, tmp_path / "a.mp4")
    ffmpeg("-display_rotation", degrees, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    agrees_with_ffmpeg(tmp_path / "b.mp4")
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height) == ((96, 64) if degrees == 180 else (64, 96))


def test_decoding_goes_on_behind_a_damaged_spot(tmp_path: Path) -> None:
    ffmpeg(*SOURCE, *H264, tmp_path / "a.mp4")
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    middle = content.index(b"mdat") + len(content) // 3
    content[middle : middle + 200] = b"\xff" * 200
    (tmp_path / "a.mp4").write_bytes(content)
    assert 20 < probe(tmp_path / "a.mp4").frames <= 30
    agrees_with_ffmpeg(tmp_path / "a.mp4")


def test_a_file_cut_short_is_sampled_to_where_it_breaks_off(tmp_path: Path) -> None:
    ffmpeg(*MADE["packed.avi"], tmp_path / "a.avi")
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    assert 5 < probe(tmp_path / "a.avi").frames < 25
    agrees_with_ffmpeg(tmp_path / "a.avi")
    # an mp4 has its table of contents at the end
    ffmpeg(*MADE["b_frames.mp4"], tmp_path / "a.mp4")
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideo, match="cannot be opened"):
        probe(tmp_path / "a.mp4")


def test_a_codec_that_nobody_knows_is_a_reason(tmp_path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "mjpeg", tmp_path / "a.avi")
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content.replace(b"MJPG", b"ZZZZ"))
    for read in (probe, lambda path: sample(path, ClipSpec(2, 8, 8))):
        with pytest.raises(UnreadableVideo, match="codec is unknown"):
            read(tmp_path / "a.avi")


def unconvertible(path: Path) -> Path:
    """A valid video in a format of pixels (4 bits each) from which nothing can be converted."""
    with av.open(str(path), "w", format="nut") as container:
        video = container.add_stream("rawvideo", rate=10, width=64, height=48, pix_fmt="rgb4")
        for number in range(3):
            frame = av.VideoFrame(64, 48, "rgb4")
            frame.pts = number
            container.mux(video.encode(frame))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "a.mp4"
    ffmpeg(*SOURCE, "-frames:v", "6", *H264, path)
    return path


def described(plain: Path, path: Path, says: str) -> Path:
    """The same pictures, of which the file says something else about their colours."""
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata={says}", path)
    return path


def test_every_matrix_of_colours_is_read(plain: Path, tmp_path: Path) -> None:
    spec = ClipSpec(3, 32, 48)
    clips = {}
    for matrix in range(19):
        path = described(plain, tmp_path / "a.mp4", f"matrix_coefficients={matrix}")
        assert probe(path).frames == 6
        clips[matrix] = sample(path, spec)
        assert sample(path, replace(spec, sampling="motion")).shape == spec.shape
    # those that cannot be converted from are taken as unspecified, and the others are not
    for matrix in (8, *range(10, 18)):
        np.testing.assert_array_equal(clips[matrix], clips[2])
    assert not np.array_equal(clips[1], clips[2])
    assert not np.array_equal(clips[9], clips[2])


@pytest.mark.parametrize(
    "says",
    [
        *(f"colour_primaries={value}" for value in (0, 3, 22, 255)),
        *(f"transfer_characteristics={value}" for value in (0, 3, 18, 255)),
        "matrix_coefficients=255",
        "video_full_range_flag=1",
        "matrix_coefficients=14:transfer_characteristics=16:colour_primaries=9",
    ],
)
def test_what_a_file_says_of_its_colours_stops_nothing(
    plain: Path, tmp_path: Path, says: str
) -> None:
    path = described(plain, tmp_path / "a.mp4", says)
    assert probe(path).frames == 6
    assert sample(path, ClipSpec(3, 32, 48)).std() > 10


def test_pictures_that_cannot_be_converted_are_a_reason(tmp_path: Path) -> None:
    path = unconvertible(tmp_path / "a.nut")
    for way in ("uniform", "motion"):
        with pytest.raises(UnreadableVideo, match="cannot be converted"):
            sample(path, ClipSpec(2, 8, 8, sampling=way))
    for read in (probe, lambda path: next(runs(path, [0], ClipSpec(1, 8, 8)))):
        with pytest.raises(UnreadableVideo, match="cannot be converted"):
            read(path)


def test_one_such_file_does_not_end_the_catalog(
    plain: Path, tmp_path: Path, defaults: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    data = footage(tmp_path / "data")
    described(plain, data / "A" / "ycgco.mp4", "matrix_coefficients=8")
    unconvertible(data / "B" / "strange.nut")
    table = catalog.examine(catalog.labelled(data), data, None, defaults.compute)
    bad = table[~table["readable"]]
    assert list(bad["video"]) == ["B/strange.nut"]
    assert len(table) == 2 * 4 * 2 + 2
    capsys.readouterr()
    catalog.check_readable(table, 0.1)
    assert capsys.readouterr().err == (
        "warning: B/strange.nut is set aside: its pictures cannot be converted\n"
    )
    # what is set aside is not extracted, and the rest is
    done = extract.extract(
        table, data, ClipStore(tmp_path / "clips"), ClipSpec(2, 8, 8), defaults.compute
    )
    assert done == len(table) - 1


def test_a_video_may_change_its_size(tmp_path: Path) -> None:
    streams = []
    for size in ("96x64", "64x96", "32x32"):
        source = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=10:duration=1")
        ffmpeg(*source, *H264, tmp_path / "a.h264")
        streams.append((tmp_path / "a.h264").read_bytes())
    (tmp_path / "a.h264").write_bytes(b"".join(streams))
    info = probe(tmp_path / "a.h264")
    assert (info.frames, info.width, info.height) == (30, 96, 64)
    assert sample(tmp_path / "a.h264", ClipSpec(6, 32, 32)).std(axis=(1, 2, 3)).min() > 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system sets no such bound")
def test_what_takes_too_much_memory_to_sample_is_found_by_probing(tmp_path: Path) -> None:
    size = "testsrc2=size=8000x6000:rate=1:duration=1"
    ffmpeg("-f", "lavfi", "-i", size, "-c:v", "mjpeg", tmp_path / "a.avi")
    # two pictures of 72 MB do not fit, and one would
    for read in (partial(sample, spec=ClipSpec(1, 8, 8)), probe):
        end_idle_processes()  # a process that has grown holds memory that counts for nothing
        with pytest.raises(OutOfBoundsError, match="more than 150 MB"):
            run_sandboxed(read, tmp_path / "a.avi", Bounds(seconds=20, memory_mb=150))


@pytest.mark.parametrize(("side", "says"), [(65535, "no frame"), (14000, "more than 512 MB")])
def test_a_gigantic_picture_is_refused(tmp_path: Path, side: int, says: str) -> None:
    # a few bytes of GIF that unfold to frames of gigabytes
    size = side.to_bytes(2, "little") * 2
    picture = b"\x2c" + bytes(4) + size + b"\x00\x02\x02\x4c\x01\x00"
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + size + b"\x80\x00\x00" + bytes(6) + picture + b";")
    with pytest.raises((UnreadableVideo, OutOfBoundsError), match=says):
        run_sandboxed(probe, tmp_path / "a.gif", BOUNDS)


def test_odd_real_files_are_sampled_as_ffmpeg_decodes_them(real_data: Path) -> None:
    files = sorted((real_data / "odd-videos").iterdir())
    assert len(files) == 16
    # the program that is compared with is held to the same bounds, and takes more
    roomy = Bounds(seconds=60, memory_mb=2048)
    for path in files:
        run_sandboxed(agrees_with_ffmpeg, path, roomy)
