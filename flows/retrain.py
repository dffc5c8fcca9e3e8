"""Retraining as a Prefect flow: bring the data, run the pipeline, report the results.

`python -m flows.retrain` runs it once. Each line that the pipeline prints becomes a line of the
run's log. A stage that fails ends the run with the stage's own message. Two runs never overlap.
"""

import contextlib
import logging
import platform
import sys
from collections.abc import Iterator
from typing import Any

from prefect import State, flow, get_client, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency
from prefect.exceptions import FailedRun, ObjectAlreadyExists
from prefect.states import Failed

from flows import dvc, server
from flows import reproduce as reproducing
from kinoflow.reports import leaderboard
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

LIMIT = "retrain"

# Seconds until a run that was killed with SIGKILL no longer blocks others: the least that Prefect
# allows.
_LEASE = 60.0
_NO_WINNER = "No winner: code or settings were changed while they were in use. Run it again."


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def refresh(workspace: Workspace) -> None:
    """Bring the data up to date with their source."""
    dvc.stage("download", get_run_logger().info, workspace)


@task(cache_policy=NO_CACHE)
def reproduce(workspace: Workspace) -> None:
    """Run the stages whose data, code or parameters have changed."""
    reproducing.reproduce(get_run_logger().info, workspace)


@task(cache_policy=NO_CACHE)
def report(workspace: Workspace) -> None:
    """Publish all candidates, why the winner won and where the page is, as artifacts."""
    found = leaderboard.results(workspace)
    reason = found.winner.reason if found.winner else _NO_WINNER
    create_table_artifact(
        key="retrain-candidates",
        table=[{name: _rounded(value) for name, value in row.items()} for row in found.rows],
        description="All candidates, the best on validation first.",
    )
    page = workspace.page.resolve()
    about = _about_winner(found.rows, reason)
    if page.exists():
        # browsers follow no link from a server's page to a file, so the path is there to copy
        about += f"\nThe page over everything: `{page}`\n"
        create_link_artifact(
            key="retrain-page",
            link=page.as_uri(),
            link_text=workspace.page.as_posix(),
            description=f"The page over everything, on {platform.node()}: {page}",
        )
    create_markdown_artifact(key="retrain-winner", markdown=about, description=reason)
    get_run_logger().info(reason)


@flow(name="retrain")
def retrain() -> State[None] | None:
    """Bring new data, retrain what they change, and report.

    It runs in the working folder, and has no parameters on purpose: a user who may start it on a
    server must not be able to choose another folder or command.
    """
    workspace = Workspace()
    logging.getLogger("prefect.task_runs").addFilter(_without_traceback)
    with _one_at_a_time():
        try:
            refresh(workspace)
            reproduce(workspace)
            report(workspace)
        except dvc.StageFailed as failure:
            return Failed(message=str(failure))
    return None


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait until no other retraining runs, and let none start before the block ends."""
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.upsert_global_concurrency_limit_by_name(LIMIT, limit=1)
        if client.read_global_concurrency_limit_by_name(LIMIT).active_slots:
            get_run_logger().warning(
                "another retraining is running: waiting until it has ended. One that was killed "
                "outright counts for a minute longer."
            )
    with concurrency(
        LIMIT,
        lease_duration=_LEASE,
        strict=True,
        # A server that does not answer for a minute is no reason to lose a night of training, and
        # DVC's own locks still keep two runs off the same files.
        raise_on_lease_renewal_failure=False,
    ):
        yield


def _without_traceback(record: logging.LogRecord) -> bool:
    """Filter of a log: remove the traceback of a failed stage, which is no bug of the flow."""
    if record.exc_info and isinstance(record.exc_info[1], dvc.StageFailed):
        record.exc_info = None
    return True


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _about_winner(rows: list[leaderboard.Row], reason: str) -> str:
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


def main(workspace: Workspace) -> None:
    if not server.is_known():
        sys.exit(server.run_beside("flows.retrain"))
    state = retrain(return_state=True)
    try:
        state.result()
    except FailedRun as failure:
        raise UserError(str(failure)) from None
    print(leaderboard.table(workspace))


if __name__ == "__main__":
    run(main)
