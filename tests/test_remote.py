import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
import tenacity

from kinoflow.config import Dataset, load
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import download
from stages.sources import Item, remote
from tests.conftest import ROOT

LABELS = "video,label\nA/1.avi,x\nB/2 ü#%20.avi,y\n"


def items(url: str) -> list[Item]:
    params = load(ROOT / "params.yaml")
    dataset = Dataset(source="folder", path=url)
    return download.items(params.model_copy(update={"dataset": dataset}), Workspace().downloads)


def sync(url: str, tmp_path: Path) -> list[str]:
    return download.sync(items(url), tmp_path / "data", tmp_path / "manifest.json")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAIT", tenacity.wait_none())


# === an object store ===


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def put(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], None]]:
    """Puts objects into the bucket `films`, which the environment leads to."""
    import boto3

    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="films")
    yield lambda key, body: client.put_object(Bucket="films", Key=key, Body=body)
    httpx.post(f"{endpoint}/moto-api/reset")
    _forget()


def _forget() -> None:
    """Sessions keep the credentials they began with."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_bucket_is_synced(put: Callable, tmp_path: Path) -> None:
    import boto3

    for key in ("A/1.avi", "B/2 ü#%20.avi", "B/.hidden/3.avi", "B/", "B/notes.txt", "../other.avi"):
        put(f"team/{key}" if ".." not in key else "teams/A/1.avi", key.encode())
    assert sync("s3://films/team", tmp_path) == ["A/1.avi", "B/2 ü#%20.avi"]
    assert (tmp_path / "data" / "B" / "2 ü#%20.avi").read_bytes() == "B/2 ü#%20.avi".encode()
    assert sync("s3://films/team/", tmp_path) == []

    put("team/A/1.avi", b"changed")
    put("team/A/4.avi", b"new")
    boto3.client("s3").delete_object(Bucket="films", Key="team/B/2 ü#%20.avi")
    assert sorted(sync("s3://films/team", tmp_path)) == ["A/1.avi", "A/4.avi", "B/2 ü#%20.avi"]
    assert (tmp_path / "data" / "A" / "1.avi").read_bytes() == b"changed"
    assert not (tmp_path / "data" / "B").exists()


def test_labels_csv_in_a_bucket_names_what_is_taken(put: Callable) -> None:
    for key in ("A/1.avi", "B/2 ü#%20.avi", "B/3.avi"):
        put(f"team/{key}", b"film")
    put("team/labels.csv", LABELS.encode())
    assert [item.name for item in items("s3://films/team")] == [
        "A/1.avi",
        "B/2 ü#%20.avi",
        "labels.csv",
    ]
    put("team/labels.csv", b"video,label\n../1.avi,x\n")
    with pytest.raises(
        UserError, match=r"labels.csv: the video \.\./1.avi is no path below a fold"
    ):
        items("s3://films/team")
    put("team/labels.csv", b"video,label\n1.avi,x\n")
    with pytest.raises(UserError, match=r"lists 1 videos that s3://films/team does not.* 1.avi"):
        items("s3://films/team")
    put("team/labels.csv", b"video\n1.avi\n")
    with pytest.raises(UserError, match="^s3://films/team/labels.csv has no column label"):
        items("s3://films/team")


@pytest.mark.parametrize("key", ["A/../../x.avi", "/x.avi", "A\\x.avi", f"A/{'x' * 248}.avi"])
def test_a_key_that_is_no_name_for_a_file_is_refused(put: Callable, key: str) -> None:
    put(f"team/{key}", b"film")
    says = "^s3://films/team: the video .* (is no path below a folder|has a name of 252 bytes)"
    with pytest.raises(UserError, match=says):
        items("s3://films/team")


@pytest.mark.usefixtures("put")
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://films/nothing", "dataset.path s3://films/nothing holds no videos"),
        ("s3://flims/team", "there is no s3://flims/team .*bucket does not exist"),
        ("s3://BAD_Bucket!/x", "s3://BAD_Bucket!/x cannot be read: .*Invalid bucket name"),
        ("oss://films/team", r"oss://films/team needs a package .*ossfs"),
        ("s4://films/team", "s4://films/team cannot be read: Protocol not known: s4"),
    ],
)
def test_a_place_that_cannot_be_listed_is_named(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        items(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(url: str) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(remote, "_opened", absent)
    with pytest.raises(UserError, match="gs://films needs a package .*uv pip install gcsfs"):
        items("gs://films")


def test_no_permission_and_no_credentials_are_told_apart(
    put: Callable, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("team/A/1.avi", b"film")
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0")  # from here on it checks keys
    try:
        with pytest.raises(UserError, match="no permission to read s3://films/team"):
            items("s3://films/team")
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="inf")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _forget()
    with pytest.raises(UserError, match="credentials; set .*AWS_ACCESS_KEY_ID"):
        items("s3://films/team")


def test_an_object_gone_or_of_another_size_than_listed_is_an_error(
    put: Callable, tmp_path: Path
) -> None:
    import boto3

    put("team/A/1.avi", b"film")
    (item,) = items("s3://films/team")
    put("team/A/1.avi", b"longer film")
    with pytest.raises(UserError, match="s3://films/team/A/1.avi came with 11 bytes instead of 4"):
        item.fetch(tmp_path / "x.avi")
    boto3.client("s3").delete_object(Bucket="films", Key="team/A/1.avi")
    with pytest.raises(UserError, match="there is no s3://films/team/A/1.avi"):
        item.fetch(tmp_path / "x.avi")


# === a web server ===


class Web:
    """A server of files that does as it is told: what it sends, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags = True  # whether it sends an ETag
        self.head = True  # whether it knows HEAD
        self.answers: list[int] = []  # statuses to give first, whatever is asked
        self.cut = 0  # bytes that each download lacks
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send(body=True)

            def do_HEAD(self) -> None:
                self.send(body=False)

            def send(self, *, body: bool) -> None:
                web.asked.append(f"{self.command} {self.path}")
                content = web.files.get(self.path)
                status = 200 if content is not None else 404
                if self.command == "HEAD" and not web.head:
                    status = 405
                if web.answers:
                    status = web.answers.pop(0)
                self.send_response(status)
                content = (content or b"") if status == 200 else b""
                self.send_header("Content-Length", str(len(content)))
                if web.tags:
                    self.send_header("ETag", f'"{hash(content)}"')
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) - web.cut])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/films"


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.files = {
        "/films/labels.csv": LABELS.encode(),
        "/films/A/1.avi": b"one",
        "/films/B/2%20%C3%BC%23%2520.avi": b"two",
    }
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_a_web_folder_is_synced_by_its_labels_csv(web: Web, tmp_path: Path) -> None:
    assert sync(web.url, tmp_path) == ["A/1.avi", "B/2 ü#%20.avi", "labels.csv"]
    assert (tmp_path / "data" / "B" / "2 ü#%20.avi").read_bytes() == b"two"
    assert (tmp_path / "data" / "labels.csv").read_text() == LABELS
    web.asked.clear()
    assert sync(f"{web.url}/", tmp_path) == []
    assert "GET /films/A/1.avi" not in web.asked

    web.files["/films/A/1.avi"] = b"eno"
    web.files["/films/labels.csv"] = b"video,label\nA/1.avi,x\n"
    assert sorted(sync(web.url, tmp_path)) == ["A/1.avi", "B/2 ü#%20.avi", "labels.csv"]
    assert (tmp_path / "data" / "A" / "1.avi").read_bytes() == b"eno"


def test_a_server_that_identifies_nothing_is_asked_for_all_again(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.tags = web.head = False
    assert len(sync(web.url, tmp_path)) == 3
    assert "neither ETag nor Last-Modified for 3 files" in capsys.readouterr().err
    web.files["/films/A/1.avi"] = b"eno"  # of the same size
    assert sync(web.url, tmp_path) == ["A/1.avi"]


def test_what_passes_is_tried_again(web: Web, tmp_path: Path) -> None:
    web.answers = [503, 429]
    item = items(web.url)[1]
    web.answers = [500, 502]
    item.fetch(tmp_path / "x.avi")
    assert (tmp_path / "x.avi").read_bytes() == b"one"


def test_what_a_server_refuses_is_named(web: Web, tmp_path: Path) -> None:
    item = next(item for item in items(web.url) if item.name == "A/1.avi")
    web.cut = 1
    with pytest.raises(UserError, match="films/A/1.avi cannot be read: .*received 2 .*expected 3"):
        item.fetch(tmp_path / "x.avi")
    web.cut, web.files["/films/A/1.avi"] = 0, b"longer"
    with pytest.raises(UserError, match="films/A/1.avi came with 6 bytes instead of 3"):
        item.fetch(tmp_path / "x.avi")
    web.answers = [503] * 4
    with pytest.raises(UserError, match="films/A/1.avi cannot be read: .*HTTP 503"):
        item.fetch(tmp_path / "x.avi")
    web.answers = [403]
    with pytest.raises(UserError, match="no permission to read .*films/labels.csv .HTTP 403"):
        items(web.url)
    del web.files["/films/A/1.avi"]
    with pytest.raises(UserError, match="lists 1 videos that http.*films does not hold.*A/1.avi"):
        items(web.url)
    del web.files["/films/labels.csv"]
    with pytest.raises(UserError, match="there is no .*labels.csv .HTTP 404.: a web server needs"):
        items(web.url)
    with pytest.raises(UserError, match="^http://127.0.0.1:9/labels.csv cannot be read: .*refused"):
        items("http://me:secret@127.0.0.1:9?key=secret")


@pytest.mark.parametrize("name", ["../1.avi", "/etc/1.avi", "A\\1.avi", "A/\01.avi", "x" * 252])
def test_a_name_that_would_leave_the_folder_is_not_asked_for(web: Web, name: str) -> None:
    web.files["/films/labels.csv"] = f"video,label\n{name},x\n".encode()
    with pytest.raises(UserError, match="no path below a folder|holds a control|of 252 bytes"):
        items(web.url)
    assert web.asked == ["GET /films/labels.csv"]
