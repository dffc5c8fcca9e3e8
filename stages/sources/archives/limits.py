"""What an archive may cost: bytes, files and memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 18  # bytes read at a time
MOST_FILES = 1_000_000  # files and folders, with those of nested archives
LARGEST_DICTIONARY = 1 << 28  # bytes that LZMA may ask for; `xz -9` asks for a quarter
_RATIO = 100  # unpacked to packed; videos hardly shrink at all
_ALWAYS_ALLOWED = 10_000_000  # bytes that any archive may unpack to, besides that ratio
_BYTES_PER_FILE = 512  # what each file or folder counts for, besides its content


class Refused(Exception):
    """Why an archive is not unpacked: a clause that calls the archive "it"."""


@dataclass
class Budget:
    """What may still be written.

    Args:
        bytes_left: how many bytes.
        files_left: how many files and folders.
        limit: the limit on bytes in words, for errors.
    """

    bytes_left: int
    files_left: int
    limit: str

    def spend(self, count: int) -> None:
        """Take `count` bytes. Raises Refused when there are not as many left."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise Refused(f"it unfolds to more than {self.limit}")

    def spend_files(self, count: int) -> None:
        """Take `count` files or folders, and their bytes. Raises Refused as `spend` does."""
        self.files_left -= count
        if self.files_left < 0:
            raise Refused(f"it holds more than {MOST_FILES:,} files and folders")
        self.spend(count * _BYTES_PER_FILE)

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks; the bytes of each are spent before it is yielded."""
        for chunk in chunks:
            self.spend(len(chunk))
            yield chunk


def budget(archive: Path, max_gb: float) -> Budget:
    """What an archive may unpack to: at most `max_gb` GB, and 100 times its size plus 10 MB."""
    most = int(max_gb * 1e9)
    by_ratio = archive.stat().st_size * _RATIO + _ALWAYS_ALLOWED
    if most < by_ratio:
        return Budget(most, MOST_FILES, f"dataset.max_unpacked_gb allows ({max_gb:g} GB)")
    return Budget(by_ratio, MOST_FILES, f"{_RATIO} times its size")
