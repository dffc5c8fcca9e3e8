"""Run the pipeline's commands: pass on each line that they print, and report a failure in one."""

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from kinoflow.system import dvc_lock, dvc_rwlock
from kinoflow.system.errors import MAY_PASS, UserError
from kinoflow.system.supervisor import run_supervised, take, unwatched, wait
from kinoflow.workspace import Workspace

_FAILED = re.compile(r"failed to reproduce '(?P<stage>.+?)': (?P<why>.*)")
# seconds that a stage has to end; a run that is cancelled is to be over within ten
_GRACE = 4.0
# of a command whose output went where the user sees it
_SEEN = "failed, see above"
# lines of a failed command's output to repeat where nothing in it looks like a reason
_LAST_LINES = 6


# what DVC says if another of its commands holds a file that this one needs
_BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")


DONE = "done"  # the last line of a candidate that runs beside others

Say = Callable[[str], None]
Watch = Callable[[], None]


class StageFailed(Exception):
    """A stage that failed. Its text is one line: the stage's name and its own message.

    Args:
        stage: the stage's name.
        why: its own message.
        may_pass: whether the same may succeed later, with nothing changed.
    """

    def __init__(self, stage: str, why: str, *, may_pass: bool = False) -> None:
        super().__init__(" ".join(f"{stage}: {why}".split()))
        self.stage = stage
        self.may_pass = may_pass


def repro(
    say: Say | None, workspace: Workspace, targets: Sequence[str] = (), watch: Watch = unwatched
) -> None:
    """Run `dvc repro`. `flows.reproduce` also keeps other runs off the same data meanwhile.

    Args:
        say: called with each line of output as soon as it is printed. None: the output goes where
            that of this process goes.
        workspace: the work tree to run in.
        targets: stages to run with all that come before them; without any, all stages.
        watch: called about twice a second; what it raises ends the run.

    Raises StageFailed with what the failing stage said: the `error: ` line that it printed, else
    the exception that ended it, else what DVC says about it.
    """
    dvc_rwlock.mend(workspace.root)
    dvc_lock.mend(workspace.root)
    _run("dvc repro", command(*targets), say, workspace, watch)


def command(*arguments: str) -> list[str]:
    """The command `dvc repro` with these arguments.

    It waits for other DVC commands. By default one that is busy for three seconds, such as
    `dvc status` in another terminal, would end the run.
    """
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments]


def stage(name: str, say: Say, workspace: Workspace, watch: Watch = unwatched) -> None:
    """Run `python -m stages.<name>`, for a stage that is not in dvc.yaml.

    Args: as those of `repro`.

    Raises StageFailed as `repro` does.
    """
    _run(name, [sys.executable, "-m", f"stages.{name}"], say, workspace, watch)


def cache(workspace: Workspace) -> Path:
    """The absolute path of DVC's cache for a work tree.

    Raises UserError where the work tree is no DVC repository.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise UserError(f"dvc cache dir: {asked.stderr.strip()}")
    return (workspace.root / asked.stdout.strip()).absolute()


def _run(
    name: str, command: list[str], say: Say | None, workspace: Workspace, watch: Watch
) -> None:
    lines = []
    with started(command, workspace, piped=say is not None) as process:
        if say is not None:
            printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
            forward(process, printed.put)
            while (line := take(printed, watch)) is not None:
                lines.append(line)
                say(line)
        code = wait(process, watch)
    if code:
        raise failure(name, lines, code) if say is not None else StageFailed(name, _SEEN)


def started(
    command: list[str], workspace: Workspace, *, piped: bool
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """Run a command of the pipeline in a work tree; see `run_supervised`.

    Args:
        command: the program and its arguments.
        workspace: the work tree.
        piped: whether stdout gives what the command prints. Otherwise it goes where the output of
            this process goes.
    """
    return run_supervised(
        command,
        cwd=workspace.root,
        env=_environment(workspace.root),
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        grace=_GRACE,
    )


def forward(process: "subprocess.Popen[str]", put: Callable[[str | None], None]) -> None:
    """Call `put` with each line that a command prints, and with None at its end, from a thread."""

    def read() -> None:
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            if line:
                put(line)
        put(None)

    threading.Thread(target=read, daemon=True).start()


def _environment(root: Path) -> dict[str, str]:
    # `python` in the commands of dvc.yaml must be this Python. It must import the code of the work
    # tree, even where another kinoflow is installed.
    here = Path(sys.executable).parent
    code = [str(root.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join(code),
        "PYTHONUNBUFFERED": "1",
    }


def failure(name: str, lines: list[str], code: int) -> StageFailed:
    """Which stage of a failed command failed, and why, from all lines that it printed.

    Args:
        name: what to call the command, if no stage of DVC's failed.
        lines: what it printed.
        code: its exit code.
    """
    # DVC's own message comes last, and may have several lines
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR: ")]
    verdict = " ".join(lines[errors[-1] :]).removeprefix("ERROR: ") if errors else ""
    may_pass = code == MAY_PASS or any(busy in verdict for busy in _BUSY)
    if failed := _FAILED.match(verdict):
        name, verdict = failed["stage"], failed["why"]
        lines = _said_by(name, lines)
        may_pass = may_pass or verdict.endswith(f"exited with {MAY_PASS}")
    why = _message(lines) or _exception(lines) or verdict
    if not why:
        why = f"exited with {code}, having said: {' '.join(lines[-_LAST_LINES:])}"
    return StageFailed(name, why, may_pass=may_pass)


def _said_by(stage: str, lines: list[str]) -> list[str]:
    """The lines printed since the stage began."""
    begin = f"Running stage '{stage}':"
    return lines[lines.index(begin) + 1 :] if begin in lines else []


def _message(lines: list[str]) -> str:
    """The last message that `kinoflow.system.errors.fail` printed, or an empty text."""
    messages = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return messages[-1] if messages else ""


def _exception(lines: list[str]) -> str:
    """The exception below the last traceback, or an empty text."""
    exception, inside = "", False
    for line in lines:
        if line == "Traceback (most recent call last):":
            inside = True
        elif inside and not line.startswith(" "):
            exception, inside = line, False
    return exception
