"""Who was champion when, and why; without git, dist/journal.jsonl holds it, a line for each.

`flows.versions` does the same by git tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.dvc import Say
from kinoflow import bentos
from kinoflow.reports.decision import Decision
from kinoflow.system import documents, files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace


class Crowning(BaseModel):
    """That a model became champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # what people call the version: that of the Bento, or with git one such as v1.2.0
    version: str | None  # of the Bento; None for a tag that somebody else made
    model: str | None = None  # MD5 of the model
    when: str  # in UTC
    why: str
    rollback: bool = False


@dataclass(frozen=True)
class Journal:
    """The champions of a work tree without git."""

    workspace: Workspace

    def learn(self, say: Say) -> None:
        """Note a champion that the journal does not have yet.

        A run that was killed just after it crowned one leaves that; so does an edited
        dist/champion.
        """
        file = bentos.champion(self.workspace.champion)
        if file is None or not file.exists():
            return
        version = bentos.version(file)
        noted = self.entries()
        if noted and noted[-1].version == version:
            return
        why = f"{self.workspace.champion} was changed by hand"
        if self.workspace.decision.exists():
            made = Decision.read(self.workspace.decision)
            if made.challenger == version and made.verdict in ("promote", "first"):
                why = made.reason
        say(f"the journal lacks {version}, which is the champion: noted")
        self._note(Crowning(name=version, version=version, when=now(), why=why))

    def follow(self, say: Say) -> None:
        """Nothing: dist/champion itself says who is champion."""

    def entries(self) -> list[Crowning]:
        """All that were champions, the first one first."""
        path = self.workspace.journal
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            return [Crowning.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise UserError(f"{path}: {documents.describe(error, Crowning)}") from None

    def bring(self, crowning: Crowning, say: Say) -> Path:
        """The .bento file of an earlier champion. Raises UserError if it was deleted."""
        path = self.workspace.dist / f"kinoflow-{crowning.version}.bento"
        if not path.exists():
            raise UserError(
                f"{path} was deleted, and without `retrain.git` there is no other copy of it"
            )
        return path

    def record(self, made: Decision, say: Say, *, held: bool = False) -> None:
        """Nothing: reports/decision.json is all there is of a model that is not crowned."""

    def promote(self, made: Decision, bento: Path, say: Say) -> str:
        """Crown a model; return its name."""
        bentos.crown(self.workspace.champion, bento)
        version = bentos.version(bento)
        model = bentos.model_md5(bento)
        self._note(
            Crowning(name=version, version=version, model=model, when=now(), why=made.reason)
        )
        return version

    def roll_back(self, crowning: Crowning, bento: Path, why: str, say: Say) -> None:
        """Crown an earlier champion again."""
        bentos.crown(self.workspace.champion, bento)
        again = crowning.model_copy(update={"when": now(), "why": why, "rollback": True})
        self._note(again)

    def _note(self, crowning: Crowning) -> None:
        path = self.workspace.journal
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        files.write_text(path, f"{before}{crowning.model_dump_json()}\n")


def now() -> str:
    """The present time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def line_of_succession(entries: Sequence[Crowning]) -> list[Crowning]:
    """The present champion last, and before it those that rolling back would bring, in turn.

    A promotion adds one; a rollback removes those that came after the one that it brought back.
    """
    return _succeeded(entries)[0]


def _succeeded(entries: Sequence[Crowning]) -> tuple[list[Crowning], list[tuple[Crowning, str]]]:
    """The line of succession, and which champions were removed from it, and when."""
    line: list[Crowning] = []
    removed: list[tuple[Crowning, str]] = []
    for each in entries:
        if each.rollback:
            while line and line[-1].name != each.name:
                removed.append((line.pop(), each.when))
        if not line or line[-1].name != each.name:
            line.append(each)
    return line, removed


def find(entries: Sequence[Crowning], wanted: str | None) -> Crowning:
    """The champion to roll back to.

    Args:
        entries: all that were champions.
        wanted: its name, such as v1.2.0 or 1.2.0, or how the version of its Bento begins; None: the
            one before the present champion.

    Raises UserError if there is no such champion, or more than one.
    """
    line = line_of_succession(entries)
    if not line:
        raise UserError("nothing was promoted yet: there is no earlier champion")
    if wanted is None:
        if len(line) < 2:
            raise UserError(f"there is no champion before {line[-1].name}")
        return line[-2]
    found = {
        each.name: each
        for each in entries
        if each.name in (wanted, f"v{wanted}")
        or (len(wanted) >= 4 and (each.version or "").startswith(wanted))
    }
    if len(found) != 1:
        names = ", ".join(dict.fromkeys(each.name for each in entries))
        problem = "no champion was" if not found else "more than one champion was"
        raise UserError(f"{problem} {wanted}; champions were {names}")
    return next(iter(found.values()))


def rolled_back(entries: Sequence[Crowning], version: str, model: str) -> str | None:
    """When a model that was champion was last rolled back; None if it never was.

    Args:
        entries: all that were champions.
        version: of its Bento.
        model: its MD5. The same model may be in another Bento, with other code.
    """
    times = [
        when
        for each, when in _succeeded(entries)[1]
        if version == each.version or model == each.model
    ]
    return times[-1] if times else None
