"""Which answers the stage explain takes, and what it says of its explanations."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from kinoflow import cli
from kinoflow.config import Explain
from kinoflow.data import tables
from kinoflow.explain.methods import Explainer
from kinoflow.reports.records import Proofs
from kinoflow.video import Frames
from stages.explain_choice import choose
from stages.explain_proofs import Explained, prove
from tests.media import moving_square, write_video
from tests.test_explain import PLANTED, RED, SPEC, planted_clip, red_bundle

SETTINGS = Explain(method="auto", errors=2, confused=1, right=2, proof_clips=2)


def answers(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    """predictions.csv of three classes with odd names: video, label, predicted, how sure."""
    names = ("<b>", "1e3", "run")
    table = pd.DataFrame([row[:3] for row in rows], columns=["video", "label", "predicted"])
    for name in names:
        table[f"p_{name}"] = [
            sure if predicted == name else (1 - sure) / 2 for _, _, predicted, sure in rows
        ]
    return table


def test_the_surest_errors_confused_pairs_and_right_answers_are_taken() -> None:
    table = answers(
        ("a", "<b>", "<b>", 0.9),
        ("b", "<b>", "1e3", 0.5),
        ("c", "<b>", "1e3", 0.6),
        ("d", "run", "<b>", 0.8),
        ("e", "1e3", "1e3", 0.5),
        ("f", "1e3", "1e3", 0.7),
        ("g", "run", "run", 0.4),
    )
    chosen = choose(table, SETTINGS)
    assert [(row.video, row.why) for row in chosen.itertuples()] == [
        *(("d", "error"), ("c", "error")),
        *(("c", "confused"), ("f", "confused")),
        *(("f", "right"), ("g", "right")),
    ]
    assert list(chosen.columns) == ["video", "label", "predicted", "why"]


def test_a_model_without_errors_has_right_answers_explained() -> None:
    chosen = choose(answers(("a", "run", "run", 0.5), ("b", "run", "run", 0.9)), SETTINGS)
    assert [(row.video, row.why) for row in chosen.itertuples()] == [("b", "right")]


def of_clips(folder: Path, *, truth: bool, seed: int = 7) -> Proofs:
    """The checks of explanations of a network that knows red, on three clips."""
    explainer = Explainer(red_bundle(folder / "bundle"))
    clips: list[Frames] = [np.roll(planted_clip(), turn, axis=0) for turn in range(3)]
    videos = ["a", "b", "c"]
    _, rows, columns = PLANTED
    boxes = [columns.start / 24, rows.start / 24, columns.stop / 24, rows.stop / 24]
    if truth:
        table = [(video, frame, *boxes) for video in videos for frame in range(8)]
        tables.write(
            pd.DataFrame(table, columns=list(tables.TRUTH.columns)),
            folder / "truth.csv",
            tables.TRUTH,
        )
    return prove(
        explainer,
        winner="red",
        checked=[
            Explained(video, f"group of {video}", clip, RED)
            for video, clip in zip(videos, clips, strict=True)
        ],
        explained=[("group of a", explainer.explain(clips[0]))],
        truth=folder / "truth.csv",
        bootstrap=50,
        seed=seed,
        folder=folder,
    )


def test_explanations_that_are_right_pass_all_checks(tmp_path: Path) -> None:
    proofs = of_clips(tmp_path, truth=True)
    assert proofs.pointing is not None
    assert proofs.pointing.area == pytest.approx(36 / 576, abs=1e-6)
    assert proofs.pointing.share > 0.6
    assert proofs.pointing.more.low > 0.5
    assert proofs.randomisation[-1].similarity.mean < 0.9
    for part in (proofs.space, proofs.time):
        assert part is not None
        assert part.falls_faster.low > 0
        assert part.returns_faster.low > 0
    curves = tables.read(tmp_path / "curves.csv", tables.CURVES)
    for (_, curve, _), steps in curves.groupby(["parts", "curve", "order"]):
        ends = steps["probability"].iloc[[0, -1]]
        assert ends.is_monotonic_decreasing == (curve == "deletion")
    proofs.write(tmp_path / "proofs.json")
    assert Proofs.read(tmp_path / "proofs.json") == proofs


def test_the_same_seed_gives_the_same_checks_and_without_truth_none_is_claimed(
    tmp_path: Path,
) -> None:
    one, two = of_clips(tmp_path, truth=False), of_clips(tmp_path, truth=False)
    assert one == two
    assert one.pointing is None


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kinoflow", "explain", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_the_command_writes_a_film_and_a_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = red_bundle(tmp_path / "bundle")
    video = write_video(tmp_path / "clip.avi", moving_square(16, height=60, width=80))
    out = tmp_path / "out" / "film.mp4"
    given = (str(video), "--model", str(model.folder))
    assert call(monkeypatch, *given, "--label", "C", "-o", str(out)) == 0
    said = capsys.readouterr().out
    assert "gradcam for C; eighths of time: " in said
    with av.open(str(out)) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == SPEC.frames
    assert shown[0].shape == (60 + 4 + 36, 80 + 4 + 80, 3)
    strip = cv2.imread(str(out.with_suffix(".png")))
    assert strip is not None
    assert strip.shape == (60 + 4 + 60 + 4 + 36, 8 * 80, 3)
    for wrong, line in (
        (("-o", str(tmp_path / "film.avi")), "film.avi must end in .mp4"),
        (("-o", str(out), "--label", "Z"), "the model has no class 'Z'; there are A, B, C, D, E"),
        (("-o", str(out), "--method", "rollout"), "rollout does not suit this model: red has no"),
    ):
        assert call(monkeypatch, *given, *wrong) == 2
        assert line in capsys.readouterr().err
    assert call(monkeypatch, str(tmp_path / "no.avi"), *given[1:], "-o", str(out)) == 2
    assert "no.avi: there is no such file" in capsys.readouterr().err
