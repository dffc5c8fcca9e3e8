"""Running the pipeline's commands: each line as it comes, and a failure in one line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kinoflow.system import dvc_rwlock, locks
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised
from kinoflow.workspace import Workspace

_FAILED = re.compile(r"failed to reproduce '(?P<stage>.+?)': (?P<why>.*)")
# how much of a command's last words to repeat where nothing better is known
_LAST_WORDS = 6


class StageFailed(Exception):
    """A stage that failed. Its text is one line: the stage's name and its own message."""


def repro(say: Callable[[str], None], folder: Path = Path(), targets: Sequence[str] = ()) -> None:
    """Run `dvc repro` in `folder` and hand each line of its output to `say`.

    `targets` are the stages to run with all that comes before them; without any, all are.
    Meanwhile no other run that asks brings data, or runs the pipeline, in that folder.

    Raises StageFailed with what the failing stage said: the `error: ` line that it printed, else
    the exception that ended it, else what DVC says about it.
    """
    with locks.held(Workspace(folder).lock("data"), "running the pipeline"):
        dvc_rwlock.mend(folder)
        _run("dvc repro", [sys.executable, "-m", "dvc", "repro", *targets], say, folder)


def stage(name: str, say: Callable[[str], None], folder: Path = Path()) -> None:
    """Run `python -m stages.<name>`, for a stage that is not in dvc.yaml, in the same way.

    Raises StageFailed as `repro` does.
    """
    _run(name, [sys.executable, "-m", f"stages.{name}"], say, folder)


def cache() -> Path:
    """Where DVC keeps the contents of what the working folder's pipeline reads and makes.

    Raises UserError where the working folder is not DVC's.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise UserError(f"dvc cache dir: {asked.stderr.strip()}")
    return Path(asked.stdout.strip())


def _run(name: str, command: list[str], say: Callable[[str], None], folder: Path) -> None:
    lines = []
    with run_supervised(
        command,
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            if line:
                lines.append(line)
                say(line)
        code = process.wait()
    if code:
        raise StageFailed(_reason(name, lines, code))


def _environment(folder: Path) -> dict[str, str]:
    # the commands of dvc.yaml begin with `python`, which must be this one, and take the code of
    # their folder, whatever is installed
    here = Path(sys.executable).parent
    code = [str(folder.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join(code),
        "PYTHONUNBUFFERED": "1",
    }


def _reason(name: str, lines: list[str], code: int) -> str:
    """Why a command failed, out of all that it said."""
    # where DVC has something to say it says it last, at times in several lines
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR: ")]
    verdict = " ".join(lines[errors[-1] :]).removeprefix("ERROR: ") if errors else ""
    if failed := _FAILED.match(verdict):
        name, verdict = failed["stage"], failed["why"]
        lines = _said_by(name, lines)
    why = _message(lines) or _exception(lines) or verdict
    if not why:
        why = f"exited with {code}, having said: {' '.join(lines[-_LAST_WORDS:])}"
    return " ".join(f"{name}: {why}".split())


def _said_by(stage: str, lines: list[str]) -> list[str]:
    begin = f"Running stage '{stage}':"
    return lines[lines.index(begin) + 1 :] if begin in lines else []


def _message(lines: list[str]) -> str:
    """What `kinoflow.console.fail` printed."""
    messages = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return messages[-1] if messages else ""


def _exception(lines: list[str]) -> str:
    """The line below the last traceback."""
    exception, inside = "", False
    for line in lines:
        if line == "Traceback (most recent call last):":
            inside = True
        elif inside and not line.startswith(" "):
            exception, inside = line, False
    return exception
