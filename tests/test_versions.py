"""Champions as git tags: committed beside the user's work, raced for, and brought back."""

import hashlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kinoflow import bentos
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from tests.promotions import (
    BETTER,
    UNCLEAR,
    git,
    make_repository,
    office,
    retrained,
    scored,
    served,
)

WITH_REMOTE = {"git": True, "remote": "origin"}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A bare repository, whose main branch has the code, and a folder as DVC's remote."""
    first = make_repository(tmp_path / "first", retrain=WITH_REMOTE)
    command = [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "shared"]
    subprocess.run([*command, str(tmp_path / "shared")], cwd=first.root, check=True)
    git(first.root, "commit", "-q", "-a", "-m", "the remote of DVC")
    git(tmp_path, "clone", "-q", "--bare", str(first.root), "origin.git")
    return tmp_path / "origin.git"


def clone(origin: Path, name: str) -> Workspace:
    git(origin.parent, "clone", "-q", str(origin), name)
    return Workspace(origin.parent / name)


def names(workspace: Workspace) -> list[str]:
    return [each.name for each in office(workspace).champions.entries()]


def changes(workspace: Workspace) -> set[str]:
    """What differs in the work tree and in the index from the commit."""
    lines = git(workspace.root, "status", "--porcelain=v2").splitlines()
    return {f"{line.split()[-1]}: {line.split()[0]} {line.split()[1]}" for line in lines}


def test_versions_reach_another_machine_and_come_back_from_tags_alone(origin: Path) -> None:
    one = clone(origin, "one")
    retrained(one, "aaaa1")
    # the user is in the middle of something
    (one.root / "stages" / "mine.py").write_text("x = 1\n")
    git(one.root, "add", "stages/mine.py")
    (one.root / "stages" / "__init__.py").write_text("y = 2\n")
    before, head = changes(one), git(one.root, "rev-parse", "HEAD")
    assert office(one).propose().verdict == "first"
    retrained(one, "bbbb2", **BETTER)
    assert office(one).propose().verdict == "promote"
    assert changes(one) == before | {"dvc.lock: ? dvc.lock", "reports/decision.json: 1 .M"}
    assert git(one.root, "rev-parse", "HEAD") == head
    assert git(one.root, "branch", "--show-current") == "main"

    tags = git(origin, "tag", "--list").splitlines()
    assert tags == [
        "kinoflow#champion#1", "kinoflow#champion#2", "kinoflow@v1.0.0", "kinoflow@v1.1.0",
    ]  # fmt: skip
    held = git(origin, "ls-tree", "-r", "--name-only", "retrain").splitlines()
    assert {"dvc.lock", "params.yaml", "reports/decision.json", "dvc.yaml"} <= {*held}
    assert "stages/mine.py" not in held
    assert git(origin, "show", "retrain:stages/__init__.py") == ""
    assert "it is better" in git(origin, "show", "retrain:reports/decision.json")

    # a machine that has only the code, the tags and the remote of DVC
    two = clone(origin, "two")
    office(two).roll_back("v1.0.0")
    assert served(two) == "aaaa1"
    assert names(two) == ["v1.0.0", "v1.1.0", "v1.0.0"]
    assert office(two).champions.entries()[-1].rollback
    # the first one learns of that, and does not promote the same model again unasked
    made = office(one).propose()
    assert served(one) == "aaaa1"
    assert made.verdict == "hold"
    assert office(one).settle(promote=True).person
    assert names(one) == ["v1.0.0", "v1.1.0", "v1.0.0", "v1.2.0"]
    assert "a person promoted it" in git(origin, "show", "retrain:reports/decision.json")


def test_what_waited_is_committed_as_it_was(origin: Path) -> None:
    one = clone(origin, "one")
    retrained(one, "aaaa1")
    office(one).propose()
    retrained(one, "bbbb2", **UNCLEAR)
    assert office(one).propose().verdict == "hold"
    retrained(one, "cccc3", **UNCLEAR)  # a retraining that has not come to its decision yet
    office(one).settle(promote=True)
    assert served(one) == "bbbb2"
    two = clone(origin, "two")
    office(two).roll_back("v1.1.0")
    assert served(two) == "bbbb2"
    assert names(two) == ["v1.0.0", "v1.1.0"]


def test_of_two_promoters_one_is_first_and_the_other_decides_anew(origin: Path) -> None:
    start = clone(origin, "start")
    retrained(start, "aaaa1")
    office(start).propose()
    racers = [clone(origin, name) for name in ("one", "two")]
    for racer, version in zip(racers, ("bbbb2", "cccc3"), strict=True):
        retrained(racer, version)
        scored(racer, version, **BETTER)
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda racer: office(racer).propose(), racers))
    assert [each.verdict for each in made] == ["promote", "promote"]
    assert names(start) == ["v1.0.0"]
    office(start).champions.learn(print)
    entries = office(start).champions.entries()
    assert [each.name for each in entries] == ["v1.0.0", "v1.1.0", "v1.2.0"]
    assert {each.version for each in entries[1:]} == {"bbbb2", "cccc3"}
    # the second one was compared with the first one of the race, and not with the old champion
    champions = [each.champion for each in made]
    assert sorted(map(str, champions)) == sorted(["aaaa1", str(entries[1].version)])
    (last,) = [each for each in made if each.challenger == entries[2].version]
    assert last.champion == entries[1].version
    # both branches' commits are in the history of the one
    log = git(origin, "log", "--format=%s", "retrain")
    assert log.count("promote: it is better") == 2


def test_without_a_remote_everything_is_in_the_repository(tmp_path: Path) -> None:
    here = make_repository(tmp_path / "here", report=True, retrain={"git": True})
    retrained(here, "aaaa1")
    office(here).propose()
    retrained(here, "bbbb2", **BETTER)
    office(here).propose()
    # the page tells it, and is of the state that was committed
    assert "it is better" in here.page.read_text()
    page = hashlib.md5(here.page.read_bytes(), usedforsecurity=False).hexdigest()
    assert page in git(here.root, "show", "kinoflow@v1.1.0:dvc.lock")
    shutil.rmtree(here.dist)  # all but DVC's cache is lost
    here.dist.mkdir()
    assert office(here).roll_back(None).name == "v1.0.0"
    assert served(here) == "aaaa1"
    assert git(here.root, "for-each-ref", "refs/kinoflow") == ""


def test_a_branch_that_is_checked_out_is_left_alone(tmp_path: Path) -> None:
    here = make_repository(tmp_path / "here", retrain={"git": True, "branch": "main"})
    retrained(here, "aaaa1")
    with pytest.raises(UserError, match="the branch main is checked out"):
        office(here).propose()
    assert bentos.champion(here.champion) is None


def test_a_remote_that_refuses_crowns_nobody(origin: Path) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho nobody may push today >&2\nexit 1\n")
    hook.chmod(0o755)
    one = clone(origin, "one")
    retrained(one, "aaaa1")
    with pytest.raises(UserError, match="pre-receive hook declined"):
        office(one).propose()
    assert bentos.champion(one.champion) is None
    assert git(one.root, "tag", "--list") == ""
    hook.unlink()
    assert office(one).propose().verdict == "first"
    assert served(one) == "aaaa1"
