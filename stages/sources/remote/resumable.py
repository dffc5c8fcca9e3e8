"""Large files over HTTP: resumed, retried and checked, whole or not at all."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import httpx

from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import byte_progress
from stages.sources.remote import addresses, web
from stages.sources.remote.contents import Incomplete

_BY_HAND = "fetch it by hand and set dataset.path to its folder, or to itself for source: archive"


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL, and what is known of it beforehand.

    Args:
        url: its address.
        size: in bytes, if known.
        sha256: in hexadecimal, if known.
    """

    url: str
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of the address if that is a plain file name, else "download"."""
        return addresses.file_name(self.url)

    @property
    def place(self) -> str:
        """The address as it may be printed."""
        return addresses.redacted(self.url)


def download(remote: RemoteFile, path: Path) -> None:
    """Bring a file to `path`, unless it is there and the server has no other version of it.

    After a broken connection or a kill, the part that came is kept beside `path`. The next attempt
    asks for the rest, if the server can send that and says that the file is still the same. The
    file takes its name only when its size and checksum, where known, are right.

    Raises UserError for a server that cannot be read, and for another size or checksum.
    """
    with (
        locks.held(path.with_name(f"{path.name}.lock"), f"downloading {remote.name}"),
        web.explained(remote.url, hint=_BY_HAND),
    ):
        if path.exists() and not _has_changed(remote, path):
            return
        part = path.with_name(f"{path.name}.part")
        web.with_retries(partial(_attempt, remote, part), partial(_size, part))
        if problem := difference(remote, part):
            discard(part)
            raise UserError(f"what {remote.place} sends {problem}: try again later, or {_BY_HAND}")
        part.replace(path)
        _version_file(part).replace(_version_file(path))


def discard(path: Path) -> None:
    """Delete what `download` brought to `path`."""
    path.unlink(missing_ok=True)
    _version_file(path).unlink(missing_ok=True)


def difference(remote: RemoteFile, path: Path) -> str:
    """How the file at `path` differs from what is known of the remote one; "" if it does not."""
    if remote.size is not None and path.stat().st_size != remote.size:
        return f"has {path.stat().st_size:,} bytes and should have {remote.size:,}"
    if remote.sha256 is not None and _sha256(path) != remote.sha256:
        return "has another SHA-256 than published"
    return ""


def _has_changed(remote: RemoteFile, path: Path) -> bool:
    """Whether the server says that it has another version than the one at `path`."""
    try:
        answer = web.client().head(remote.url)
    except httpx.HTTPError:
        return False
    if not answer.is_success:
        return False
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != path.stat().st_size:
        return True
    before, now = _stored_version(path), _version(answer)
    return "" not in (before, now) and before != now


def _attempt(remote: RemoteFile, part: Path) -> None:
    """Bring what `part` lacks. Raises UserError, or what `web.with_retries` catches."""
    had = _size(part)
    version = _stored_version(part) if had else ""
    headers = {"Range": f"bytes={had}-", "If-Range": version} if version else {}
    nothing_left = httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
    with web.streamed(remote.url, headers, accepted={nothing_left}) as response:
        if response.status_code == nothing_left:
            if response.headers.get("Content-Range") == f"bytes */{had}":
                return
            part.unlink()
            raise Incomplete("changed on the server meanwhile")
        resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
            raise UserError(f"{remote.place} sends another part than it was asked for; {_BY_HAND}")
        start = had if resumes else 0
        total = _total(remote, response, start)
        files.write_text(_version_file(part), _version(response))
        with part.open("ab" if resumes else "wb") as file:
            _receive(response, file, start, total, remote.name)


def _total(remote: RemoteFile, response: httpx.Response, start: int) -> int | None:
    """How many bytes the whole file has, of which `start` are there; None if unknown.

    Raises UserError for another size than the remote file is known to have, and if nothing would
    tell a part from the whole: no length, no checksum and no chunks with an end.
    """
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else remote.size
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if total is None and not chunked and remote.sha256 is None:
        raise UserError(
            f"{remote.place}: the server does not say how long the file is, so that a part "
            f"could not be told from the whole; {_BY_HAND}"
        )
    if remote.size is not None and total != remote.size:
        raise UserError(
            f"{remote.place} has {total:,} bytes and should have {remote.size:,}; {_BY_HAND}"
        )
    return total


def _receive(
    response: httpx.Response, file: IO[bytes], start: int, total: int | None, name: str
) -> None:
    with byte_progress(name, start, total) as advance:
        for chunk in response.iter_raw():
            file.write(chunk)
            advance(len(chunk))


def _version(response: httpx.Response) -> str:
    """What tells one version of a file from another; "" where the server does not say."""
    tag: str = response.headers.get("ETag", "")
    # a weak tag does not promise the same bytes
    if tag and not tag.startswith("W/"):
        return tag
    modified: str = response.headers.get("Last-Modified", "")
    return modified


def _stored_version(path: Path) -> str:
    """The version of the file, or part of one, at `path`; "" if the server stated none."""
    file = _version_file(path)
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _version_file(path: Path) -> Path:
    """The file beside `path` that holds which version of it the server sent."""
    return path.with_name(f"{path.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
