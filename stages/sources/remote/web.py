"""Requests to web servers: one client, one rule for retries, one message for each failure."""

import contextlib
import functools
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

import httpx
import tenacity

from kinoflow.system.errors import Unavailable, UserError
from stages.sources.remote.addresses import redacted
from stages.sources.remote.contents import Incomplete

CONNECTIONS = 16  # at the same time
_TIMEOUT = 30.0  # seconds of silence
_ATTEMPTS = 5  # in a row without progress, before giving up
_LONGEST_WAIT = 30.0  # seconds between attempts, doubled from one up to this
_LONGEST_REST = 300.0  # seconds between attempts that a server may ask for
# a server that is busy: it will answer later
_BUSY = {408, 425, 429}
# a server error that stays: the server does not know the method, or the version of HTTP
_LASTING = {501, 505}

T = TypeVar("T")


@functools.cache
def client() -> httpx.Client:
    """The client of this process, which all its threads share. It keeps connections open."""
    return httpx.Client(
        follow_redirects=True,
        timeout=_TIMEOUT,
        limits=httpx.Limits(max_connections=CONNECTIONS),
        # else sizes would be those of the compressed content
        headers={"Accept-Encoding": "identity"},
    )


@contextlib.contextmanager
def streamed(
    url: str, headers: Mapping[str, str] | None = None, *, accepted: Collection[int] = ()
) -> Iterator[httpx.Response]:
    """The answer to a GET, with its body still to be read.

    Raises httpx.HTTPStatusError for an answer that is no success, unless its status is `accepted`.
    """
    with client().stream("GET", url, headers=headers) as response:
        if response.status_code not in accepted:
            response.raise_for_status()
        yield response


def with_retries(function: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Call the function until it succeeds, and return what it returns.

    It is called again after an error that may pass: a broken connection, a busy server, content
    that was cut short. After five errors in a row without progress the last one is raised. The
    wait between two attempts begins at one second and doubles, up to thirty; a server may ask for
    more with Retry-After, up to five minutes.

    Args:
        function: makes one attempt.
        progress: gives a number that grows with every attempt that brings something, such as the
            bytes of a file so far.
    """
    patience = _Patience(progress)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_transient),
        after=patience.count,
        wait=patience.wait,
        stop=patience.is_over,
        reraise=True,
    )
    return retrying(function)


class _Patience:
    """Counts the attempts in a row without progress."""

    def __init__(self, progress: Callable[[], int]) -> None:
        self.progress = progress
        self.reached = progress()
        self.fruitless = 0

    def count(self, _: tenacity.RetryCallState) -> None:
        reached = self.progress()
        self.fruitless = 0 if reached > self.reached else self.fruitless + 1
        self.reached = reached

    def wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        rest = _requested_rest(error) if isinstance(error, httpx.HTTPStatusError) else 0
        return max(min(2.0**self.fruitless / 2, _LONGEST_WAIT), min(rest, _LONGEST_REST))

    def is_over(self, _: tenacity.RetryCallState) -> bool:
        return self.fruitless >= _ATTEMPTS


def _requested_rest(error: httpx.HTTPStatusError) -> float:
    """The seconds for which a server asks not to be asked again."""
    # it may also name a date, which is rare
    seconds = error.response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in _BUSY or (status >= 500 and status not in _LASTING)
    if isinstance(error, httpx.UnsupportedProtocol) or _is_untrusted(error):
        return False
    return isinstance(error, httpx.TransportError | Incomplete)


@contextlib.contextmanager
def explained(url: str, *, hint: str = "", if_missing: str = "") -> Iterator[None]:
    """Turn what goes wrong with a web server into a UserError about `url`.

    It is Unavailable, which is a UserError, if the same may succeed later.

    Args:
        url: what was asked for; it is printed without its secrets.
        hint: what to do, appended to every message.
        if_missing: what to know or do if there is no such file, appended in that case.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, Incomplete) as error:
        text = _explanation(error, redacted(url), if_missing)
        kind = Unavailable if _is_transient(error) else UserError
        raise kind(f"{text}; {hint}" if hint else text) from None


def _explanation(error: Exception, place: str, if_missing: str) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        code = error.response.status_code
        status = f"HTTP {code} {error.response.reason_phrase}".strip()
        if code in {404, 410}:
            return f"there is no {place} ({status})" + (f": {if_missing}" if if_missing else "")
        if code in {401, 403}:
            return f"no permission to read {place} ({status})"
        return f"{place} cannot be read: the server answers {status}"
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return f"{place} is no address to download from: {error}"
    if isinstance(error, Incomplete):
        return f"{place} {error}: run again"
    if _is_untrusted(error):
        return f"{place} cannot be read: the server's certificate cannot be verified"
    return f"{place} cannot be read: {str(error) or type(error).__name__}"


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether an error comes from a certificate that cannot be verified."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
