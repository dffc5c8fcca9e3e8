"""Run git in a work tree, without ever touching its index, its files or its branch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kinoflow.system.errors import UserError

AUTHOR = ("kinoflow", "kinoflow@localhost")  # where git knows no name of the user


class GitFailed(UserError):
    """A command of git that failed. `output` is all that it printed."""

    def __init__(self, text: str, output: str) -> None:
        super().__init__(text)
        self.output = output


def git(
    folder: Path,
    *arguments: str,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a command of git prints, without the spaces around it.

    Args:
        folder: where to run it.
        *arguments: of the command.
        text: its input.
        env: environment variables beside those of this process.

    Raises GitFailed with what it said last, and UserError without git.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            # no question on a terminal that nobody watches
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})},
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("retrain.git is on, and there is no git on this machine") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        lines = [line for line in said.splitlines() if line and not line.startswith("hint:")]
        # `git push` says last that it failed, and before that for each ref why
        why = [line for line in lines if "rejected]" in line] or lines or [str(done.returncode)]
        raise GitFailed(f"git {arguments[0]}: {' '.join(why[-1].split())}", said)
    return done.stdout.strip()


def found(folder: Path, *arguments: str) -> str:
    """As `git`, but an empty text for a command that fails."""
    try:
        return git(folder, *arguments)
    except GitFailed:
        return ""


def author(folder: Path) -> tuple[str, str]:
    """The name and address that commits are made with."""
    known = found(folder, "config", "user.name"), found(folder, "config", "user.email")
    return known if all(known) else AUTHOR


def has_remote(folder: Path) -> bool:
    """Whether DVC has a default remote in this work tree."""
    from dvc.config import Config

    return bool(Config(str(folder / ".dvc"))["core"].get("remote"))


def dvc(folder: Path, *arguments: str) -> None:
    """Run a command of DVC. Raises UserError with what it said last if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--quiet", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (lines or done.stderr.splitlines() or [str(done.returncode)])[-1]
        raise UserError(f"dvc {arguments[0]}: {why.removeprefix('ERROR: ')}")
