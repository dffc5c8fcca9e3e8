"""URLs: taken apart, put together, and printed without their secrets."""

from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from kinoflow.system.errors import UserError


def redacted(address: str) -> str:
    """An address as it may be printed; a path that is no URL stays as it is.

    User and password are left out, and so is the query of a web address, which may hold a key.
    """
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        # what cannot be taken apart may hold a password anywhere
        return f"{address.partition('://')[0]}://..."
    query = "" if is_web(address) else parts.query
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


def is_web(address: str) -> bool:
    """Whether an address is one of HTTP or HTTPS."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme.lower() in {"http", "https"}


def split(url: str) -> SplitResult:
    """The parts of a URL. Raises UserError for a text that is no URL."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UserError(f"{redacted(url)} is no address: {error}") from None


def below(url: str, name: str) -> str:
    """The URL of the file `name`, a path with forward slashes, in the folder at `url`.

    Raises UserError as `split` does.
    """
    parts = split(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def file_name(url: str) -> str:
    """The last part of a URL's path if that is a plain file name, else "download".

    Raises UserError as `split` does.
    """
    name = unquote(split(url).path).rsplit("/", 1)[-1]
    return name if name not in ("", ".", "..") and "\\" not in name else "download"
