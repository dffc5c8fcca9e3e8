"""What dvc.lock tells of changes, against a real DVC repository."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML

from kinoflow.system import dvc_lock
from kinoflow.system.dvc_lock import DvcLock

DVC_YAML = """
stages:
  split:
    cmd: cp in/videos split && mkdir -p code/__pycache__ && touch code/__pycache__/compiled
    deps: [in, code]
    params: [seed]
    outs: [split]
  train:
    foreach: ${candidates}
    do:
      cmd: mkdir -p models/${key} && cp split models/${key}/weights && echo 1 > ${key}.json
      deps: [split, "${key}.py"]
      params: ["candidates.${key}"]
      outs:
        - models/${key}
        - ${key}.json
"""
PARAMS = "seed: 7\ncandidates: {lrcn: {frames: 16}, c3d: {frames: 8, size: null}}\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    for name, text in {
        **{"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, ".dvcignore": "__pycache__\n"},
        **{"in/videos": "many", "code/b.py": "b", "code/a/b.py": "ab", "code/a.py": "a"},
        **{"lrcn.py": "lrcn", "c3d.py": "c3d"},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for command in ("init --no-scm -q", "add -q in", "repro -q"):
        dvc(root, *command.split())
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-rp", template, tmp_path / "root"], check=True)
    return tmp_path / "root"


def dvc(root: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def changes(root: Path) -> tuple[str | None, str | None]:
    lock = DvcLock(root)
    return lock.change("train@lrcn", [root / "lrcn.json"]), lock.change("train@c3d")


def test_nothing_has_changed_after_a_run(root: Path) -> None:
    assert changes(root) == (None, None)
    assert "train@lrcn" in DvcLock(root)
    assert "train@other" not in DvcLock(root)
    assert DvcLock(root).change("train@other") is None


@pytest.mark.parametrize(
    ("path", "before", "after", "expected"),
    [
        ("params.yaml", "frames: 16", "frames: 4", ("candidates.lrcn", None)),
        ("params.yaml", "seed: 7", "seed: 8", ("seed", "seed")),
        ("params.yaml", "size: null", "size: 0", (None, "candidates.c3d")),
        ("lrcn.py", "lrcn", "lrcn2", ("lrcn.py", None)),
        ("code/a/b.py", "ab", "ba", ("code", "code")),
        ("lrcn.json", "1", "2", ("lrcn.json", None)),
    ],
)
def test_a_change_is_named_where_dvc_sees_one_too(
    root: Path, path: str, before: str, after: str, expected: tuple[str | None, str | None]
) -> None:
    text = (root / path).read_text()
    assert before in text
    # DVC links outputs to its cache, which must not change
    (root / path).unlink()
    (root / path).write_text(text.replace(before, after))
    assert changes(root) == expected
    assert json.loads(dvc(root, "status", "--json"))


def test_another_pin_of_the_data_is_a_change(root: Path) -> None:
    (root / "in" / "more").write_text("more")
    assert changes(root) == (None, None)  # hashing all videos would take long
    dvc(root, "add", "-q", "in")
    assert changes(root) == ("in", "in")


def test_a_stage_that_ran_anew_leaves_those_after_it_out_of_date(root: Path) -> None:
    (root / "in" / "videos").unlink()
    (root / "in" / "videos").write_text("fewer")
    dvc(root, "add", "-q", "in")
    dvc(root, "repro", "-q", "train@c3d")
    assert changes(root) == ("split", None)


def test_without_a_lock_no_stage_is_known(tmp_path: Path) -> None:
    assert "split" not in DvcLock(tmp_path)


def test_a_lock_that_is_being_written_is_waited_for(root: Path) -> None:
    path = root / "dvc.lock"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    writer = threading.Timer(0.3, path.write_text, [text])
    writer.start()
    assert changes(root) == (None, None)
    writer.join()


def test_a_lock_that_was_cut_off_anywhere_can_be_read_again(root: Path) -> None:
    path = root / "dvc.lock"
    text = path.read_text()
    mended = 0
    for end in range(0, len(text), 5):
        path.write_text(text[:end])
        dvc_lock.mend(root)
        left = path.read_text() if path.exists() else ""
        if left:
            # raises an exception for what DVC refuses
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(left))
        assert text.startswith(left)
        mended += len(left) < end
    assert mended > 20


def test_a_lock_that_was_cut_off_is_completed_by_the_next_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "dvc.lock"
    text = path.read_text()
    path.write_text(text[: text.rindex("md5: ") + 20])
    dvc_lock.mend(root)
    assert "cut off" in capsys.readouterr().err
    assert "Running" not in dvc(root, "repro")
    assert path.read_text() == text


def test_other_damage_is_left_to_the_user(root: Path) -> None:
    path = root / "dvc.lock"
    conflict = path.read_text().replace("stages:\n", "<<<<<<< HEAD\nstages:\n", 1)
    path.write_text(conflict)
    dvc_lock.mend(root)
    assert path.read_text() == conflict
