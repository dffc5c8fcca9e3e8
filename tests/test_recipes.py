"""Published studies as params: complete, with twins that differ in the split alone, and run."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ruamel.yaml import YAML

from flows import studies
from flows.comparison import compare
from flows.worktree import tree_of
from kinoflow import config
from kinoflow.config import Dataset, Evaluation, Params, Synthetic, Training
from kinoflow.style import settings as style
from kinoflow.style.settings import CycleGan, Style
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from stages.sources import synthetic, ucf50
from stages.sources.archives import cache
from tests.checkout import Checkout
from tests.conftest import ROOT, RunStage
from tests.running import read_until

NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
CLASSIFIERS = [name for name in NAMES if studies.read(Workspace(ROOT), name).pipeline == "main"]
# of evaluation, what has no bearing on a score
MEASURING = {"bootstrap", "calibration_bins", "latency_clips", "orders", "learning_curve"}

# where an archive of UCF-50 is unpacked to
UNPACKED = cache.folder_of(ucf50.UCF50.videos, Workspace().downloads) / "UCF50"


HERE = Workspace(ROOT)


def base() -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load(HERE.params)
    return values


def loaded(folder: Path, name: str, *, honest: bool) -> Params:
    """The params of a recipe or its twin, as the stages read them."""
    path = folder / "params.yaml"
    YAML().dump(studies.read(HERE, name).settings(base(), honest=honest), path)
    return config.load(path)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_recipe_and_its_twin_differ_in_the_split_alone(name: str, tmp_path: Path) -> None:
    published = loaded(tmp_path, name, honest=False)
    honest = loaded(tmp_path, name, honest=True)
    assert honest.split.method in {"official", "stratified_group", "leave_one_group_out"}
    assert honest.model_copy(update={"split": published.split}) == published
    if studies.read(HERE, name).honest:
        assert published.split.method == "random"
    else:
        assert published == honest


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_nothing_that_bears_on_the_score_is_left_to_the_repositorys_params(name: str) -> None:
    given = studies.read(HERE, name).params
    assert given.keys() >= {"dataset", "split", "augment", "candidates"}
    assert given["training"].keys() == Training.model_fields.keys()
    assert given["clip"].keys() == {field.name for field in dataclasses.fields(ClipSpec)}
    assert given["evaluation"].keys() == Evaluation.model_fields.keys() - MEASURING


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_model_and_its_options_are_there(name: str) -> None:
    from kinoflow.models import MODELS, options_of

    (candidate,) = studies.read(HERE, name).params["candidates"].values()
    assert candidate.get("options", {}).keys() <= options_of(MODELS[candidate["model"]]).keys()


def test_what_a_recipe_does_not_say_of_data_is_not_taken_from_the_users() -> None:
    own = base()
    own["dataset"] |= {"source": "folder", "path": "footage"}
    own["candidates"] = {"mine": {"model": "lrcn"}}
    settings = studies.read(HERE, "ucf50_lrcn").settings(own)
    assert settings["dataset"] == {"source": "ucf50"}
    assert settings["candidates"].keys() == {"lrcn"}
    assert settings["compute"] == own["compute"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study: [}", r"recipes/mine.yaml, line 1: not valid YAML"),
        (
            "study: x\npublishd: {}",
            "mine.yaml: unknown key publishd: did you mean published",
        ),
        ("study: x\nparams: {}", r"mine.yaml: a study has a `published` score, unless"),
        (
            "study: x\npublished: {metric: f2, value: 1}\nparams: {}\nhonest: {}",
            r"recipes/mine.yaml: published.metric: .* got 'f2'",
        ),
    ],
)
def test_a_recipe_that_is_not_valid_is_told_with_its_key(
    tmp_path: Path, text: str, says: str
) -> None:
    files.write_text(tmp_path / "recipes" / "mine.yaml", text)
    with pytest.raises(UserError, match=says):
        studies.read(Workspace(tmp_path), "mine")


def test_nothing_of_a_cyclegan_is_left_to_the_repositorys_params(tmp_path: Path) -> None:
    given = studies.read(HERE, "cyclegan").params["style"]
    assert given.keys() == Style.model_fields.keys()
    assert given["cyclegan"].keys() == CycleGan.model_fields.keys()
    params = loaded(tmp_path, "cyclegan", honest=False)
    assert style.of(params.style, tmp_path).cyclegan.filters == 64


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A repository that has UCF-50 unpacked already, in a miniature of its layout."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    films = Synthetic(classes=2, groups=5, clips_per_group=2, width=64, height=48)
    for item in synthetic.items(Dataset(synthetic=films), 7, Workspace().downloads):
        video = made.folder / UNPACKED / item.name
        video.parent.mkdir(parents=True, exist_ok=True)
        item.fetch(video)
    return made


SMALL = [
    *("training.epochs=1", "training.batch_size=16", "evaluation.bootstrap=50"),
    *("evaluation.latency_clips=2", "clip.height=32", "clip.width=32", "compute.workers=1"),
]


def cook(checkout: Checkout, *arguments: str, fails: bool = False) -> Any:
    return checkout.run("python", "-m", "flows.recipe", *arguments, fails=fails)


def test_a_study_and_its_honest_twin_with_one_command_each(
    checkout: Checkout, run_stage: RunStage
) -> None:
    small = [part for setting in SMALL for part in ("-S", setting)]
    alone = cook(checkout, "ucf50_lrcn", *small).stdout
    assert re.search(r"as published, split random: \d\.\d{3} \(with clip.height=32, ", alone)
    assert "published: 0.7717" in alone
    assert "These scores are from a random split" in alone
    assert "honest twin" not in alone

    both = cook(checkout, "ucf50_lrcn", "--honest", *small).stdout
    assert "These scores are from a random split" not in both
    assert re.search(r"as published, split random: \d\.\d{3} \(", both)
    twin = re.search(r"honest twin, split stratified_group: (\d\.\d{3}) \(with (.*)\)", both)
    assert twin
    assert twin[2].split(", ") == [
        *("clip.height=32", "clip.width=32"),
        *("evaluation.bootstrap=50", "evaluation.latency_clips=2"),
        *("training.batch_size=16", "training.epochs=1"),
    ]
    metrics = checkout.read("recipes.work/ucf50_lrcn-honest/reports/lrcn/metrics.json")
    assert f"{metrics['test']['f1']:.3f}" == twin[1]

    # nothing of it touches the repository's own run, or is stored twice
    assert not (checkout.folder / "work").exists()
    assert not (checkout.folder / "data.dvc").exists()
    for name in ("ucf50_lrcn", "ucf50_lrcn-honest"):
        tree = checkout.folder / "recipes.work" / name
        assert not (tree / ".dvc" / "cache").exists()
        video = Path("SitDown/v_SitDown_g01_c01.avi")
        assert (Workspace(tree).data / video).samefile(checkout.folder / UNPACKED / video)
    assert checkout.run("git", "status", "--porcelain").stdout == ""

    again = cook(checkout, "ucf50_lrcn", "--honest", *small).stdout
    assert "Running stage" not in again
    assert again.splitlines()[-4:] == both.splitlines()[-4:]

    # the leaking one is not packaged
    tree = checkout.folder / "recipes.work" / "ucf50_lrcn"
    assert run_stage(tree, "select").returncode == 0
    refused = run_stage(tree, "package")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the split is random")

    # nor do its scores outlive its settings
    cook(checkout, "ucf50_lrcn", "-S", "training.epochs=none", fails=True)
    there = Workspace(checkout.folder)
    text = compare(there, "ucf50_lrcn", studies.read(there, "ucf50_lrcn"), base())
    assert "honest twin, split" in text
    assert "as published, split" not in text


def test_a_cyclegan_between_two_folders_with_one_command(checkout: Checkout) -> None:
    rng = np.random.default_rng(0)
    for name, colour in (("day", 200), ("night", 40)):
        for number in range(6):
            picture = rng.integers(colour - 30, colour + 30, (40, 40, 3)).astype(np.uint8)
            path = checkout.folder / "footage" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    networks = [
        "filters=4",
        "blocks=1",
        "discriminator_filters=4",
        "patch=16",
        "epochs=1",
        "steps=2",
    ]
    small = [f"style.cyclegan.{each}" for each in networks]
    small += ["style.height=32", "style.width=32", "evaluation.bootstrap=20"]
    small += ["style.a.folder=footage/day", "style.b.folder=footage/night"]
    said = cook(checkout, "cyclegan", *(part for each in small for part in ("-S", each))).stdout
    tree = Workspace(checkout.folder / "recipes.work" / "cyclegan")
    made = "recipes.work/cyclegan"
    assert f"networks in {made}/style/models, scores and films in {made}/reports/style" in said
    assert (tree.style_models / "frames" / "a_to_b.keras").is_file()
    assert not (checkout.folder / "work").exists()


def test_what_cannot_be_run_is_one_line(checkout: Checkout) -> None:
    for arguments, says in (
        (["ucf50_lrnc"], "no recipe 'ucf50_lrnc' in recipes/; there are cyclegan, ucf101_"),
        (["cyclegan", "--honest"], "compares no scores: it has no twin"),
        (["cyclegan"], "/footage/a is no folder"),
        (["ucf101_vgg16_voting", "--honest"], "was published on an honest split"),
        (["ucf50_lrcn", "-S", "training.epoch=1"], "unknown key training.epoch: did you mean"),
    ):
        failed = cook(checkout, *arguments, fails=True)
        assert failed.returncode == 2
        (line,) = failed.stderr.splitlines()
        assert line.startswith("error: ")
        assert says in line


def test_all_are_listed_with_what_they_claim(checkout: Checkout) -> None:
    lines = cook(checkout).stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert any("f1 0.7717" in line for line in lines)


def test_two_runs_of_a_recipe_take_turns(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    tree = tree_of(Workspace(tmp_path), "ucf50_lrcn", honest=False)
    with locks.held(tree.lock("recipe"), "running the recipe ucf50_lrcn"):
        second = subprocess.Popen(
            [sys.executable, "-m", "flows.recipe", "ucf50_lrcn"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = read_until(second, "waiting for")
        second.kill()
        second.communicate()
    assert "another run that is running the recipe ucf50_lrcn" in said
    assert not (tree.root / "kinoflow").exists()
