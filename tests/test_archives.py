"""Archives, most of them hostile."""

import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rarfile

from kinoflow.system.errors import UserError
from stages.sources.archives import rars
from stages.sources.archives.unpack import unpack
from tests.archives import write_rar, write_tar, write_zip

NOISE = np.random.default_rng(0).bytes(300_000)
GOOD = {"set/A/one.avi": b"first", "set/A/two.avi": NOISE, "set/B/empty.avi": b""}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.zip", write_zip),
        ("a.tar", write_tar),
        ("a.tar.gz", write_tar),
        ("a.tar.bz2", write_tar),
        ("a.tar.xz", write_tar),
        ("a.rar", write_rar),
        ("no suffix says what it is.tar", write_zip),
    ],
)
def test_what_was_packed_is_unpacked(
    tmp_path: Path, name: str, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    unpack(write(tmp_path / name, GOOD), tmp_path / "out", 1)
    assert contents(tmp_path / "out") == GOOD


def test_archives_in_an_archive_are_unpacked_where_they_are_expected(tmp_path: Path) -> None:
    inner = write_rar(tmp_path / "wave.rar", {"wave/1.avi": b"one", "wave/2.avi": NOISE})
    outer = write_rar(tmp_path / "all.rar", {"wave.rar": inner.read_bytes()})
    unpack(outer, tmp_path / "out", 1, nested=True)
    assert contents(tmp_path / "out") == {"wave/1.avi": b"one", "wave/2.avi": NOISE}
    unpack(outer, tmp_path / "as it is", 1)
    assert list(contents(tmp_path / "as it is")) == ["wave.rar"]


@pytest.mark.parametrize("write", [write_zip, write_tar, write_rar])
def test_what_a_mac_adds_is_left_out(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    added = {"__MACOSX/set/A/._one.avi": NOISE, "set/A/._two.avi": b"2", ".DS_Store": b"3"}
    unpack(write(tmp_path / "a.tar", added | GOOD), tmp_path / "out", 1)
    assert contents(tmp_path / "out") == GOOD


BAD_NAMES = {
    "/etc/cron.d/x": "an absolute path",
    "C:/Windows/x": "an absolute path",
    "../x": "leads elsewhere",
    "a/../../x": "leads elsewhere",
    "a//x": "leads elsewhere",
    "a\\..\\..\\x": "no file name should have",
    "a/\x1b[2Jx": "no file name should have",
    "a/\u202egpj.x": "no file name should have",
    "a/" + 256 * "x": "too long",
    2000 * "a/" + "x": "too long",
    "a/.partial-x": "reserved for temporary files",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("write", [write_zip, write_tar, write_rar])
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, name: str, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    # rarfile itself takes a backslash for the separator that it was when rar was young
    says = "leads elsewhere" if write is write_rar and "\\" in name else BAD_NAMES[name]
    (tmp_path / "in").mkdir()
    archive = write(tmp_path / "in" / "a.tar", {"good/x.avi": b"1", name: b"2"})
    with pytest.raises(UserError, match=says) as refused:
        unpack(archive, tmp_path / "deep" / "below" / "out", 1)
    assert str(refused.value).isprintable()
    assert list(contents(tmp_path)) == ["in/a.tar"]
    assert not Path("/etc/cron.d/x").exists()


def kind(number: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.linkname = number, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        kind(tarfile.SYMTYPE, "/etc/passwd"),
        kind(tarfile.SYMTYPE, "one.avi"),
        kind(tarfile.LNKTYPE, "set/A/one.avi"),
        kind(tarfile.CHRTYPE),
        kind(tarfile.BLKTYPE),
        kind(tarfile.FIFOTYPE),
    ],
    ids=["link out", "link", "hard link", "character device", "block device", "fifo"],
)
def test_only_plain_files_come_out_of_a_tar(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = write_tar(tmp_path / "a.tar", {**GOOD, "set/A/odd.avi": member})
    with pytest.raises(UserError, match="set/A/odd.avi is no plain file"):
        unpack(archive, tmp_path / "out", 1)
    assert list(contents(tmp_path)) == ["a.tar"]


def test_links_in_zip_and_rar_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link.avi")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"link\.avi is no plain file"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 1)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        info.filename = "\x1b[2J.avi"
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"\\x1b\[2J\.avi is no plain file"):
        unpack(tmp_path / "b.zip", tmp_path / "out", 1)
    rar = write_rar(tmp_path / "a.rar", {"link.avi": b"/etc/passwd"}, mode=0o120777)
    with pytest.raises(UserError, match=r"link\.avi is no plain file"):
        unpack(rar, tmp_path / "out", 1)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"A/x.avi": b"1", "a/X.avi": b"2"}, "differ in case"),
        ({"A": b"1", "A/x.avi": b"2"}, "a file and a folder"),
        ({"A/x.avi": b"1", "A": b"2"}, "a file and a folder"),
    ],
)
def test_members_that_clash_are_refused(
    tmp_path: Path, members: dict[str, bytes], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        unpack(write_zip(tmp_path / "a.zip", members), tmp_path / "out", 1)


def test_an_inner_archive_cannot_overwrite_what_the_outer_held(tmp_path: Path) -> None:
    inner = write_rar(tmp_path / "in.rar", {"wave/1.avi": b"other"})
    outer = write_rar(tmp_path / "a.rar", {"wave/1.avi": b"one", "x.rar": inner.read_bytes()})
    with pytest.raises(UserError, match="twice"):
        unpack(outer, tmp_path / "out", 1, nested=True)


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz", "bomb.tar.xz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith("zip") else write_tar
    archive = write(tmp_path / name, {f"{number}.avi": bytes(10_000_000) for number in range(3)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(UserError, match="unfolds to more than 100 times its size"):
        unpack(archive, tmp_path / "out", 100)
    assert list(contents(tmp_path)) == [name]


def test_more_than_allowed_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", GOOD)
    with pytest.raises(UserError, match=r"max_unpacked_gb allows \(0.0002 GB\)"):
        unpack(archive, tmp_path / "out", 0.0002)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.rar"])
def test_damaged_archives_leave_nothing(tmp_path: Path, name: str) -> None:
    {"a.zip": write_zip, "a.rar": write_rar}.get(name, write_tar)(tmp_path / name, GOOD)
    whole = (tmp_path / name).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for spoilt in (whole[:middle], flipped, b"", b"nothing like it"):
        (tmp_path / name).write_bytes(spoilt)
        with pytest.raises(UserError, match="is not unpacked") as refused:
            unpack(tmp_path / name, tmp_path / "out", 1)
        assert "\n" not in str(refused.value)
        assert list(contents(tmp_path)) == [name]


def test_a_zip_with_a_name_of_no_length_or_a_bad_block_is_damaged(tmp_path: Path) -> None:
    nameless = write_zip(tmp_path / "a.zip", {"x": b"1"}).read_bytes()
    central = nameless.index(b"PK\x01\x02")
    nameless = nameless[: central + 28] + bytes([0]) + nameless[central + 29 :]
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.avi", NOISE)
    packed = bytearray((tmp_path / "b.zip").read_bytes())
    packed[1000:1010] = bytes(10)
    for content in (nameless, bytes(packed)):
        (tmp_path / "c.zip").write_bytes(content)
        with pytest.raises(UserError, match=r"c\.zip is not unpacked"):
            unpack(tmp_path / "c.zip", tmp_path / "out", 1)


def test_an_encrypted_archive_is_named_as_such(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", GOOD)
    content = bytearray(archive.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + flags] |= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match="it is encrypted"):
        unpack(archive, tmp_path / "out", 1)


def test_what_a_killed_run_left_is_not_taken_for_whole(tmp_path: Path) -> None:
    leftover = tmp_path / "all" / ".partial-abc"
    leftover.mkdir(parents=True)
    (leftover / "half.avi").write_bytes(b"half")
    unpack(write_zip(tmp_path / "a.zip", GOOD), tmp_path / "all" / "out", 1)
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["out"]


PRINTS = """
with rarfile.RarFile(sys.argv[-1]) as archive:
    for info in archive.infolist():
        sys.stdout.buffer.write(archive.read(info))
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program that does as told in the place of 7zz; all archives count as compressed."""

    def install(code: str) -> None:
        program = tmp_path / "bin" / "7zz"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable}\nimport rarfile, sys, time\n{code}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    monkeypatch.setattr(rarfile, "RAR_M0", -1)
    return install


def test_what_a_program_prints_is_cut_into_files(
    tmp_path: Path, play: Callable[[str], None]
) -> None:
    play(PRINTS)
    unpack(write_rar(tmp_path / "-o-odd name.rar", GOOD), tmp_path / "out", 1)
    assert contents(tmp_path / "out") == GOOD


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (f"{PRINTS}\nsys.stdout.write('more')", "7zz fails at its end"),
        (f"{PRINTS}\nsys.exit(3)", "7zz fails at its end"),
        ("sys.stdout.write('firs')", r"7zz fails at set/A/one\.avi"),
        ("sys.stdout.write('fIrst'); sys.stdout.flush(); time.sleep(60)", r"at set/A/one\.avi"),
        ("", r"7zz fails at set/A/one\.avi"),
    ],
    ids=["more", "an error", "less", "other bytes, and never ends", "nothing"],
)
def test_a_program_that_prints_something_else_is_not_believed(
    tmp_path: Path, play: Callable[[str], None], code: str, says: str
) -> None:
    play(code)
    started = time.monotonic()
    with pytest.raises(UserError, match=says):
        unpack(write_rar(tmp_path / "a.rar", GOOD), tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("tool", ["unrar", "unar", "bsdtar"])
def test_a_program_that_prints_is_cut_into_files(
    tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rars.is_installed(tool):
        pytest.skip(f"{tool} is not installed")
    monkeypatch.setattr(rars, "_FOR_RAR_3", (tool,))
    # whatever the method, as long as it is not "stored"
    monkeypatch.setattr(rarfile, "RAR_M0", -1)
    unpack(write_rar(tmp_path / "-o-odd name.rar", GOOD), tmp_path / "out", 1)
    assert contents(tmp_path / "out") == GOOD
    whole = (tmp_path / "-o-odd name.rar").read_bytes()
    spoilt = whole.replace(NOISE[1000:1010], bytes(10))
    (tmp_path / "-o-odd name.rar").write_bytes(spoilt)
    with pytest.raises(UserError, match="fails at set/A/two.avi"):
        unpack(tmp_path / "-o-odd name.rar", tmp_path / "again", 1)
    assert not (tmp_path / "again").exists()


def test_without_a_program_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarfile, "RAR_M0", -1)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="apt install unrar"):
        unpack(write_rar(tmp_path / "a.rar", GOOD), tmp_path / "out", 1)
