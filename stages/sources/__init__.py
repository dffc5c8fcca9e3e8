"""Where videos come from: one module per source, each with `items(dataset, seed, downloads)`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One file that a source offers.

    `name` is its path below data/ with forward slashes. `fingerprint` changes whenever the
    content would and is cheap to know. `fetch(path)` writes the content to `path`; it is
    picklable, so that a pool of processes can run it. `original` is a file of kinoflow's own
    with the same content, which may share its place on disk with that in data/.
    """

    name: str
    fingerprint: str
    fetch: Callable[[Path], None]
    original: Path | None = None
