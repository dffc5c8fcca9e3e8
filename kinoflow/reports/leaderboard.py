"""The table of what all candidates scored and which one won, from the documents in reports/."""

import io
from typing import TYPE_CHECKING, Any

from kinoflow import config
from kinoflow.reports.records import Metrics, Timing, Verdict, Winner
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]

# rich cuts lines at the terminal's width, and where there is no terminal at 80 characters
_WIDTH = 10_000
# only dashes below the heading; rich takes a box as eight lines
_RULE_BELOW_HEADING = "\n".join(["    ", "    ", "----", *["    "] * 5]) + "\n"


def rows(workspace: Workspace) -> list[Row]:
    """One row per evaluated candidate of params.yaml, the best on validation first.

    Incomplete reports of a killed evaluation are left out. So are reports of candidates that
    params.yaml no longer has, since they may come from other data.

    Keys: candidate, val_accuracy, test_accuracy, test_low, test_high (95% interval), f1 (macro,
    test), parameters, size_mb, latency_ms (of one clip), train_seconds, winner (bool).

    Raises UserError for a report that cannot be read, and, if there are reports, for a params.yaml
    that is missing or not valid.
    """
    reports = {
        path.parent.name: path.parent
        for path in workspace.reports.glob("*/metrics.json")
        if path.with_name("timing.json").exists()
    }
    # a folder without reports need not have params.yaml either
    candidates = config.load(workspace.params).candidates if reports else {}
    winner = _winner(workspace)
    found = [
        _row(
            name,
            Metrics.read(reports[name] / "metrics.json"),
            Timing.read(reports[name] / "timing.json"),
            wins=winner is not None and winner.winner == name,
        )
        for name in reports.keys() & candidates.keys()
    ]
    return sorted(found, key=lambda row: (-row["val_accuracy"], row["candidate"]))


def reason(workspace: Workspace) -> str:
    """Why the winner won, in a sentence; empty if there is no winner yet."""
    winner = _winner(workspace)
    return winner.reason if winner else ""


def caution(workspace: Workspace) -> str:
    """A warning to show beside scores from a random split; empty for any other split."""
    path = workspace.validation
    if not path.exists() or Verdict.read(path).split != "random":
        return ""
    return (
        "These scores are from a random split: clips of one recording are in training and in test. "
        "So the scores are inflated, and comparable only with published ones of the same kind."
    )


def table(workspace: Workspace) -> str:
    """The rows as plain text, with a star at the winner; then why it won, and the caution."""
    return _text(rows(workspace), _notes(workspace))


def show(workspace: Workspace) -> None:
    """Print the table; on a terminal with the winner in bold, and set closer if it is narrow.

    Raises UserError if no candidate is evaluated yet.
    """
    from rich.console import Console

    found = rows(workspace)
    if not found:
        raise UserError("nothing is evaluated yet: run `make repro`")
    notes = _notes(workspace)
    console, wide = Console(highlight=False, markup=False), Console(width=_WIDTH)
    if not console.is_terminal:
        print(_text(found, notes))
        return
    grid = _grid(found)
    if wide.measure(grid).maximum > console.width:
        grid = _grid(found, narrow=True)
    wide.print(grid, highlight=False)
    for note in notes:
        console.print(f"\n{note}")


def _text(rows: list[Row], notes: list[str]) -> str:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, color_system=None, width=_WIDTH).print(_grid(rows))
    return "\n".join([text.getvalue(), *notes])


def _winner(workspace: Workspace) -> Winner | None:
    return Winner.read(workspace.winner) if workspace.winner.exists() else None


def _row(name: str, metrics: Metrics, timing: Timing, *, wins: bool) -> Row:
    return {
        "candidate": name,
        "val_accuracy": metrics.val.accuracy,
        "test_accuracy": metrics.test.accuracy,
        "test_low": metrics.test.accuracy_low,
        "test_high": metrics.test.accuracy_high,
        "f1": metrics.test.f1,
        "parameters": metrics.parameters,
        "size_mb": metrics.size_mb,
        "latency_ms": timing.latency_ms,
        "train_seconds": timing.train_seconds,
        "winner": wins,
    }


def _notes(workspace: Workspace) -> list[str]:
    return [note for note in (reason(workspace), caution(workspace)) if note]


def _grid(rows: list[Row], *, narrow: bool = False) -> "Table":
    from rich.box import Box
    from rich.table import Table

    columns = {
        "candidate": [("* " if row["winner"] else "  ") + row["candidate"] for row in rows],
        "val acc": [f"{row['val_accuracy']:.3f}" for row in rows],
        "test acc": [f"{row['test_accuracy']:.3f}" for row in rows],
        "95% interval": [f"{row['test_low']:.3f}-{row['test_high']:.3f}" for row in rows],
        "macro F1": [f"{row['f1']:.3f}" for row in rows],
        "parameters": [f"{row['parameters']:,}" for row in rows],
        "MB": [f"{row['size_mb']:.2f}" for row in rows],
        "ms/clip": [f"{row['latency_ms']:.1f}" for row in rows],
        "train s": [f"{row['train_seconds']:.0f}" for row in rows],
    }
    grid = Table(
        box=Box(_RULE_BELOW_HEADING),
        show_edge=False,
        pad_edge=False,
        # the box adds a space of its own between two columns
        padding=(0, 0 if narrow else 1, 0, 0),
        header_style="",
    )
    for heading in columns:
        shown = heading.replace(" ", "\n") if narrow else heading
        grid.add_column(shown, justify="left" if heading == "candidate" else "right", no_wrap=True)
    for row, cells in zip(rows, zip(*columns.values(), strict=True), strict=True):
        grid.add_row(*cells, style="bold" if row["winner"] else "")
    return grid
