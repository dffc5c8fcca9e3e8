"""Archives that cost more than they look, or hold less than they did."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from kinoflow.system.errors import UserError
from stages.sources.archives import limits
from stages.sources.archives.unpack import unpack
from tests import archive_bombs as bombs
from tests.archive_bombs import header, padded, write_blocks
from tests.archives import write_rar, write_tar, write_zip


def test_a_header_of_the_length_that_headers_have_is_read(tmp_path: Path) -> None:
    name = "/".join(["a" * 200] * 5)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo(f"{name}.avi")
        # what a Mac or a system with labels notes beside it
        info.pax_headers = {"SCHILY.xattr.user.note": "x" * 60_000}
        path = write_blocks(tmp_path / "a.tar.gz", [info.tobuf(form), bytes(1024)])
        unpack(path, tmp_path / str(form), 1)
        assert (tmp_path / str(form) / f"{name}.avi").is_file()


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_whose_end_is_not_one_is_refused(tmp_path: Path, suffix: str) -> None:
    one, two = header(tarfile.REGTYPE, 3, "1.avi"), header(tarfile.REGTYPE, 3, "2.avi")
    whole = [one, padded(b"abc"), two, padded(b"def"), bytes(1024)]
    spoilt = {
        "no end": whole[:-1],
        "header spoilt": [*whole[:2], b"\0" + two[1:], *whole[3:]],
        "header blank": [*whole[:2], bytes(512), *whole[3:]],
        "header cut short": [*whole[:2], two[:100]],
    }
    unpack(write_blocks(tmp_path / f"a.{suffix}", whole), tmp_path / "out", 1)
    for blocks in spoilt.values():
        path = write_blocks(tmp_path / f"b.{suffix}", blocks)
        with pytest.raises(UserError, match=r"spoilt, or the end is missing|goes on after its end"):
            unpack(path, tmp_path / "other", 1)
        assert not (tmp_path / "other").exists()


def test_a_rar_that_is_damaged_is_not_taken_for_a_shorter_one(
    tmp_path: Path,
) -> None:
    path = write_rar(tmp_path / "a.rar", {"1.avi": b"one", "2.avi": b"two"})
    whole = path.read_bytes()
    # one without its last record ends where a file does
    for spoilt in (whole.replace(b"2.avi", b"3.avi"), whole[:-7]):
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match="is damaged"):
            unpack(path, tmp_path / "out", 1)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_another_method_is_unpacked_and_checked(tmp_path: Path, method: int) -> None:
    content = bytes(range(256)) * 3000
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("1.avi", content)
        archive.writestr("empty.avi", b"")
    unpack(tmp_path / "a.zip", tmp_path / "out", 1)
    assert (tmp_path / "out" / "1.avi").read_bytes() == content
    assert (tmp_path / "out" / "empty.avi").read_bytes() == b""
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    checksum = whole.index(b"PK\1\2") + 16
    whole[checksum] ^= 1
    (tmp_path / "b.zip").write_bytes(whole)
    with pytest.raises(UserError, match="cut short or spoilt"):
        unpack(tmp_path / "b.zip", tmp_path / "other", 1)


def test_more_files_and_folders_than_allowed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_FILES", 20)
    many = {f"{number}.avi": b"" for number in range(21)}
    folders = bombs.TARS["folders"](1)
    deep = {"/".join([*f"{number:010b}", "x.avi"]): b"" for number in range(16)}
    deepest = {"/".join("a" * 70): b""}
    inner = write_rar(tmp_path / "in.rar", {f"{number}.avi": b"" for number in range(12)})
    nested = {f"{name}/in.rar": inner.read_bytes() for name in "ab"}
    made = [
        write_zip(tmp_path / "a.zip", many),
        write_tar(tmp_path / "a.tar", many),
        write_rar(tmp_path / "a.rar", many),
        write_blocks(tmp_path / "b.tar", folders),
        write_zip(tmp_path / "b.zip", deep),
        write_rar(tmp_path / "b.rar", nested),
    ]
    for path in made:
        with pytest.raises(UserError, match="holds more than"):
            unpack(path, tmp_path / "out", 1, nested=True)
    with pytest.raises(UserError, match="more than 64 folders within each other"):
        unpack(write_zip(tmp_path / "c.zip", deepest), tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_a_zip_that_hides_some_of_its_files_is_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", {"1.avi": b"one", "2.avi": b"two"}).read_bytes()
    entry = 46 + len("2.avi")
    swallowed = bytearray(whole)
    # the first entry's comment is as long as the second entry is
    swallowed[whole.index(b"PK\1\2") + 32] = entry
    for spoilt, says in (
        (whole[:-18] + bytes(18), "it lists no files"),
        (bytes(swallowed), "it does not list all of its files"),
    ):
        (tmp_path / "b.zip").write_bytes(spoilt)
        with pytest.raises(UserError, match=says):
            unpack(tmp_path / "b.zip", tmp_path / "out", 1)
