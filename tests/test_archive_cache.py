"""What came from one address is never taken for what lies behind another."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages.sources.archives.cache import from_address, from_file
from stages.sources.remote import web
from stages.sources.remote.resumable import RemoteFile
from tests.archives import write_zip
from tests.server import Site, serving
from tests.test_locks import contents, killed, started, wait_for

MANY = {f"{number:04d}.avi": b"one" for number in range(1500)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with /v1/data.zip and /v2/data.zip, and an empty folder to work in."""
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    monkeypatch.setattr(web, "_LONGEST_WAIT", 0.01)
    with serving() as site:
        site.files["/v1/data.zip"] = write_zip(tmp_path / "1.zip", MANY).read_bytes()
        site.files["/v2/data.zip"] = write_zip(tmp_path / "2.zip", {"a.avi": b"two"}).read_bytes()
        yield site


FROM_ADDRESS = """
from kinoflow.workspace import Workspace
from stages.sources.remote.resumable import RemoteFile
from stages.sources.archives.cache import from_address
from_address(RemoteFile(sys.argv[1]), Workspace().downloads, 1)
"""


@pytest.mark.parametrize("while_", ["downloading", "unpacking"])
def test_a_run_that_was_killed_gives_the_next_address_nothing(site: Site, while_: str) -> None:
    site.cut = 100_000 if while_ == "downloading" else None
    victim = started(FROM_ADDRESS, f"{site.url}/v1/data.zip")
    sign = "*.part" if while_ == "downloading" else ".partial-*/*"
    wait_for(lambda: list(Workspace().downloads.glob(sign)))
    killed(victim)
    site.cut = None
    two = from_address(RemoteFile(f"{site.url}/v2/data.zip"), Workspace().downloads, 1)
    assert contents(two) == {"a.avi": b"two"}
    assert site.asked[-1] == "GET /v2/data.zip"
    one = from_address(RemoteFile(f"{site.url}/v1/data.zip"), Workspace().downloads, 1)
    assert contents(one) == MANY
    assert contents(two) == {"a.avi": b"two"}
    # a download goes on where it was, and what came whole is asked about alone
    assert site.asked[-1].startswith("HEAD" if while_ == "unpacking" else "GET")
    assert sorted(path.name for path in Workspace().downloads.iterdir()) == sorted(
        [one.name, two.name]
    )


def test_what_is_refused_is_fetched_again_once_the_server_has_another(site: Site) -> None:
    good = site.files["/v1/data.zip"]
    site.files["/v1/data.zip"] = good[:-100]
    remote = RemoteFile(f"{site.url}/v1/data.zip")
    for _ in range(2):
        with pytest.raises(UserError, match=r"data\.zip is not unpacked"):
            from_address(remote, Workspace().downloads, 1)
    assert site.asked == ["GET /v1/data.zip", "HEAD /v1/data.zip"]
    assert contents(
        from_address(RemoteFile(f"{site.url}/v2/data.zip"), Workspace().downloads, 1)
    ) == {"a.avi": b"two"}
    site.files["/v1/data.zip"] = good
    assert contents(from_address(remote, Workspace().downloads, 1)) == MANY
    asked = list(site.asked)
    # README: what came from a URL is not fetched again
    site.files["/v1/data.zip"] = good[:-100]
    assert contents(from_address(remote, Workspace().downloads, 1)) == MANY
    assert site.asked == asked


def test_a_query_is_part_of_an_address(site: Site) -> None:
    site.files["/v1/data.zip?version=2"] = site.files["/v2/data.zip"]
    assert (
        contents(from_address(RemoteFile(f"{site.url}/v1/data.zip"), Workspace().downloads, 1))
        == MANY
    )
    second = from_address(RemoteFile(f"{site.url}/v1/data.zip?version=2"), Workspace().downloads, 1)
    assert contents(second) == {"a.avi": b"two"}


def test_a_file_that_changed_is_unpacked_again(site: Site, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", {"a.avi": b"one"})
    assert contents(from_file(path, Workspace().downloads, 1)) == {"a.avi": b"one"}
    date = path.stat().st_mtime_ns
    write_zip(path, {"a.avi": b"two"})
    os.utime(path, ns=(date + 1, date + 1))
    assert contents(from_file(path, Workspace().downloads, 1)) == {"a.avi": b"two"}
    other = write_zip(tmp_path / "other" / "data.zip", {"a.avi": b"six"})
    assert contents(from_file(other, Workspace().downloads, 1)) == {"a.avi": b"six"}
