"""Run what is out of date in the pipeline: `python -m flows.reproduce`, which `make repro` calls.

DVC runs one stage after another. With `compute.parallel` above 1 in params.yaml, several
candidates are trained and scored side by side.
"""

import contextlib
import queue
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from flows import dvc
from kinoflow import config
from kinoflow.system import locks
from kinoflow.system.dvc_lock import DvcLock
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

# stages after which each candidate can be trained, and the stages that each candidate has
BEFORE = ("validate", "architectures")
OF_CANDIDATES = ("train", "crossvalidate", "evaluate")


def reproduce(say: dvc.Say | None, workspace: Workspace, targets: Sequence[str] = ()) -> None:
    """Run the stages that are out of date; other runs that would change the same data wait.

    Args:
        say: called with each line of output as soon as it is printed. Lines of candidates that run
            side by side begin with the candidate's name. None: output goes where that of this
            process goes.
        workspace: the work tree to run in.
        targets: stages to run with all that come before them; without any, all stages.

    Raises StageFailed with what the failing stage said, once everything else has been ended, and
    UserError for a params.yaml that is not valid.
    """
    with locks.held(workspace.lock("data"), "running the pipeline"):
        if (limit := side_by_side(config.load(workspace.params))) > 1:
            dvc.repro(say, workspace, BEFORE)
            names = outdated(workspace)
            if len(names) > 1:
                _run_side_by_side(names, limit, say or _print, workspace)
        dvc.repro(say, workspace, targets)


def side_by_side(params: config.Params) -> int:
    """How many candidates to run at a time.

    Only one if there is a limit on latency: beside another training, latency measures high.
    """
    return 1 if params.selection.max_latency_ms is not None else params.compute.parallel


def outdated(workspace: Workspace) -> list[str]:
    """The candidates that are to be trained or scored, in the order of params.yaml."""
    lock = DvcLock(workspace.root)

    def is_done(name: str) -> bool:
        stage = f"evaluate@{name}"
        made = workspace.bundle(name), workspace.report(name) / "metrics.json"
        return stage in lock and lock.change(stage) is None and all(path.exists() for path in made)

    return [name for name in config.load(workspace.params).candidates if not is_done(name)]


def _run_side_by_side(names: list[str], limit: int, say: dvc.Say, workspace: Workspace) -> None:
    """Train and score these candidates, at most `limit` of them at a time."""
    output: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    waiting, running = list(names), dict[str, subprocess.Popen[str]]()
    said: dict[str, list[str]] = {name: [] for name in names}
    width = max(map(len, names))
    with contextlib.ExitStack() as processes:
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    name = waiting.pop(0)
                    process = processes.enter_context(
                        dvc.started(_command(name), workspace, piped=True)
                    )
                    running[name] = process
                    threading.Thread(
                        target=_forward, args=(name, process.stdout, output), daemon=True
                    ).start()
                name, line = output.get()
                if line is not None:
                    said[name].append(line)
                    say(f"{name:<{width}} | {line}")
                elif code := running.pop(name).wait():
                    raise dvc.StageFailed(dvc.reason(name, said[name], code))
        finally:
            # all at once; leaving the block then waits for one after the other
            for process in running.values():
                assert process.stdin is not None
                process.stdin.close()


def _command(name: str) -> list[str]:
    # --single-item: without what comes before, which DVC would keep this candidate from looking at
    # while another one reads it
    return dvc.command("--single-item", *(f"{stage}@{name}" for stage in OF_CANDIDATES))


def _forward(
    name: str, stream: IO[str], output: "queue.SimpleQueue[tuple[str, str | None]]"
) -> None:
    """Put each line of a stream into a queue with a name, and None at its end."""
    for line in map(str.rstrip, stream):
        if line:
            output.put((name, line))
    output.put((name, None))


def _print(line: str) -> None:
    print(line, flush=True)


def main(workspace: Workspace) -> None:
    try:
        reproduce(None, workspace)
    except dvc.StageFailed as failure:
        raise UserError(str(failure)) from None


if __name__ == "__main__":
    run(main)
