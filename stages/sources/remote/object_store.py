"""Videos in an object store: s3://, gs:// and whatever else fsspec knows."""

import contextlib
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kinoflow.system.errors import Unavailable, UserError, no_space
from kinoflow.workspace import LABELS
from stages.sources import layout
from stages.sources.item import Item
from stages.sources.remote import addresses, contents
from stages.sources.remote.addresses import redacted

# the package that each scheme needs
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}


def items(url: str) -> list[Item]:
    """The files below `url` that are the data set, as `layout.dataset_files` has it.

    Raises UserError for a place that is missing, cannot be read or holds no video, and for a
    package that is not installed.
    """
    with _explained(url):
        store, root = _opened(url)
        root = root.rstrip("/") + "/"
        listed = store.find(root, detail=True)
    found = {key.removeprefix(root): info for key, info in listed.items() if _is_visible(key, root)}
    labels = None
    if LABELS in found:
        with _explained(addresses.below(url, LABELS)):
            labels = contents.read_labels(store.cat_file(root + LABELS), url)
    names = layout.dataset_files(found, labels, redacted(url))
    return [
        Item(
            name,
            contents.fingerprint(found[name]["size"], found[name]),
            partial(_fetch, url, root + name, found[name]["size"]),
        )
        for name in names
    ]


def _is_visible(key: str, root: str) -> bool:
    """Whether a key is a file below `root`, and not hidden."""
    parts = key.removeprefix(root).split("/")
    # `..` does not count as hidden, so that the check of names gets to refuse it
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return key.startswith(root) and not key.endswith("/") and not hidden


def _opened(url: str) -> tuple[Any, str]:
    """The store as a file system of fsspec, and the path of `url` in it."""
    from fsspec.core import url_to_fs

    return url_to_fs(url, use_listings_cache=False)


def _fetch(url: str, key: str, size: int, target: Path) -> None:
    with _explained(f"{url.partition('://')[0]}://{key}"):
        store, _ = _opened(url)
        store.get_file(key, str(target))
        contents.check_size(target, size)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what goes wrong with an object store into one line about `url`."""
    place = redacted(url)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        package = _PACKAGES.get(url.partition("://")[0].lower())
        hint = f": `.venv/bin/uv pip install {package}`" if package else f" ({error})"
        raise UserError(f"{place} needs a package that is not installed{hint}") from None
    except FileNotFoundError as error:
        raise UserError(f"there is no {place} ({error.strerror or error})") from None
    except PermissionError as error:
        raise UserError(
            f"no permission to read {place} ({error}): check the credentials in your environment"
        ) from None
    except contents.Incomplete as error:
        raise Unavailable(f"{place} {error}: run again") from None
    except Exception as error:
        if isinstance(error, OSError) and no_space(error):
            raise
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        if "credentials" in reason.lower():
            reason += (
                "; set those of your store in the environment, for S3 AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket"
            )
            raise UserError(f"{place} cannot be read: {reason}") from error
        # stores name a network that fails in many ways
        raise Unavailable(f"{place} cannot be read: {reason}") from error
