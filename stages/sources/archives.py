"""Unpack archives that are hostile until proved otherwise.

Nothing is written but plain files, below a folder that takes its name when all of them are
there. Names, kinds and sizes are checked before anything is read, and bytes are counted while
they are.
"""

import collections
import contextlib
import errno
import gzip
import lzma
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import rarfile

from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from stages.sources import Item, tars, zips

_CHUNK = 1 << 18
_RATIO = 100  # unpacked to packed; videos hardly shrink at all
_FREE = 10_000_000  # bytes that any archive may unfold to
_MOST_FILES = 1_000_000  # and folders, with those of archives within
_ROOM_OF_A_FILE = 512  # bytes that an empty file or a folder counts for
_DEEPEST = 64  # folders within each other
_TOOL_MEMORY = 1 << 32  # bytes; RAR 5 asks for up to a quarter
_LONGEST_NAME = 255  # bytes of a part of a path, as file systems have it
_LONGEST_PATH = 1024  # bytes; systems take 1024 to 4096 with the folder that it is put into

# each prints the contents of all files, one after the other, and asks nothing
_RAR_TOOLS = {
    "unrar": ("p", "-inul", "-p-", "--"),
    "unar": ("-quiet", "-no-recursion", "-forks", "skip", "-output-directory", "-"),
    "bsdtar": ("-xOf",),
    "7zz": ("x", "-so", "-bd", "-p", "--"),
    "7z": ("x", "-so", "-bd", "-p", "--"),
}
# who reads which version, the best first: bsdtar no solid archive of RAR 3, some unar no RAR 5
_FOR_RAR_3 = ("unrar", "unar", "7zz", "7z", "bsdtar")
_FOR_RAR_5 = ("unrar", "bsdtar", "7zz", "7z", "unar")
_RAR_5 = b"Rar!\x1a\x07\x01\x00"


@dataclass
class Budget:
    """How many bytes may still be written, and in how many files and folders."""

    left: int
    limit: str  # what they are the rest of, in words
    files_left: int

    def spend(self, count: int, archive: Path) -> None:
        """Raises UserError when there is nothing left."""
        self.left -= count
        if self.left < 0:
            raise _refused(archive, f"it unfolds to more than {self.limit}")

    def spend_files(self, count: int, archive: Path) -> None:
        """Raises UserError when there are too many."""
        self.files_left -= count
        if self.files_left < 0:
            raise _refused(archive, f"it holds more than {_MOST_FILES:,} files and folders")
        self.spend(count * _ROOM_OF_A_FILE, archive)


@dataclass(frozen=True)
class _Member:
    """A plain file in an archive, to be read, which spends the budget."""

    name: PurePosixPath
    content: Iterator[bytes]


def unpack(archive: Path, folder: Path, max_gb: float, *, nested: bool = False) -> None:
    """Unpack a zip, tar or rar archive into `folder`, which must not exist yet.

    With `nested`, rar archives inside it are unpacked in their turn, in their place. Together
    they may unfold to `max_gb` gigabytes, and to a hundred times their size.

    What a Mac adds is left out.

    Raises UserError for what is no such archive, is damaged or encrypted, holds anything but
    plain files and folders, names that lead elsewhere or clash, or more than it may; and where
    a rar archive takes a program that is not installed. Nothing is left of it then.
    """
    total = int(max_gb * 1e9)
    allowed = archive.stat().st_size * _RATIO + _FREE
    if total < allowed:
        limit = f"dataset.max_unpacked_gb allows ({max_gb:g} GB)"
    else:
        limit = f"{_RATIO} times its size"
    budget = Budget(min(total, allowed), limit, _MOST_FILES)
    with locks.new_folder(folder) as partial:
        taken: set[str] = set()
        with _damage_named(archive):
            _unpack_into(archive, partial, PurePosixPath(), budget, taken)
        for inner in sorted(partial.rglob("*.rar")) if nested else []:
            with _damage_named(inner):
                below = PurePosixPath(inner.parent.relative_to(partial).as_posix())
                _unpack_into(inner, partial, below, budget, taken)
            inner.unlink()


def unpacked_item(path: Path, name: str, archive: str) -> Item:
    """A file that was unpacked from the archive of that name, to be linked to `name`."""
    return Item(name, f"{archive}-{path.stat().st_size}", partial(_link, path), path)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _unpack_into(
    archive: Path, folder: Path, below: PurePosixPath, budget: Budget, taken: set[str]
) -> None:
    """Unpack an archive to `below` in `folder`; `taken` are all names there, and grows."""
    for member in _members(archive, budget):
        if _is_a_macs(member.name):
            for _ in member.content:
                pass
            continue
        name = below / member.name
        if len(name.parts) > _DEEPEST:
            raise _refused(archive, f"it holds more than {_DEEPEST} folders within each other")
        clash = name.as_posix().casefold()
        if clash in taken:
            raise _refused(archive, f"it holds {member.name} twice, or names that differ in case")
        target = folder / name
        new = [parent for parent in name.parents if not (folder / parent).exists()]
        budget.spend_files(1 + len(new), archive)
        taken.add(clash)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.writelines(member.content)
        except (FileExistsError, NotADirectoryError):
            raise _refused(archive, f"{member.name} is a file and a folder") from None


def _is_a_macs(name: PurePosixPath) -> bool:
    """Whether a file is one of those that a Mac adds, named and placed like videos and classes."""
    return name.parts[0] == "__MACOSX" or name.name == ".DS_Store" or name.name.startswith("._")


def _members(archive: Path, budget: Budget) -> Iterator[_Member]:
    """The plain files of an archive, each to be read before the next one."""
    if zipfile.is_zipfile(archive):
        return _zip_members(archive, budget)
    if rarfile.is_rarfile(archive):
        return _rar_members(archive, budget)
    if tars.is_tar(archive):
        return _tar_members(archive, budget)
    raise _refused(archive, "it is no zip, tar or rar archive, or is damaged")


@contextlib.contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    damage = (zipfile.BadZipFile, tarfile.TarError, rarfile.Error, zlib.error, lzma.LZMAError)
    try:
        yield
    # the last three are what a name of no length, a place beyond the end, and headers in a long
    # chain come to
    except (
        *damage,
        EOFError,
        gzip.BadGzipFile,
        IndexError,
        ValueError,
        RecursionError,
    ) as error:
        raise _refused(archive, f"it is damaged: {error}") from None
    except OSError as error:
        # bzip2 gives no number, and a place before the start is an invalid argument
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _refused(archive, f"it is damaged: {error}") from None
    except MemoryError:
        raise _refused(archive, "to read it takes more memory than there is") from None
    except NotImplementedError as error:
        raise _refused(archive, str(error)) from None


def _zip_members(archive: Path, budget: Budget) -> Iterator[_Member]:
    with zips.opened(archive, _MOST_FILES) as (opened, infos):
        for info in infos:
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            # only Unix writes a mode; without one it is a plain file
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _refused(archive, f"{info.filename} is no plain file")
            if info.flag_bits & 1:
                raise _refused(archive, "it is encrypted")
            _safe(archive, info.filename)
        for info in infos:
            if not info.is_dir():
                content = zips.content(opened, info)
                yield _Member(_safe(archive, info.filename), _counted(archive, content, budget))


def _tar_members(archive: Path, budget: Budget) -> Iterator[_Member]:
    for info, content in tars.members(archive, partial(budget.spend, archive=archive)):
        if info.isdir():
            continue
        name = _safe(archive, info.name)
        if not info.isreg() or info.issparse():
            raise _refused(archive, f"{info.name} is no plain file")
        yield _Member(name, content)


def _rar_members(archive: Path, budget: Budget) -> Iterator[_Member]:
    kinds: collections.Counter[int] = collections.Counter()

    def count(info: rarfile.RarInfo) -> None:
        kinds[info.type] += 1
        if kinds.total() > _MOST_FILES:
            raise rarfile.BadRarFile(f"it holds more than {_MOST_FILES:,} files")

    # strict: else a damaged header were taken for the end
    with rarfile.RarFile(str(archive), info_callback=count, errors="strict") as opened:
        infos = [info for info in opened.infolist() if not info.is_dir()]
        if opened.needs_password():
            raise _refused(archive, "it is encrypted")
        # since RAR 3, of 2002, each has one
        if not kinds[rarfile.RAR_BLOCK_ENDARC]:
            raise _refused(archive, "it is damaged: the end is missing")
        if len(opened.volumelist()) > 1:
            raise _refused(archive, "it is one of several volumes")
        names = [_safe(archive, info.filename) for info in infos]
        for info in infos:
            # a redirection is a link, or a copy of another member
            if not info.is_file() or info.is_symlink() or getattr(info, "file_redir", None):
                raise _refused(archive, f"{info.filename} is no plain file")
        if all(info.compress_type == rarfile.RAR_M0 for info in infos):
            for name, info in zip(names, infos, strict=True):
                with opened.open(info) as content:
                    yield _Member(name, _counted(archive, _chunks(content), budget))
        else:
            yield from _rar_members_by_tool(archive, names, infos, budget)


def _rar_members_by_tool(
    archive: Path, names: list[PurePosixPath], infos: list[rarfile.RarInfo], budget: Budget
) -> Iterator[_Member]:
    """Let an outside program print everything, and cut that by the sizes listed.

    So it writes no file itself, and an archive that is one block is read once.
    """
    with archive.open("rb") as file:
        tools = _FOR_RAR_5 if file.read(len(_RAR_5)) == _RAR_5 else _FOR_RAR_3
    tool = next(filter(_works, tools), None)
    if tool is None:
        raise UserError(
            f"{archive.name} is a compressed rar archive, and no program that reads it is "
            f"installed: install unrar (on Debian and Ubuntu `apt install unrar`, with Homebrew "
            f"`brew install rar`), or {' or '.join(tools[1:3])}"
        )
    process = subprocess.Popen(
        [tool, *_RAR_TOOLS[tool], str(archive.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if sys.platform == "linux":
        import resource

        resource.prlimit(process.pid, resource.RLIMIT_AS, (_TOOL_MEMORY, _TOOL_MEMORY))
    assert process.stdout is not None
    try:
        for name, info in zip(names, infos, strict=True):
            content = _exactly(archive, process.stdout, info, tool)
            yield _Member(name, _counted(archive, content, budget))
        if process.stdout.read(1) or process.wait():
            raise _refused(archive, _DOUBT.format(tool=tool, name="its end"))
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


_DOUBT = "{tool} fails at {name}: it is damaged, or of a kind that only unrar reads"


def _works(tool: str) -> bool:
    """Whether a program is there, and the one that is meant: another unrar has other options."""
    if shutil.which(tool) is None:
        return False
    if tool != "unrar":
        return True
    said = subprocess.run([tool], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return b"Roshal" in said.stdout


def _exactly(archive: Path, stream: IO[bytes], info: rarfile.RarInfo, tool: str) -> Iterator[bytes]:
    left, checksum = info.file_size, 0
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise _refused(archive, _DOUBT.format(tool=tool, name=info.filename))
        left -= len(chunk)
        checksum = zlib.crc32(chunk, checksum)
        yield chunk
    # RAR 5 may carry another checksum instead, which its program has seen to
    if info.CRC is not None and checksum != info.CRC:
        raise _refused(archive, _DOUBT.format(tool=tool, name=info.filename))


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(content.read, _CHUNK), b"")


def _counted(archive: Path, chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    for chunk in chunks:
        budget.spend(len(chunk), archive)
        yield chunk


def _safe(archive: Path, name: str) -> PurePosixPath:
    """A member's path, which leads nowhere but below where it is put; else raises UserError."""
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
        problem = "a name that is taken"
    else:
        return PurePosixPath(*parts)
    raise _refused(archive, f"it holds {problem}: {ascii(name)[:200]}")


def _refused(archive: Path, problem: str) -> UserError:
    # names in it may hold what moves a terminal's cursor
    said = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in problem)
    return UserError(f"{archive.name} is not unpacked: {said}")
