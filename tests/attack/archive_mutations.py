"""Archives that were whole, and what a bad disk or a bad will makes of them."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.archives import write_rar

FILES = {
    "A/one.avi": bytes(range(256)) * 4,
    "A/" + "b" * 120 + "/two.avi": b"two" * 300,
    "C/empty.avi": b"",
    "C/ü.avi": b"x" * 513,
}

Mutation = Callable[[random.Random, bytearray], None]

_BLOCK = 512
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def _tar(form: int) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("A")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, held in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            archive.addfile(info, io.BytesIO(held))
    return content.getvalue()


def _zip(method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, held in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), held, method)
    return content.getvalue()


def _rar(*, nested: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.rar"
        whole = write_rar(path, FILES).read_bytes()
        return write_rar(path, {"in.rar": whole}).read_bytes() if nested else whole


def whole() -> dict[str, bytes]:
    """Archives of every kind with the same files in them."""
    return {
        "GNU tar": _tar(tarfile.GNU_FORMAT),
        "PAX tar": _tar(tarfile.PAX_FORMAT),
        "zip": _zip(zipfile.ZIP_STORED),
        "zip, deflate": _zip(zipfile.ZIP_DEFLATED),
        "zip, bzip2": _zip(zipfile.ZIP_BZIP2),
        "zip, LZMA": _zip(zipfile.ZIP_LZMA),
        "rar": _rar(nested=False),
        "rar in rar": _rar(nested=True),
    }


# what a tar is compressed with, before or after it is spoilt
PACKERS: tuple[Callable[[bytes], bytes], ...] = (bytes, gzip.compress, bz2.compress, lzma.compress)


def flip(luck: random.Random, content: bytearray) -> None:
    for _ in range(luck.randint(1, 4)):
        content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)


def overwrite(luck: random.Random, content: bytearray) -> None:
    start = luck.randrange(len(content))
    end = min(len(content), start + luck.randint(1, 600))
    content[start:end] = luck.choice([luck.randbytes(end - start), bytes(end - start)])


def cut(luck: random.Random, content: bytearray) -> None:
    del content[luck.randrange(len(content)) :]


def drop(luck: random.Random, content: bytearray) -> None:
    start = luck.randrange(len(content))
    del content[start : start + luck.choice([1, 100, _BLOCK, 2 * _BLOCK])]


def repeat(luck: random.Random, content: bytearray) -> None:
    start, length = luck.randrange(len(content)), luck.choice([1, 100, _BLOCK, 2 * _BLOCK])
    content[start:start] = content[start : start + length]


def edit(luck: random.Random, content: bytearray) -> None:
    """Change a header and set its checksum right, as one who means it does."""
    if content.startswith(b"Rar!"):
        _edit_rar(luck, content)
    elif content.startswith(b"PK"):
        _edit_zip(luck, content)
    else:
        _edit_tar(luck, content)


def _edit_tar(luck: random.Random, content: bytearray) -> None:
    starts = [n for n in range(0, len(content), _BLOCK) if content[n + 257 : n + 262] == b"ustar"]
    start = luck.choice(starts)
    kinds = b"01234567xgXLKSDVMN\\0A"
    field, value = luck.choice(
        [
            (156, bytes([luck.choice(kinds)])),
            (124, b"%011o" % luck.choice([0, 1, 513, 1 << 20, (8 << 30) - 1])),
            (124, b"\x80" + luck.randbytes(11)),
            (luck.randrange(100), luck.choice([b"/", b"..", b"\0", b"\xff", b"\n", b"\\"])),
            (257, luck.randbytes(8)),
            (luck.randrange(345, 490), luck.randbytes(4)),
        ]
    )
    content[start + field : start + field + len(value)] = value
    content[start + 148 : start + 156] = b" " * 8
    content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + _BLOCK])


def _edit_zip(luck: random.Random, content: bytearray) -> None:
    magic, length = luck.choice([(b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)])
    starts = [n for n in range(len(content)) if content[n : n + 4] == magic]
    start = luck.choice(starts) + luck.randrange(4, length, 2)
    form = luck.choice(["<H", "<L"])
    value = luck.choice(_EXTREMES) & (0xFFFF if form == "<H" else 0xFFFFFFFF)
    if start + struct.calcsize(form) <= len(content):
        struct.pack_into(form, content, start, value)


def _edit_rar(luck: random.Random, content: bytearray) -> None:
    starts, place = [], 7
    while place + 7 <= len(content):
        kind, _, size = struct.unpack_from("<BHH", content, place + 2)
        starts.append(place)
        packed = struct.unpack_from("<L", content, place + 7)[0] if kind == 0x74 else 0
        place += size + packed
    start = luck.choice(starts)
    size = struct.unpack_from("<H", content, start + 5)[0]
    field = start + luck.randrange(2, size)
    content[field] = luck.choice([0, 1, 0x7F, 0x80, 0xFF, luck.randrange(256)])
    size = struct.unpack_from("<H", content, start + 5)[0]
    checksum = zlib.crc32(content[start + 2 : start + max(size, 7)]) & 0xFFFF
    struct.pack_into("<H", content, start, checksum)


DAMAGE: tuple[Mutation, ...] = (flip, overwrite, cut, drop, repeat)
