"""Tell from dvc.lock which stages ran with other files or settings than there are now.

`dvc status` tells this as well, but waits for the locks of a run, and makes a run wait for its own.
This module only reads, so that it can be asked at any time.
"""

import functools
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinoflow.system import documents, files
from kinoflow.system.errors import UserError

# what .dvcignore leaves out of folders
_IGNORED = ("__pycache__", files.TEMPORARY, ".replaced-")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_BEGINNING = "schema: '2.0'\nstages:\n"
_HEADING = re.compile(r"^  \S.*:$", re.MULTILINE)  # of a stage
# DVC rewrites dvc.lock in place, which takes a part of a second
_QUIET = 0.5  # seconds without a change, after which it is taken for whole
_PATIENCE = 10.0


def mend(root: Path) -> None:
    """Take off the end of a dvc.lock that a kill has cut off, which DVC would refuse to read.

    Nothing is lost: DVC finds in its cache what the stages made whose entries are missing. Any
    other damage, such as a conflict of git, is left to the user. No DVC command may be running.
    """
    path = root / "dvc.lock"
    text = path.read_text(encoding="utf-8") if path.exists() else None
    if text is None or _is_whole(text):
        return
    headings = [heading.start() for heading in _HEADING.finditer(text)]
    whole = text[: headings[-1]] if headings else ""
    if _is_whole(whole):
        files.write_text(path, whole)
    elif len(headings) <= 1 and _BEGINNING.startswith(text[: len(_BEGINNING)]):
        path.unlink()
    else:
        return
    print(f"{path} was cut off by a kill: DVC finds the rest in its cache", file=sys.stderr)


def _is_whole(text: str) -> bool:
    """Whether this is what DVC writes into dvc.lock, up to an end of a stage."""
    try:
        stages = documents.parse_yaml(text, Path())["stages"]
        return text.endswith("\n") and all(
            all(stage.values())
            and all(stage.get("params", {}).values())
            and all(
                _MD5.fullmatch(entry.get("md5", ""))
                for entry in [*stage.get("deps", ()), *stage.get("outs", ())]
            )
            for stage in stages.values()
        )
    except (UserError, TypeError, AttributeError, KeyError):
        return False


class DvcLock:
    """What DVC has noted of the last run of each stage.

    Args:
        root: the folder of dvc.yaml and dvc.lock. Without a dvc.lock no stage is known.

    Waits while DVC writes the file. Raises UserError for a dvc.lock that is not valid YAML.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stages: dict[str, Any] = _read(root / "dvc.lock")
        self._makers = {
            out["path"]: (name, out.get("md5"))
            for name, entry in self._stages.items()
            for out in entry.get("outs", ())
        }
        self._changed: dict[str, str | None] = {}

    def __contains__(self, stage: str) -> bool:
        return stage in self._stages

    def change(self, stage: str, outputs: Iterable[Path] = ()) -> str | None:
        """The first thing found that differs from when a stage, and all before it, last ran.

        The stage's command is not compared, nor which dependencies dvc.yaml lists.

        Args:
            stage: its name, such as `train@lrcn`.
            outputs: those of its outputs that are to be what they were after that run.

        Returns a path or the key of a setting. None if all is the same, or if dvc.lock does not
        know the stage.
        """
        if stage not in self._stages:
            return None
        for output in outputs:
            path = output.relative_to(self._root).as_posix()
            if path in self._makers and self._md5(path) != self._makers[path][1]:
                return path
        if stage not in self._changed:
            self._changed[stage] = self._change(self._stages[stage])
        return self._changed[stage]

    def _change(self, entry: dict[str, Any]) -> str | None:
        for file, settings in entry.get("params", {}).items():
            for key, value in settings.items():
                if self._setting(file, key) != value:
                    return key
        for dependency in entry.get("deps", ()):
            path, md5 = dependency["path"], dependency.get("md5")
            if path not in self._makers:
                if self._md5(path) != md5:
                    return path
                continue
            maker, made = self._makers[path]
            if made != md5:
                return path
            if change := self.change(maker):
                return change
        return None

    def _setting(self, file: str, key: str) -> Any:
        value = self._values(file)
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    @functools.cache  # noqa: B019  one object lives as long as a command
    def _values(self, file: str) -> Any:
        path = self._root / file
        return documents.read_yaml(path) if path.exists() else {}

    @functools.cache  # noqa: B019
    def _md5(self, name: str) -> str | None:
        """The hash of a file or folder as DVC counts it; None if there is neither."""
        path, pin = self._root / name, self._root / f"{name}.dvc"
        if pin.exists():
            # hashing all videos would take long
            return documents.read_yaml(pin)["outs"][0].get("md5")
        if path.is_dir():
            return _folder_md5(path)
        return files.md5(path) if path.exists() else None


def _read(path: Path) -> dict[str, Any]:
    """The stages in dvc.lock, none if there is no such file."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if time.time() - path.stat().st_mtime > _QUIET or time.monotonic() > deadline:
                return (documents.read_yaml(path) or {}).get("stages") or {}
        except FileNotFoundError:
            return {}
        time.sleep(_QUIET / 5)


def _folder_md5(folder: Path) -> str:
    listed = [
        {"md5": files.md5(path), "relpath": path.relative_to(folder).as_posix()}
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(_IGNORED) for part in path.relative_to(folder).parts)
    ]
    listed.sort(key=lambda entry: entry["relpath"])
    digest = hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False)
    return f"{digest.hexdigest()}.dir"
