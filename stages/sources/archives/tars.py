"""Tar archives, read once from front to back, with a bound on all that they may cost.

Python's tarfile reads a header whole, however long it claims to be, remembers every member, and
takes a damaged header for the end. So it is given a stream that counts the decompressed bytes,
bounds each header, and checks the end.
"""

import bz2
import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from stages.sources.archives import limits
from stages.sources.archives.limits import Budget, Refused
from stages.sources.archives.members import Member, member_path

_LARGEST_HEADER = 1 << 20  # bytes of all that precedes a content: long names, records, sparse maps
_MOST_GLOBALS = 1000  # records that hold for all members after them
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_KIND = slice(156, 157)  # where a header's first block holds the kind of the member
_LENGTH = re.compile(rb"(\d{1,7}) ")
# up to Python 3.11.9 and 3.12.5, tarfile takes quadratic time for so many digits in a header
_MANY_DIGITS = re.compile(rb"\d{100}")


def is_tar(archive: Path) -> bool:
    """Whether a file begins as a tar does, compressed or not."""
    try:
        with _opened(archive) as content:
            tarfile.TarInfo.frombuf(content.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return True  # it holds nothing
    except (tarfile.TarError, EOFError, OSError, ValueError):
        return False
    return True


def members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The plain files of a tar archive.

    All decompressed bytes count against the budget, headers and padding too.

    Raises Refused for anything but plain files and folders; tarfile.TarError, and what the
    decompressors raise, for an archive that is damaged, cut short or goes on after its end, for a
    header that is too large, and for too many members.
    """
    with _opened(archive) as content:
        stream = _Stream(content, budget.spend)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as opened:
            count = 0
            while (info := _next(opened, stream)) is not None:
                count += 1
                if count > limits.MOST_FILES:
                    raise tarfile.ReadError(f"it holds more than {limits.MOST_FILES:,} members")
                if info.isdir():
                    continue
                name = member_path(info.name)
                if not info.isreg() or info.issparse():
                    raise Refused(f"{info.name} is no plain file")
                chunks = _chunks(opened, info)
                yield Member(name, chunks)
                for _ in chunks:
                    pass
        stream.finish()


def _next(opened: tarfile.TarFile, stream: "_Stream") -> tarfile.TarInfo | None:
    stream.begin_header()
    info = opened.next()
    stream.end_header()
    opened.members = []  # type: ignore[attr-defined]  # else tarfile would keep every member
    if len(opened.pax_headers) > _MOST_GLOBALS:
        raise tarfile.ReadError(f"more than {_MOST_GLOBALS} records hold for all members")
    return info


def _chunks(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = opened.extractfile(info)
    assert content is not None
    while chunk := content.read(limits.CHUNK):
        yield chunk


class _Stream:
    """The decompressed content of a tar, as a file that tarfile reads forwards only."""

    def __init__(self, content: IO[bytes], spend: Callable[[int], None]) -> None:
        self._content = content
        self._spend = spend
        self._position = 0
        self._last = b""  # the block of a header that was read last
        # How many bytes the header that is being read may still have; None while a content is read.
        # It begins with a header, since tarfile.open reads the first one.
        self._header_left: int | None = _LARGEST_HEADER

    def begin_header(self) -> None:
        self._header_left = _LARGEST_HEADER if self._header_left is None else self._header_left

    def end_header(self) -> None:
        self._header_left = None

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("a member begins before the one before it ends")
        while self._position < position and self.read(min(limits.CHUNK, position - self._position)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        if self._header_left is not None:
            self._header_left -= size
        # contents are read in smaller pieces
        if size > _LARGEST_HEADER or (self._header_left is not None and self._header_left < 0):
            raise tarfile.ReadError(f"it has a header of more than {_LARGEST_HEADER:,} bytes")
        content = self._content.read(size)
        self._position += len(content)
        self._spend(len(content))
        if self._header_left is not None:
            if self._last[_KIND] in _PAX:
                _check_records(content)
                self._last = b""
            else:
                self._last = content
        return content

    def finish(self) -> None:
        """Read what follows the last member; raise tarfile.TarError unless it is the end of a tar.

        Reading to the end also makes a decompressor check its checksum.
        """
        if len(self._last) != tarfile.BLOCKSIZE or any(self._last):
            raise tarfile.ReadError("a header is spoilt, or the end is missing")
        while chunk := self._content.read(limits.CHUNK):
            self._spend(len(chunk))
            if any(chunk):
                raise tarfile.ReadError("it goes on after its end")


def _check_records(content: bytes) -> None:
    """Raise tarfile.TarError for malformed PAX records."""
    if _MANY_DIGITS.search(content):
        raise tarfile.ReadError("a header holds a number without end")
    position = 0
    while position < len(content) and content[position]:
        length = _LENGTH.match(content, position)
        end = position + int(length[1]) if length else position
        record = content[position:end]
        if not length or b"=" not in record[len(length[0]) :] or not record.endswith(b"\n"):
            raise tarfile.ReadError("a header holds a malformed record")
        position = end


def _opened(archive: Path) -> IO[bytes]:
    """An archive, opened and decompressed. Its first bytes say how it is compressed."""
    with archive.open("rb") as file:
        first = file.read(6)
    if first.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if first.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(archive))
    if first.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return cast(IO[bytes], io.BufferedReader(_Xz(archive), limits.CHUNK))
    return archive.open("rb")


class _Xz(io.RawIOBase):
    """An xz or lzma file, decompressed within a bound on memory, which lzma.open does not have."""

    def __init__(self, archive: Path) -> None:
        self._file = archive.open("rb")
        self._stream = self._decompressor()

    def _decompressor(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=limits.LARGEST_DICTIONARY)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        while True:
            packed = b""
            if self._stream.eof:
                packed = self._after_padding()
                if not packed:
                    return 0
                self._stream = self._decompressor()
            elif self._stream.needs_input:
                packed = self._file.read(limits.CHUNK)
                if not packed:
                    raise EOFError("it is cut short")
            content = self._stream.decompress(packed, max_length=len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)

    def _after_padding(self) -> bytes:
        """The first bytes of the stream that follows; b"" if none does."""
        packed = self._stream.unused_data.lstrip(b"\0")
        while not packed and (more := self._file.read(limits.CHUNK)):
            packed = more.lstrip(b"\0")
        return packed
