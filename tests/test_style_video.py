"""Videos are painted so that what moves keeps its strokes, and scenes begin anew."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from kinoflow.style import pictures
from kinoflow.style.features import Features
from kinoflow.style.flow import motion, warp
from kinoflow.style.optimise import Options, Painter, Step, Style, Watch
from kinoflow.style.video import Continuity, followed, is_cut, stylise
from kinoflow.video import Frames
from tests.media import ffmpeg, write_video
from tests.style import scene, squeezenet_file, stripes
from tests.test_cli import call

QUICK = Options(steps=10, later_steps=5, levels=1, smoothness=0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squeezenet_file(tmp_path_factory.mktemp("weights") / "squeezenet.weights.h5")


@pytest.fixture(scope="module")
def painter(weights: Path) -> Painter:
    """What is compiled for one picture serves all tests: they set the options that they need."""
    return Painter(Style(Features(weights=str(weights)), [stripes()]), QUICK)


def panning(frames: int, seed: int = 0) -> list[Frames]:
    """Frames 40x48 of a camera that turns by 2 pixels a frame."""
    return [pictures.to_bytes(scene(shift=2 * number, seed=seed)) for number in range(frames)]


def elsewhere(frames: int) -> list[Frames]:
    """Frames of another scene, in other light."""
    return [255 - frame for frame in panning(frames, seed=7)]


def flicker(frames: list[Frames], painted: list[Frames]) -> float:
    """How much the painting of what is followed changes, in the mean."""
    changes = []
    for number in range(1, len(frames)):
        moved = motion(frames[number - 1], frames[number])
        visible = followed(frames[number - 1], frames[number], moved)
        warped = warp(pictures.to_floats(painted[number - 1]), moved.backward)
        change = np.square(warped - pictures.to_floats(painted[number])).mean(axis=2)
        changes.append(float((visible * change).sum() / visible.sum()))
    return float(np.mean(changes))


def paint(painter: Painter, frames: list[Frames]) -> tuple[list[Frames], Continuity]:
    continuity = Continuity(painter)
    return [continuity.paint(frame) for frame in frames], continuity


def test_strokes_move_along_with_what_they_paint(painter: Painter) -> None:
    frames = panning(4)
    painter.options = replace(QUICK, consistency=0)
    single, _ = paint(painter, frames)
    painter.options = QUICK
    together, continuity = paint(painter, frames)
    assert flicker(frames, together) < 0.5 * flicker(frames, single)
    assert continuity.cuts == 0
    # and is painted nevertheless
    for frame, painted in zip(frames, together, strict=True):
        assert np.abs(frame.astype(float) - painted).mean() > 5


def test_a_new_scene_begins_anew(painter: Painter) -> None:
    first, second = panning(2), elsewhere(2)
    painter.options = QUICK
    painted, continuity = paint(painter, first + second)
    assert continuity.cuts == 1
    alone, _ = paint(painter, second)
    assert np.abs(painted[2].astype(float) - alone[0]).mean() < 1


def test_cuts_are_told_from_motion() -> None:
    def cut(before: Frames, after: Frames) -> bool:
        return is_cut(followed(before, after, motion(before, after)))

    one, other = panning(3), elsewhere(3)
    assert not cut(one[0], one[1])
    assert not cut(one[0], one[0])
    assert not cut(one[0], one[2])
    assert cut(one[0], other[0])
    # a blank wall has nothing that could be followed wrongly
    assert cut(np.zeros_like(one[0]), np.full_like(one[0], 200))


def test_cuts_of_real_recordings_are_found(real_data: Path) -> None:
    def few(path: Path) -> list[Frames]:
        with av.open(str(path)) as container:
            decoded = zip(range(3), container.decode(video=0), strict=False)
            shown = [frame.to_ndarray(format="rgb24") for _, frame in decoded]
            return [np.asarray(frame, np.uint8) for frame in shown]

    clips = [few(path) for path in sorted(real_data.rglob("*_c01.avi"))[::9]]
    assert len(clips) > 4
    for one, other in pairwise(clips):
        assert not is_cut(followed(one[0], one[1], motion(one[0], one[1])))
        if one[2].shape == other[0].shape:
            assert is_cut(followed(one[2], other[0], motion(one[2], other[0])))


def test_a_still_frame_is_painted_once(painter: Painter) -> None:
    frame = panning(1)[0]
    painter.options = QUICK
    steps: list[Step] = []
    continuity = Continuity(painter)
    first = continuity.paint(frame)
    assert np.array_equal(continuity.paint(frame.copy(), steps.append), first)
    assert steps == []


def test_a_run_that_remembers_paints_as_one_that_was_not_interrupted(painter: Painter) -> None:
    frames = panning(3)
    painter.options = QUICK
    whole, _ = paint(painter, frames)
    continuity = Continuity(painter)
    continuity.remember(frames[1], whole[1])
    assert np.abs(continuity.paint(frames[2]).astype(int) - whole[2]).max() <= 1


def test_pictures_of_a_video_come_one_by_one(painter: Painter) -> None:
    found = stylise(iter(panning(2)), painter.style, replace(QUICK, steps=2, later_steps=2))
    first = next(found)
    assert first.shape == (40, 48, 3)
    assert first.dtype == np.float32
    assert len(list(found)) == 1


# === The command ===


def arguments(clip: Path, weights: Path) -> list[str]:
    pictures.write(clip.parent / "style.png", stripes())
    return [
        *("style", str(clip), "--style", str(clip.parent / "style.png")),
        *("-o", str(clip.parent / "out.mp4"), "--weights", str(weights)),
        *("--steps", "3", "--later-steps", "2", "--levels", "1", "--size", "48"),
    ]


def frames_of(path: Path) -> tuple[list[float], np.ndarray]:
    """The times of a video's frames, and the frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    first = frames[0].time or 0
    times = [float(frame.time or 0) - first for frame in frames]
    return times, np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def test_a_painted_video_keeps_its_frames_and_its_sound_and_an_interrupted_one_goes_on(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = tmp_path / "clip.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=97x65:rate=10:duration=0.5"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=0.5", "-c:v", "libx264rgb", clip),
    )
    plain = Continuity.paint
    painted: list[Frames] = []

    def interrupted(self: Continuity, frame: Frames, watch: Watch | None = None) -> Frames:
        if len(painted) == 2:
            raise KeyboardInterrupt
        painted.append(frame)
        return plain(self, frame, watch)

    with monkeypatch.context() as patch:
        patch.setattr(Continuity, "paint", interrupted)
        assert call(monkeypatch, *arguments(clip, weights)) == 130
    assert not (tmp_path / "out.mp4").exists()

    def counted(self: Continuity, frame: Frames, watch: Watch | None = None) -> Frames:
        painted.append(frame)
        return plain(self, frame, watch)

    monkeypatch.setattr(Continuity, "paint", counted)
    assert call(monkeypatch, *arguments(clip, weights)) == 0
    assert len(painted) == 5
    said = capsys.readouterr().err
    assert re.search(r"clip.mp4: 5/5, content \S+, style \S+.* s a frame", said)
    times, frames = frames_of(tmp_path / "out.mp4")
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert frames.shape == (5, 32, 48, 3)
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0))
    assert sound / 44100 == pytest.approx(0.5, abs=0.06)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4", "style.png"]


def test_a_video_of_one_frame_is_painted_and_said_to_be_one(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = write_video(tmp_path / "clip.avi", np.stack(panning(1)))
    assert call(monkeypatch, *arguments(clip, weights), "--steps", "1") == 0
    assert "has one frame" in capsys.readouterr().err
    assert len(frames_of(tmp_path / "out.mp4")[0]) == 1


def test_what_is_neither_a_picture_nor_a_video_is_told_in_one_line(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = tmp_path / "clip.avi"
    clip.write_text("no video")
    assert call(monkeypatch, *arguments(clip, weights)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "clip.avi: neither a picture nor a video: it is no video" in said
    write_video(clip, np.stack(panning(2)))
    assert call(monkeypatch, *arguments(clip, weights), "-o", "out.png") == 2
    assert "is a video, so out.png must end in .mp4" in capsys.readouterr().err


def test_a_blank_wall_does_not_move_because_of_grain() -> None:
    rng = np.random.default_rng(5)
    thing = rng.normal(90, 40, (30, 20, 3))
    frames = []
    for x in (30, 34):
        frame = 120 + rng.normal(0, 3, (72, 96, 3))
        frame[20:50, x : x + 20] = thing
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    backward = motion(*frames).backward
    assert np.abs(backward[:, 65:]).max() == 0
    # and what does move is followed
    assert np.abs(backward[25:45, 38:50] - [-4, 0]).mean() < 0.3
