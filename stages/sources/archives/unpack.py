"""Unpack archives from untrusted places.

Only plain files are written, below a folder that takes its name when all of them are there. Names
and kinds are checked before a file is written, and bytes are counted while they are read.
"""

import contextlib
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import rarfile

from kinoflow.system import locks
from kinoflow.system.errors import UserError
from stages.sources.archives import limits, rars, tars, zips
from stages.sources.archives.limits import Budget, Refused
from stages.sources.archives.members import Member

_DEEPEST = 64  # folders within each other

# what the readers raise for damage; the last three come from an empty name, an offset beyond the
# end, and a long chain of headers
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, rarfile.Error, zlib.error, lzma.LZMAError),
    *(EOFError, gzip.BadGzipFile, IndexError, ValueError, RecursionError),
)


def unpack(archive: Path, folder: Path, max_gb: float, *, nested: bool = False) -> None:
    """Unpack a zip, tar or rar archive, leaving out what a Mac adds.

    Args:
        archive: the file. Its first bytes say what kind it is, not its name.
        folder: where the content goes; it must not exist yet.
        max_gb: how many gigabytes the content may have at most. It is bounded by a hundred times
            the archive's size as well.
        nested: whether rar archives in the archive are unpacked as well, each into the folder that
            it lies in. The bounds then hold for all of them together.

    Raises UserError for a file that is no such archive, is damaged or encrypted, or holds anything
    but plain files and folders, names that lead elsewhere or clash, or more than the bounds allow;
    and if a rar archive takes a program that is not installed. Then `folder` does not exist.
    """
    budget = limits.budget(archive, max_gb)
    with locks.new_folder(folder) as partial:
        taken: set[str] = set()
        with _explained(archive):
            _unpack_into(archive, partial, PurePosixPath(), budget, taken)
        for inner in sorted(partial.rglob("*.rar")) if nested else []:
            with _explained(inner):
                below = PurePosixPath(inner.parent.relative_to(partial).as_posix())
                _unpack_into(inner, partial, below, budget, taken)
            inner.unlink()


def _unpack_into(
    archive: Path, folder: Path, below: PurePosixPath, budget: Budget, taken: set[str]
) -> None:
    """Unpack an archive to `below` in `folder`.

    `taken` holds the names already in `folder`, without regard to case; new names are added to it.
    """
    for member in _members(archive, budget):
        if _is_added_by_a_mac(member.name):
            for _ in member.content:
                pass
            continue
        name = below / member.name
        if len(name.parts) > _DEEPEST:
            raise Refused(f"it holds more than {_DEEPEST} folders within each other")
        clash = name.as_posix().casefold()
        if clash in taken:
            raise Refused(f"it holds {member.name} twice, or names that differ in case")
        target = folder / name
        new = [parent for parent in name.parents if not (folder / parent).exists()]
        budget.spend_files(1 + len(new))
        taken.add(clash)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.writelines(member.content)
        except (FileExistsError, NotADirectoryError):
            raise Refused(f"{member.name} is a file and a folder") from None


def _members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The plain files of an archive, each to be read before the next one."""
    if zipfile.is_zipfile(archive):
        return zips.members(archive, budget)
    if rarfile.is_rarfile(archive):
        return rars.members(archive, budget)
    if tars.is_tar(archive):
        return tars.members(archive, budget)
    raise Refused("it is no zip, tar or rar archive, or is damaged")


def _is_added_by_a_mac(name: PurePosixPath) -> bool:
    """Whether a file is one that a Mac adds, with a name and a place like those of a video."""
    return name.parts[0] == "__MACOSX" or name.name == ".DS_Store" or name.name.startswith("._")


@contextlib.contextmanager
def _explained(archive: Path) -> Iterator[None]:
    """Turn what is wrong with an archive into one line."""
    try:
        yield
    except Refused as error:
        problem = str(error)
    except _DAMAGE as error:
        problem = f"it is damaged: {error}"
    except OSError as error:
        # for damage, bzip2 gives no number, and an offset before the start is an invalid argument
        if error.errno not in (None, errno.EINVAL):
            raise
        problem = f"it is damaged: {error}"
    except MemoryError:
        problem = "reading it takes more memory than there is"
    except NotImplementedError as error:
        problem = str(error)
    else:
        return
    # the problem may quote a name with control characters, which could move a terminal's cursor
    said = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in problem)
    raise UserError(f"{archive.name} is not unpacked: {said}")
