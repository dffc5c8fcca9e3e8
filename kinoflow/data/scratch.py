"""What the catalog's pass over the videos keeps, so that later stages need not decode them again.

The catalog decodes every frame of a new video to count it. On the way it keeps the frames that
`extract` and `explore` will want by the present params.yaml, in a folder that is no output of a
stage. Both take from there what they find and decode what they do not find, so that no result
depends on this folder: it may be deleted at any time.

An entry belongs to the content of a video, to what was kept of it, and to the code and the
libraries that decoded it. It is written whole or not at all, and its name has its CRC-32, so that
a damaged entry is not used.
"""

import contextlib
import hashlib
import io
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from kinoflow.data import exploration
from kinoflow.data.clips import describe
from kinoflow.system import files
from kinoflow.video import area, decoder, frames, sampling
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.video.version import decoder_version

# of all entries together; what goes beyond is decoded again
_MOST_BYTES = 16 * 2**30
_USABLE = 1 / 2  # the share of the free disk that entries may take
_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{8})\.npy")


def clip_key(md5: str, spec: ClipSpec) -> str:
    """The key of a video's clip.

    Args:
        md5: of the video's content.
        spec: what the clip is.
    """
    return _key(md5, f"clip {describe(spec)}")


def pairs_key(md5: str, pairs: int) -> str:
    """The key of the pairs of frames between which `explore` measures optical flow.

    Args:
        md5: of the video's content.
        pairs: how many pairs to measure.
    """
    return _key(md5, f"{pairs} pairs")


@dataclass(frozen=True)
class Scratch:
    """A folder of entries, each a NumPy file of uint8 frames.

    Args:
        folder: where the entries are; it need not exist.
    """

    folder: Path

    def room(self) -> int:
        """How many bytes the entries may take together."""
        existing = next(path for path in self.folder.absolute().parents if path.exists())
        return min(_MOST_BYTES, int(_USABLE * shutil.disk_usage(existing).free))

    def keep(self, name: str, kept: Frames) -> None:
        """Write an entry under the key `name`, if the disk allows it."""
        content = io.BytesIO()
        np.save(content, kept, allow_pickle=False)
        path = self.folder / f"{name}-{_checksum(content.getbuffer())}.npy"
        # on a full disk the stages decode for themselves
        with contextlib.suppress(OSError), files.replacing(path, durable=False) as partial:
            partial.write_bytes(content.getbuffer())

    def entries(self) -> dict[str, Path]:
        """The files of all entries, by key; they may be damaged."""
        return dict(self._listed())

    def clear(self) -> None:
        """Delete all entries, and what killed processes left half-written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        # the folder around it holds nothing else, but perhaps other entries
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def _listed(self) -> Iterator[tuple[str, Path]]:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if match := _NAME.fullmatch(path.name):
                    yield match.group(1), path


def whole(entry: Path) -> bytes | None:
    """The content of an entry's file; None if it is damaged or gone."""
    try:
        content = entry.read_bytes()
    except OSError:
        return None
    match = _NAME.fullmatch(entry.name)
    return content if match and match.group(2) == _checksum(content) else None


def holds(path: Path, md5: str) -> bool:
    """Whether a file still has this MD5."""
    try:
        return files.md5(path) == md5
    except OSError:
        return False


def read(entry: Path) -> Frames | None:
    """The frames of an entry's file; None if it is damaged or gone."""
    content = whole(entry)
    return None if content is None else np.load(io.BytesIO(content), allow_pickle=False)


def _key(md5: str, what: str) -> str:
    return _hex(f"{md5} {what} {decoder_version()} {_code()}".encode())


@cache
def _code() -> str:
    """One MD5 over the code that decides which frames are kept, and on their pixels."""
    modules = (area, decoder, exploration, frames, sampling)
    return _hex(b"\0".join(Path(str(module.__file__)).read_bytes() for module in modules))


def _checksum(content: bytes | memoryview) -> str:
    return f"{zlib.crc32(content):08x}"


def _hex(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
