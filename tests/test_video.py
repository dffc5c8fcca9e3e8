import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kinoflow.system.sandbox import Bounds, run_sandboxed
from kinoflow.video import ClipSpec, Frames, UnreadableVideo, probe, runs, sample, stream
from kinoflow.video.padding import unpadded
from kinoflow.video.sampling import frame_indices, motion_guided_indices, segment_indices
from tests.media import moving_square, write_video

SPEC = ClipSpec(8, 24, 32)
SAMPLINGS = {way: replace(SPEC, sampling=way) for way in ("uniform", "segment", "motion")}

every_sampling = pytest.mark.parametrize("spec", SAMPLINGS.values(), ids=SAMPLINGS)


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


def places(path: Path, clip: Frames) -> list[int]:
    """Which frame of a video, all of whose frames differ, each of a clip is."""
    everything = decode_all(path, SPEC)
    found = [np.flatnonzero((everything == frame).all(axis=(1, 2, 3))) for frame in clip]
    return [int(index) for (index,) in found]


@pytest.mark.parametrize("frames", [8, 9, 23, 40])
def test_sampling_equals_decoding_everything_and_picking(tmp_path: Path, frames: int) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(frames))
    everything = decode_all(path, SPEC)
    assert len(everything) == frames
    picked = everything[(2 * np.arange(8) + 1) * frames // 16]
    np.testing.assert_array_equal(sample(path, SPEC), picked)


@pytest.mark.parametrize("frames", [8, 9, 23, 40])
def test_segments_give_one_frame_each(tmp_path: Path, frames: int) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(frames))
    edges = np.arange(9) * frames // 8
    found = places(path, sample(path, SAMPLINGS["segment"]))
    assert [int(part) for part in np.searchsorted(edges, found, side="right")] == [*range(1, 9)]


def test_segments_are_the_same_whatever_was_drawn_before(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(40))
    np.random.seed(1)  # noqa: NPY002  what is not to count
    first = sample(path, SAMPLINGS["segment"])
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(sample(path, SAMPLINGS["segment"]), first)
    # and on other machines, in other versions
    assert segment_indices(100, 8).tolist() == [8, 15, 36, 40, 55, 62, 82, 93]


def test_segments_do_not_fall_in_step_with_the_motion(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", np.tile(moving_square(5), (8, 1, 1, 1)))

    def shown(spec: ClipSpec) -> int:
        return len(np.unique(sample(path, spec), axis=0))

    assert shown(SPEC) == 1
    assert shown(SAMPLINGS["segment"]) >= 3


def test_motion_is_sampled_where_it_is(tmp_path: Path) -> None:
    moving = moving_square(31)
    half_still = np.concatenate([np.repeat(moving[:1], 29, axis=0), moving])
    path = write_video(tmp_path / "a.avi", half_still)
    still = decode_all(path, SPEC)[0]

    def still_frames(spec: ClipSpec) -> int:
        return int((sample(path, spec) == still).all(axis=(1, 2, 3)).sum())

    assert still_frames(SPEC) == 4
    assert still_frames(SAMPLINGS["motion"]) == 1
    found = np.diff([30, *places(path, sample(path, SAMPLINGS["motion"])[1:])])
    assert found.min() >= 3  # all of the motion is covered, and evenly
    assert found.max() <= 6


@pytest.mark.parametrize("available", [1, 5, 8, 9, 50, 100])
def test_a_still_video_is_sampled_evenly(available: int) -> None:
    still = np.zeros(available, np.float32)
    np.testing.assert_array_equal(motion_guided_indices(still, 8), frame_indices(available, 8))


def test_a_cut_takes_no_frame_twice() -> None:
    rng = np.random.default_rng(0)
    for available in (8, 9, 30, 200):
        for at in (0, 1, available // 2, available - 1):
            differences = rng.random(available, np.float32)
            differences[at] = 1e6
            chosen = motion_guided_indices(differences, 8)
            assert (np.diff(chosen) > 0).all()
            assert chosen[0] >= 0
            assert chosen[-1] < available


def test_a_long_still_stretch_is_not_left_out() -> None:
    differences = np.ones(200, np.float32)
    differences[:80] = 0
    assert (motion_guided_indices(differences, 16) < 80).any()
    assert (motion_guided_indices(differences[::-1].copy(), 16) >= 120).any()


def test_looking_for_motion_holds_no_frames(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        path = write_video(tmp_path / "a.avi", moving_square(frames))
        tracemalloc.start()
        sample(path, SAMPLINGS["motion"])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # what is kept from the first call on; a measurement of coverage also leaves code that has run
    # often enough, which takes memory
    peak(1000)
    assert peak(1000) - peak(20) < 100_000


@every_sampling
@pytest.mark.parametrize("claimed", [1, 35, 39, 41, 60, 100000])
def test_a_lying_header_changes_nothing(tmp_path: Path, claimed: int, spec: ClipSpec) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(40))
    honest = sample(path, spec)
    content = path.read_bytes()
    stream = content.index(b"strh") + 8
    length = stream + 32  # where an AVI says how many frames its stream has
    assert content[length : length + 4] == (40).to_bytes(4, "little")
    lying = content[:length] + claimed.to_bytes(4, "little") + content[length + 4 :]
    path.write_bytes(lying)
    np.testing.assert_array_equal(sample(path, spec), honest)


@every_sampling
@pytest.mark.parametrize("frames", [1, 3, 7])
def test_a_short_video_repeats_its_last_frame(tmp_path: Path, frames: int, spec: ClipSpec) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(frames))
    clip = sample(path, spec)
    everything = decode_all(path, SPEC)
    np.testing.assert_array_equal(clip[:frames], everything)
    for frame in clip[frames:]:
        np.testing.assert_array_equal(frame, everything[-1])


@every_sampling
@pytest.mark.parametrize("frames", [1, 3, 7, 8, 20])
def test_a_mask_is_black_behind_the_last_frame(tmp_path: Path, frames: int, spec: ClipSpec) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(frames))
    clip, repeated = sample(path, replace(spec, padding="mask")), sample(path, spec)
    np.testing.assert_array_equal(clip[:frames], repeated[:frames])
    assert not clip[frames:].any()
    np.testing.assert_array_equal(unpadded(clip), repeated[:frames])


@every_sampling
def test_a_black_frame_is_no_padding(tmp_path: Path, spec: ClipSpec) -> None:
    masked = replace(spec, padding="mask")
    black = write_video(tmp_path / "black.avi", np.zeros((3, 48, 64, 3), np.uint8))
    assert not sample(black, spec).any()
    assert sample(black, masked).max(axis=(1, 2, 3)).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    film = moving_square(5)
    film[[0, 2, 4]] = 0
    faded = write_video(tmp_path / "faded.avi", film)
    assert len(unpadded(sample(faded, masked))) == 5
    # of a camera that sees nothing, too
    assert next(
        stream(write_video(tmp_path / "a.avi", np.zeros_like(moving_square(8))), masked)
    ).all()


def test_a_clip_is_all_there_if_all_of_it_is_black() -> None:
    assert unpadded(np.zeros(SPEC.shape, np.uint8)).shape == SPEC.shape


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"sampling": "random"}, "no sampling 'random'; there are uniform, segment, motion"),
        ({"padding": None}, "no padding None; there are repeat, mask"),
    ],
)
def test_a_spec_that_cannot_be_says_what_can(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ClipSpec(**{**asdict(SPEC), **wrong})


def test_a_spec_from_before_there_was_a_choice_is_as_it_was() -> None:
    raw: dict[str, Any] = {"frames": 8, "height": 24, "width": 32}
    assert ClipSpec(**raw) == SPEC
    assert (SPEC.sampling, SPEC.padding) == ("uniform", "repeat")


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
    readers: list[Callable[[Path], Any]] = [probe, lambda p: next(stream(p, SPEC))]
    for read in readers + [partial(sample, spec=spec) for spec in SAMPLINGS.values()]:
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


@every_sampling
def test_odd_real_files_give_frames_of_theirs_in_order(real_data: Path, spec: ClipSpec) -> None:
    files = sorted((real_data / "odd-videos").iterdir())
    assert files
    bounds = Bounds(seconds=60, memory_mb=512)
    for path in files:
        assert run_sandboxed(partial(in_order, spec=spec), path, bounds), path


def in_order(path: Path, spec: ClipSpec) -> bool:
    """Whether the clip takes from the video, front to back, and takes no frame twice."""
    frames = probe(path).frames
    everything = runs(path, range(frames), replace(spec, frames=1))
    clip = sample(path, spec)[: min(frames, spec.frames)]
    return all(any((frame == seen[0]).all() for seen in everything) for frame in clip)
