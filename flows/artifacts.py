"""What a retraining shows in Prefect beside its log: data, verdict, progress, scores, pages.

A server that does not answer is no reason to lose a night of training, so what cannot be shown is
left out.
"""

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from flows.stage_runs import Ended, Stages
from kinoflow.system import documents, terminal
from kinoflow.workspace import Workspace

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~&-])")
# characters that turn the direction of the text around them, also of what follows a name
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_NO_WINNER = "No winner: code or settings were changed while they were in use. Run it again."

T = TypeVar("T")


def data(workspace: Workspace, summary: str) -> None:
    """Publish what data came.

    Args:
        workspace: the work tree.
        summary: what the stage `download` said last.
    """
    lines = [_text(summary)]
    if workspace.data_dvc.exists():
        pin = documents.read_yaml(workspace.data_dvc)["outs"][0]
        lines += ["", f"Pinned as `{pin.get('md5')}`, {pin.get('size', 0) / 1e6:,.1f} MB."]
    _publish(create_markdown_artifact, "retrain-data", markdown="\n".join(lines))


def validation(workspace: Workspace) -> None:
    """Publish the verdict of the stage `validate`, and where its page is."""
    from kinoflow.reports.records import Verdict

    if not workspace.validation.exists():
        return
    verdict = Verdict.read(workspace.validation)
    page = (workspace.validation_site / "index.html").resolve()
    head = "The data passed" if verdict.passed else "The data did not pass: nothing is trained"
    counts = f"Failures: {len(verdict.failures)}, warnings: {len(verdict.warnings)}."
    lines = [f"# {head}", "", f"{counts} Method of the split: `{verdict.split}`.", ""]
    for kind, findings in (("Failures", verdict.failures), ("Warnings", verdict.warnings)):
        if findings:
            lines += [f"## {kind}", "", *(f"- {_text(str(one))}" for one in findings), ""]
    lines += [f"Data Docs: `{page}`"]
    _publish(
        create_markdown_artifact,
        "retrain-validation",
        markdown="\n".join(lines),
        description=f"{head}. {counts}",
    )
    _publish_page("retrain-data-docs", page, "Data Docs: every check of the data")


class Progress:
    """How many of the stages are done, as a bar.

    Args:
        total: how many stages there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: UUID | None = None
        self._silent = False  # the server did not answer: asking it each time would take minutes

    def advance(self, ended: Ended) -> None:
        """Count a stage that has ended."""
        self._done += ended.outcome not in ("failed", "cancelled")
        # unchanged ones come in dozens, just before one that runs
        if ended.outcome != "unchanged":
            self.show(f"the last one was {ended.name}, {ended.outcome}")

    def show(self, about: str) -> None:
        """Show the bar as it is now, and a few words."""
        if self._silent:
            return
        percent = 100 * self._done / max(self._total, 1)
        about = f"{self._done} of {self._total} stages; {about}"
        if self._bar is None:
            created = _publish(
                create_progress_artifact, "retrain-progress", progress=percent, description=about
            )
            self._bar = created if isinstance(created, UUID) else None
            self._silent = self._bar is None
        else:
            bar = self._bar
            self._silent = not _reached(
                lambda: update_progress_artifact(bar, percent, description=about)
            )


def stages(seen: Stages) -> None:
    """Publish which stages ran, for how long, and which had not changed."""
    table = [
        {"stage": name, "outcome": outcome, "seconds": round(seconds, 1)}
        for name, outcome, seconds in seen.ended.values()
    ]
    _publish(
        create_table_artifact,
        "retrain-stages",
        table=table,
        description="The stages, in the order in which DVC was through with them.",
    )


def results(workspace: Workspace) -> str:
    """Publish all candidates, why the winner won and where the page is. Returns why it won."""
    from kinoflow.reports import leaderboard

    found = leaderboard.results(workspace)
    reason = found.winner.reason if found.winner else _NO_WINNER
    _publish(
        create_table_artifact,
        "retrain-candidates",
        table=[{name: _rounded(value) for name, value in row.items()} for row in found.rows],
        description="All candidates, the best on validation first.",
    )
    page = workspace.page.resolve()
    about = _about_winner(found.rows, reason)
    if page.exists():
        # browsers follow no link from a server's page to a file, so the path is there to copy
        about += f"\nThe page over everything: `{page}`\n"
        _publish_page("retrain-page", page, "The page over everything")
    _publish(create_markdown_artifact, "retrain-winner", markdown=about, description=reason)
    return reason


def _publish_page(key: str, page: Path, what: str) -> None:
    _publish(
        create_link_artifact,
        key,
        link=page.as_uri(),
        link_text="/".join(page.parts[-2:]),
        description=f"{what}, on {platform.node()}: {page}",
    )


def _publish(create: Callable[..., T], key: str, **content: Any) -> T | None:
    """Create an artifact; None if the server cannot be reached."""
    created: list[T] = []
    _reached(lambda: created.append(create(key=key, **content)))
    return created[0] if created else None


def _reached(call: Callable[[], object]) -> bool:
    """Call the server; whether it answered."""
    try:
        call()
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning(f"the Prefect server cannot be reached: {error}")
        return False
    return True


def _text(text: str) -> str:
    """A text that may hold anything, so that Markdown shows it as it is, on one line."""
    line = _DIRECTION.sub("\N{REPLACEMENT CHARACTER}", terminal.printable(" ".join(text.split())))
    return _MARKDOWN.sub(r"\\\1", line)


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _about_winner(rows: list[dict[str, Any]], reason: str) -> str:
    winner = next((row for row in rows if row["winner"]), None)
    if winner is None:
        return reason
    facts = {
        "validation accuracy": f"{winner['val_accuracy']:.3f}",
        "test accuracy": (
            f"{winner['test_accuracy']:.3f} "
            f"(95% interval {winner['test_low']:.3f} to {winner['test_high']:.3f})"
        ),
        "test macro F1": f"{winner['f1']:.3f}",
        "parameters": f"{winner['parameters']:,}",
        "size": f"{winner['size_mb']:.2f} MB",
        "latency": f"{winner['latency_ms']:.1f} ms per clip",
        "training": f"{winner['train_seconds']:.0f} s",
    }
    lines = [f"# {winner['candidate']}", "", reason, "", "| | |", "|---|---:|"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in facts.items()]) + "\n"
