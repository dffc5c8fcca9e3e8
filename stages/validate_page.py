"""The page that the stage `validate` writes: every expectation, and what does not meet it.

Great Expectations has pages of its own, but those do not escape a video's name, and load scripts
and styles from the network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from kinoflow.reports import page

_LISTED = 50  # how many rows the page names under an expectation


@dataclass(frozen=True)
class Check:
    """The outcome of one expectation of a table's column."""

    column: str
    expectation: str  # in Great Expectations' words, with its arguments
    meaning: str  # in plain words
    blocks: bool  # whether training stops if it is not met
    met: bool
    rows: int | None  # how many rows were checked; None if the table as a whole was
    failing: tuple[tuple[str, str], ...]  # the videos that do not meet it, and their values

    @property
    def verdict(self) -> str:
        return "met" if self.met else "failed" if self.blocks else "warning"

    @property
    def row(self) -> tuple[str | float, ...]:
        """This check in the overview of its table."""
        whole = self.rows is None
        return (
            self.meaning,
            self.verdict,
            float("nan") if whole else len(self.failing),
            float("nan") if self.rows is None else self.rows,
            "blocks" if self.blocks else "warns",
            self.column,
        )


def render(tables: Mapping[str, Sequence[Check]], changes: Sequence[str] = ()) -> str:
    """The page as HTML; equal checks give equal bytes.

    Args:
        tables: the checks of each table.
        changes: how the data differ from those accepted before; none if training may start.
    """
    verdicts = [check.verdict for checks in tables.values() for check in checks]
    return page.render(
        "validation.html",
        expectations=len(verdicts),
        failed=verdicts.count("failed"),
        changes=changes,
        warnings=verdicts.count("warning"),
        # expectations that are not met come first, and of these the ones that block
        tables=[
            (name, sorted(checks, key=lambda check: (check.met, not check.blocks)))
            for name, checks in tables.items()
        ],
        listed=_LISTED,
    )


def values(rows: Iterable[tuple[object, object]]) -> tuple[tuple[str, str], ...]:
    """Videos and values as the page shows them, sorted, whatever order they come in."""
    return tuple(sorted((_text(video), _text(value)) for video, value in rows))


def _text(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
