"""The runner of the pipeline, on a pipeline in miniature that has the stages of the real one."""

import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from flows import dvc
from flows.reproduce import (
    BEFORE,
    BEFORE_STUDENTS,
    OF_CANDIDATES,
    OF_STUDENTS,
    outdated,
    reproduce,
    side_by_side,
)
from kinoflow.config import Params
from kinoflow.workspace import Workspace
from tests.conftest import ROOT
from tests.pipeline import CANDIDATES, FITS, SMALL, Starter, set_candidate, trained, wait_until
from tests.running import PATIENCE, family, survivors
from tests.training import settings

pytest_plugins = ["tests.pipeline_fixtures", "tests.flows_fixtures"]


def results(repo: Path, *, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kinoflow.cli", "results"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def repo(pipeline: Path) -> Path:
    return pipeline


def test_its_stages_are_those_of_the_pipeline() -> None:
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for items, each in (("candidates", OF_CANDIDATES), ("students", OF_STUDENTS)):
        found = [n for n, entry in stages.items() if entry.get("foreach") == f"${{{items}}}"]
        assert {*found} == {*each}
    # all that candidates wait for comes before the two; what students make has the same names
    outputs = {
        (out if isinstance(out, str) else next(iter(out))): name
        for name, entry in stages.items()
        if name not in OF_STUDENTS
        for kind in ("outs", "metrics")
        for out in entry.get("do", entry).get(kind, ())
    }

    def upstream(name: str) -> set[str]:
        entry = stages[name].get("do", stages[name])
        makers = {
            maker
            for out, maker in outputs.items()
            for d in entry["deps"]
            # a dependency may be a folder of outputs
            if d.startswith(out) or out.startswith(f"{d}/")
        }
        return makers.union(*map(upstream, makers))

    before = {*BEFORE}.union(*map(upstream, BEFORE))
    for name in OF_CANDIDATES:
        assert upstream(name) <= before | {*OF_CANDIDATES}
    before_students = {*BEFORE_STUDENTS}.union(*map(upstream, BEFORE_STUDENTS))
    assert {*OF_CANDIDATES} <= before_students
    for name in OF_STUDENTS:
        assert upstream(name) <= before_students | {*OF_STUDENTS}


# what students add to the pipeline in miniature: they wait for what teaches them
STUDENTS = """
  teach:
    cmd: mkdir teachings && for name in t u; do cat models/lrcn/* > teachings/$name; done
    deps: [models/lrcn, models/convlstm, models/c3d]
    outs: [teachings]
  unlabelled:
    cmd: touch unlabelled
    outs: [unlabelled]
  train_student:
    foreach: ${students}
    do:
      cmd: python train.py ${key}
      deps: ["teachings/${key}", unlabelled, train.py]
      params: ["students.${key}"]
      outs: ["models/${key}"]
  crossvalidate_student:
    foreach: ${students}
    do:
      cmd: mkdir -p folds/${key}
      deps: ["teachings/${key}"]
      outs: ["folds/${key}"]
  evaluate_student:
    foreach: ${students}
    do:
      cmd: python evaluate.py ${key}
      deps: ["models/${key}", "folds/${key}", evaluate.py]
      metrics: ["reports/${key}/metrics.json", "reports/${key}/timing.json"]
"""


def test_students_run_side_by_side_after_all_others(repo: Path) -> None:
    with (repo / "dvc.yaml").open("a") as file:
        file.write(STUDENTS)
    values = YAML(typ="safe").load(repo / "params.yaml")
    values["students"] = {n: {"model": "lrcn", "teacher": "lrcn"} for n in ("t", "u")}
    YAML().dump(values, repo / "params.yaml")
    lines: list[str] = []
    reproduce(lines.append, Workspace())
    assert sorted(trained(repo)[:3]) == sorted(CANDIDATES)
    assert sorted(trained(repo)[3:]) == ["t", "u"]
    assert "t | training t" in lines
    assert "u | Running stage 'evaluate_student@u':" in lines
    assert outdated(Workspace(), OF_STUDENTS) == outdated(Workspace()) == []
    values["students"]["u"]["frames"] = 8
    YAML().dump(values, repo / "params.yaml")
    assert outdated(Workspace(), OF_STUDENTS) == ["u"]
    assert outdated(Workspace()) == []


def test_candidates_run_side_by_side_and_the_rest_after_them(repo: Path) -> None:
    (repo / "wait").touch()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        begun = {name for name in CANDIDATES if any(f"training {name}" in each for each in lines)}
        # each of the first two waits until the other one has begun
        if {"lrcn", "convlstm"} <= begun:
            (repo / "wait").unlink(missing_ok=True)

    reproduce(say, Workspace())
    assert sorted(trained(repo)) == sorted(CANDIDATES)
    assert "lrcn     | training lrcn" in lines
    assert "convlstm | training convlstm" in lines
    assert (repo / "chosen").exists()
    # scored as soon as it was trained
    assert lines.index("lrcn     | Running stage 'evaluate@lrcn':") < len(lines)

    before = (repo / "dvc.lock").read_text()
    again: list[str] = []
    reproduce(again.append, Workspace())
    assert not any("Running" in line or "|" in line for line in again)
    assert (repo / "dvc.lock").read_text() == before

    set_candidate(repo, "c3d", frames=4)
    lines.clear()
    reproduce(lines.append, Workspace())
    assert trained(repo)[3:] == ["c3d"]
    assert "training c3d" in lines  # alone, so without its name before it


def test_one_after_the_other_each_is_scored_before_the_next_is_trained(repo: Path) -> None:
    params = YAML(typ="safe").load(repo / "params.yaml")
    params["compute"]["parallel"] = 1
    YAML().dump(params, repo / "params.yaml")
    lines: list[str] = []
    reproduce(lines.append, Workspace())
    ran = [line.split("'")[1] for line in lines if line.startswith("Running stage")]
    assert [stage for stage in ran if "@" in stage] == [
        f"{stage}@{name}" for name in CANDIDATES for stage in OF_CANDIDATES
    ]


def test_a_failure_stops_the_others_and_says_why(repo: Path) -> None:
    for name in ("wait", "fail-convlstm"):
        (repo / name).touch()
    begun: list[list[psutil.Process]] = []
    # of other tests of this process
    others = set(psutil.Process().children(recursive=True))

    def say(line: str) -> None:
        if not begun and len(trained(repo)) == 2:
            children = psutil.Process().children(recursive=True)
            begun.append([child for child in children if child not in others])
            (repo / "go-convlstm").touch()

    with pytest.raises(dvc.StageFailed, match="^train@convlstm: no rate for convlstm: set one$"):
        reproduce(say, Workspace())
    [processes] = begun
    assert len(processes) >= 6  # a supervisor, DVC and a training for each of the two
    assert survivors(processes, 1) == []
    (repo / "fail-convlstm").unlink()
    (repo / "wait").unlink()
    reproduce(lambda line: None, Workspace())
    assert sorted(trained(repo)[2:]) == sorted(CANDIDATES)
    assert (repo / "chosen").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_the_next_one_ends_as_if_nothing_had_happened(
    repo: Path, start_runner: Starter, number: signal.Signals
) -> None:
    (repo / "wait").touch()
    process = start_runner()
    wait_until(lambda: len(trained(repo)) == 2)
    processes = family(process)
    assert sum("train.py" in p.cmdline() for p in processes) >= 2
    process.send_signal(number)
    assert survivors(processes, 30) == []
    (repo / "wait").unlink()

    second = start_runner()
    output, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, output
    assert sorted(trained(repo)[2:]) == sorted(CANDIDATES)
    lock = YAML(typ="safe").load(repo / "dvc.lock")["stages"]
    assert {f"{stage}@{name}" for stage in OF_CANDIDATES for name in CANDIDATES} < {*lock}
    for name in CANDIDATES:
        assert (repo / "models" / name / "model.keras").read_text() == name


def test_results_can_be_looked_at_while_it_runs(repo: Path, start_runner: Starter) -> None:
    (repo / "wait").touch()
    process = start_runner()
    wait_until(lambda: len(trained(repo)) == 2)
    assert results(repo, fails=True) == (
        "error: nothing is evaluated yet. Still to come: lrcn (in training), "
        "convlstm (in training), c3d.\n"
    )
    (repo / "go-convlstm").touch()
    wait_until(lambda: len(trained(repo)) == 3)
    table = results(repo)
    assert "  convlstm    0.800" in table
    assert table.endswith("Still to come: lrcn (in training), c3d (in training).\n")
    assert "  lrcn" not in table
    (repo / "wait").unlink()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    table = results(repo)
    assert all(f"  {name} " in table for name in CANDIDATES)
    assert "come" not in table

    # what an earlier run has found is never shown as found by this one
    set_candidate(repo, "lrcn", frames=4)
    set_candidate(repo, "c3d", frames=4)
    table = results(repo)
    assert "  convlstm" in table
    assert "~ lrcn" in table
    assert "~ c3d" in table
    changes = "lrcn (candidates.lrcn), c3d (candidates.c3d)"
    assert f"~ scored before something changed: {changes}." in table
    assert table.endswith("Not up to date: lrcn, c3d; run `make repro`.\n")
    (repo / "wait").touch()
    process = start_runner()
    wait_until(lambda: len(trained(repo)) == 5)
    (repo / "go-lrcn").touch()
    wait_until(lambda: (repo / "reports/lrcn/timing.json").exists() and "  lrcn" in results(repo))
    table = results(repo)
    assert "~ c3d" in table
    assert table.endswith("Still to come: c3d (in training).\n")
    (repo / "wait").unlink()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "~" not in results(repo)


def test_bundles_are_the_same_bytes_whether_candidates_run_side_by_side_or_not(
    repo: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "train.py").write_text(FITS)
    values = settings(defaults, epochs=2).model_dump(mode="json")
    values |= {"candidates": SMALL, "compute": values["compute"] | {"parallel": 2}}
    YAML().dump(values, repo / "params.yaml")
    found = {}
    for order in ("side by side", "one after the other"):
        lines: list[str] = []
        if order == "side by side":
            reproduce(lines.append, Workspace(), ["evaluate"])
            assert "lrcn | > python train.py lrcn" in lines
        else:
            for name in SMALL:
                monkeypatch.setattr(sys, "argv", ["train.py", name])
                runpy.run_path("train.py")
        found[order] = {
            name: {path.name: path.read_bytes() for path in (repo / "models" / name).iterdir()}
            for name in SMALL
        }
        shutil.rmtree(repo / "models")
    assert {*found["side by side"]["lrcn"]} == {"model.keras", "bundle.json", "history.csv"}
    assert found["side by side"] == found["one after the other"]


def test_where_latency_decides_candidates_run_one_by_one(defaults: Params) -> None:
    compute = defaults.compute.model_copy(update={"parallel": 3})
    parallel = defaults.model_copy(update={"compute": compute})
    assert side_by_side(parallel) == 3
    selection = defaults.selection.model_copy(update={"max_latency_ms": 20.0})
    assert side_by_side(parallel.model_copy(update={"selection": selection})) == 1
