"""Bring large files over HTTP: resumed, retried and checked, whole or not at all."""

import contextlib
import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import httpx
import tenacity

from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import byte_progress

_TIMEOUT = httpx.Timeout(30.0)
_FRUITLESS = 5  # attempts in a row that bring nothing new, before giving up
_LONGEST_WAIT = 30.0  # seconds between attempts, doubled from one up to this
_LONGEST_REST = 300.0  # seconds, where a server asks for more than that
# a server that is busy or on its way up
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Remote:
    """A file behind a URL, with what is known of it beforehand."""

    url: str
    size: int | None = None  # bytes
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of the address, where that is a plain file name."""
        name = httpx.URL(self.url).path.rsplit("/", 1)[-1]
        return name if name not in ("", ".", "..") and "\\" not in name else "download"

    @property
    def place(self) -> str:
        """The address as it may be told to anybody."""
        return shown(self.url)


def shown(url: str) -> str:
    """A URL without user and password, and without a web query, which may hold a key."""
    parts = urlsplit(url)
    query = "" if parts.scheme.lower() in {"http", "https"} else parts.query
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


class _Passing(Exception):
    """The server could not answer just now, and may ask for some seconds of rest."""

    def __init__(self, reason: str, rest: float = 0) -> None:
        super().__init__(reason)
        self.rest = rest


def fetch(remote: Remote, path: Path) -> None:
    """Bring a file to `path`, if it is not there already, or is another one on the server now.

    What came before a broken connection, or a kill, is kept beside it and gone on from, where
    the server can send the rest and says that the file is still the same. The file takes its
    name only when size and checksum, where known, are right.

    Raises UserError for an address that does not answer or refuses, and for wrong content.
    """
    with locks.held(path.with_name(f"{path.name}.lock"), f"downloading {remote.name}"):
        _fetch(remote, path)


def discard(path: Path) -> None:
    """Delete what `fetch` brought to `path`."""
    path.unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


def _fetch(remote: Remote, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    patience = _Patience(part)
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((httpx.TransportError, _Passing)),
        after=patience.count,
        wait=patience.wait,
        stop=patience.is_over,
        reraise=True,
    )
    try:
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
            if path.exists() and not _changed(client, remote, path):
                return
            attempts(_attempt, client, remote, part)
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{remote.place} cannot be read: {reason}; {_BY_HAND}") from None
    except _Passing as error:
        raise UserError(f"{remote.place} cannot be read: {error}; {_BY_HAND}") from None
    if problem := difference(remote, part):
        discard(part)
        raise UserError(f"what {remote.place} sends {problem}: try again later, or {_BY_HAND}")
    part.replace(path)
    _note(part).replace(_note(path))


def _changed(client: httpx.Client, remote: Remote, path: Path) -> bool:
    """Whether the server says that it has another file now than what came from it."""
    try:
        answer = client.head(remote.url, headers={"Accept-Encoding": "identity"})
    except httpx.HTTPError:
        return False
    if not answer.is_success:
        return False
    was = _note(path).read_text(encoding="utf-8") if _note(path).exists() else ""
    length = answer.headers.get("Content-Length", "")
    other_length = length.isdecimal() and int(length) != path.stat().st_size
    return other_length or ("" not in (was, _version(answer)) and was != _version(answer))


def difference(remote: Remote, path: Path) -> str:
    """How a file differs from what is known of it; "" if it does not."""
    if remote.size is not None and path.stat().st_size != remote.size:
        return f"has {path.stat().st_size:,} bytes and should have {remote.size:,}"
    if remote.sha256 is not None and _sha256(path) != remote.sha256:
        return "has another SHA-256 than published"
    return ""


_BY_HAND = "fetch it by hand and set dataset.path to its folder, or to itself for source: archive"


class _Patience:
    """Ends after several attempts in a row that brought nothing new, and waits longer for each."""

    def __init__(self, part: Path) -> None:
        self.part = part
        self.had = _size(part)
        self.fruitless = 0

    def count(self, _: tenacity.RetryCallState) -> None:
        has = _size(self.part)
        self.fruitless = 0 if has > self.had else self.fruitless + 1
        self.had = has

    def wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        rest = error.rest if isinstance(error, _Passing) else 0
        return max(min(2.0**self.fruitless / 2, _LONGEST_WAIT), min(rest, _LONGEST_REST))

    def is_over(self, _: tenacity.RetryCallState) -> bool:
        return self.fruitless >= _FRUITLESS


def _attempt(client: httpx.Client, remote: Remote, part: Path) -> None:
    """Bring what is missing of a file; raise what may pass, or UserError."""
    had = _size(part)
    validator = _note(part).read_text(encoding="utf-8") if had and _note(part).exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={had}-", "If-Range": validator}
    with _answer(client, remote, headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # nothing is missing, or the file is another one now
            if response.headers.get("Content-Range") == f"bytes */{had}":
                return
            part.unlink()
            raise _Passing("the file changed meanwhile")
        resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
            raise UserError(f"{remote.place} sends another part than it was asked for; {_BY_HAND}")
        start = had if resumes else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else remote.size
        chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if total is None and not chunked and remote.sha256 is None:
            raise UserError(
                f"{remote.place}: the server does not say how long the file is, so that a part "
                f"could not be told from the whole; {_BY_HAND}"
            )
        if remote.size is not None and total not in (None, remote.size):
            raise UserError(
                f"{remote.place} has {total:,} bytes and should have {remote.size:,}; {_BY_HAND}"
            )
        files.write_text(_note(part), _version(response))
        with part.open("ab" if resumes else "wb") as file:
            _receive(response, file, start, total, remote.name)


@contextlib.contextmanager
def _answer(
    client: httpx.Client, remote: Remote, headers: dict[str, str]
) -> Iterator[httpx.Response]:
    try:
        with client.stream("GET", remote.url, headers=headers) as response:
            status = f"{response.status_code} {response.reason_phrase}".strip()
            if response.status_code in _PASSING:
                # a date instead of seconds is rare
                asked = response.headers.get("Retry-After", "")
                rest = float(asked) if asked.isdecimal() else 0
                raise _Passing(f"the server answers {status}", rest)
            refused = response.is_error
            if refused and response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise UserError(f"{remote.place}: the server answers {status}; {_BY_HAND}")
            yield response
    except httpx.ConnectError as error:
        if not _untrusted(error):
            raise
        raise UserError(
            f"{remote.place}: the server's certificate cannot be verified; {_BY_HAND}"
        ) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise UserError(f"{remote.place} is no address to download from: {error}") from None


def _untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _receive(
    response: httpx.Response, file: IO[bytes], start: int, total: int | None, name: str
) -> None:
    with byte_progress(name, start, total) as advance:
        for chunk in response.iter_raw():
            file.write(chunk)
            advance(len(chunk))


def _version(response: httpx.Response) -> str:
    """What tells one version of a file from another; "" where the server does not say."""
    # a weak one does not promise the same bytes
    strong = response.headers.get("ETag", "").removeprefix("W/") == response.headers.get("ETag")
    found: str = response.headers["ETag"] if strong else response.headers.get("Last-Modified", "")
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """Beside a file or a part of one: which version of it the server sent."""
    return part.with_name(f"{part.name}.version")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
