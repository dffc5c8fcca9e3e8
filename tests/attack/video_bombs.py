"""Small files that would take much: memory, time, other files."""

import struct


def gif(width: int, height: int, pictures: int, side: int = 1) -> bytes:
    """A GIF of so many pictures, each `side` pixels wide and high on a canvas of that size."""
    canvas = struct.pack("<HH", width, height)
    shown = b"\x21\xf9\x04\x00\x01\x00\x00\x00"  # for a hundredth of a second
    size = struct.pack("<HH", side, side)
    picture = shown + b"\x2c" + bytes(4) + size + b"\x00\x02\x02\x4c\x01\x00"
    return b"GIF89a" + canvas + b"\x80\x00\x00" + bytes(6) + picture * pictures + b";"


def burning_gif() -> bytes:
    """180 KB that take minutes: 7,500 pictures of 4000x4000."""
    return gif(4000, 4000, 7500)


def playlist(entries: int) -> bytes:
    """Names itself and others so often that opening it opens thousands of files."""
    return b"ffconcat version 1.0\n" + b"file video\n" * entries


def table(kind: bytes, entries: int) -> bytes:
    """An mp4 whose table `kind` (stsz, stts, ...) claims so many entries, and has none."""

    def box(name: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I", 8 + len(body)) + name + body

    many = struct.pack(">I", entries)
    claimed = {b"stsz": bytes(8) + many}.get(kind, bytes(4) + many)
    handler = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    entry = bytes(6) + b"\x00\x01" + bytes(16) + struct.pack(">HH", 64, 48) + bytes(50)
    description = box(b"stsd", bytes(4), struct.pack(">I", 1), box(b"mp4v", entry))
    header = box(b"mdhd", bytes(12), struct.pack(">II", 1000, 1000), bytes(4))
    tables = box(b"stbl", description, box(kind, claimed))
    track = box(b"trak", box(b"mdia", header, handler, box(b"minf", tables)))
    return box(b"ftyp", b"isom", bytes(4)) + box(b"moov", track)
