"""The file of keys: who may use the service, and for what.

It holds a SHA-256 of each key and never the key. A slow hash, as for passwords, is not needed: such
a hash makes guessing expensive where few guesses suffice, and a key is 256 random bits.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from kinoflow.system import documents, files
from kinoflow.system.errors import UserError

Scope = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "kinoflow_"  # so that scanners for lost secrets can find one
_BYTES = 32  # random ones of a key
_MOST_CHARACTERS = 256  # of what somebody sends as a key


class Key(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w.@-]{1,64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    added: int  # seconds since 1970
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Keyring(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


def read(path: Path) -> Keyring:
    """The keys in a file.

    Raises UserError for a file that is missing, is damaged, or may be written by other users, who
    could give themselves a key.
    """
    try:
        if path.stat().st_mode & 0o022:
            raise UserError(f"{path} may be written by other users: chmod 600 {path}")
        return documents.read_model(Keyring, path)
    except FileNotFoundError:
        raise UserError(
            f"there is no file of keys {path}: make a key with `{command(path)}`"
        ) from None
    except OSError as error:
        raise UserError(f"the keys in {path} cannot be read: {error.strerror}") from None


def command(path: Path | str) -> str:
    """How to make a first key."""
    return f"python -m serving.keys --keys {path} add NAME --scope predict"


def digest(key: str) -> str:
    """The SHA-256 of a key, in hex; that of no key for what is too long to be one."""
    text = key if len(key) <= _MOST_CHARACTERS else ""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def add(path: Path, name: str, scopes: tuple[Scope, ...]) -> str:
    """Add a key to a file, which need not exist, and return it.

    Raises UserError for a name that is taken or that cannot be one, and as `read` does.
    """
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    entry = {"name": name, "scopes": scopes, "added": round(time.time()), "sha256": digest(key)}
    made = documents.checked(Key, entry, path)
    with _changing(path):
        present = read(path).keys if path.exists() else ()
        if name in {each.name for each in present}:
            raise UserError(f"{path} has a key called {name}: choose another name, or remove it")
        _write(path, (*present, made))
    return key


def remove(path: Path, name: str) -> None:
    """Remove a key from a file. Raises UserError for an unknown name, and as `read` does."""
    with _changing(path):
        present = read(path).keys
        left = tuple(each for each in present if each.name != name)
        if len(left) == len(present):
            names = ", ".join(each.name for each in present) or "none"
            raise UserError(f"{path} has no key called {name}; it has: {names}")
        _write(path, left)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Let nobody else change the file meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    text = Keyring(keys=keys).model_dump_json(indent=2) + "\n"
    with files.replacing(path) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
