"""GET /model: the model card that the stage package wrote."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kinoflow.bundle import Description
from kinoflow.reports.records import Refit
from kinoflow.workspace import Workspace
from serving.answering import Answering
from stages.package_card import card
from tests import documents
from tests.asgi import Client

pytest_plugins = ["tests.api_fixtures"]


def test_the_card_says_what_was_evaluated_and_where_the_model_comes_from(
    ask: Client, work_tree: Workspace, answering: Answering
) -> None:
    answer = ask("GET", "/model")
    assert answer.status_code == 200
    said, description = answer.json(), answering.bundle.description
    assert said["candidate"] == "voting"
    assert said["labels"] == ["A", "B", "C"]
    assert said["clip"] == {
        "frames": 4,
        "height": 16,
        "width": 16,
        "sampling": "uniform",
        "padding": "repeat",
    }
    assert said["test"]["accuracy"] == 0.75
    assert {"accuracy_low", "accuracy_high"} <= said["test"].keys()
    assert said["clip_seconds"] == 0.48
    assert said["temperature"] == description.temperature
    assert (said["data"], said["versions"]) == (description.data, description.versions)
    assert (said["bento"], said["device"]) == ("0123", answering.model.device)
    assert said["commit"] is None  # the work tree is in no repository


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_card_names_the_commit_and_says_if_files_differ_from_it(
    work_tree: Workspace, tmp_path: Path
) -> None:
    workspace = Workspace(shutil.copytree(work_tree.root, tmp_path / "project"))
    bundle = workspace.bundle("voting")
    (workspace.root / "dvc.lock").write_text("one")
    git(workspace.root, "init", "-q")
    git(workspace.root, "add", "params.yaml", "dvc.lock")
    git(workspace.root, "commit", "-qm", "first")
    (workspace.root / "dvc.lock").write_text("two")
    made = card(workspace, "voting", bundle)
    assert made.commit == git(workspace.root, "rev-parse", "HEAD")
    assert made.changed is False
    with workspace.params.open("a") as params:
        params.write("\n")
    assert card(workspace, "voting", bundle).changed is True


@pytest.mark.parametrize("tested", [True, False])
def test_a_model_that_was_trained_once_more_has_its_own_scores(
    work_tree: Workspace, tmp_path: Path, tested: bool
) -> None:
    workspace = Workspace(shutil.copytree(work_tree.root, tmp_path / "project"))
    shutil.copytree(workspace.bundle("voting"), workspace.refit / "voting")
    description = Description.read(workspace.refit / "voting")
    description.model_copy(update={"trained_on": ("train", "val")}).write(
        workspace.refit / "voting"
    )
    test = documents.scores(0.5) if tested else None
    Refit(refit=True, candidate="voting", test=test).write(workspace.refit_record)
    made = card(workspace, "voting", workspace.refit / "voting")
    assert (made.val, made.test) == (None, test)
    assert made.trained_on == ("train", "val")
