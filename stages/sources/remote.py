"""Videos elsewhere: an object store (s3://, gs://, all that fsspec knows) or a web server.

An object store can be listed. A web server cannot, so there a labels.csv says what it holds.
"""

import contextlib
import errno
import functools
import io
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import pandas as pd
import tenacity

from kinoflow.data import catalog
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import progress
from stages.sources import Item
from stages.sources.folder import LABELS, choose
from stages.sources.transfer import shown

_CONNECTIONS = 16  # questions to a web server at a time
_TIMEOUT = 30.0  # seconds of silence
_WAIT = tenacity.wait_exponential_jitter(initial=0.5, max=8)  # seconds between attempts

# what stores call the identity of a content, the best first, and the time of its last change
_IDENTITIES = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class _CutShort(Exception):
    """A download of another size than was announced."""


def items(url: str) -> list[Item]:
    """The videos below a URL, chosen as in a folder; on a web server, those that labels.csv lists.

    Raises UserError for a place that is missing, cannot be read or holds no video, and for a
    package that is not installed.
    """
    web = urlsplit(url).scheme.lower() in {"http", "https"}
    return _on_server(url) if web else _in_store(url)


# === object stores ===


def _in_store(url: str) -> list[Item]:
    with _explained(url):
        store, root = _opened(url)
        root = root.rstrip("/") + "/"
        listed = store.find(root, detail=True)
    found = {key.removeprefix(root): info for key, info in listed.items() if _is_visible(key, root)}
    labels = None
    if LABELS in found:
        with _explained(_below(url, LABELS)):
            labels = _read_labels(store.cat_file(root + LABELS), url)
    names = choose(found, labels, shown(url))
    return [
        Item(
            name,
            _fingerprint(found[name]["size"], found[name]),
            partial(_fetch_object, url, root + name, found[name]["size"]),
        )
        for name in names
    ]


def _is_visible(key: str, root: str) -> bool:
    """Whether a key is a file below `root`, and not hidden."""
    parts = key.removeprefix(root).split("/")
    # .. hides nothing: it is there to be refused
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return key.startswith(root) and not key.endswith("/") and not hidden


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(url, use_listings_cache=False)


def _fetch_object(url: str, key: str, size: int, target: Path) -> None:
    with _explained(f"{url.partition('://')[0]}://{key}"):
        store, _ = _opened(url)
        store.get_file(key, str(target))
        _check_size(target, size)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what goes wrong with an object store into one line about `url`."""
    place = shown(url)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(
            urlsplit(url).scheme.lower()
        )
        hint = f": `.venv/bin/uv pip install {package}`" if package else f" ({error})"
        raise UserError(f"{place} needs a package that is not installed{hint}") from None
    except FileNotFoundError as error:
        raise UserError(f"there is no {place} ({error.strerror or error})") from None
    except PermissionError as error:
        raise UserError(
            f"no permission to read {place} ({error}): check the credentials in your environment"
        ) from None
    except _CutShort as error:
        raise UserError(f"{place} {error}: run again") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        if "credentials" in reason.lower():
            reason += (
                "; set those of your store in the environment, for S3 AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
            )
        raise UserError(f"{place} cannot be read: {reason}") from error


# === web servers ===


def _on_server(url: str) -> list[Item]:
    with _answered(_below(url, LABELS)):
        response = _ask("GET", _below(url, LABELS))
    labels = _read_labels(response.content, url)
    names = [LABELS, *labels["video"]]
    # made before the threads, which may share it
    _client()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        looked = pool.map(partial(_look, url), names)
        try:
            offered = [item for item in progress(looked, "look up", len(names)) if item]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    choose({item.name for item in offered}, labels, shown(url))
    nameless = [item.name for item in offered if item.fingerprint.startswith("unknown")]
    if nameless:
        print(
            f"warning: the server gives neither ETag nor Last-Modified for {len(nameless)} files, "
            f"the first {nameless[0]}: they are fetched again in every run",
            file=sys.stderr,
        )
    return offered


def _look(url: str, name: str) -> Item | None:
    """A file on a server, to be fetched; None if it is not there."""
    where = _below(url, name)
    with _answered(where):
        try:
            answer = _ask("HEAD", where)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in {404, 410}:
                return None
            raise
    plain = "content-encoding" not in answer.headers
    length = answer.headers.get("content-length", "") if plain else ""
    size = int(length) if length.isdecimal() else None
    known = {"ETag": answer.headers.get("etag"), "mtime": answer.headers.get("last-modified")}
    return Item(name, _fingerprint(size, known), partial(_fetch_page, where, size))


def _fetch_page(url: str, size: int | None, target: Path) -> None:
    with _answered(url):
        _persistently(_download, url, size, target)


def _download(url: str, size: int | None, target: Path) -> None:
    with _client().stream("GET", url) as response:
        response.raise_for_status()
        with target.open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
    if size is not None:
        _check_size(target, size)


def _ask(method: str, url: str) -> httpx.Response:
    def ask() -> httpx.Response:
        response = _client().request(method, url)
        if method == "HEAD" and response.status_code in {403, 405, 501}:
            # some servers know GET alone, and signed links allow nothing else
            with _client().stream("GET", url) as response:
                pass
        return response.raise_for_status()

    return _persistently(ask)


@functools.cache
def _client() -> httpx.Client:
    """One a process, since it keeps its connections open."""
    return httpx.Client(
        follow_redirects=True,
        timeout=_TIMEOUT,
        limits=httpx.Limits(max_connections=_CONNECTIONS),
        # else sizes would be those of the compressed content
        headers={"Accept-Encoding": "identity"},
    )


def _persistently(function: Any, *arguments: Any) -> Any:
    """Call the function, up to four times where what goes wrong may pass."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(4),
        wait=_WAIT,
        reraise=True,
    )
    return retrying(function, *arguments)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in {408, 429} or (status >= 500 and status != 501)
    return isinstance(error, httpx.TransportError | _CutShort)


@contextlib.contextmanager
def _answered(url: str) -> Iterator[None]:
    """Turn what goes wrong with a web server into one line about `url`."""
    place = shown(url)
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in {404, 410}:
            hint = ": a web server needs one that says what it holds" if LABELS in url else ""
            raise UserError(f"there is no {place} (HTTP {status}){hint}") from None
        if status in {401, 403}:
            raise UserError(f"no permission to read {place} (HTTP {status})") from None
        raise UserError(f"{place} cannot be read: the server answers HTTP {status}") from None
    except _CutShort as error:
        raise UserError(f"{place} {error}: run again") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{place} cannot be read: {reason}") from None


# === both ===


def _read_labels(content: bytes, url: str) -> pd.DataFrame:
    return catalog.read_labels(shown(_below(url, LABELS)), io.BytesIO(content))


def _fingerprint(size: int | None, info: Mapping[str, Any]) -> str:
    identity = next((info[key] for key in (*_IDENTITIES, *_TIMES) if info.get(key)), None)
    # a size alone does not tell a changed file: take it for new
    return f"{size}-{identity}" if identity else f"unknown-{uuid.uuid4()}"


def _check_size(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise _CutShort(f"came with {path.stat().st_size} bytes instead of {size}")


def _below(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))
