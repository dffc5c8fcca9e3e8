"""Rar archives. rarfile reads the list of files; compressed content takes an outside program."""

import collections
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import rarfile

from kinoflow.system.errors import UserError
from stages.sources.archives import limits
from stages.sources.archives.limits import Budget, Refused
from stages.sources.archives.members import Member, member_path

_TOOL_MEMORY = 1 << 32  # bytes; RAR 5 asks for up to a quarter

# each prints the contents of all files, one after the other, and asks nothing
_TOOLS = {
    "unrar": ("p", "-inul", "-p-", "--"),
    "unar": ("-quiet", "-no-recursion", "-forks", "skip", "-output-directory", "-"),
    "bsdtar": ("-xOf",),
    "7zz": ("x", "-so", "-bd", "-p", "--"),
    "7z": ("x", "-so", "-bd", "-p", "--"),
}
# Programs that read each version, the best first: bsdtar reads no solid archives of RAR 3, and some
# versions of unar read no RAR 5.
_FOR_RAR_3 = ("unrar", "unar", "7zz", "7z", "bsdtar")
_FOR_RAR_5 = ("unrar", "bsdtar", "7zz", "7z", "unar")
_RAR_5 = b"Rar!\x1a\x07\x01\x00"


def members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The plain files of a rar archive, after all of their names and kinds were checked.

    Raises Refused for an archive that is encrypted, one of several volumes, cut short, or holds
    anything but plain files and folders; rarfile.Error for damage; UserError where no program that
    reads it is installed.
    """
    kinds: collections.Counter[int] = collections.Counter()

    def count(info: rarfile.RarInfo) -> None:
        kinds[info.type] += 1
        if kinds.total() > limits.MOST_FILES:
            raise rarfile.BadRarFile(f"it holds more than {limits.MOST_FILES:,} files")

    # strict: otherwise a damaged header is taken for the end
    with rarfile.RarFile(str(archive), info_callback=count, errors="strict") as opened:
        infos = [info for info in opened.infolist() if not info.is_dir()]
        if opened.needs_password():
            raise Refused("it is encrypted")
        # since RAR 3, of 2002, each archive has an end
        if not kinds[rarfile.RAR_BLOCK_ENDARC]:
            raise Refused("it is damaged: the end is missing")
        if len(opened.volumelist()) > 1:
            raise Refused("it is one of several volumes")
        names = [member_path(info.filename) for info in infos]
        for info in infos:
            # a redirection is a link, or a copy of another member
            if not info.is_file() or info.is_symlink() or getattr(info, "file_redir", None):
                raise Refused(f"{info.filename} is no plain file")
        if all(info.compress_type == rarfile.RAR_M0 for info in infos):
            contents = _stored(opened, infos)
        else:
            contents = _decompressed(archive, infos)
        for name, content in zip(names, contents, strict=True):
            yield Member(name, budget.counted(content))


def _stored(opened: rarfile.RarFile, infos: list[rarfile.RarInfo]) -> Iterator[Iterator[bytes]]:
    """The contents of files that are not compressed."""
    for info in infos:
        with opened.open(info) as content:
            yield iter(partial(content.read, limits.CHUNK), b"")


def _decompressed(archive: Path, infos: list[rarfile.RarInfo]) -> Iterator[Iterator[bytes]]:
    """The contents of compressed files, as an outside program prints them one after the other.

    The sizes in the list of files say where each content ends. So the program writes no file
    itself, and decompresses a solid archive only once.
    """
    tool = _tool(archive)
    process = subprocess.Popen(
        [tool, *_TOOLS[tool], str(archive.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if sys.platform == "linux":
        import resource

        resource.prlimit(process.pid, resource.RLIMIT_AS, (_TOOL_MEMORY, _TOOL_MEMORY))
    assert process.stdout is not None
    try:
        for info in infos:
            yield _exactly(process.stdout, info, tool)
        if process.stdout.read(1) or process.wait():
            raise _failed(tool, "its end")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _tool(archive: Path) -> str:
    """The program that reads an archive best, of those installed; UserError if there is none."""
    with archive.open("rb") as file:
        tools = _FOR_RAR_5 if file.read(len(_RAR_5)) == _RAR_5 else _FOR_RAR_3
    tool = next(filter(is_installed, tools), None)
    if tool is None:
        raise UserError(
            f"{archive.name} is a compressed rar archive, and no program that reads it is "
            f"installed: install unrar (on Debian and Ubuntu `apt install unrar`, with Homebrew "
            f"`brew install rar`), or {' or '.join(tools[1:3])}"
        )
    return tool


def is_installed(tool: str) -> bool:
    """Whether a program is installed. Of the two programs called unrar, only RARLAB's counts."""
    if shutil.which(tool) is None:
        return False
    if tool != "unrar":
        return True
    said = subprocess.run([tool], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return b"Roshal" in said.stdout


def _exactly(stream: IO[bytes], info: rarfile.RarInfo, tool: str) -> Iterator[bytes]:
    """The content of one file: the next bytes of the stream, as many as its size.

    Raises Refused if the stream ends too early, or if the checksum is another one.
    """
    left, checksum = info.file_size, 0
    while left:
        chunk = stream.read(min(left, limits.CHUNK))
        if not chunk:
            raise _failed(tool, info.filename)
        left -= len(chunk)
        checksum = zlib.crc32(chunk, checksum)
        yield chunk
    # RAR 5 may store another kind of checksum instead, which the program itself checks
    if info.CRC is not None and checksum != info.CRC:
        raise _failed(tool, info.filename)


def _failed(tool: str, name: str) -> Refused:
    return Refused(f"{tool} fails at {name}: it is damaged, or of a kind that only unrar reads")
