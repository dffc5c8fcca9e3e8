"""Videos on a web server. It cannot be listed, so a labels.csv there says what it holds."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from kinoflow.system.terminal import progress
from kinoflow.workspace import LABELS
from stages.sources import layout
from stages.sources.item import Item
from stages.sources.remote import contents, web
from stages.sources.remote.addresses import below, redacted


def items(url: str) -> list[Item]:
    """The labels.csv in the folder at `url`, and the videos that it lists.

    Raises UserError if the server cannot be read, has no labels.csv, or lacks some of the videos.
    """
    where = below(url, LABELS)
    with web.explained(where, if_missing="a web server needs one that says what it holds"):
        response = web.with_retries(lambda: web.client().get(where).raise_for_status())
    labels = contents.read_labels(response.content, url)
    names = [LABELS, *labels["video"]]
    with ThreadPoolExecutor(web.CONNECTIONS) as pool:
        asked = pool.map(partial(_item, url), names)
        try:
            offered = [item for item in progress(asked, "look up", len(names)) if item]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    layout.dataset_files({item.name for item in offered}, labels, redacted(url))
    unknown = [item.name for item in offered if contents.is_unknown(item.fingerprint)]
    if unknown:
        print(
            f"warning: the server gives neither ETag nor Last-Modified for {len(unknown)} files, "
            f"the first {unknown[0]}: they are fetched again in every run",
            file=sys.stderr,
        )
    return offered


def _item(url: str, name: str) -> Item | None:
    """The file `name` in the folder at `url`; None if it is not there."""
    where = below(url, name)
    with web.explained(where):
        try:
            answer = web.with_retries(partial(_headers_of, where))
        except httpx.HTTPStatusError as error:
            if error.response.status_code in {404, 410}:
                return None
            raise
    length = answer.get("content-length", "") if "content-encoding" not in answer else ""
    size = int(length) if length.isdecimal() else None
    version = {"ETag": answer.get("etag"), "mtime": answer.get("last-modified")}
    return Item(name, contents.fingerprint(size, version), partial(_fetch, where, size))


def _headers_of(url: str) -> httpx.Headers:
    response = web.client().head(url)
    if response.status_code in {403, 405, 501}:
        # some servers know only GET, and signed links allow only GET
        with web.streamed(url) as response:
            pass
    return response.raise_for_status().headers


def _fetch(url: str, size: int | None, target: Path) -> None:
    with web.explained(url):
        web.with_retries(partial(_attempt, url, size, target))


def _attempt(url: str, size: int | None, target: Path) -> None:
    with web.streamed(url) as response, target.open("wb") as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
    if size is not None:
        contents.check_size(target, size)
