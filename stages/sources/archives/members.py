"""What readers of archives give: plain files with names that stay below a folder."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from kinoflow.system import files
from stages.sources.archives.limits import Refused

_LONGEST_NAME = 255  # bytes of one part of a path: the limit of most file systems
_LONGEST_PATH = 1024  # bytes; systems allow 1024 to 4096, the folder above it included


@dataclass(frozen=True)
class Member:
    """A plain file in an archive.

    Args:
        name: its path below the folder that it is unpacked to.
        content: in chunks, to be read before the next member is asked for. Reading it spends the
            budget.
    """

    name: PurePosixPath
    content: Iterator[bytes]


def member_path(name: str) -> PurePosixPath:
    """The path that a member's name stands for.

    Raises Refused for a name that leads elsewhere, or that no file should have.
    """
    parts = name.removeprefix("./").split("/")
    if not name.isprintable() or "\\" in name:
        problem = "a character that no file name should have"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "an absolute path"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "a path that leads elsewhere"
    elif len(name.encode()) > _LONGEST_PATH or any(
        len(part.encode()) > _LONGEST_NAME for part in parts
    ):
        problem = "a name that is too long"
    elif any(part.startswith(files.TEMPORARY) for part in parts):
        problem = "a name reserved for temporary files"
    else:
        return PurePosixPath(*parts)
    raise Refused(f"it holds {problem}: {ascii(name)[:200]}")
