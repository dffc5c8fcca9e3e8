"""The table of what all candidates scored and which one won, from the documents in reports/."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinoflow import config
from kinoflow.reports.records import Metrics, Refit, Timing, Verdict, Winner
from kinoflow.system import locks
from kinoflow.system.dvc_lock import DvcLock
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]

# rich cuts lines at the terminal's width, and where there is no terminal at 80 characters
_WIDTH = 10_000
# only dashes below the heading; rich takes a box as eight lines
_RULE_BELOW_HEADING = "\n".join(["    ", "    ", "----", *["    "] * 5]) + "\n"


@dataclass(frozen=True)
class Results:
    """What is known of the candidates of params.yaml so far.

    Incomplete reports of a killed evaluation are left out. So are reports of candidates that
    params.yaml no longer has, since they may come from other data.
    """

    # One per evaluated candidate, the best on validation first; those that dvc.lock says were made
    # with other data, settings or code than there are now come last. Keys: candidate,
    # val_accuracy, test_accuracy, test_low, test_high (95% interval), f1 (macro, test),
    # parameters, size_mb, latency_ms (of one clip), train_seconds, folds (how many the scores come
    # from, None if from the split), winner (bool), changed (what differs now: a file or the key of
    # a setting; "" if nothing does).
    rows: list[Row]
    winner: Winner | None  # None as well if something has changed since it was chosen
    missing: list[str]  # candidates without scores, in the order of params.yaml


def results(workspace: Workspace) -> Results:
    """Read the reports of a work tree, also while the pipeline runs in it.

    Raises UserError for a report that cannot be read, and, if there are reports, for a params.yaml
    that is missing or not valid.
    """
    try:
        candidates = config.load(workspace.params).candidates
    except (FileNotFoundError, UserError):
        # a folder without reports need not have a params.yaml that is valid either
        if any(workspace.reports.glob("*/metrics.json")):
            raise
        return Results([], None, [])
    lock = DvcLock(workspace.root)
    rows, missing = [], []
    for name in candidates:
        try:
            rows.append(_row(workspace, lock, name))
        except FileNotFoundError:
            missing.append(name)
    winner = None
    if not any(row["changed"] for row in rows) and not _change(lock, "select", workspace.winner):
        with contextlib.suppress(FileNotFoundError):
            winner = Winner.read(workspace.winner)
    for row in rows:
        row["winner"] = winner is not None and winner.winner == row["candidate"]
    rows.sort(key=lambda row: (row["changed"] != "", -row["val_accuracy"], row["candidate"]))
    return Results(rows, winner, missing)


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
    """The results as plain text, with a star at the winner; then why it won, and what to heed."""
    found = results(workspace)
    return _text(found.rows, _notes(workspace, found))


def show(workspace: Workspace) -> None:
    """Print the table; on a terminal with the winner in bold, and set closer if it is narrow.

    Raises UserError if no candidate is evaluated yet.
    """
    from rich.console import Console

    found = results(workspace)
    if not found.rows:
        if locks.is_held(workspace.lock("data")):
            raise UserError(f"nothing is evaluated yet. {_unfinished(workspace, found)}")
        raise UserError("nothing is evaluated yet: run `make repro`")
    notes = _notes(workspace, found)
    console, wide = Console(highlight=False, markup=False), Console(width=_WIDTH)
    if not console.is_terminal:
        print(_text(found.rows, notes))
        return
    grid = _grid(found.rows)
    if wide.measure(grid).maximum > console.width:
        grid = _grid(found.rows, narrow=True)
    wide.print(grid, highlight=False)
    for note in notes:
        console.print(f"\n{note}")


def _text(rows: list[Row], notes: list[str]) -> str:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, color_system=None, width=_WIDTH).print(_grid(rows))
    return "\n".join([text.getvalue(), *notes])


def _row(workspace: Workspace, lock: DvcLock, name: str) -> Row:
    """The row of a candidate; raises FileNotFoundError if its report is not there, or not whole."""
    path = workspace.report(name) / "metrics.json"
    stages = (f"evaluate@{name}", f"evaluate_student@{name}")
    changed = _change(lock, stages[stages[1] in lock], path)
    # in a run DVC may delete a report at any time
    metrics, timing = Metrics.read(path), Timing.read(path.with_name("timing.json"))
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
        "folds": metrics.folds,
        "winner": False,
        "changed": changed,
    }


def _change(lock: DvcLock, stage: str, output: Path) -> str:
    """What has changed since a stage made this file of reports/; "" if nothing has."""
    return lock.change(stage, [output]) or ""


def _mark(row: Row) -> str:
    if row["changed"]:
        return "~"
    return "*" if row["winner"] else " "


def _notes(workspace: Workspace, found: Results) -> list[str]:
    notes = [found.winner.reason] if found.winner else []
    notes.append(_refit(workspace, found))
    notes.append(_folds(found))
    notes.append(caution(workspace))
    if changes := {row["candidate"]: row["changed"] for row in found.rows if row["changed"]}:
        why = ", ".join(f"{name} ({change})" for name, change in changes.items())
        notes.append(f"~ scored before something changed: {why}.")
    notes.append(_unfinished(workspace, found))
    return [note for note in notes if note]


def _folds(found: Results) -> str:
    """How scores from folds are to be read; "" if there are none."""
    folds = max((row["folds"] or 0 for row in found.rows), default=0)
    if not folds:
        return ""
    return (
        f"Test scores are from {folds} folds: they are of all clips, each answered by a model that "
        "was trained without its recording."
    )


def _refit(workspace: Workspace, found: Results) -> str:
    """What the winner was trained on before it was packaged; "" if it was not trained again."""
    path = workspace.refit_record
    if not found.winner or not path.exists() or _change(DvcLock(workspace.root), "refit", path):
        return ""
    record = Refit.read(path)
    if record.candidate != found.winner.winner:
        return ""
    scored = "; no clips are left to test it on"
    if test := record.test:
        low, high = test.accuracy_low, test.accuracy_high
        scored = f"; its test accuracy is {test.accuracy:.3f} ({low:.3f} to {high:.3f})"
    return (
        f"{record.candidate} is packaged as trained once more, for {record.epochs} epochs on the "
        f"{record.clips} clips of train and val{scored}."
    )


def _unfinished(workspace: Workspace, found: Results) -> str:
    """Which candidates have no scores yet, and whether a run is at work; "" if nothing is left."""
    left = [*(row["candidate"] for row in found.rows if row["changed"]), *found.missing]
    if not left:
        return ""
    training = [name for name in left if locks.is_held(workspace.lock(f"train-{name}"))]
    listed = ", ".join(f"{name} (in training)" if name in training else name for name in left)
    if training or locks.is_held(workspace.lock("data")):
        return f"Still to come: {listed}."
    return f"Not up to date: {listed}; run `make repro`."


def _grid(rows: list[Row], *, narrow: bool = False) -> "Table":
    from rich.box import Box
    from rich.table import Table

    columns = {
        "candidate": [f"{_mark(row)} {row['candidate']}" for row in rows],
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
