"""Archives of every kind, made for tests."""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """The suffix says how it is compressed; a TarInfo stands for what is no plain file."""
    mode = "w:" + {".tar": "", ".gz": "gz", ".bz2": "bz2", ".xz": "xz"}[path.suffix]
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tarfile.TarInfo):
                info.type, info.linkname = content.type, content.linkname
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def write_rar(path: Path, members: dict[str, bytes], mode: int = 0o100644) -> Path:
    """A RAR 3 archive that stores its members as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [b"Rar!\x1a\x07\x00", _block(0x73, 0, bytes(6))]
    for name, content in members.items():
        fields = [
            *((len(content), 4), (len(content), 4), (3, 1), (zlib.crc32(content), 4), (0, 4)),
            *((20, 1), (0x30, 1), (len(name.encode()), 2), (mode, 4)),
        ]
        header = b"".join(value.to_bytes(size, "little") for value, size in fields)
        blocks += [_block(0x74, 0x8000, header + name.encode()), content]
    path.write_bytes(b"".join([*blocks, _block(0x7B, 0x4000, b"")]))
    return path


def _block(kind: int, flags: int, rest: bytes) -> bytes:
    size = 7 + len(rest)
    body = bytes([kind]) + flags.to_bytes(2, "little") + size.to_bytes(2, "little") + rest
    return (zlib.crc32(body) & 0xFFFF).to_bytes(2, "little") + body
