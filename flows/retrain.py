"""Retraining as a Prefect flow: bring the data, run the pipeline, report the results.

`python -m flows.retrain` runs it once. If Prefect's settings name no server, it starts one, unless
there is nothing to do. Each stage that runs becomes a task run with its own log. A stage that fails
ends the run with the stage's own message. Two runs in one folder never overlap.
"""

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.exceptions import FailedRun
from prefect.flows import Flow
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows import artifacts, dvc, idle, promote, server, stage_runs
from flows import reproduce as reproducing
from flows.notifying import notify
from kinoflow import config
from kinoflow.system import locks
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import GRACE
from kinoflow.workspace import Workspace, run

_DELAYS: list[float] = [10, 30, 90]  # seconds from one try to the next
_POLL = 0.5


def _may_pass(error: BaseException) -> bool:
    """Whether a run failed of something that may pass by itself, such as a network."""
    return isinstance(error, dvc.StageFailed) and error.may_pass


def _task_may_pass(tried: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and _may_pass(error)


@task(
    task_run_name="download",
    cache_policy=NO_CACHE,
    retries=len(_DELAYS),
    retry_delay_seconds=_DELAYS,
    retry_jitter_factor=0.5,
    retry_condition_fn=_task_may_pass,
)
def download(workspace: Workspace, limit_s: float) -> str:
    """Bring the data up to date with their source; returns what the stage said last."""
    lines = [""]

    def say(line: str) -> None:
        lines.append(line)
        get_run_logger().info(line)

    dvc.stage("download", say, workspace, stage_runs.within("download", limit_s))
    return lines[-1]


def reproduce(workspace: Workspace, limit_s: float) -> bool:
    """Run the stages whose data, code or settings have changed; returns whether any had.

    No task, since Prefect takes back the task runs of stages if one around them fails.
    """
    for delay in _DELAYS:
        try:
            return _reproduce(workspace, limit_s)
        except dvc.StageFailed as failure:
            if not _may_pass(failure):
                raise
            get_run_logger().warning("%s; trying again in %d s", failure, delay)
            _pause(delay)
    return _reproduce(workspace, limit_s)


def _reproduce(workspace: Workspace, limit_s: float) -> bool:
    stages = stage_runs.Stages(stage_runs.names(workspace), limit_s)
    progress = artifacts.Progress(len(stages.names))

    def show(ended: stage_runs.Ended) -> None:
        if ended.name == "validate":
            artifacts.validation(workspace)
        progress.advance(ended)

    stages.on_end = show
    try:
        with stage_runs.shown(stages):
            reproducing.reproduce(stages.hear, workspace, watch=stages.watch)
        if stages.changed:
            progress.show("all are up to date")
    finally:
        if stages.changed:
            artifacts.stages(stages)
    return stages.changed


def _pause(seconds: float) -> None:
    """Sleep; handlers of signals run meanwhile, also for one that another thread gets."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(_POLL, left))


@task(task_run_name="results", cache_policy=NO_CACHE)
def report(workspace: Workspace) -> str:
    """Publish all candidates, why the winner won and where the page is; returns why it won."""
    reason = artifacts.results(workspace)
    get_run_logger().info(reason)
    return reason


def _notify(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell those who are to hear of failures."""
    try:
        settings = config.load(Workspace().params).notify
    except (OSError, UserError):  # then that is what the run failed of
        settings = config.Notify()
    notify("failure", f"Retraining {flow_run.name}: {state.name}", state.message or "", settings)


@flow(name="retrain", on_failure=[_notify], on_crashed=[_notify])
def retrain() -> State[None]:
    """Bring new data, retrain what they change, report, and promote what is better.

    It runs in the working folder, and has no parameters on purpose: a user who may start it on a
    server must not be able to choose another folder or command.
    """
    workspace = Workspace()
    logging.getLogger("prefect.task_runs").addFilter(_without_traceback)
    _end_with_worker()
    say = get_run_logger().warning
    try:
        settings = config.load(workspace.params)
        limit_s = settings.retrain.stage_timeout_s
        with locks.held(workspace.lock("retrain"), "retraining", say):
            artifacts.data(workspace, download(workspace, limit_s))
            if reproduce(workspace, limit_s):
                outcome = report(workspace)
            else:
                outcome = idle.nothing_new(workspace)
                get_run_logger().info(outcome)
        # outside the lock: a person may take days to decide. Also if nothing is new, since the run
        # before may have been killed just here.
        if workspace.bento.exists():
            promote.after_retraining(workspace, settings)
    except (dvc.StageFailed, UserError, FailedRun) as failure:
        return Failed(message=str(failure))
    return Completed(message=outcome)


def _end_with_worker() -> None:
    """End this run when the worker that started it is killed: nobody could cancel it any more."""
    if not os.environ.get("PREFECT__FLOW_RUN_ID"):
        return  # started by hand
    worker = os.getppid()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(_POLL)
        os.kill(os.getpid(), signal.SIGTERM)
        # if the server is gone as well, Prefect tries to reach it for minutes
        time.sleep(2 * GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _without_traceback(record: logging.LogRecord) -> bool:
    """Filter of a log: remove the traceback of a failed stage, which is no bug of the flow."""
    if record.exc_info and isinstance(record.exc_info[1], dvc.StageFailed | UserError):
        record.exc_info = None
    return True


def main(workspace: Workspace) -> None:
    if server.is_known():
        state = retrain(return_state=True)
        if not state.is_completed():
            raise UserError(state.message or state.name or "")
        outcome = state.message
    elif idle.is_idle(workspace):
        outcome = idle.nothing_new(workspace)
    else:
        sys.exit(server.run_beside("flows.retrain"))
    from kinoflow.reports import leaderboard

    print(leaderboard.table(workspace))
    print(outcome)


if __name__ == "__main__":
    run(main)
