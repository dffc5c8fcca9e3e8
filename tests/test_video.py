from pathlib import Path

import cv2
import numpy as np
import pytest

from kinoflow.video import ClipSpec, Frames, UnreadableVideo, frame_indices, probe, sample, stream
from tests.media import moving_square, write_video

SPEC = ClipSpec(8, 24, 32)


def decode_all(path: Path, spec: ClipSpec) -> Frames:
    """Every frame, decoded and scaled in the plainest way."""
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    frames: list[Frames] = []
    while True:
        decoded, frame = capture.read()
        if not decoded:
            return np.stack(frames)
        small = cv2.resize(frame, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
        frames.append(np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8))


@pytest.mark.parametrize("frames", [8, 9, 23, 40])
def test_sampling_equals_decoding_everything_and_picking(tmp_path: Path, frames: int) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(frames))
    everything = decode_all(path, SPEC)
    assert len(everything) == frames
    picked = everything[(2 * np.arange(8) + 1) * frames // 16]
    np.testing.assert_array_equal(sample(path, SPEC), picked)


@pytest.mark.parametrize("claimed", [1, 35, 39, 41, 60, 100000])
def test_a_lying_header_changes_nothing(tmp_path: Path, claimed: int) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(40))
    honest = sample(path, SPEC)
    content = path.read_bytes()
    stream = content.index(b"strh") + 8
    length = stream + 32  # where an AVI says how many frames its stream has
    assert content[length : length + 4] == (40).to_bytes(4, "little")
    lying = content[:length] + claimed.to_bytes(4, "little") + content[length + 4 :]
    path.write_bytes(lying)
    np.testing.assert_array_equal(sample(path, SPEC), honest)


def test_a_short_video_repeats_its_last_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(3))
    clip = sample(path, SPEC)
    everything = decode_all(path, SPEC)
    np.testing.assert_array_equal(clip[:3], everything)
    for frame in clip[3:]:
        np.testing.assert_array_equal(frame, everything[-1])


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((10, 48, 64, 3), np.uint8)
    red[..., 0] = 255
    clip = sample(write_video(tmp_path / "a.avi", red), SPEC)
    assert clip[..., 0].min() > 200
    assert clip[..., 1:].max() < 50


@pytest.mark.parametrize(("available", "wanted"), [(1, 1), (5, 5), (7, 3), (100, 16), (3, 8)])
def test_indices_cover_the_whole_length_evenly(available: int, wanted: int) -> None:
    indices = frame_indices(available, wanted)
    assert len(indices) == wanted
    assert (np.diff(indices) >= 0).all()
    assert indices[0] < max(1, available / wanted)
    assert indices[-1] >= available - max(1, available / wanted)
    if available >= wanted:
        assert np.ptp(np.diff([*indices, indices[0] + available])) <= 1


def test_probe_counts_frames(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.avi", moving_square(37), fps=12.5))
    assert (info.frames, info.fps, info.seconds) == (37, 12.5, 2.96)
    assert (info.width, info.height, info.codec) == (64, 48, "mjpeg")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"", "empty"), (b"Dear diary, today I was no video.", "no video")],
)
def test_what_is_no_video_says_so(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.avi"
    if content is not None:
        path.write_bytes(content)
    for read in (probe, lambda p: sample(p, SPEC), lambda p: next(stream(p, SPEC))):
        with pytest.raises(UnreadableVideo, match=says):
            read(path)


def test_stream_gives_the_latest_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(20))
    everything = decode_all(path, SPEC)
    clips = list(stream(path, SPEC, every=5))
    assert len(clips) == 3
    for number, clip in enumerate(clips):
        np.testing.assert_array_equal(clip, everything[number * 5 : number * 5 + 8])


def test_real_clips_are_sampled_as_if_all_frames_were_decoded(real_data: Path) -> None:
    clips = sorted((real_data / "ucf101-mini").rglob("*.avi"))[::20]
    assert clips
    for path in clips:
        everything = decode_all(path, SPEC)
        picked = everything[frame_indices(len(everything), 8)]
        np.testing.assert_array_equal(sample(path, SPEC), picked)
