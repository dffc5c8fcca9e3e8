"""What is known of a file elsewhere: its labels, its version and its size."""

import io
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinoflow.workspace import LABELS
from stages.sources.remote import addresses

if TYPE_CHECKING:
    import pandas as pd

# what stores call the identity of a content (the most reliable first), and its last change
_IDENTITIES = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_UNKNOWN = "unknown-"


class Incomplete(Exception):
    """The content that came is not the one announced. Another attempt may bring that."""


def read_labels(content: bytes, url: str) -> "pd.DataFrame":
    """The table in the labels.csv of the folder at `url`; UserError as `catalog.read_labels`."""
    from kinoflow.data import catalog

    place = addresses.redacted(addresses.below(url, LABELS))
    return catalog.read_labels(place, io.BytesIO(content))


def fingerprint(size: int | None, info: Mapping[str, Any]) -> str:
    """A text that changes whenever a file's content does.

    Args:
        size: of the file, in bytes.
        info: what the store or server says of the file, by its own names. If this holds neither an
            identity nor a time, every call returns another text.
    """
    identity = next((info[key] for key in (*_IDENTITIES, *_TIMES) if info.get(key)), None)
    # a changed file may have the same size: take it for new
    return f"{size}-{identity}" if identity else f"{_UNKNOWN}{uuid.uuid4()}"


def is_unknown(fingerprint: str) -> bool:
    """Whether a fingerprint was made without an identity or a time."""
    return fingerprint.startswith(_UNKNOWN)


def check_size(path: Path, size: int) -> None:
    """Raise Incomplete if a file does not have `size` bytes."""
    if path.stat().st_size != size:
        raise Incomplete(f"came with {path.stat().st_size} bytes instead of {size}")
