"""Zip archives, read with a bound on what they may cost.

Python's zipfile reads the list of files whole, however long, and remembers it; and it unfolds
whole what it reads of bzip2 and LZMA, of which some bytes may become gigabytes.
"""

import bz2
import contextlib
import copy
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

_LARGEST_DICTIONARY = 1 << 28  # bytes that LZMA may ask for

_CHUNK = 1 << 18
_LONGEST_END = 22 + 0xFFFF  # bytes of a zip's last record, with a comment
_LARGEST_LIST = 1 << 27  # bytes of the list of files


@contextlib.contextmanager
def opened(archive: Path, most: int) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip and the list of its files and folders.

    Raises zipfile.BadZipFile for what is damaged, and for a list of none or of more than `most`.
    """
    with _Bytes(archive, most) as file, zipfile.ZipFile(file) as found:
        infos = found.infolist()
        if not infos:
            # as one is whose end was overwritten with zeros
            raise zipfile.BadZipFile("it lists no files")
        # a length that is spoilt may hide an entry in the one before it
        if _stated(file) not in (len(infos) & 0xFFFF, 0xFFFF):
            raise zipfile.BadZipFile("it does not list all of its files")
        yield found, infos


def _stated(file: IO[bytes]) -> int:
    """How many files the end of a zip says that there are, in 16 bits; all set: more."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    stated: int = struct.unpack_from("<H", tail, tail.rindex(b"PK\5\6") + 10)[0]
    return stated


def content(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """What a file of a zip holds, in pieces; raises as zipfile does."""
    if info.compress_type not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with opened.open(info) as file:
            yield from iter(partial(file.read, _CHUNK), b"")
        return
    # zipfile unfolds whole what it reads of these two, and 4 KiB may become gigabytes: have it
    # bring the packed bytes
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    packed.CRC = None  # type: ignore[assignment]
    left, checksum = info.file_size, 0
    with opened.open(packed) as file:
        unfold = _lzma(file) if info.compress_type == zipfile.ZIP_LZMA else bz2.BZ2Decompressor()
        while left and not unfold.eof:
            more = file.read(_CHUNK) if unfold.needs_input else b""
            if unfold.needs_input and not more:
                break
            chunk = unfold.decompress(more, min(left, _CHUNK))
            left, checksum = left - len(chunk), zlib.crc32(chunk, checksum)
            yield chunk
    if left or checksum != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename} is cut short or spoilt")


def _lzma(file: IO[bytes]) -> lzma.LZMADecompressor:
    """The decompressor that the first bytes of a file packed by LZMA ask for."""
    _, _, length, how, dictionary = struct.unpack("<BBHBL", file.read(9).ljust(9, b"\0"))
    if length != 5 or dictionary > _LARGEST_DICTIONARY:
        raise zipfile.BadZipFile("it asks for an LZMA that nobody writes")
    ways = {"lc": how % 9, "lp": how // 9 % 5, "pb": how // 45}
    wanted = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 1 << 12), **ways}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[wanted])


class _Bytes(io.FileIO):
    def __init__(self, archive: Path, most: int) -> None:
        super().__init__(archive)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        problem = f"it holds more than {self._most:,} files and folders"
        if size is not None and size > _LARGEST_LIST:
            raise zipfile.BadZipFile(problem)
        content = super().read(size)
        # nothing but the list of files is read in pieces of that size
        if len(content) > _CHUNK and content.count(b"PK\1\2") > self._most:
            raise zipfile.BadZipFile(problem)
        return content
