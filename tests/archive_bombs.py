"""Archives that are small and cost much, each by another way; and what unpacking one costs."""

import bz2
import functools
import gzip
import lzma
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

_BLOCK = 512
_PIECE = bytes(1 << 20)
_DIGITS = b"1" * (1 << 20)


class Cost(NamedTuple):
    """What came of unpacking an archive."""

    said: str  # how it ended: "unpacked", "refused: ..." or "crashed: ..."
    memory: float  # megabytes that it took beyond what was held before
    seconds: float


_UNPACK = """
import bz2, gzip, lzma, re, sys, time
from pathlib import Path
from kinoflow.system.errors import UserError
from stages.sources.archives.unpack import unpack
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000
for number, archive in enumerate(sys.argv[2:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before, started = peak(), time.monotonic()
    try:
        unpack(Path(archive), Path(sys.argv[1]) / str(number), 100)
        said = "unpacked"
    except UserError as error:
        said = f"refused: {error}"
    except BaseException as error:
        said = f"crashed: {type(error).__name__}: {error}"
    spent = time.monotonic() - started
    print(f"{peak() - before:.1f}", f"{spent:.2f}", said.splitlines()[0][:300], flush=True)
"""


def costs(archives: Sequence[Path], folder: Path) -> list[Cost]:
    """Unpack archives below `folder`, in a process of its own. Linux alone tells the memory."""
    done = subprocess.run(
        [sys.executable, "-c", _UNPACK, str(folder), *map(str, archives)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    return [Cost(said, float(memory), float(seconds)) for memory, seconds, said in lines]


def header(kind: bytes, size: int, name: str = "x.avi") -> bytes:
    """One block of a tar: a member of this kind, with so many bytes to follow."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)


def _opened(path: Path) -> IO[bytes]:
    opener: dict[str, Callable[..., Any]] = {
        ".gz": functools.partial(gzip.open, compresslevel=6),
        ".bz2": bz2.open,
        ".xz": functools.partial(lzma.open, preset=1),
    }
    return cast(IO[bytes], opener.get(path.suffix, open)(path, "wb"))


def write_blocks(path: Path, blocks: Iterable[bytes]) -> Path:
    """A tar of these bytes, compressed as its suffix says."""
    with _opened(path) as file:
        for block in blocks:
            file.write(block)
    return path


def _filled(kind: bytes, size: int, piece: bytes = _PIECE) -> Iterable[bytes]:
    """A header of this kind with so many mebibytes, and a video after it."""
    yield header(kind, size << 20)
    for _ in range(size):
        yield piece
    yield header(tarfile.REGTYPE, 0)
    yield bytes(2 * _BLOCK)


def _chained(kind: bytes, size: int, content: bytes) -> Iterable[bytes]:
    """So many mebibytes of headers, each of which speaks of the next."""
    link = header(kind, len(content)) + padded(content)
    for _ in range((size << 20) // len(link)):
        yield link
    yield header(tarfile.REGTYPE, 0)
    yield bytes(2 * _BLOCK)


def record(key: str, value: str) -> bytes:
    """A record of a PAX header, which begins with its own length."""
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def _globals(size: int) -> Iterable[bytes]:
    """So many mebibytes of PAX headers that stay, each with other keys, each before a folder."""
    number = made = 0
    while made < size << 20:
        content = b"".join(record(f"k{number + n}", "") for n in range(4000))
        block = header(tarfile.XGLTYPE, len(content)) + padded(content)
        block += header(tarfile.DIRTYPE, 0, f"d{number}")
        yield block
        made, number = made + len(block), number + 4000
    yield bytes(2 * _BLOCK)


def _sparse(size: int) -> Iterable[bytes]:
    """A map of holes, as GNU tar has them, that goes on and on."""
    first = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b"        "
    first[148:156] = b"%06o\0 " % sum(first)
    yield bytes(first)
    entry = b"%011o\0" % 1 + b"%011o\0" % 1
    more = (entry * 21 + b"\1").ljust(_BLOCK, b"\0")
    for _ in range(size):
        yield more * 2048
    yield bytes(2 * _BLOCK)


def _pax_sparse(size: int) -> Iterable[bytes]:
    """A map of holes, as PAX has them, whose length is a lie."""
    content = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
    content += record("GNU.sparse.name", "x") + record("GNU.sparse.realsize", "1")
    yield header(tarfile.XHDTYPE, len(content)) + padded(content)
    yield header(tarfile.REGTYPE, size << 20)
    yield b"900000000\n".ljust(_BLOCK, b"1")
    for _ in range(size):
        yield b"1\n" * (1 << 19)
    yield bytes(2 * _BLOCK)


def _folders(size: int) -> Iterable[bytes]:
    one = header(tarfile.DIRTYPE, 0, "d")
    for _ in range(size):
        yield one * 2048
    yield bytes(2 * _BLOCK)


def _after_the_end(size: int) -> Iterable[bytes]:
    yield header(tarfile.REGTYPE, 0)
    yield bytes(2 * _BLOCK)
    for _ in range(size):
        yield _PIECE


# what a tar may hold, by name: the blocks for so many mebibytes
TARS: dict[str, Callable[[int], Iterable[bytes]]] = {
    "long name": functools.partial(_filled, tarfile.GNUTYPE_LONGNAME),
    "long link": functools.partial(_filled, tarfile.GNUTYPE_LONGLINK),
    "pax": functools.partial(_filled, tarfile.XHDTYPE),
    "pax of digits": functools.partial(_filled, tarfile.XHDTYPE, piece=_DIGITS),
    "global pax": functools.partial(_filled, tarfile.XGLTYPE),
    "long names in a chain": lambda size: _chained(tarfile.GNUTYPE_LONGNAME, size, b"x\0"),
    "pax in a chain": lambda size: _chained(tarfile.XHDTYPE, size, record("path", "y")),
    "pax keys that stay": _globals,
    "sparse": _sparse,
    "pax sparse": _pax_sparse,
    "folders": _folders,
    "zeros after the end": _after_the_end,
}


def write_zip_bomb(path: Path, size: int, method: int) -> Path:
    """A file of so many mebibytes of zeros."""
    info = zipfile.ZipInfo("x.avi")
    info.compress_type = method
    with zipfile.ZipFile(path, "w") as archive, archive.open(info, "w", force_zip64=True) as file:
        for _ in range(size):
            file.write(_PIECE)
    return path


def write_overlapping_zip(path: Path, size: int, files: int) -> Path:
    """Files that each hold the next one with its header (Fifield, 2019).

    The last one holds so many mebibytes of zeros.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join([packer.compress(_PIECE) for _ in range(size)]) + packer.flush()
    names = [f"{number:06d}.avi".encode() for number in range(files)]
    local, quoted = 30 + len(names[0]), 5  # bytes of a header, and of what announces it as content
    sizes = [
        (len(packed) + left * (local + quoted), (size << 20) + left * local)
        for left in reversed(range(files))
    ]
    headers = [
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, *sizes[n], len(names[n]), 0)
        + names[n]
        for n in range(files)
    ]
    body = (b"\0" + struct.pack("<2H", local, local ^ 0xFFFF)).join(headers) + packed
    directory = b""
    for n in range(files):
        fixed = (20, 20, 0, 8, 0, 33, 0, *sizes[n], len(names[n]), 0, 0, 0, 0, 0)
        place = n * (local + quoted)
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", *fixed, place) + names[n]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, files, files, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def write_crowded_zip(path: Path, entries: int) -> Path:
    """So many entries without a file."""
    record = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    size = entries * (len(record) + 1)
    with path.open("wb") as file:
        for _ in range(entries // 1000):
            file.write((record + b"x") * 1000)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, size, 0, 0))
    return path


def write_xz_with_a_large_dictionary(path: Path, size: int, dictionary: int) -> Path:
    """So many mebibytes of zeros, which asks for a dictionary of so many to be unpacked."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary << 20}]
    with lzma.open(path, "wb", filters=filters) as file:
        file.write(header(tarfile.REGTYPE, size << 20))
        for _ in range(size):
            file.write(_PIECE)
        file.write(bytes(2 * _BLOCK))
    return path


def write_all(folder: Path, size: int) -> dict[str, Path]:
    """Every kind, each unfolding to about so many mebibytes, by what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        f"tar.gz, {name}": write_blocks(folder / f"{number}.tar.gz", blocks(size))
        for number, (name, blocks) in enumerate(TARS.items())
    }
    for name in ("long name", "pax", "zeros after the end"):
        for suffix in ("bz2", "xz"):
            path = folder / f"{name}.tar.{suffix}"
            made[f"tar.{suffix}, {name}"] = write_blocks(path, TARS[name](size))
    made["tar.xz, a gibibyte of dictionary"] = write_xz_with_a_large_dictionary(
        folder / "dictionary.tar.xz", size, 1024
    )
    methods = {
        "deflate": zipfile.ZIP_DEFLATED,
        "bzip2": zipfile.ZIP_BZIP2,
        "LZMA": zipfile.ZIP_LZMA,
    }
    for name, method in methods.items():
        made[f"zip, {name}"] = write_zip_bomb(folder / f"{name}.zip", size, method)
    made["zip, overlapping"] = write_overlapping_zip(folder / "overlapping.zip", size, 1000)
    return made
