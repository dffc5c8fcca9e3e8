"""Timelines: what is answered for each window, from one pass of the decoder, also of odd videos."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from av.video.reformatter import VideoReformatter

from kinoflow import bundle, timeline
from kinoflow.bundle import Bundle
from kinoflow.timeline import Steady, arranged, smoothed, steady_labels
from kinoflow.video import ClipSpec, Frames, UnreadableVideo, sample
from kinoflow.video.clock import Clock
from kinoflow.video.frames import decode_frames, open_video, to_rgb
from kinoflow.video.spec import Sampling
from kinoflow.video.windows import Window, Windows
from tests.media import ffmpeg, moving_square
from tests.networks import save_bundle, small_model

SPEC = ClipSpec(8, 16, 16)
FPS = 25


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "frame_voting"
    network = small_model("frame_voting", SPEC)
    # so that answers are far from each other
    head = next(layer for layer in reversed(network.layers) if hasattr(layer, "kernel"))
    head.kernel.assign(3 * head.kernel)
    save_bundle(folder, network, SPEC, clip=SPEC)
    return bundle.load(folder)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 seconds in which every frame differs."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    source = f"testsrc2=size=64x48:rate={FPS}:duration=5,hue=h=90*t:b=2*sin(t)"
    ffmpeg("-f", "lavfi", "-i", source, "-g", 25, "-movflags", "+faststart", path)
    return path


def windows_of(path: Path, spec: ClipSpec, seconds: float) -> list[Window]:
    found: list[Window] = []
    with open_video(path) as video:
        clock = Clock(video)
        windows = Windows(spec, seconds, rounding=clock.rounding)
        for frame in decode_frames(video):
            found += windows.add(clock(frame), frame)
        found += windows.finish(clock.end)
    return found


def every_frame(path: Path) -> Frames:
    with open_video(path) as video:
        frames = sum(1 for _ in decode_frames(video))
    return sample(path, replace(SPEC, frames=frames))


def test_a_window_is_answered_as_the_frames_sampled_for_it(model: Bundle, video: Path) -> None:
    frames = every_frame(video)
    found = timeline.timeline(video, model, 1.6)
    assert len(found.answers) == len(windows_of(video, SPEC, 1.6)) == 10
    np.testing.assert_allclose(found.windows[:3], [[0, 1.6], [0.4, 2.0], [0.8, 2.4]])
    assert found.windows[-1, 1] == pytest.approx(5, abs=0.2)
    for (start, _), answer in zip(found.windows, found.answers, strict=True):
        # the frame that is shown in the middle of each eighth of the window
        shown = [int((start + (part + 0.5) * 0.2) * FPS + 1e-6) for part in range(8)]
        np.testing.assert_allclose(answer, model.predict(frames[None, shown])[0], atol=1e-5)
        # and no other frames
        later = model.predict(frames[None, np.minimum(np.add(shown, 3), 124)])[0]
        assert abs(later - answer).max() > 1e-3


@pytest.mark.parametrize("sampling", ["uniform", "motion"])
def test_a_window_is_the_clip_of_the_video_cut_to_it(
    sampling: Sampling, video: Path, tmp_path: Path
) -> None:
    spec = replace(SPEC, sampling=sampling)
    for window in windows_of(video, spec, 1.6)[:4]:
        first = round(window.start * FPS)
        cut = f"trim=start_frame={first}:end_frame={first + 40},setpts=PTS-STARTPTS"
        # lossless, and converted to the same picture
        ffmpeg("-i", video, "-vf", cut, "-c:v", "ffv1", tmp_path / "cut.mkv")
        expected = sample(tmp_path / "cut.mkv", spec)
        assert abs(window.clip.astype(int) - expected.astype(int)).max() <= 1


def test_a_video_shorter_than_a_window_is_answered_as_predict_does(
    model: Bundle, video: Path
) -> None:
    found = timeline.timeline(video, model, 8)
    np.testing.assert_array_equal(found.answers[0], model.predict(sample(video, SPEC)[None])[0])
    np.testing.assert_allclose(found.moments, [[0, 5]])
    assert found.problem == ""


def test_each_frame_is_decoded_once_and_few_are_converted(
    model: Bundle, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"decoded": 0, "converted": 0}

    def decoded(stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        for frame in decode_frames(stream):
            counts["decoded"] += 1
            yield frame

    def converted(frame: av.VideoFrame, converter: VideoReformatter) -> Frames:
        counts["converted"] += 1
        return to_rgb(frame, converter)

    monkeypatch.setattr(timeline, "decode_frames", decoded)
    monkeypatch.setattr("kinoflow.video.windows.to_rgb", converted)
    assert len(timeline.timeline(video, model, 2.0).answers) == 7
    assert counts == {"decoded": 5 * FPS, "converted": 5 * 4}


def test_memory_does_not_grow_with_the_video() -> None:
    windows = Windows(SPEC, 2.0)
    pixels = moving_square(1, height=480, width=640)[0]
    process = psutil.Process()
    used, found = [], 0
    for number in range(500):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        for window in windows.add(number / FPS, frame):
            found += 1
            assert window.clip.shape == SPEC.shape
        used.append(process.memory_info().rss / 1e6)
    assert found == 37
    # the frames of one window are 46 MB, all of them 461
    assert max(used[50:]) - used[10] < 23


def test_a_frame_that_is_shown_for_years_takes_no_time() -> None:
    windows = Windows(SPEC, 2.0)
    frames = [av.VideoFrame.from_ndarray(moving_square(1, seed=k)[0], "rgb24") for k in range(2)]
    assert list(windows.add(0.0, frames[0])) == []
    first = list(windows.add(1e9, frames[1]))
    last = list(windows.finish(1e9 + 2))
    assert 2 < len(first) + len(last) < 100
    assert last[-1].end == pytest.approx(1e9 + 2, abs=0.5)
    assert not np.array_equal(first[0].clip, last[-1].clip)


# === Odd videos ===


def test_a_variable_frame_rate_is_sampled_in_time(tmp_path: Path) -> None:
    # of the first 2 seconds each fifth frame alone is kept
    keep = "select='not(mod(n,5))+gt(n,49)'"
    source = f"testsrc2=size=64x48:rate={FPS}:duration=5"
    path = tmp_path / "vfr.mkv"
    ffmpeg("-f", "lavfi", "-i", source, "-vf", keep, "-fps_mode", "vfr", "-c:v", "ffv1", path)
    frames = every_frame(path)
    kept = [n for n in range(5 * FPS) if n % 5 == 0 or n > 49]
    found = windows_of(path, SPEC, 1.6)
    assert found[-1].end == pytest.approx(5, abs=0.2)
    for window in found:
        times = [window.start + (part + 0.5) * 0.2 for part in range(8)]
        shown = [max(k for k, n in enumerate(kept) if n / FPS <= t + 1e-3) for t in times]
        np.testing.assert_array_equal(window.clip, frames[shown])


def test_a_rotated_video_is_turned_upright(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", video, "-c", "copy", path)
    spec = ClipSpec(8, 64, 48)
    turned, as_is = windows_of(path, spec, 1.6), windows_of(video, ClipSpec(8, 48, 64), 1.6)
    np.testing.assert_array_equal(turned[2].clip, np.rot90(as_is[2].clip, axes=(1, 2)))


def test_a_truncated_video_has_a_timeline_to_its_damage(
    model: Bundle, video: Path, tmp_path: Path
) -> None:
    whole = timeline.timeline(video, model, 0.8)
    cut = tmp_path / "cut.mp4"
    content = video.read_bytes()
    cut.write_bytes(content[: int(len(content) * 0.6)])
    found = timeline.timeline(cut, model, 0.8)
    assert 1.5 < found.seconds < 4
    assert found.problem.startswith("it should last 5.0 s, but no frame can be decoded after ")
    before = int((found.windows[:, 1] < found.seconds - 0.5).sum())
    assert before >= 3
    np.testing.assert_array_equal(found.answers[:before], whole.answers[:before])
    cut.write_bytes(content[:2000])
    with pytest.raises(UnreadableVideo):
        timeline.timeline(cut, model, 0.8)


def test_stamps_that_step_back_or_are_missing_do_not_stop_the_clock(
    video: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw.h264"
    ffmpeg("-i", video, "-c", "copy", "-bsf:v", "h264_mp4toannexb", raw)
    assert windows_of(raw, SPEC, 1.6)[-1].end == pytest.approx(5, abs=0.3)
    part = tmp_path / "part.ts"
    ffmpeg("-i", video, "-c", "copy", part)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    assert windows_of(joined, SPEC, 1.6)[-1].end == pytest.approx(10, abs=0.5)


# === Smoothing ===


def test_a_label_that_is_shown_live_stays_for_some_time() -> None:
    def shown(leaders: str) -> str:
        steady = Steady(1.0)
        answers = [np.array([one == letter for letter in "ABC"], np.float32) for one in leaders]
        return "".join("ABC"[steady(0.5 * k, answer)] for k, answer in enumerate(answers))

    assert shown("ABABBBA") == "AAAAABB"
    # nor does it stay for ever where others take turns
    assert shown("ABCBCBCBC") == "AAABBBBBB"


def test_labels_of_a_timeline_change_when_the_lead_does_and_do_not_flicker() -> None:
    def shown(leaders: str, hold: float = 1.0) -> str:
        probabilities = np.full((len(leaders), 3), 0.1, np.float32)
        probabilities[range(len(leaders)), ["ABC".index(one) for one in leaders]] = 0.8
        edges = np.arange(len(leaders) + 1) * 0.5
        moments = np.stack([edges[:-1], edges[1:]], axis=1)
        return "".join("ABC"[k] for k in steady_labels(moments, probabilities, hold))

    assert shown("BAABAABBBA") == "AAAAAABBBB"
    assert shown("AABCBCBCBCC") == "AABBBBBBBCC"
    assert shown("AABB") == "AABB"
    assert shown("ABA") == "AAA"
    assert shown("A", hold=9) == "A"
    assert shown("ABB", hold=9) == "BBB"
    assert shown("ABCAB", hold=0) == "ABCAB"


def test_smoothing_weighs_what_is_near() -> None:
    answers = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    near = smoothed(np.array([0.0, 0.5, 1.0]), answers, 1.0)
    np.testing.assert_allclose(near[:, 0], [2 / 3, 1 / 2, 2 / 3], atol=1e-6)
    far = smoothed(np.array([0.0, 5.0, 10.0]), answers, 1.0)
    np.testing.assert_array_equal(far, answers)


def test_segments_cover_the_video_and_join_what_has_one_label() -> None:
    windows = np.array([[0, 2], [0.5, 2.5], [1, 3], [8, 10]], float)
    answers = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.2, 0.8]], np.float32)
    found = arranged(("a", "b"), windows, answers, window=2, seconds=10)
    assert [(s.start, s.end, s.label) for s in found.segments] == [(0, 5.5, 0), (5.5, 10, 1)]
    assert (found.at(0), found.at(5.6), found.at(99)) == (0, 3, 3)
    document = found.document()
    assert document["segments"][1] == {
        "start": 5.5,
        "end": 10.0,
        "label": "b",
        "probability": pytest.approx(0.8),
    }
    assert document["problem"] is None
