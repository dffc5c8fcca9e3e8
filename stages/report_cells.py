"""What tables of the page are made of."""

from typing import NamedTuple


class Cell(NamedTuple):
    """A cell of a sortable table."""

    text: str
    key: float | str  # what the table is sorted by
    note: str = ""


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    text = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text
