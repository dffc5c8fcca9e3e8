"""Whether there is anything to retrain, on a small pipeline and without Prefect."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.idle import is_idle, nothing_new
from kinoflow.system import files, locks
from kinoflow.workspace import Workspace

pytest_plugins = ["tests.flows_fixtures"]


@pytest.fixture
def made(repo: Path) -> Workspace:
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=repo, check=True)
    return Workspace()


def test_a_tree_is_idle_until_its_code_or_its_data_change(made: Workspace) -> None:
    assert is_idle(made)
    assert nothing_new(made).startswith("nothing new since 20")
    code = Path("train.py").read_text()
    Path("train.py").write_text(f"{code}\n# a word more\n")
    assert not is_idle(made)
    Path("train.py").write_text(code)
    # as `python -m stages.download --check` ends if there are new data
    Path("stages/download.py").write_text("import sys; sys.exit('--check' in sys.argv)")
    assert not is_idle(made)


def test_while_another_run_is_at_it_nobody_says_that_nothing_is_new(made: Workspace) -> None:
    for name in ("retrain", "data"):
        with locks.held(made.lock(name), "a test"):
            assert not is_idle(made)


def test_what_a_killed_run_left_is_deleted_where_nothing_else_is_to_do(made: Workspace) -> None:
    half = made.reports / f"{files.TEMPORARY}page"
    half.write_text("half a pa")
    assert is_idle(made)
    assert not half.exists()


def test_settings_that_are_wrong_are_left_to_the_run(made: Workspace) -> None:
    made.params.write_text("seed: [")
    assert not is_idle(made)
