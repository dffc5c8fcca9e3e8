"""Champions without git: crowned, held, rejected, rolled back, and killed at every moment."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.journal import Crowning, find, line_of_succession, rolled_back
from flows.promotion import history
from kinoflow import bentos
from kinoflow.reports.decision import Decision
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from tests.promotions import (
    BETTER,
    UNCLEAR,
    WORSE,
    comparisons,
    make_bento,
    make_tree,
    office,
    retrained,
    served,
)


@pytest.fixture
def tree(tmp_path: Path) -> Workspace:
    return make_tree(tmp_path / "tree")


def test_models_come_and_go(tree: Workspace) -> None:
    chief = office(tree)
    retrained(tree, "aaaa1")
    assert chief.propose().verdict == "first"
    assert chief.propose().verdict == "unchanged"
    retrained(tree, "bbbb2", **BETTER)
    assert chief.propose().verdict == "promote"
    assert served(tree) == "bbbb2"
    assert comparisons(tree) == 1

    assert chief.roll_back(None).name == "aaaa1"
    assert served(tree) == "aaaa1"
    assert "rolled back by hand to aaaa1" in str(Decision.read(tree.decision).since)
    with pytest.raises(UserError, match="no champion before aaaa1"):
        chief.roll_back(None)
    # what people took back, the next night must not bring
    made = chief.propose()
    assert made.verdict == "hold"
    assert "was rolled back on" in made.reasons[0]
    assert served(tree) == "aaaa1"
    assert chief.settle(promote=True).person
    assert served(tree) == "bbbb2"
    names = [line for line in history(chief.champions.entries()).splitlines() if line[0] != " "]
    assert [name.split()[-1] for name in names] == ["bbbb2", "aaaa1", "bbbb2", "aaaa1"]


def test_a_rejected_model_stays_rejected_and_is_not_compared_every_night(tree: Workspace) -> None:
    chief = office(tree)
    retrained(tree, "aaaa1")
    chief.propose()
    retrained(tree, "bbbb2", **WORSE)
    made = chief.propose()
    assert made.verdict == "reject"
    assert served(tree) == "aaaa1"
    assert chief.propose() == made
    assert comparisons(tree) == 1
    assert [path.name for path in tree.dist.glob("kinoflow-*")] == ["kinoflow-aaaa1.bento"]
    with pytest.raises(UserError, match="no model waits"):
        chief.settle(promote=True)


def test_a_hold_waits_for_a_person_and_ends_with_its_time(tree: Workspace) -> None:
    chief = office(tree)
    retrained(tree, "aaaa1")
    chief.propose()
    retrained(tree, "bbbb2", **UNCLEAR)
    made = chief.propose()
    assert made.verdict == "hold"
    assert chief.propose() == made
    # the next retraining changes dist/kinoflow.bento; the model that waits is kept
    make_bento(tree.bento, "aaaa1")
    assert chief.propose().verdict == "unchanged"
    assert chief.settle(promote=True).verdict == "promote"
    assert served(tree) == "bbbb2"

    retrained(tree, "cccc3", **UNCLEAR)
    made = chief.propose()
    made.model_copy(update={"until": "2026-01-01 00:00:00 UTC"}).write(tree.decision)
    made = chief.propose()
    assert made.verdict == "reject"
    assert made.reasons[0] == "nobody decided in time"
    assert served(tree) == "bbbb2"
    assert not (tree.dist / "kinoflow-cccc3.bento").exists()


def test_what_was_held_is_void_once_another_model_is_champion(tree: Workspace) -> None:
    chief = office(tree)
    retrained(tree, "aaaa1")
    chief.propose()
    retrained(tree, "bbbb2", **UNCLEAR)
    chief.propose()
    bentos.crown(tree.champion, bentos.keep(other(tree, "cccc3")))
    with pytest.raises(UserError, match="the champion has changed since"):
        chief.settle(promote=True)
    assert served(tree) == "cccc3"
    assert chief.champions.entries()[-1].why.endswith("was changed by hand")


def other(tree: Workspace, version: str) -> Path:
    path = tree.dist / "other.bento"
    make_bento(path, version)
    return path


def test_a_champion_that_is_gone_is_told(tree: Workspace) -> None:
    chief = office(tree)
    retrained(tree, "aaaa1")
    chief.propose()
    retrained(tree, "bbbb2", **BETTER)
    (tree.dist / "kinoflow-aaaa1.bento").unlink()
    with pytest.raises(UserError, match="names kinoflow-aaaa1.bento, which is gone"):
        chief.propose()


def test_killed_at_any_rename_the_champion_is_whole_and_the_next_run_is_right(
    tmp_path: Path,
) -> None:
    for moment in range(20):
        workspace = make_tree(tmp_path / str(moment))
        chief = office(workspace)
        retrained(workspace, "aaaa1")
        chief.propose()
        retrained(workspace, "bbbb2", **BETTER)
        ended = killed_at(moment, chief.propose)
        assert served(workspace) in ("aaaa1", "bbbb2")
        for path in workspace.dist.glob("[!.]*.bento"):
            bentos.model_md5(path)  # raises for half a Bento
        assert chief.propose().verdict in ("promote", "unchanged")
        assert served(workspace) == "bbbb2"
        names = [each.name for each in chief.champions.entries()]
        assert names == ["aaaa1", "bbbb2"]
        assert not [*workspace.dist.glob(".partial-*")]
        if ended:
            break
    assert moment > 3


def killed_at(moment: int, act: Callable[[], object]) -> bool:
    """Call `act` in a process that kills itself before a rename; whether it ended before that."""
    pid = os.fork()
    if not pid:
        left = moment
        rename = Path.replace

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return rename(self, target)

        Path.replace = replace  # type: ignore[method-assign,assignment]
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


# === Who was champion ===


def reign(name: str, *, rollback: bool = False, model: str | None = None) -> Crowning:
    return Crowning(name=name, version=name, model=model, when=name, why="", rollback=rollback)


def test_rolling_back_twice_goes_further_back() -> None:
    entries = [reign("v1"), reign("v2"), reign("v3"), reign("v2", rollback=True)]
    assert [each.name for each in line_of_succession(entries)] == ["v1", "v2"]
    assert find(entries, None).name == "v1"
    entries.append(reign("v4"))
    assert find(entries, None).name == "v2"
    assert find(entries, "3").name == "v3"


def test_a_model_that_was_rolled_back_is_known_in_another_bento() -> None:
    entries = [reign("v1", model="m1"), reign("v2", model="m2"), reign("v1", rollback=True)]
    assert rolled_back(entries, "v2b", "m2") == "v1"
    assert rolled_back(entries, "v3", "m3") is None
    assert rolled_back(entries, "v1", "m1") is None


def test_a_champion_is_named_by_its_version_and_by_no_other() -> None:
    entries = [reign("abcd1234"), reign("abcd9999")]
    assert find(entries, "abcd1").name == "abcd1234"
    for wanted, problem in (("abcd", "more than one"), ("v7", "no champion was v7; champions")):
        with pytest.raises(UserError, match=problem):
            find(entries, wanted)
