"""The page that the stage `validate` writes: every expectation, and what does not meet it.

Great Expectations has pages of its own. They show a video's name as the markup that it may be,
and bring scripts and styles from elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from kinoflow.reports import page

_LISTED = 50  # rows that the page names under an expectation


@dataclass(frozen=True)
class Check:
    """What came of one expectation of a table's column."""

    column: str
    expectation: str  # in Great Expectations' words, and with what
    meaning: str  # in ours
    blocks: bool  # whether training stops where it is not met
    met: bool
    rows: int | None  # held against it; None where it is the table as a whole
    failing: tuple[tuple[str, str], ...]  # videos and what they have in the column

    @property
    def verdict(self) -> str:
        return "met" if self.met else "failed" if self.blocks else "warning"


def render(tables: Mapping[str, Sequence[Check]]) -> str:
    """The page, from the checks of each table; the same for the same checks."""
    every = [check for checks in tables.values() for check in checks]
    failed, warned = (sum(c.verdict == verdict for c in every) for verdict in ("failed", "warning"))
    said = (
        "Training does not start before what failed is mended."
        if failed
        else "Nothing stands in the way of training."
    )
    glance = page.facts(
        [
            ("verdict", "failed" if failed else "passed"),
            ("expectations", f"{len(every):,}"),
            ("failed", f"{failed:,}"),
            ("warnings", f"{warned:,}"),
        ]
    )
    sections = [
        ("At a glance", glance + page.paragraph(said)),
        *((name.capitalize(), _table(checks)) for name, checks in tables.items()),
    ]
    return page.document("Are the data fit to train on?", page.contents(sections))


def _table(checks: Sequence[Check]) -> str:
    # what is not met comes first, and what blocks before what does not
    ordered = sorted(checks, key=lambda check: (check.met, not check.blocks))
    overview = page.table(
        ("what is expected", "came out", "not met", "rows", "if not met", "column"),
        [
            (
                check.meaning,
                check.verdict,
                float("nan") if check.rows is None else len(check.failing),
                float("nan") if check.rows is None else check.rows,
                "blocks" if check.blocks else "warns",
                check.column,
            )
            for check in ordered
        ],
    )
    return overview + "".join(_failing(check) for check in ordered if not check.met)


def _failing(check: Check) -> str:
    if not check.failing:
        return page.paragraph(f"{check.meaning}: {check.column} {check.expectation}.")
    listed = page.table(
        ("video", check.column),
        check.failing[:_LISTED],
        caption=f"Not as expected: {check.meaning} ({check.column} {check.expectation})",
    )
    more = len(check.failing) - _LISTED
    return listed + (page.paragraph(f"{more:,} more are not listed.") if more > 0 else "")


def values(rows: Iterable[tuple[object, object]]) -> tuple[tuple[str, str], ...]:
    """Videos and values as the page shows them, in an order that does not depend on theirs."""
    return tuple(sorted((_shown(video), _shown(value)) for video, value in rows))


def _shown(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
