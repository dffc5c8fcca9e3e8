"""Validation over time: new data against those accepted last, and the pages of earlier validations.

What was accepted and the earlier pages are no outputs of the stage, because they say what happened
on this machine: the stage's own outputs are the same wherever the same data pass.
"""

import re
import shutil
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from kinoflow.config import Params
from kinoflow.data import history
from kinoflow.data.clips import ClipStore, describe
from kinoflow.reports import page
from kinoflow.system import documents, files
from kinoflow.workspace import Workspace

_MOST = 50  # validations that are kept, the newest
_RESULT = "result.json"
_NUMBER = re.compile(r"\d{6}")


class Comparison:
    """New data beside those that were accepted last. Nothing is read before it is asked for.

    Args:
        workspace: the work tree.
        params: all settings.
        table: the catalog. Its readable videos need clips.
    """

    def __init__(self, workspace: Workspace, params: Params, table: pd.DataFrame) -> None:
        self._workspace = workspace
        self._params = params
        self._table = table

    @cached_property
    def _before(self) -> history.Accepted | None:
        return history.read(self._workspace.accepted)

    @cached_property
    def _now(self) -> history.Accepted:
        return history.observe(
            self._table,
            ClipStore(self._workspace.clips),
            dataset=self._params.dataset.model_dump_json(),
            spec=describe(self._params.clip),
            earlier=self._before,
        )

    def unexpected(self) -> list[str]:
        """What stands against training on the new data; see `history.unexpected`.

        Nothing does if no data were accepted before.
        """
        if self._before is None:
            return []
        limits = self._params.validation
        return history.unexpected(
            self._now,
            self._before,
            unreadable_jump=limits.unreadable_jump,
            look_alpha=limits.look_alpha,
            accept=limits.accept,
        )

    def accept(self) -> None:
        """Compare later data with these."""
        if self._now != self._before:
            history.write(self._now, self._workspace.accepted)


# === The pages of earlier validations ===


class Result(BaseModel):
    """One validation, as the list of earlier ones shows it."""

    model_config = ConfigDict(frozen=True)

    time: str  # in UTC
    page: str  # the MD5 of the page
    verdict: str  # passed, failed or differs
    videos: int
    classes: int
    unreadable: int
    warnings: int
    why: tuple[str, ...]  # training was stopped


def keep(
    workspace: Workspace, table: pd.DataFrame, verdict: str, warnings: int, why: list[str]
) -> None:
    """Keep the page of this validation, unless it is that of the one before.

    Args:
        workspace: the work tree, whose page was just written.
        table: the catalog.
        verdict: passed, failed (by what Great Expectations found) or differs (from accepted data).
        warnings: how many there were.
        why: what stopped training.
    """
    folder = workspace.validation_history
    files.sweep(folder)
    kept = _kept(folder)
    written = workspace.validation_site / "index.html"
    readable = table[table["readable"]]
    result = Result(
        time=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        page=files.md5(written),
        verdict=verdict,
        videos=len(readable),
        classes=readable["label"].nunique(),
        unreadable=len(table) - len(readable),
        warnings=warnings,
        why=tuple(why),
    )
    if kept and _same(_read(kept[-1]), result):
        return
    number = int(kept[-1].name) + 1 if kept else 1
    with files.replacing_folder(folder / f"{number:06d}") as partial:
        text = written.read_text(encoding="utf-8")
        # the link to the list, from one folder further down
        text = text.replace("../validation.history/index.html", "../index.html")
        files.write_text(partial / "index.html", text)
        files.write_text(partial / _RESULT, result.model_dump_json(indent=2) + "\n")
    for path in _kept(folder)[:-_MOST]:
        shutil.rmtree(path)
    results = [(f"{path.name}/index.html", _read(path)) for path in reversed(_kept(folder))]
    files.write_text(folder / "index.html", page.render("validations.html", results=results))


def _kept(folder: Path) -> list[Path]:
    """The folders of earlier validations, the oldest first."""
    paths = folder.iterdir() if folder.exists() else ()
    return sorted(path for path in paths if _NUMBER.fullmatch(path.name))


def _read(path: Path) -> Result:
    return documents.read_model(Result, path / _RESULT)


def _same(one: Result, other: Result) -> bool:
    return one.model_copy(update={"time": other.time}) == other
