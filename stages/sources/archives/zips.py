"""Zip archives, read with a bound on what they may cost.

Python's zipfile reads and keeps the whole list of files, however long it is. It also decompresses
bzip2 and LZMA without a bound, so that a few bytes may become gigabytes in memory.
"""

import bz2
import copy
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from stages.sources.archives import limits
from stages.sources.archives.limits import Budget, Refused
from stages.sources.archives.members import Member, member_path

_LONGEST_END = 22 + 0xFFFF  # bytes of a zip's last record, with a comment
_LARGEST_LIST = 1 << 27  # bytes of the list of files


def members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The plain files of a zip archive, after all of their names and kinds were checked.

    Raises Refused for an archive that is encrypted, or holds anything but plain files and folders;
    zipfile.BadZipFile for what is damaged, lists no files, not all of them, or too many.
    """
    with _BoundedFile(archive) as file, zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        if not infos:
            # such is a zip whose end was overwritten with zeros
            raise zipfile.BadZipFile("it lists no files")
        # a damaged length may hide an entry in the one before it
        if _stated(file) not in (len(infos) & 0xFFFF, 0xFFFF):
            raise zipfile.BadZipFile("it does not list all of its files")
        infos = [info for info in infos if not info.is_dir()]
        for info in infos:
            _check(info)
        for info in infos:
            content = budget.counted(_content(opened, info))
            yield Member(member_path(info.filename), content)


def _check(info: zipfile.ZipInfo) -> None:
    """Raise Refused for anything but a plain file with a good name that is not encrypted."""
    # only programs on Unix store a mode; without a mode it is a plain file
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise Refused(f"{info.filename} is no plain file")
    if info.flag_bits & 1:
        raise Refused("it is encrypted")
    member_path(info.filename)


def _stated(file: IO[bytes]) -> int:
    """The number of files that the end of a zip states, in 16 bits; 0xFFFF if there are more."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    stated: int = struct.unpack_from("<H", tail, tail.rindex(b"PK\5\6") + 10)[0]
    return stated


def _content(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a file in a zip, in chunks; raises as zipfile does."""
    if info.compress_type not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with opened.open(info) as file:
            yield from iter(partial(file.read, limits.CHUNK), b"")
        return
    # zipfile decompresses these two without a bound, so it is asked for the compressed bytes only
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    packed.CRC = None  # type: ignore[assignment]
    left, checksum = info.file_size, 0
    with opened.open(packed) as file:
        decompressor = (
            _lzma(file) if info.compress_type == zipfile.ZIP_LZMA else bz2.BZ2Decompressor()
        )
        while left and not decompressor.eof:
            more = file.read(limits.CHUNK) if decompressor.needs_input else b""
            if decompressor.needs_input and not more:
                break
            chunk = decompressor.decompress(more, min(left, limits.CHUNK))
            left, checksum = left - len(chunk), zlib.crc32(chunk, checksum)
            yield chunk
    if left or checksum != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename} is cut short or spoilt")


def _lzma(file: IO[bytes]) -> lzma.LZMADecompressor:
    """The decompressor with the settings in the first bytes of a file packed by LZMA."""
    _, _, length, how, dictionary = struct.unpack("<BBHBL", file.read(9).ljust(9, b"\0"))
    if length != 5 or dictionary > limits.LARGEST_DICTIONARY:
        raise zipfile.BadZipFile("it asks for LZMA settings that no program writes")
    settings = {"lc": how % 9, "lp": how // 9 % 5, "pb": how // 45}
    wanted = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 1 << 12), **settings}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[wanted])


class _BoundedFile(io.FileIO):
    """A zip file that raises BadZipFile when zipfile reads a list of files that is too long."""

    def read(self, size: int | None = -1, /) -> bytes:
        problem = f"it holds more than {limits.MOST_FILES:,} files and folders"
        if size is not None and size > _LARGEST_LIST:
            raise zipfile.BadZipFile(problem)
        content = super().read(size)
        # only the list of files is read in pieces of that size
        if len(content) > limits.CHUNK and content.count(b"PK\1\2") > limits.MOST_FILES:
            raise zipfile.BadZipFile(problem)
        return content
