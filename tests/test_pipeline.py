"""The whole pipeline in miniature: real `dvc repro`, a real flow and a real request."""

import compileall
import importlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import pandas as pd
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from kinoflow.models import registry
from kinoflow.system import files
from kinoflow.system.imports import source
from kinoflow.system.supervisor import run_supervised
from kinoflow.workspace import Workspace
from tests.checkout import Checkout
from tests.conftest import ROOT, RunStage

# of few layers, since compiling takes longer than training here
CANDIDATES: dict[str, dict[str, Any]] = {
    "lrcn": {"model": "lrcn", "options": {"filters": [8, 8], "pools": [4, 4], "units": 16}},
    "c3d": {"model": "c3d", "options": {"filters": [8], "units": 8}},
}
# settings with which the pipeline takes about a minute
TINY: dict[str, Any] = {
    "dataset__synthetic__classes": 2,
    "dataset__synthetic__groups": 5,
    "dataset__synthetic__clips_per_group": 2,
    "dataset__synthetic__width": 64,
    "dataset__synthetic__height": 48,
    "clip": {"frames": 6, "height": 24, "width": 24},
    "training__epochs": 1,
    "evaluation__bootstrap": 50,
    "evaluation__latency_clips": 2,
}
PAGES = {
    "validation/index.html": "Nothing stands in the way of training.",
    "explore/index.html": "SitDown",
    "leaks.html": "near-duplicates",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    made.set(
        **TINY,
        explore__videos_per_class=4,
        explain__errors=1,
        explain__confused=0,
        explain__right=1,
        explain__proof_clips=2,
        serving__check_videos=2,
        candidates=CANDIDATES,
    )
    made.stages = made.repro()  # type: ignore[attr-defined]
    return made


def test_every_stage_ran_and_left_its_outputs(checkout: Checkout) -> None:
    ran = checkout.stages  # type: ignore[attr-defined]
    expected = []
    for stage, entry in YAML(typ="safe").load(checkout.folder / "dvc.yaml")["stages"].items():
        items = {"${candidates}": CANDIDATES, "${students}": {}}.get(entry.get("foreach"))
        expected += [stage] if items is None else [f"{stage}@{name}" for name in items]
    assert sorted(ran) == sorted(expected)
    assert {"extract", "package", *(f"evaluate@{name}" for name in CANDIDATES)} <= {*ran}
    for name in CANDIDATES:
        metrics = checkout.read(f"reports/{name}/metrics.json")
        for side in ("val", "test"):
            assert set(metrics[side]) == {
                *("accuracy", "accuracy_low", "accuracy_high", "top5", "precision", "recall"),
                *("f1", "auc", "ece", "ece_uncalibrated"),
            }
        assert metrics["parameters"] > 0
        assert metrics["size_mb"] > 0
        assert metrics["epochs"] == 1
        timing = checkout.read(f"reports/{name}/timing.json")
        assert timing["latency_ms"] > 0
        assert timing["train_seconds"] > 0
        test = pd.read_csv(checkout.folder / f"reports/{name}/predictions.csv")
        split = pd.read_csv(checkout.folder / "work/split.csv")
        lengths = pd.read_csv(checkout.folder / "work/catalog.csv", index_col="video")["seconds"]
        trained_on = split["video"][split["split"] == "train"]
        bundle = checkout.read(f"models/{name}/bundle.json")
        assert bundle["seconds"] == pytest.approx(lengths[trained_on].median(), abs=1e-3)
        assert set(test["video"]) == set(split["video"][split["split"] == "test"])
        assert test[["p_SitDown", "p_StandUp"]].sum(axis=1).between(0.9999, 1.0001).all()
        for picture in ("confusion.png", "curves.png"):
            pixels = cv2.imread(str(checkout.folder / "reports" / name / picture))
            assert pixels is not None
            # a picture on a ground of one colour
            assert 0.3 < (pixels == pixels[0, 0]).all(axis=2).mean() < 0.99
    assert checkout.read("reports/winner.json")["winner"] in CANDIDATES
    assert len(list((checkout.folder / "dist").glob("*.bento"))) == 1
    explained = pd.read_csv(checkout.folder / "reports/explain/clips.csv")
    films = {path.name for path in (checkout.folder / "reports/explain").glob("*.mp4")}
    assert films == {*explained["file"]}
    proofs = checkout.read("reports/explain/proofs.json")
    # where the actor is was brought with the videos
    assert 0 <= proofs["pointing"]["share"] <= 1
    assert proofs["pointing"]["clips"] == 2
    for page, says in PAGES.items():
        assert says in (checkout.folder / "reports" / page).read_text()


def test_the_table_names_every_candidate_and_the_winner(checkout: Checkout) -> None:
    table = checkout.run("kinoflow", "results").stdout
    winner = checkout.read("reports/winner.json")
    assert f"* {winner['winner']}" in table
    assert winner["reason"] in table
    for name in CANDIDATES:
        assert name in table


def test_dvc_shows_metrics_plots_and_the_graph(checkout: Checkout) -> None:
    shown = json.loads(checkout.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert len([path for path in shown if path.endswith("metrics.json")]) == len(CANDIDATES)
    assert shown["reports/winner.json"]["data"]["winner"] in CANDIDATES
    assert "train@lrcn" in checkout.run("dvc", "dag").stdout
    checkout.run("dvc", "plots", "show", "-o", "plots")
    page = (checkout.folder / "plots" / "index.html").read_text()
    for name in CANDIDATES:
        for plot in ("confusion_csv", "per_class_csv", "confusion_png", "curves_png"):
            assert re.search(rf'id ?= ?"reports_{name}_{plot}"', page)
        for score in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert f'id = "work_training_{name}_plots_metrics_{score}_tsv"' in page
        # plots of two candidates look alike, so each is titled
        assert page.count(f'"{name}, test clips"') == 2
    shutil.rmtree(checkout.folder / "plots")


def test_stages_of_the_data_give_the_same_bytes_anew(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what the others give is compared where each is tested
    monkeypatch.chdir(checkout.folder)
    monkeypatch.setattr(sys, "argv", ["stage"])
    made = [Workspace().catalog, Workspace().clips_table, Workspace().duplicates, Workspace().split]
    made += [Workspace().leaks, Workspace().leaks_numbers, Workspace().leaks_page]
    before = files.folder_md5(Workspace().clips), [files.md5(path) for path in made]
    shutil.rmtree(Workspace().clips)
    for path in made:
        path.unlink()
    for stage in ("catalog", "extract", "duplicates", "split", "leaks"):
        importlib.import_module(f"stages.{stage}").main(Workspace())
    assert (files.folder_md5(Workspace().clips), [files.md5(path) for path in made]) == before


def test_a_second_run_does_nothing_and_says_so(checkout: Checkout) -> None:
    start = time.monotonic()
    assert checkout.repro() == []
    assert "up to date" in checkout.output
    assert time.monotonic() - start < 60  # far above what it takes; a retraining is further


def test_the_packaged_winner_answers_as_evaluation_did(checkout: Checkout) -> None:
    winner = checkout.read("reports/winner.json")["winner"]
    row = pd.read_csv(checkout.folder / f"reports/{winner}/predictions.csv").iloc[0]
    with served(checkout, 3917) as url:
        video = checkout.folder / "data" / row["video"]
        answer = httpx.post(f"{url}/predict", files={"video": video.read_bytes()}, timeout=60)
        refused = httpx.post(f"{url}/predict", files={"video": b"Dear diary"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == row["predicted"]
    for label, probability in answer.json()["probabilities"].items():
        assert probability == pytest.approx(row[f"p_{label}"], abs=1e-5)
    assert refused.status_code == 400
    assert "no video" in refused.text


class served:  # noqa: N801
    """The Bento in dist/, served as `make serve` does."""

    def __init__(self, checkout: Checkout, port: int) -> None:
        self.checkout, self.port = checkout, port

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "serving", "--port", str(self.port)]
        folder, environment = self.checkout.folder, self.checkout.environment
        self.running = run_supervised(command, cwd=folder, env=environment)
        process = self.running.__enter__()
        url = f"http://127.0.0.1:{self.port}"
        for _ in range(600):
            assert process.poll() is None, "the server ended"
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    return url
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server did not get ready")

    def __exit__(self, *error: object) -> None:
        self.running.__exit__(*error)  # type: ignore[arg-type]


@pytest.fixture
def as_before(checkout: Checkout) -> Iterator[None]:
    params = (checkout.folder / "params.yaml").read_text()
    yield
    (checkout.folder / "params.yaml").write_text(params)


def test_one_candidates_params_rerun_that_candidate_alone(checkout: Checkout) -> None:
    before = {name: checkout.read(f"reports/{name}/metrics.json") for name in CANDIDATES}
    lrcn = CANDIDATES["lrcn"]
    checkout.set(candidates__lrcn=lrcn | {"options": lrcn["options"] | {"units": 8}})
    # architectures lists the same code as before, so that no other candidate is trained again
    assert sorted(checkout.repro(bring=False)) == sorted(
        [
            *("architectures", "restyle", "train@lrcn", "crossvalidate@lrcn", "evaluate@lrcn"),
            "teach",  # as before, that there are no students
            *("select", "refit", "learning_curve", "compress", "explain", "report", "package"),
        ]
    )
    for name in CANDIDATES:
        same = checkout.read(f"reports/{name}/metrics.json") == before[name]
        assert same == (name != "lrcn")


def test_a_models_code_retrains_the_candidates_that_it_makes_alone(checkout: Checkout) -> None:
    path = checkout.folder / source(registry.module("c3d")).relative_to(ROOT)
    before = path.read_text()
    path.write_text(f"{before}\n# a word more\n")
    status = json.loads(checkout.run("dvc", "status", "--json").stdout)
    assert "architectures" in status
    assert checkout.repro("train@lrcn", "train@c3d", bring=False) == ["architectures", "train@c3d"]
    path.write_text(before)
    # what was trained before is taken from DVC's cache
    assert "Running" not in checkout.run("dvc", "repro", "train@lrcn", "train@c3d").stdout


def test_others_find_the_bento_by_its_name(checkout: Checkout) -> None:
    with Repo(str(checkout.folder)) as repo:
        found = repo.artifacts.read()["dvc.yaml"]["kinoflow"]
    assert (checkout.folder / found.path).is_file()
    assert found.type == "model"


def test_the_flow_runs_and_reports(checkout: Checkout) -> None:
    done = checkout.run("python", "-m", "flows.retrain")
    assert "Data and pipelines are up to date" in done.stdout + done.stderr
    # nothing is new, and the champion is crowned: no server has to start to find that out
    done = checkout.run("python", "-m", "flows.retrain")
    assert "nothing new since" in done.stdout
    assert "Prefect" not in done.stdout + done.stderr


@pytest.mark.usefixtures("as_before")
def test_a_failing_stage_fails_the_flow_with_its_own_message(checkout: Checkout) -> None:
    checkout.set(split__method="official")
    failed = checkout.run("python", "-m", "flows.retrain", fails=True)
    assert failed.returncode == 2
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("error: split: split.method official needs published lists")


@pytest.mark.usefixtures("as_before")
def test_a_copy_in_another_recording_stays_on_its_side_or_blocks(
    checkout: Checkout, run_stage: RunStage
) -> None:
    names = sorted(path.name for path in (checkout.folder / "data" / "SitDown").iterdir())
    footage = checkout.folder / "footage"
    shutil.copytree(checkout.folder / "data", footage)
    (footage / "SitDown" / "copy.avi").write_bytes(
        (footage / "StandUp" / names[0].replace("SitDown", "StandUp")).read_bytes() + b"0"
    )
    checkout.set(dataset__source="folder", dataset__path="footage")
    checkout.repro("leaks")
    found = pd.read_csv(checkout.folder / "reports" / "leaks.csv")
    assert set(found["verdict"]) == {"merged"}
    assert {"SitDown/copy.avi"} <= {*found["video"], *found["other"]}

    checkout.set(split__near_duplicates="block", split__method="official")
    sides = pd.DataFrame(
        {"video": sorted(p.relative_to(footage).as_posix() for p in footage.rglob("*.avi"))}
    )
    sides["label"] = sides["video"].str.partition("/")[0]
    groups = sides["video"].str.extract(r"_g0(\d)", expand=False)
    sides["split"] = groups.map({"1": "train", "2": "train", "3": "val"}).fillna("test")
    sides.to_csv(footage / "labels.csv", index=False)
    assert run_stage(checkout.folder, "download").returncode == 0
    stopped = checkout.run("dvc", "repro", "leaks", fails=True)
    assert "pairs of near-duplicates stand on two sides of the split" in stopped.stderr
    assert "SitDown/copy.avi (test)" in stopped.stderr
    assert (checkout.folder / "reports" / "leaks.html").exists()


@pytest.mark.usefixtures("as_before")
def test_ten_more_videos_decode_ten_videos(checkout: Checkout) -> None:
    checkout.set(dataset__synthetic__clips_per_group=3)
    assert checkout.repro("extract") == ["catalog", "extract"]
    assert "extract: 10 videos decoded, 30 clips" in checkout.output


@pytest.mark.usefixtures("as_before")
def test_a_blocking_failure_keeps_training_from_starting(
    checkout: Checkout, run_stage: RunStage
) -> None:
    checkout.repro("validate")
    table = checkout.folder / "work" / "split.csv"
    rows = pd.read_csv(table)
    moved, side = rows["video"].iloc[0], rows["split"].iloc[0]
    other = next(name for name in rows["split"] if name != side)
    rows.loc[rows["video"] == moved, "split"] = other  # one clip of a recording changes sides
    table.unlink()
    rows.to_csv(table, index=False)
    stopped = run_stage(checkout.folder, "validate")
    assert stopped.returncode == 2
    assert stopped.stderr.strip().splitlines()[-1].startswith("error: ")
    assert str(moved) in stopped.stderr
    refused = run_stage(checkout.folder, "train", "lrcn")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the data failed validation")


def test_what_python_compiles_makes_no_stage_stale(tmp_path: Path) -> None:
    def dvc(*command: str) -> str:
        run = [sys.executable, "-m", "dvc", *command]
        return subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc("init", "-q")
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    shutil.copytree(ROOT / "serving", tmp_path / "serving")
    shutil.rmtree(tmp_path / "serving" / "__pycache__", ignore_errors=True)
    stage = {"cmd": "echo made > out", "deps": ["serving"], "outs": ["out"]}
    YAML().dump({"stages": {"one": stage}}, tmp_path / "dvc.yaml")
    dvc("repro", "-q")
    assert compileall.compile_dir(tmp_path / "serving", quiet=1)
    assert list((tmp_path / "serving").glob("__pycache__/*.pyc"))
    assert "up to date" in dvc("status")
