"""Students: who may teach them, what they learn from, and what a bundle says of it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from kinoflow import bundle, config
from kinoflow.config import Augment, Distil, Params, Run
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet, ClipStore, describe
from kinoflow.reports.records import CandidateScores
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.batches import Augmentation, AugmentedBatches
from kinoflow.training.distillation import LabelAccuracy, TaughtBatches, TaughtLoss, Teacher
from kinoflow.training.fit import Outputs, TrainingData, fit, taught_batches
from kinoflow.training.lessons import Lesson, unlabelled_set
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace
from stages import unlabelled
from tests.conftest import ROOT, RunStage, params_text
from tests.documents import scores
from tests.media import moving_square, write_video
from tests.test_duplicates import COPIES, film
from tests.training import LABELS, SPEC, moving, settings

STUDENT = {"model": "c3d", "frames": 3, "options": {"filters": [4], "units": 4}, "teacher": "a"}


def student(defaults: Params, **more: Any) -> Run:
    """The settings of a student that takes three frames; `a`, its teacher, takes six."""
    values = settings(defaults, epochs=3).model_dump()
    values["students"] = {"s": STUDENT | more}
    return Params.model_validate(values).resolve("s")


def data_in(folder: Path) -> TrainingData:
    clips = folder / "clips"
    return TrainingData(LABELS, moving(clips, 32, 0), moving(clips, 16, 1), "data", 16)


def footage(folder: Path, count: int) -> ClipSet:
    made = moving(folder / "more", count, 2)
    return unlabelled_set(ClipStore(made.folder), made.videos)


def lesson(folder: Path, run: Run, clips: ClipSet | None = None) -> Lesson:
    md5 = "of the footage" if clips else None
    return Lesson({"a": bundle.load(folder / "m")}, run.candidate.distil, clips, md5)


def learn(folder: Path, run: Run, clips: ClipSet | None = None, name: str = "s") -> Path:
    """Train the student of a folder with its teacher; its bundle."""
    outputs = Outputs(folder / name, None, folder / f"{name}-checkpoints")
    fit(run, data_in(folder), outputs, lesson=lesson(folder, run, clips))
    return folder / name


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, defaults: Params) -> Path:
    """A folder with clips, and the bundle `m` of a trained teacher."""
    folder = tmp_path_factory.mktemp("school")
    outputs = Outputs(folder / "m", None, folder / "m-checkpoints")
    fit(settings(defaults, epochs=2).resolve("a"), data_in(folder), outputs)
    return folder


# === Settings ===


@pytest.mark.parametrize(
    ("students", "message"),
    [
        ("{s: {model: c3d}}", r"students\.s has no teacher"),
        ("{s: {model: c3d, teacher: s}}", r"students\.s\.teacher: it cannot be its own teacher"),
        (
            "{s: {model: c3d, teacher: lrnc}}",
            r"students\.s\.teacher: there is no candidate lrnc; there are .*lrcn",
        ),
        (
            "{s: {model: c3d, teacher: lrcn}, t: {model: c3d, teacher: [lrcn, s]}}",
            r"students\.t\.teacher: s is a student itself",
        ),
        ("{lrcn: {model: c3d, teacher: movinet}}", r"students\.lrcn: there is a candidate of this"),
        ("{s: {model: c3d, teacher: lrcn, frames: 99}}", r"students\.s\.frames is 99.*hold 32"),
        ("{s: {model: c3d, teacher: lrcn, distil: {share: 2}}}", r"students\.s\.distil\.share: "),
        ("{report: {model: c3d, techer: lrcn}}", "unknown key students.report.techer.*teacher"),
        ("{explain: {model: c3d, teacher: lrcn}}", r"students\.explain: this name is taken"),
    ],
)
def test_a_mistake_in_the_section_is_one_line(tmp_path: Path, students: str, message: str) -> None:
    text = params_text()
    assert "\nstudents: {}" in text
    (tmp_path / "params.yaml").write_text(text.replace("\nstudents: {}", f"\nstudents: {students}"))
    with pytest.raises(UserError, match=message) as problem:
        config.load(tmp_path / "params.yaml")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("teacher: movinet", "candidates.lrcn.teacher: .* so list it in the section students"),
        ("distil: {share: 1}", "distil is for those that have a teacher"),
    ],
)
def test_candidates_that_others_wait_for_have_no_teacher(
    tmp_path: Path, lines: str, message: str
) -> None:
    text = params_text().replace("    model: lrcn\n", f"    model: lrcn\n    {lines}\n")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        config.load(tmp_path / "params.yaml")


def test_students_are_candidates_after_all_others(defaults: Params) -> None:
    values = defaults.model_dump()
    others = [*values["candidates"]]
    values["students"] = {"s": STUDENT | {"teacher": ["lrcn", "movinet"]}}
    params = Params.model_validate(values)
    assert [*params.candidates] == [*others, "s"]
    assert params.resolve("s").candidate.teacher == ("lrcn", "movinet")
    # as after a change of some other setting
    assert Params.model_validate(params.model_dump()) == params


def test_a_recipe_that_replaces_the_candidates_has_no_students_of_others() -> None:
    from kinoflow.settings import merge

    base = {"candidates": {"a": {"model": "lrcn"}}, "students": {"s": STUDENT}}
    assert merge(base, {"candidates": {"b": {"model": "c3d"}}})["students"] == {}
    assert merge(base, {"seed": 8})["students"] == base["students"]


# === Batches and loss ===


def test_all_see_the_same_augmented_clips_each_as_many_frames_as_it_takes(tmp_path: Path) -> None:
    seen: dict[int, list[Frames]] = {6: [], 2: []}

    def teacher(frames: int) -> Callable[[Frames], Any]:
        def answer(clips: Frames) -> Any:
            seen[frames].append(clips)
            return np.full((len(clips), 2), [0.25, 0.75] if frames == 6 else [0.75, 0.25])

        return answer

    augmentation = Augmentation(Augment(brightness=0.3, temporal_crop=0.4), seed=3)
    weights = np.ones(2, np.float32)
    batches = AugmentedBatches(
        moving(tmp_path, 8, 0), augmentation, weights, frames=6, size=8, masked=False
    )
    taught = TaughtBatches(batches, [Teacher(teacher(6), 6), Teacher(teacher(2), 2)], frames=3)
    clips, targets, _ = taught[0]
    np.testing.assert_array_equal(clips, seen[6][0][:, [1, 3, 5]])
    np.testing.assert_array_equal(seen[2][0], seen[6][0][:, [1, 4]])
    np.testing.assert_allclose(targets[:, 2:], 0.5)  # the mean of both answers
    assert set(targets[:, :2].sum(axis=1)) == {1.0}
    taught.on_epoch_end()
    assert (taught[0][0] != clips).any()


def test_each_step_sees_more_clips_without_labels_until_all_were_seen(
    school: Path, defaults: Params, tmp_path: Path
) -> None:
    run, data = student(defaults), data_in(school)

    def labelled(count: int) -> list[list[bool]]:
        clips = footage(tmp_path / str(count), count)
        batches = taught_batches(run, data, lesson(school, run, clips))
        return [list(batches[step][1][:, :2].sum(axis=1) > 0) for step in range(len(batches))]

    assert labelled(3) == [[True] * 8 + [False]] * 3 + [[True] * 8]
    # at most as many as there are with labels
    assert labelled(100) == [[True] * 8 + [False] * 8] * 4


def test_the_loss_without_a_label_is_the_teachers_part_alone() -> None:
    given = np.array([[0.7, 0.2, 0.1]], np.float32)
    answer = np.array([[0.5, 0.3, 0.2]], np.float32)
    label, none = np.eye(3, dtype=np.float32)[:1], np.zeros((1, 3), np.float32)

    def value(loss: TaughtLoss, labels: Any, found: Any = given) -> float:
        return float(loss(np.concatenate([labels, answer], axis=1), found))

    half, only_labels = TaughtLoss(0.5, 2.0, 0.1), TaughtLoss(0.0, 2.0, 0.1)
    assert value(only_labels, none) == 0
    assert value(only_labels, label) == pytest.approx(float(only_labels(label, given)))
    both = 0.5 * float(half(label, given)) + value(half, none)
    assert value(half, label) == pytest.approx(both, rel=1e-6)
    # nobody does better by the teacher than who answers as it does
    assert value(half, none, answer) < value(half, none)
    hot = -4 * 0.5 * np.sum(np.sqrt(answer) * np.log(np.sqrt(answer) / np.sqrt(answer).sum()))
    assert value(half, none, answer) == pytest.approx(hot / np.sqrt(answer).sum(), rel=1e-5)


def test_accuracy_counts_clips_with_labels_alone() -> None:
    metric = LabelAccuracy()
    labels = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], np.float32)
    given = np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.9, 0.1]], np.float32)
    metric.update_state(np.concatenate([labels, given], axis=1), given)
    assert float(metric.result()) == pytest.approx(0.5)
    metric.reset_state()
    metric.update_state(labels[:1], given[:1])  # as in validation
    assert float(metric.result()) == 1


# === Training ===


def test_a_bundle_says_who_taught_it(school: Path, defaults: Params) -> None:
    description = bundle.load(learn(school, student(defaults))).description
    assert description.teachers == {"a": files.folder_md5(school / "m")}
    assert description.frames == 3
    assert description.candidate["teacher"] == ["a"]
    # and others, that nobody did, in no word
    told = files.read_json(school / "m" / bundle.DESCRIPTION)
    assert not {"teachers", "teacher", "distil"} & {*told, *told["candidate"]}


def test_a_student_answers_as_its_teacher_does_even_against_the_labels(
    school: Path, defaults: Params, tmp_path: Path
) -> None:
    shutil.copytree(school / "m", tmp_path / "m")
    teacher = bundle.load(tmp_path / "m")
    head = teacher.model.layers[-1]
    assert isinstance(head, keras.layers.Dense)
    # a teacher that is sure of the same class whatever it sees
    head.set_weights([np.zeros_like(head.get_weights()[0]), np.array([3.0, 0.0], np.float32)])
    run = student(defaults, distil={"share": 1.0}, training={"learning_rate": 0.05, "epochs": 8})
    taught = Lesson({"a": teacher}, run.candidate.distil)
    outputs = Outputs(tmp_path / "s", None, tmp_path / "k")
    data = data_in(tmp_path)
    fit(run, data, outputs, lesson=taught)
    found = bundle.load(tmp_path / "s").model.predict(data.train.read(np.arange(16))[:, :3])
    assert (found[:, 0] > 0.85).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("right", "up")}, "s cannot learn from a, which knows other classes"),
        ({"clip": replace(SPEC, height=32)}, "s cannot learn from a, .* clips .6x32x16, not 6x16"),
    ],
)
def test_a_teacher_of_other_things_is_refused_in_one_line(
    school: Path, defaults: Params, change: dict[str, Any], message: str
) -> None:
    run, teacher = student(defaults), bundle.load(school / "m")
    other = replace(teacher, description=teacher.description.model_copy(update=change))
    with pytest.raises(UserError, match=message):
        taught_batches(run, data_in(school), Lesson({"a": other}, run.candidate.distil))


# learns for three epochs, and kills itself outright once the second is saved
KILLED = """
import sys
from pathlib import Path
from kinoflow import config
from kinoflow.system import terminal
terminal.quiet()
from tests import test_checkpoints, test_distillation as school
test_checkpoints.kill_itself(after=2)
folder = Path(sys.argv[1])
run = school.student(config.load(Path("params.yaml")))
school.learn(folder, run, school.footage(folder, 5))
"""


def test_a_killed_student_goes_on_unless_its_teacher_has_changed(
    school: Path, defaults: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = student(defaults)
    shutil.copytree(school / "m", tmp_path / "m")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    shutil.copytree(tmp_path, tmp_path / "again")
    clips = footage(tmp_path, 5)
    learn(tmp_path, run, clips)
    assert "going on after epoch 2" in capsys.readouterr().err
    learn(tmp_path, run, clips, "whole")
    assert files.folder_md5(tmp_path / "s") == files.folder_md5(tmp_path / "whole")

    with (tmp_path / "again" / "m" / bundle.HISTORY).open("a") as file:
        file.write("\n")
    learn(tmp_path / "again", run, clips)
    assert "going on" not in capsys.readouterr().err


# === Stages ===


@pytest.fixture
def trained(tmp_path: Path) -> Workspace:
    """A work tree in which two candidates are trained, `b` the better one, and `c` is not."""
    workspace = Workspace(tmp_path)
    for name, accuracy in {"a": 0.5, "b": 0.75}.items():
        files.write_json(workspace.trained(name), {"bundle": f"md5 of {name}"})
        files.write_json(workspace.trained_on_folds(name), {"1": f"md5 of {name} on fold 1"})
        known = CandidateScores(val=scores(accuracy), parameters=9, size_mb=1, latency_ms=1)
        known.write(workspace.teacher_scores(name))
    return workspace


def test_a_teaching_names_bundles_of_the_split_and_of_each_fold(
    trained: Workspace, run_stage: RunStage
) -> None:
    lines = "{s: {model: c3d, teacher: [b, a]}, t: {model: c3d, teacher: winner}}"
    (trained.root / "params.yaml").write_text(_with("{a: {model: c3d}, b: {model: c3d}}", lines))
    done = run_stage(trained.root, "teach")
    assert done.stdout.splitlines() == [
        "teach: s learns from b and a",
        "teach: t learns from b",
    ], done.stderr
    assert files.read_json(trained.teaching("s")) == {
        "teachers": {"b": "md5 of b", "a": "md5 of a"},
        "folds": {"1": {"b": "md5 of b on fold 1", "a": "md5 of a on fold 1"}},
    }
    assert files.read_json(trained.teaching("t"))["teachers"] == {"b": "md5 of b"}


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("c", "s is to learn from c, which is not trained yet"),
        ("winner", "c is not evaluated: `python -m stages.evaluate c`"),
    ],
)
def test_a_teacher_that_is_not_there_yet_is_named(
    trained: Workspace, run_stage: RunStage, teacher: str, message: str
) -> None:
    others = "{a: {model: c3d}, b: {model: c3d}, c: {model: c3d}}"
    text = _with(others, f"{{s: {{model: c3d, teacher: {teacher}}}}}")
    (trained.root / "params.yaml").write_text(text)
    done = run_stage(trained.root, "teach")
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {message}"


def _with(candidates: str, students: str) -> str:
    """The text of params.yaml with these candidates and students."""
    text = params_text()
    before, after = text.split("\ncandidates:", 1)
    after = after[after.index("\nstudents: {}") :]
    return f"{before}\ncandidates: {candidates}" + after.replace("{}", students, 1)


@pytest.mark.parametrize("copy", COPIES)
def test_footage_that_shows_what_models_are_judged_by_is_left_out(
    copy: str, defaults: Params, tmp_path: Path
) -> None:
    labelled, target = ClipStore(tmp_path / "labelled"), ClipStore(tmp_path / "unlabelled")
    for store, films in (
        (labelled, {"test.avi": film(1), "other.avi": film(2)}),
        (target, {"copy.avi": COPIES[copy](film(1)), "new.avi": film(3)}),
    ):
        store.folder.mkdir()
        for name, frames in films.items():
            np.save(store.path(name), frames)
    found = unlabelled.copies(
        ["copy.avi", "new.avi"], target, ["test.avi", "other.avi"], labelled, defaults.duplicates
    )
    assert found == ["copy.avi"]


def test_unlabelled_videos_are_sampled_once_without_those_of_the_test_side(
    tmp_path: Path, run_stage: RunStage
) -> None:
    workspace, spec = Workspace(tmp_path), config.checked(_values(), ROOT).clip
    (tmp_path / "params.yaml").write_text(params_text())
    films = {f"{name}.avi": film(seed) for seed, name in enumerate(("train", "val", "test"))}
    rows = [{"video": name, "label": "A", "group": name, "md5": name} for name in films]
    _write_tables(workspace, rows)
    store = ClipStore(workspace.clips)
    store.folder.mkdir(parents=True)
    for name, frames in films.items():
        np.save(store.path(name), frames)

    def extract() -> list[str]:
        done = run_stage(tmp_path, "unlabelled")
        assert done.returncode == 0, done.stderr
        said.append(done)
        return ClipStore(workspace.unlabelled).records()["video"].tolist()

    said: list[Any] = []
    assert extract() == []
    folder = workspace.unlabelled_footage
    for name in ("train", "val", "test"):
        write_video(folder / "street" / f"{name}.avi", films[f"{name}.avi"])
    write_video(folder / "square.avi", moving_square(12))
    (folder / "broken.avi").write_text("no video")
    assert extract() == ["square.avi", "street/train.avi"]
    assert "2 videos are left out, since they show what models are judged" in said[-1].stdout
    assert "street/test.avi, street/val.avi" in said[-1].stdout
    assert "warning: broken.avi is set aside" in said[-1].stderr
    clip = ClipStore(workspace.unlabelled).read("square.avi")
    assert clip.shape == spec.shape
    records = ClipStore(workspace.unlabelled).records()
    assert set(records["spec"]) == {describe(spec)}
    assert not ClipStore(workspace.unlabelled).path("street/test.avi").exists()

    before = ClipStore(workspace.unlabelled).path("square.avi").stat().st_mtime_ns
    (folder / "street" / "train.avi").unlink()
    assert extract() == ["square.avi"]
    assert ClipStore(workspace.unlabelled).path("square.avi").stat().st_mtime_ns == before


def _values() -> Any:
    from kinoflow.system import documents

    return documents.parse_yaml(params_text(), ROOT)


def _write_tables(workspace: Workspace, rows: list[dict[str, str]]) -> None:
    """A catalog and a split of videos that are called after their side."""
    known = {"bytes": 1, "frames": 1, "fps": 1.0, "seconds": 1.0, "width": 8, "height": 8}
    catalog = pd.DataFrame(rows).assign(**known, codec="mjpeg", readable=True, problem="")
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    sides = catalog[["video", "group"]].assign(split=catalog["video"].str.removesuffix(".avi"))
    tables.write(sides, workspace.split, tables.SPLIT)
    tables.write(tables.empty(tables.FOLDS), workspace.folds, tables.FOLDS)


def test_with_a_teacher_for_each_fold_a_student_has_that_one(
    tmp_path: Path, school: Path, defaults: Params
) -> None:
    workspace, run = Workspace(tmp_path), student(defaults)
    files.write_json(workspace.teaching("s"), {"teachers": {"a": "1"}, "folds": {"2": {"a": "3"}}})
    workspace.unlabelled.mkdir(parents=True)
    ClipStore(workspace.unlabelled).write_records(tables.empty(tables.CLIPS))
    shutil.copytree(school / "m", workspace.fold_models("a") / "2")
    found = Lesson.of(workspace, run, 2)
    assert found is not None
    assert found.teachers["a"].folder == workspace.fold_models("a") / "2"
    assert found.unlabelled is None
    with pytest.raises(UserError, match="holds no trained model"):
        Lesson.of(workspace, run)
    assert Lesson.of(workspace, settings(defaults).resolve("a")) is None
    assert found.settings == Distil()
