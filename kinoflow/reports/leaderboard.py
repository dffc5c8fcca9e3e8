"""What the candidates scored and which one won, read back from reports/."""

from typing import Any

from kinoflow import config
from kinoflow.system import files
from kinoflow.workspace import Workspace

Row = dict[str, Any]


def rows(workspace: Workspace) -> list[Row]:
    """One row per evaluated candidate of params.yaml, the best on validation first; or none.

    A report that a kill left half-written is none, and neither is that of a candidate which
    params.yaml no longer has: it may be of other data.

    Keys: candidate, val_accuracy, test_accuracy, test_low, test_high (95% interval), f1 (macro,
    test), parameters, size_mb, latency_ms (a clip), train_seconds, winner (bool).

    Raises UserError for reports whose params.yaml is missing or not valid.
    """
    reports = {
        path.parent.name: path.parent
        for path in (workspace.reports).glob("*/metrics.json")
        if path.with_name("timing.json").exists()
    }
    # what has no reports need not have params either
    candidates = config.load(workspace.params).candidates if reports else {}
    winner = _selection(workspace).get("winner")
    found = []
    for name in sorted(reports.keys() & candidates.keys()):
        report = reports[name]
        metrics = files.read_json(report / "metrics.json")
        timing = files.read_json(report / "timing.json")
        found.append(
            {
                "candidate": name,
                "val_accuracy": metrics["val"]["accuracy"],
                "test_accuracy": metrics["test"]["accuracy"],
                "test_low": metrics["test"].get("accuracy_low"),
                "test_high": metrics["test"].get("accuracy_high"),
                "f1": metrics["test"]["f1"],
                "parameters": metrics["parameters"],
                "size_mb": metrics["size_mb"],
                "latency_ms": timing["latency_ms"],
                "train_seconds": timing["train_seconds"],
                "winner": name == winner,
            }
        )
    return sorted(found, key=lambda row: (-row["val_accuracy"], row["candidate"]))


def reason(workspace: Workspace) -> str:
    """Why the winner won, in a sentence; empty before there is one."""
    return str(_selection(workspace).get("reason", ""))


def caution(workspace: Workspace) -> str:
    """What to say beside scores from a random split, in a sentence; empty for any other."""
    path = workspace.validation
    if not path.exists() or files.read_json(path).get("split") != "random":
        return ""
    return (
        "These scores are from a random split: clips of one recording stand in training and in "
        "test, so they are inflated, and comparable with published ones of the same kind alone."
    )


def table(workspace: Workspace) -> str:
    """The rows as text for a terminal, the winner marked, and what is to be said below."""
    head = (
        "candidate", "val acc", "test acc", "95% interval", "macro F1",
        "parameters", "MB", "ms/clip", "train s",
    )  # fmt: skip
    lines = [head]
    for row in rows(workspace):
        interval = (
            f"{row['test_low']:.3f}-{row['test_high']:.3f}" if row["test_low"] is not None else ""
        )
        lines.append(
            (
                ("* " if row["winner"] else "  ") + row["candidate"],
                f"{row['val_accuracy']:.3f}",
                f"{row['test_accuracy']:.3f}",
                interval,
                f"{row['f1']:.3f}",
                f"{row['parameters']:,}",
                f"{row['size_mb']:.2f}",
                f"{row['latency_ms']:.1f}",
                f"{row['train_seconds']:.0f}",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    ]
    notes = [note for note in (reason(workspace), caution(workspace)) if note]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", *notes])


def _selection(workspace: Workspace) -> dict[str, Any]:
    path = workspace.winner
    return files.read_json(path) if path.exists() else {}
