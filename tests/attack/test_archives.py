"""Archives as an attacker or a bad disk would have them."""

import collections
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from kinoflow.system.errors import UserError
from stages.sources.archives.unpack import unpack
from tests import archive_bombs as bombs
from tests.archives import write_zip
from tests.attack import archive_mutations as mutations
from tests.server import serving
from tests.test_locks import FETCH, contents, ended, killed, started

Count = Callable[[int, int], int]

_MEMORY = 24  # megabytes: the bounds in the code, and what decompressors take


def test_bombs_of_every_kind_are_refused_for_little_memory(tmp_path: Path, count: Count) -> None:
    size = count(24, 500)
    made = bombs.write_all(tmp_path / "in", size)
    outcomes = dict(zip(made, bombs.costs([*made.values()], tmp_path / "out"), strict=True))
    for name, cost in outcomes.items():
        packed = made[name].stat().st_size
        print(
            f"{name}: {packed / 1e3:,.1f} KB for {size} MiB, {cost.memory:.1f} MB of memory, "
            f"{cost.seconds:.2f} s, {cost.said}"
        )
    assert [name for name, cost in outcomes.items() if not cost.said.startswith("refused: ")] == []
    assert [name for name, cost in outcomes.items() if cost.memory > _MEMORY] == []
    assert list((tmp_path / "out").iterdir()) == []


def spoilt(luck: random.Random) -> tuple[str, bytes, bool]:
    """What was spoilt how, the archive, and whether nothing in it can show that it was."""
    kind, content = luck.choice(list(WHOLE.items()))
    change = luck.choice([*mutations.DAMAGE, mutations.edit])
    body = bytearray(content)
    pack = luck.choice(mutations.PACKERS) if "tar" in kind else bytes
    if pack is not bytes and change is not mutations.edit and luck.random() < 0.5:
        body = bytearray(pack(content))
        pack = bytes
    # a tar without the block that is an empty file is another tar, if it was not compressed before
    hidden = change is mutations.edit or (
        change is mutations.drop and body[257:262] == b"ustar" and "tar" in kind
    )
    change(luck, body)
    return f"{kind}, {change.__name__}", pack(bytes(body)), hidden


WHOLE = mutations.whole()


def peak() -> float:
    """Megabytes of memory that this process has held at most; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def test_a_spoilt_archive_is_unpacked_wholly_or_refused(tmp_path: Path, count: Count) -> None:
    luck = random.Random(12)
    archive, out = tmp_path / "a.bin", tmp_path / "out"
    outcomes: collections.Counter[str] = collections.Counter()
    odd: list[str] = []  # what no terminal should be told
    before, started = peak(), time.monotonic()
    for number in range(count(300, 30_000)):
        what, content, hidden = spoilt(luck)
        archive.write_bytes(content)
        try:
            unpack(archive, out, 1, nested=True)
        except UserError as error:
            outcomes["refused"] += 1
            odd += [] if str(error).isprintable() else [str(error)]
            assert not out.exists(), (number, what)
            continue
        found = [path for path in out.rglob("*") if path.is_file()]
        assert hidden or len(found) == len(mutations.FILES), (number, what)
        assert sum(path.stat().st_size for path in found) < 10_000_000 + 100 * len(content)
        assert not [path for path in out.rglob("*") if path.is_symlink()], (number, what)
        shutil.rmtree(out)
        outcomes["unpacked as another one" if hidden else "unpacked wholly"] += 1
        assert list(tmp_path.iterdir()) == [archive], (number, what)
    print(dict(outcomes), f"{peak() - before:.1f} MB, {time.monotonic() - started:.0f} s")
    assert odd == []
    assert min(outcomes["refused"], outcomes["unpacked wholly"]) > 0
    assert peak() - before < _MEMORY


UNPACK = """
from stages.sources.archives.unpack import unpack
unpack(Path(sys.argv[1]), Path(sys.argv[2]), 1)
"""


def test_runs_at_once_of_which_some_are_killed_leave_whole_folders_alone(
    tmp_path: Path, count: Count
) -> None:
    luck = random.Random(11)
    files = {f"{number % 3}/{number:04d}.avi": b"%d" % number for number in range(400)}
    content = write_zip(tmp_path / "a.zip", files).read_bytes()
    kills = 0
    with serving() as site:
        site.pause = 0.005
        for number in range(count(1, 60)):
            site.files[f"/{number}.zip"] = content
            path, out = tmp_path / f"{number}.zip", tmp_path / "out"
            running = [started(FETCH, f"{site.url}/{number}.zip", path) for _ in range(2)]
            running += [started(UNPACK, tmp_path / "a.zip", out / f"{number}-{n}") for n in (1, 1)]
            time.sleep(luck.uniform(0.2, 0.6))
            for victim in luck.sample(running, 2):
                kills += victim.poll() is None
                killed(victim)
            for process in running:
                if process.returncode is None:
                    ended(process)
            # what was killed is done again, and all is whole
            ended(started(FETCH, f"{site.url}/{number}.zip", path))
            ended(started(UNPACK, tmp_path / "a.zip", out / f"{number}-1"))
            assert path.read_bytes() == content, number
            assert contents(out / f"{number}-1") == files, number
            assert not list(out.glob(".partial-*")), number
            shutil.rmtree(out / f"{number}-1")
    print(f"{number + 1} rounds of 4 runs at once, {kills} killed in the middle")
