"""Run what is out of date in the pipeline: `python -m flows.reproduce`, which `make repro` calls.

DVC runs one stage after another. With `compute.parallel` above 1 in params.yaml, several
candidates are trained and scored side by side. With `compute.dask_address` the workers of that Dask
cluster train and score them.
"""

import contextlib
import queue
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flows import candidate, cluster, dvc
from kinoflow import config
from kinoflow.system import dvc_rwlock, files, locks
from kinoflow.system.dvc_lock import DvcLock
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import take, unwatched, wait
from kinoflow.workspace import Workspace, run

# locks of what runs the pipeline, and not of a stage
_AROUND = ("retrain", "schedule", "recipe")

# stages after which each candidate can be trained, and the stages that each candidate has
BEFORE = ("validate", "architectures", "restyle")
OF_CANDIDATES = ("train", "crossvalidate", "evaluate")
# the same of students: their teachers come before them
BEFORE_STUDENTS = ("teach", "unlabelled")
OF_STUDENTS = ("train_student", "crossvalidate_student", "evaluate_student")


def reproduce(
    say: dvc.Say | None,
    workspace: Workspace,
    targets: Sequence[str] = (),
    watch: dvc.Watch = unwatched,
) -> None:
    """Run the stages that are out of date; other runs that would change the same data wait.

    Args:
        say: called with each line of output as soon as it is printed. Lines of candidates that run
            side by side begin with the candidate's name. None: output goes where that of this
            process goes.
        workspace: the work tree to run in.
        targets: stages to run with all that come before them; without any, all stages.
        watch: called about twice a second; what it raises ends the run.

    Raises StageFailed with what the failing stage said, once everything else has been ended, and
    UserError for a params.yaml that is not valid.
    """
    with locks.held(workspace.lock("data"), "running the pipeline", say or _complain):
        _wait_for_workers(workspace)
        sweep(workspace)
        params = config.load(workspace.params)
        address, limit = params.compute.dask_address, side_by_side(params)
        if address or limit > 1:
            several: list[tuple[Sequence[str], Sequence[str]]] = [(BEFORE, OF_CANDIDATES)]
            if params.students:
                several.append((BEFORE_STUDENTS, OF_STUDENTS))
            for before, stages in several:
                dvc.repro(say, workspace, before, watch)
                names = outdated(workspace, stages)
                if address and names:
                    given = on_workers(params, stages)
                    cluster.run_candidates(names, given, say or _print, workspace, address, watch)
                elif len(names) > 1:
                    _run_side_by_side(names, stages, limit, say or _print, workspace, watch)
        dvc.repro(say, workspace, targets, watch)


def sweep(workspace: Workspace) -> None:
    """Delete what killed stages left half-written or locked, unless a stage may be running.

    Whoever calls this holds the lock `data`.
    """
    other_locks = set(workspace.lock("data").parent.glob("*")) - {workspace.lock("data")}
    # somebody may have called DVC, or a stage, without this module
    if dvc_rwlock.is_busy(workspace.root) or any(map(_is_of_a_stage, other_locks)):
        return
    dvc_rwlock.mend(workspace.root)
    dvc_rwlock.drop_dead(workspace.root)
    for folder in (workspace.work, workspace.models, workspace.reports):
        files.sweep(folder)


def _is_of_a_stage(lock: Path) -> bool:
    return lock.name not in _AROUND and locks.is_held(lock)


def _wait_for_workers(workspace: Workspace) -> None:
    """Wait for workers of a cluster that still run candidates of a run that was killed."""
    for name in config.load(workspace.params).candidates:
        if (lock := candidate.lock(workspace, name)).exists():
            with locks.held(lock, "waiting for a worker"):
                pass


def side_by_side(params: config.Params) -> int:
    """How many candidates to run at a time.

    Only one if there is a limit on latency: beside another training, latency measures high.
    """
    return 1 if params.selection.max_latency_ms is not None else params.compute.parallel


def on_workers(params: config.Params, stages: Sequence[str] = OF_CANDIDATES) -> tuple[str, ...]:
    """Those of the stages of a candidate, or of a student, that workers of a Dask cluster run.

    Without the one that measures latency if there is a limit on it: workers differ.
    """
    limited = params.selection.max_latency_ms is not None
    return tuple(stage for stage in stages if not (limited and stage.startswith("evaluate")))


def outdated(workspace: Workspace, stages: Sequence[str] = OF_CANDIDATES) -> list[str]:
    """Candidates that are to be trained or scored, in the order of params.yaml.

    Args:
        workspace: the work tree.
        stages: OF_STUDENTS for students, OF_CANDIDATES for all others.
    """
    lock, params = DvcLock(workspace.root), config.load(workspace.params)
    evaluated = stages[-1]

    def is_done(name: str) -> bool:
        stage = f"{evaluated}@{name}"
        made = workspace.bundle(name), workspace.report(name) / "metrics.json"
        return stage in lock and lock.change(stage) is None and all(path.exists() for path in made)

    asked = [
        name for name in params.candidates if (name in params.students) == (stages is OF_STUDENTS)
    ]
    return [name for name in asked if not is_done(name)]


def _run_side_by_side(
    names: list[str],
    stages: Sequence[str],
    limit: int,
    say: dvc.Say,
    workspace: Workspace,
    watch: dvc.Watch,
) -> None:
    """Run these stages of these candidates, at most `limit` of them at a time."""
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
                        dvc.started(candidate.command(name, stages), workspace, piped=True)
                    )
                    running[name] = process
                    dvc.forward(process, partial(_put, output, name))
                name, line = take(output, watch)
                if line is not None:
                    said[name].append(line)
                    say(f"{name:<{width}} | {line}")
                elif code := wait(running.pop(name), watch):
                    raise dvc.failure(name, said[name], code)
                else:
                    say(f"{name:<{width}} | {dvc.DONE}")
        finally:
            # all at once; leaving the block then waits for one after the other
            for process in running.values():
                assert process.stdin is not None
                process.stdin.close()


def _put(output: "queue.SimpleQueue[tuple[str, str | None]]", name: str, line: str | None) -> None:
    output.put((name, line))


def _print(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(workspace: Workspace) -> None:
    try:
        reproduce(None, workspace)
    except dvc.StageFailed as failure:
        raise UserError(str(failure)) from None


if __name__ == "__main__":
    run(main)
