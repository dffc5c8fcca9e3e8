"""Addresses: printed without secrets, joined with names, and refused in one line."""

import pytest

from kinoflow.config import Dataset, Params
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import download
from stages.sources.item import Item
from stages.sources.remote import addresses, object_store


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        (
            "https://me:secret@a.org:8443/b c/d.zip?key=secret#part",
            "https://a.org:8443/b c/d.zip#part",
        ),
        ("HTTP://secret@a.org/", "http://a.org/"),
        ("s3://me:secret@films/team?versionId=3", "s3://films/team?versionId=3"),
        ("https://me:secret@[::1/a.zip", "https://..."),
        ("/home/me@home/what is this?/#1", "/home/me@home/what is this?/#1"),
        ("~/a.zip?", "~/a.zip?"),
    ],
)
def test_what_is_secret_in_an_address_is_not_printed(address: str, printed: str) -> None:
    assert addresses.redacted(address) == printed


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_an_address_that_is_none_is_refused(source: str, defaults: Params) -> None:
    dataset = Dataset.model_validate({"source": source, "path": "https://me:secret@[::1/a.zip"})
    params = defaults.model_copy(update={"dataset": dataset})
    with pytest.raises(UserError, match=r"^https://\.\.\. is no address: ") as refused:
        download.items(params, Workspace().downloads)
    assert "secret" not in str(refused.value)


def test_an_error_of_any_part_of_the_sync_keeps_the_secret(
    defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    # both name the place: the check of names, and a cut to some classes of what has none
    dataset = Dataset(source="folder", path="s3://me:secret@films/team", classes=("a", "b"))
    for name in ("A\\1.avi", "1.avi"):
        monkeypatch.setattr(object_store, "items", lambda _, name=name: [Item(name, "", print)])
        with pytest.raises(UserError, match="s3://films/team") as refused:
            download.items(defaults.model_copy(update={"dataset": dataset}), Workspace().downloads)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/b/c.rar", "c.rar"),
        ("https://a.org/b/c.rar?x=1#y", "c.rar"),
        ("https://a.org/b/c%20d.rar", "c d.rar"),
        ("https://a.org/", "download"),
        ("https://a.org/..", "download"),
        ("https://a.org/a%2Fb%5C..%5Cc", "download"),
    ],
)
def test_the_name_of_a_file_is_no_path(url: str, name: str) -> None:
    assert addresses.file_name(url) == name
