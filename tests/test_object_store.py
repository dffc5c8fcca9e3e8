"""Videos in a bucket of a real S3 API."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import httpx
import pytest

from kinoflow.system.errors import UserError
from stages.sources.remote import object_store
from tests.remote import LABELS, items, sync


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

    monkeypatch.setattr(object_store, "_opened", absent)
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
