"""The page on style transfer says what was measured, and whether that is enough."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import style_films, style_page
from benchmarks.style_cyclegan import Measured
from benchmarks.style_page import Row
from kinoflow.style.fast import Recipe

ROW = Row(
    film="OpenDoor",
    exact=True,
    way="original",
    warping=0.001,
    style=0.8,
    content=0.0,
    kernel=4.0,
    seconds=2.0,
    processor=2.0,
)
SETTINGS = {
    "style": "waves",
    "size": "96x72",
    "frames": 4,
    "trained": 600.0,
    "recipe": Recipe(steps=77).model_dump(),
}
KNOB = {0.25: (0.3, 0.1), 0.75: (0.1, 0.3)}


def rows(temporal: float, fast: float, seconds: float) -> list[Row]:
    painted = replace(ROW, way="frames", warping=0.01, style=0.1, content=0.3)
    of_film = [
        ROW,
        painted,
        replace(painted, way="temporal", warping=temporal),
        replace(painted, way="fast", style=fast, content=0.2, seconds=seconds, processor=seconds),
    ]
    return of_film + [replace(each, film="Biking", exact=False) for each in of_film]


def test_figures_that_are_reached_and_missed_are_told_apart() -> None:
    good = style_page.page(rows(0.004, 0.11, 0.01), KNOB, SETTINGS, None)
    assert "missed" not in good
    assert good.count("| reached |") == 4
    assert "0.40 of frame by frame" in good
    assert "200 times by the clock" in good
    assert "distance to the content 0.200, of frame by frame 0.300" in good
    assert "10 minutes: 77 steps at 128 pixels" in good
    bad = style_page.page(rows(0.006, 0.13, 0.1), KNOB, SETTINGS, None)
    assert bad.count("**missed**") == 4
    assert "+30% of frame by frame" in bad


def test_without_real_clips_or_a_network_the_page_leaves_them_out() -> None:
    rendered = [each for each in rows(0.004, 0.11, 0.01) if each.exact and each.way != "fast"]
    page = style_page.page(rendered, KNOB, SETTINGS, None)
    assert "Real clips" not in page
    assert "fast" not in page
    assert "nan" not in page


def test_what_make_style_measured_is_taken_over(tmp_path: Path) -> None:
    scores = {"similarity": 0.3, "low": 0.2, "high": 0.4, "difference": 0.2, "warping_error": 0.002}
    ahead = {"ahead": 0.2, "ahead_low": 0.1, "ahead_high": 0.3, "round_trip": 0.05}
    way = {
        "recordings": 12,
        "identity": scores,
        "frames": scores | ahead | {"similarity": 0.5},
        "temporal": scores | ahead | {"ahead": 0.1},
    }
    metrics = {"paired": True, "side": "test", "a_to_b": way, "b_to_a": way}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "timing.json").write_text(json.dumps({"frames_per_second": 80.0}))
    page = style_page.page(rows(0.004, 0.11, 0.01), KNOB, SETTINGS, Measured(tmp_path))
    assert "| a to b | CycleGAN, frame by frame | 0.500 | 0.200 to 0.400 | 0.200 | 2.00 |" in page
    assert "+0.200 (+0.100 to +0.300)" in page
    assert page.count("| reached |") == 6
    assert "80 frames/s" in page
    # without a truth there is flicker alone
    del metrics["a_to_b"]
    untrue = {"identity": {"warping_error": 0.002}, "frames": {"warping_error": 0.001}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"a_to_b": untrue}))
    text = Measured(tmp_path).section()
    assert "| a to b | CycleGAN, frame by frame |  |  |  | 1.00 |" in text


def test_what_was_painted_is_painted_once(tmp_path: Path) -> None:
    calls = []

    def paint(frames: np.ndarray) -> list[np.ndarray]:
        calls.append(len(frames))
        return [255 - frame for frame in frames]

    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    way = style_films.Way(paint)
    for _ in range(2):
        painted = way.kept(tmp_path / "below" / "a.npz", frames)
        assert np.array_equal(painted.frames, 255 - frames)
    # once for what it compiles, and once for good
    assert calls == [1, 2]
    way.kept(tmp_path / "b.npz", frames)
    assert calls == [1, 2, 2]


def test_what_takes_too_little_to_be_timed_is_painted_several_times(tmp_path: Path) -> None:
    times = []

    def paint(frames: np.ndarray) -> list[np.ndarray]:
        times.append(time.perf_counter())
        time.sleep(0.01)
        return [*frames]

    frames = np.zeros((2, 4, 5, 3), np.uint8)
    painted = style_films.Way(paint, timed=False, least=0.1).kept(tmp_path / "a.npz", frames)
    assert 2 <= len(times) <= 10
    assert 0.01 <= painted.seconds < 0.1
    assert len(painted.frames) == 2


def test_rendered_films_come_with_their_motion() -> None:
    films = style_films.rendered(3, 64, 48)
    assert [film.name for film in films] == ["SitDown", "OpenDoor", "PushBox"]
    for film in films:
        assert film.frames.shape == (3, 48, 64, 3)
        assert len(film.motions) == 2
        assert film.exact
