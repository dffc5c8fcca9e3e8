"""The page of a run: its numbers are those of the reports, and no name does harm."""

import base64
import dataclasses
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import bundle, config
from kinoflow.bundle import Description
from kinoflow.config import Candidate, Params, Promotion
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet
from kinoflow.explain import film
from kinoflow.reports.decision import Decision, Recall, decide
from kinoflow.reports.frontier import Point, pareto
from kinoflow.reports.published import PUBLISHED
from kinoflow.reports.records import (
    Choice,
    Forgotten,
    Interval,
    Metrics,
    Obeyed,
    Pointing,
    Proofs,
    Refit,
    Timing,
    Verdict,
)
from kinoflow.reports.scoring import Side
from kinoflow.training import export
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from stages import report, report_inputs
from stages.evaluate import Part, evaluate
from tests import documents, pages
from tests.conftest import ROOT
from tests.networks import build

SPEC = ClipSpec(4, 16, 16)
LABELS = ('"><script src=//evil.example></script>', "<b>run</b> & 'walk'", "قفز\u202e تدريب")
HISTORY = "epoch,accuracy,loss,val_accuracy,val_loss\n1,0.3,1.1,0.3,1.2\n2,0.5,1.0,0.4,1.1\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A work tree whose stages before `report` have run: two candidates, three odd classes."""
    workspace = Workspace(tmp_path_factory.mktemp("tree"))
    params = params_of({"first": {"model": "frame_voting"}, "second": {"model": "frame_voting"}})
    counts = {"train": 6, "val": 6, "test": 9}
    rows = [(side, number) for side, count in counts.items() for number in range(count)]
    videos = [f"{LABELS[number % 3]}{side}{number}.avi" for side, number in rows]
    split = pd.DataFrame({"video": videos, "split": [side for side, _ in rows]})
    split["group"] = [f"{side}{number // 2}" for side, number in rows]
    tables.write(split, workspace.split, tables.SPLIT)
    catalog = split[["video", "group"]].assign(
        label=[LABELS[number % 3] for _, number in rows], codec="h264", md5="", problem=""
    )
    catalog[["frames", "width", "height", "bytes"]] = 4, 16, 16, 1
    catalog[["fps", "seconds", "readable"]] = 25.0, 0.2, True
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    clips = np.random.default_rng(0).integers(0, 256, (len(rows), *SPEC.shape), dtype=np.uint8)
    for video, clip in zip(videos, clips, strict=True):
        path = workspace.clips / f"{video}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, clip)
    sides = {side: side_of(workspace, split[split["split"] == side]) for side in ("val", "test")}
    for seed, name in enumerate(params.candidates):
        train(workspace, name, seed)
        folder = workspace.report(name)
        folder.mkdir(parents=True)
        model = bundle.load(workspace.bundle(name))
        evaluate(
            model,
            [Part(model, sides["val"], sides["test"])],
            params=params.evaluation,
            seed=7,
            folder=folder,
        )
        Timing(latency_ms=4.0 + seed, train_seconds=20.0).write(folder / "timing.json")
    documents.winner("first").write(workspace.winner)
    Decision().write(workspace.decision)
    Verdict(passed=True, split="stratified_group").write(workspace.validation)
    leaks = {"pairs": 0, "leaking": 0, "grouped": 0.4, "random": 0.9}
    workspace.leaks_numbers.write_text(json.dumps(leaks), encoding="utf-8")
    Refit(refit=False).write(workspace.refit_record)
    tables.write(
        tables.empty(tables.LEARNING_CURVE), workspace.learning_curve, tables.LEARNING_CURVE
    )
    explain(workspace)
    explored = pd.DataFrame({"label": LABELS}).reindex(columns=list(tables.EXPLORED.columns))
    counted = ["videos", "groups", "set_aside", "measured"]
    explored[counted] = 7
    workspace.exploration.mkdir()
    tables.write(explored, workspace.exploration / "per_class.csv", tables.EXPLORED)
    return workspace


def explain(workspace: Workspace) -> None:
    """Films and their table, as the stage `explain` leaves them."""
    answers = tables.read(workspace.report("first") / "predictions.csv", tables.PREDICTIONS)
    tables.write(answers, workspace.answers("first"), tables.PREDICTIONS)
    reasons = ["error", "error", "confused", "confused", "right"]
    shown = answers.iloc[: len(reasons)].assign(why=reasons, method="occlusion", file="01.mp4")
    shown[[f"s{number}" for number in range(1, 9)]] = 0.1
    workspace.explanations.mkdir()
    tables.write(shown, workspace.explanations / "clips.csv", tables.EXPLAINED)
    film.write_film(
        workspace.explanations / "01.mp4", np.zeros((4, 16, 32, 3), np.uint8), Fraction(4)
    )
    curve = pd.DataFrame({"fraction": [0.0, 0.5, 1.0], "probability": [0.9, 0.5, 0.2]})
    curves = [
        curve.assign(parts="space", curve=curve_name, order=order, low=0.1, high=0.95)
        for curve_name in ("deletion", "insertion")
        for order in ("evidence", "random")
    ]
    tables.write(pd.concat(curves), workspace.explanations / "curves.csv", tables.CURVES)
    interval = Interval(mean=0.125, low=0.0625, high=0.25)
    space = Obeyed(
        clips=9,
        deletion=0.2,
        insertion=0.6,
        random=0.4,
        falls_faster=interval,
        returns_faster=interval,
    )
    Proofs(
        winner="first",
        method="occlusion",
        pointing=Pointing(clips=9, share=0.75, area=0.25, more=interval),
        randomisation=(Forgotten(layers=("probabilities",), similarity=interval),),
        space=space,
    ).write(workspace.explanations / "proofs.json")


def params_of(candidates: dict[str, Any]) -> Params:
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return config.checked(values | {"candidates": candidates}, ROOT / "params.yaml")


def side_of(workspace: Workspace, rows: pd.DataFrame) -> Side:
    labels = np.arange(len(rows)) % 3
    return Side(ClipSet(workspace.clips, tuple(rows["video"]), labels), rows["group"].to_numpy())


def train(workspace: Workspace, name: str, seed: int) -> None:
    import keras

    keras.utils.set_random_seed(seed)
    network = build(Candidate(model="frame_voting"), SPEC, 3)
    description = Description(
        name=name,
        labels=LABELS,
        clip=SPEC,
        frames=4,
        views=1,
        candidate={},
        seed=0,
        data="",
        versions={"keras": "3"},
        metrics={"epoch": 2},
        temperature=0.5,
    )
    export.save(workspace.bundle(name), network, description, HISTORY)


@pytest.fixture(scope="module")
def inputs(tree: Workspace) -> report_inputs.Inputs:
    params = params_of({"first": {"model": "frame_voting"}, "second": {"model": "frame_voting"}})
    return report_inputs.read(tree, params)


@pytest.fixture(scope="module")
def made(inputs: report_inputs.Inputs) -> tuple[str, dict[str, pd.DataFrame]]:
    return report.render(inputs)


def test_names_of_classes_and_videos_do_no_harm(made: tuple[str, Any]) -> None:
    text, _ = made
    assert pages.faults(text) == []
    for label in LABELS:
        assert label in pages.shown(text)


def test_the_gallery_of_repainted_films_is_linked(made: tuple[str, Any]) -> None:
    text, _ = made
    assert '<code>make style</code>, <a href="style/index.html">a gallery</a> plays' in text


def test_the_numbers_are_those_of_the_reports(
    tree: Workspace, made: tuple[str, dict[str, pd.DataFrame]]
) -> None:
    text, numbers = made
    shown = re.sub(r"\s+", " ", pages.shown(text))
    for row in numbers["leaderboard"].to_dict("records"):
        metrics = Metrics.read(tree.report(row["candidate"]) / "metrics.json")
        for side, scores in (("val", metrics.val), ("test", metrics.test)):
            assert row[f"{side}_accuracy"] == scores.accuracy
            interval = f"{scores.accuracy_low:.3f} to {scores.accuracy_high:.3f}"
            assert f"{scores.accuracy:.3f} {interval}" in shown
        assert row["parameters"] == metrics.parameters
    winner = Metrics.read(tree.report("first") / "metrics.json")
    assert f"first names {100 * winner.test.accuracy:.1f} % of 9 test clips rightly" in shown
    assert f"on test clips is {winner.test.ece:.3f}" in shown
    assert f"temperature scaling it is {winner.test.ece_uncalibrated:.3f}" in shown
    confusion = numbers["confusion"].set_index("actual")
    assert confusion.to_numpy().sum() == 9
    assert np.trace(confusion.to_numpy()) == round(9 * winner.test.accuracy)
    difference = numbers["differences"].iloc[0]
    second = Metrics.read(tree.report("second") / "metrics.json")
    gain = winner.test.accuracy - second.test.accuracy
    assert difference["difference"] == pytest.approx(
        gain if difference["a"] == "first" else -gain, abs=1e-6
    )
    assert winner.time is not None
    orders = numbers["frame_orders"].set_index(["candidate", "order"])["accuracy"]
    assert orders["first", "frozen"] == winner.time.frozen.accuracy


def test_films_and_proofs_of_explanations_are_shown(
    tree: Workspace, made: tuple[str, dict[str, pd.DataFrame]]
) -> None:
    text, numbers = made
    shown = re.sub(r"\s+", " ", pages.shown(text))
    films = re.findall(r'src="data:video/mp4;base64,([^"]+)"', text)
    assert len(films) == len(numbers["explained_clips"])
    assert base64.b64decode(films[0]) == (tree.explanations / "01.mp4").read_bytes()
    answers = tables.read(tree.report("first") / "predictions.csv", tables.PREDICTIONS)
    surest = max(float(answers.iloc[0][f"p_{label}"]) for label in LABELS)
    assert f"{surest:.3f}" in shown
    assert "75 % of what is pointed at lies within the actor's box, which fills 25 %" in shown
    assert "+0.125 (+0.062 to +0.250)" in shown


def test_more_footage_and_refit_are_told_where_they_were_asked_for(
    tree: Workspace, inputs: report_inputs.Inputs
) -> None:
    rows = [
        {
            "fraction": fraction,
            "recordings": 2,
            "clips": 4,
            "side": side,
            "accuracy": accuracy,
            "low": accuracy - 0.1,
            "high": accuracy + 0.1,
        }
        for side in ("val", "test")
        for fraction, accuracy in ((0.25, 0.2), (0.5, 0.4), (1.0, 0.65))
    ]
    again = dataclasses.replace(inputs)
    again.__dict__["learning_curve"] = pd.DataFrame(rows)
    again.__dict__["refit"] = Refit(
        refit=True, candidate="first", epochs=2, trained_on=("train", "val"), clips=12
    )
    text, numbers = report.render(again)
    shown = re.sub(r"\s+", " ", pages.shown(text))
    assert "trained once more, for 2 epochs, on the 12 clips of train and val together" in shown
    assert "the test accuracy changes by +25.0 points: more recordings help" in shown
    assert len(numbers["more_footage"]) == 6


def test_forms_are_shown_beside_their_original(inputs: report_inputs.Inputs) -> None:
    names = ["original", "int8", "onnx"]
    forms = pd.DataFrame({"form": names, "candidate": "first", "format": "openvino"})
    forms = forms.assign(precision="int8", prune=[np.nan, 0.5, np.nan], sparsity=np.nan)
    forms = forms.assign(bytes=[2e6, 5e5, np.nan], parameters=1234, multiply_adds=5_600_000)
    forms = forms.assign(note=["", "fine-tuned", ""], problem=["", "", "onnx is not installed"])
    times = pd.DataFrame({"form": names[:2], "candidate": "first", "median_ms": [10.0, 2.5]})
    times = times.assign(p95_ms=11.0, one_core_median_ms=12.0, one_core_p95_ms=13.0, peak_mb=99.0)
    sides = [(name, side) for name in names[:2] for side in ("val", "test")]
    scores = pd.DataFrame(sides, columns=["form", "side"]).assign(candidate="first", clips=9)
    scores = scores.assign(accuracy=0.75, low=0.5, high=0.875, largest_change=0.125, agreement=0.5)
    scores = scores.assign(difference=-0.015, difference_low=-0.042, difference_high=0.01)
    choice = Choice(candidate="first", form="int8", reason="it is the fastest")
    again = dataclasses.replace(inputs)
    again.__dict__["compression"] = report_inputs.Compression(forms, scores, times, choice)
    text, numbers = report.render(again)
    assert pages.faults(text) == []
    shown = re.sub(r"\s+", " ", pages.shown(text))
    assert "Packaged as int8: it is the fastest." in shown
    row = shown[shown.index("int8 openvino int8, 50 % of channels out") :]
    for cell in ("0.50 × 0.25", "1,234", "5.6", "2.5 95%: 11.0; 4.0 times as fast", "99"):
        assert cell in row
    assert "0.750 0.500 to 0.875" in row
    assert "−1.5 −4.2 to +1.0" in row
    assert "int8: fine-tuned." in shown
    assert re.search(r"first onnx</th>\s*<td[^>]*>onnx is not installed<", text)
    assert list(numbers["forms"]["form"]) == ["original", "int8"]


def test_without_forms_the_page_says_so(made: tuple[str, Any]) -> None:
    assert "No other forms were made: compress.enabled" in pages.shown(made[0]).replace("\n", " ")


def test_the_decision_on_promotion_is_told(inputs: report_inputs.Inputs) -> None:
    recalls = tuple(Recall(label=label, found=9, clips=9, champion=None) for label in LABELS)
    evidence = documents.evidence(left_out=7, known=False, new_labels=LABELS, recalls=recalls)
    again = dataclasses.replace(inputs)
    made = decide("new", "old", evidence, Promotion())
    again.__dict__["decision"] = made.model_copy(update={"until": "2026-12-01 03:00 UTC"})
    text, _ = report.render(again)
    shown = re.sub(r"\s+", " ", pages.shown(text))
    assert pages.faults(text) == []
    assert "A person has to decide" in shown
    assert "It is not known which clips the champion was trained on." in shown
    assert "A person decides until 2026-12-01 03:00 UTC" in shown
    assert re.search(r"seen by the champion: left out</th><td[^>]*>7<", text)
    assert LABELS[1] in shown


def test_the_same_results_give_the_same_page(
    inputs: report_inputs.Inputs, made: tuple[str, Any]
) -> None:
    assert report.render(inputs)[0] == made[0]


def test_every_table_that_the_page_names_is_written(
    made: tuple[str, dict[str, pd.DataFrame]],
) -> None:
    text, numbers = made
    assert {*re.findall(r'href="figures/(\w+)\.csv"', text)} == numbers.keys()


def test_a_page_of_one_candidate_compares_nothing(tree: Workspace) -> None:
    one = report_inputs.read(tree, params_of({"first": {"model": "frame_voting"}}))
    text, numbers = report.render(one)
    assert pages.faults(text) == []
    assert "nothing to compare" in text
    assert numbers["differences"].empty


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    points = [
        Point(name, cost, accuracy, 0, 1)
        for name, cost, accuracy in [
            ("dear", 9, 0.9),
            ("cheap", 1, 0.5),
            ("as dear, worse", 9, 0.8),
            ("dearer than cheap, no better", 2, 0.5),
            ("between", 3, 0.7),
        ]
    ]
    assert [point.name for point in pareto(points)] == ["cheap", "between", "dear"]


def test_published_scores_of_studies_are_those_of_their_recipes() -> None:
    named = {
        score.source.removeprefix("recipe "): score
        for scores in PUBLISHED.values()
        for score in scores
        if score.source.startswith("recipe ")
    }
    read = YAML(typ="safe").load
    recipes = {path.stem: read(path) for path in (ROOT / "recipes").glob("*.yaml")}
    scored = {name: recipe for name, recipe in recipes.items() if "published" in recipe}
    assert named.keys() == scored.keys()
    for name, recipe in scored.items():
        score = named[name]
        assert score.score == recipe["published"]["value"]
        assert score.metric.lower() == recipe["published"]["metric"]
        assert (score.division == "random") == (recipe["params"]["split"]["method"] == "random")


def test_a_candidate_cannot_take_the_name_of_a_folder_in_reports(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="figures: this name is taken"):
        params_of({"figures": {"model": "lrcn"}})
