"""The documents of monitoring: what a look found, and what the looks before it found."""

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from kinoflow.monitor.comparing import Comparison
from kinoflow.monitor.expectations import Expected
from kinoflow.reports.records import Document, Record
from kinoflow.system import files

REPORT, HISTORY, PAGE = "report.json", "history.jsonl", "index.html"

_MOST = 1000  # looks in the history

# how people call what is compared, and the unit of its numbers
NAMES = {
    "features": ("the model's features", ""),
    "novelty": ("distance from held-out clips", ""),
    "brightness": ("brightness", "grey levels"),
    "contrast": ("contrast", "grey levels"),
    "motion": ("motion", "grey levels"),
    "sharpness": ("sharpness", "grey levels"),
    "seconds": ("duration", "seconds"),
    "fps": ("frame rate", "frames per second"),
    "width": ("width", "pixels"),
    "height": ("height", "pixels"),
    "codec": ("codec", ""),
    "label": ("shares of labels", ""),
    "confidence": ("confidence", ""),
}


class Errors(Record):
    """How many of the newest answers people marked as wrong."""

    answers: int
    wrong: int
    low: float  # of the interval
    high: float
    limit: float  # monitor.max_error


class Look(Document):
    """reports/monitor/report.json: what the service saw, against held-out clips."""

    stage = "monitor"

    time: float  # of the look, seconds since 1970, as all times here
    bento: str | None = None  # the version that answered
    answers: int = 0  # that were looked at
    begin: float | None = None  # the time of the first of them
    end: float | None = None
    last: str | None = None  # the id of the latest one
    clips: int = 0  # that are held out
    recordings: int = 0  # that they were cut from
    word: str = ""  # why nothing was compared
    comparisons: tuple[Comparison, ...] = ()
    expectations: tuple[Expected, ...] = ()
    errors: Errors | None = None
    changed: tuple[str, ...] = ()  # names of what has changed
    since: dict[str, float] = Field(default={})  # the time of the look that first found each
    too_many_errors: bool = False

    @property
    def sentence(self) -> str:
        """What has changed, in a sentence; "" if nothing has."""
        if not self.changed:
            return ""
        found = {each.name: each for each in self.comparisons}
        parts = [describe(found[name]) for name in self.changed]
        return (
            f"What the service sees has changed: {'; '.join(parts)} "
            f"({self.answers} answers of version {self.bento} until {when(self.end)})."
        )

    @property
    def error_sentence(self) -> str:
        """How many answers were marked as wrong, in a sentence; "" if nobody has answered."""
        if self.errors is None:
            return ""
        errors = self.errors
        return (
            f"People marked {errors.wrong} of {errors.answers} answers of version {self.bento} as "
            f"wrong: {errors.wrong / errors.answers:.1%}, interval {errors.low:.1%} to "
            f"{errors.high:.1%}; the limit is {errors.limit:.1%}."
        )


class Past(Record):
    """A line of the history."""

    time: float
    bento: str | None
    answers: int
    changed: tuple[str, ...]
    too_many_errors: bool = False
    last: str | None = None
    word: str = ""


def describe(comparison: Comparison) -> str:
    """What has changed in one respect, such as "brightness (86.3 before, 51.8 now)"."""
    name, _ = NAMES[comparison.name]
    if comparison.before is None or comparison.now is None:
        return name
    return f"{name} ({comparison.before:.4g} before, {comparison.now:.4g} now)"


def when(time: float | None) -> str:
    """A time for people; "" for none."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC" if time is not None else ""


def history(folder: Path) -> list[Past]:
    """The looks before, the oldest first. Lines that cannot be read are left out."""
    looks = []
    try:
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            looks.append(Past.model_validate_json(line))
        except ValidationError:  # cut off by a kill, or of another version of kinoflow
            continue
    return looks


def since(look: Look, before: list[Past]) -> dict[str, float]:
    """The time of the look that found each change first, if all looks since then found it.

    Looks at answers of another version, and those that compared nothing, say nothing about it.
    """
    found = dict.fromkeys(look.changed, look.time)
    for name in look.changed:
        for past in reversed(before):
            if past.bento != look.bento or past.word:
                continue
            if name not in past.changed:
                break
            found[name] = past.time
    return found


def write_history(folder: Path, looks: list[Past]) -> None:
    """Write the latest 1,000 looks."""
    lines = [json.dumps(look.model_dump(mode="json")) for look in looks[-_MOST:]]
    files.write_text(folder / HISTORY, "\n".join(lines) + "\n")
