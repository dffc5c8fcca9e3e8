"""Videos with mistakes in them."""

import os
import random
from pathlib import Path

import pytest

from tests.media import ffmpeg
from tests.test_odd_videos import H264


def mutated(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """The same with a few mistakes in it, of the kinds that networks, disks and people make."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(changed))
        # most of what decides is at the start or at the end
        place = chance.choice((at, at % 200, at % 2000, -1 - at % 2000)) % len(changed)
        length = min(chance.choice((1, 2, 4, 4, 16, 300)), len(changed) - place)
        kind = chance.randrange(8)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            changed[place : place + length] = bytes([chance.choice((0, 1, 127, 128, 255))]) * length
        elif kind == 3 and len(changed) > 1000:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[at : at + length]
        elif kind == 5 and len(changed) > 1000:
            del changed[chance.randrange(1000, len(changed)) :]
        elif kind == 6:
            cut = chance.randrange(len(other))
            changed[place : place + length] = other[cut : cut + length]
        elif kind == 7:
            changed[at:] = other[chance.randrange(len(other)) :]
    return bytes(changed)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small videos of many formats and codecs; with KINOFLOW_REAL_DATA real ones as well."""
    folder = tmp_path_factory.mktemp("originals")
    kinds: dict[str, tuple[str, ...]] = {
        "h264.mp4": H264,
        "hevc.mkv": ("-c:v", "libx265", "-x265-params", "log-level=none"),
        "vp9.webm": ("-c:v", "libvpx-vp9"),
        "av1.mp4": ("-c:v", "libsvtav1"),
        "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2"),
        "mjpeg.mov": ("-c:v", "mjpeg"),
        "ffv1.nut": ("-c:v", "ffv1"),
        "theora.ogv": ("-c:v", "libtheora"),
        **{f"a.{suffix}": () for suffix in ("mpg", "ts", "flv", "wmv", "gif", "apng", "mxf")},
    }
    source = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.4")
    for name, how in kinds.items():
        ffmpeg(*source, *how, folder / name)
    files = sorted(folder.iterdir())
    if real := os.environ.get("KINOFLOW_REAL_DATA"):
        every = sorted(path for path in Path(real).rglob("*.*") if path.suffix != ".md")
        files += [path for path in every if path.stat().st_size < 500_000]
    return [path.read_bytes() for path in files]
