"""Hostile names through a source, the catalog and the store of clips: kept whole, or refused."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinoflow.config import Dataset, Params
from kinoflow.data import catalog, extraction, names, tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.system import terminal
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from stages import catalog as stage
from stages import download
from tests.media import moving_square, write_video

SPEC = ClipSpec(2, 8, 8)

PIECES = [
    *(b"a", b"B", b" ", b".", b"..", b"/", b"//", b"\\", b"-", b"~", b"$HOME", b"%2e%2e%2f", b"?*"),
    *(b"\n", b"\r", b"\t", b"\x1b[2J", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"'", b'"'),
    *(b",", b";", b"=1+1", b"#", b"NA", b"null", b"None", b"True", b"1e3", b"007", b"nan", b"<b>"),
    *(b"train", b"test", b".partial-", b".replaced-", b".dvc", b"CON", b"labels.csv", b"C:", b"|"),
    *(
        b"x" * 60,
        b"x" * 200,
        "ü".encode() * 60,
        "👨‍👩‍👧".encode(),
        "e\u0301".encode(),
        "\u202e".encode(),
    ),
    *("\u2028".encode(), "\u0085".encode(), "\u00a0".encode(), "ß".encode(), "İ".encode()),
]


def drawn(rng: random.Random) -> bytes:
    return b"".join(rng.choices(PIECES, k=rng.choice((1, 1, 2, 3, 5))))


def place(folder: Path, name: bytes, video: bytes) -> bool:
    """Write a video below `folder` under any name that the file system takes."""
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    if not os.path.abspath(path).startswith(os.fsencode(folder) + b"/"):  # noqa: PTH100
        return False
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "xb") as file:  # noqa: PTH123
            file.write(video)
    except (OSError, ValueError):
        return False
    return True


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refusal(work: Callable[[], object]) -> str | None:
    """What a UserError says, which has to fit on one line; None where there is none."""
    try:
        work()
    except UserError as error:
        said = str(error)
        said.encode()  # no half characters
        assert len(said) < 600, said
        assert terminal.printable(said) == said
        return said
    return None


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = write_video(tmp_path_factory.mktemp("v") / "v.avi", moving_square(2, 16, 16))
    return path.read_bytes()


def kept(root: Path, params: Params) -> str | None:
    """Bring root/source to root/data and sample it as the stages do; why not, if refused."""
    data, store = root / "data", root / "work" / "clips"
    dataset = Dataset(source="folder", path=str(root / "source"))
    wanted: list = []
    said = refusal(
        lambda: wanted.extend(
            download.items(params.model_copy(update={"dataset": dataset}), Workspace().downloads)
        )
    )
    if said is None:
        for item in wanted:
            download._fetch(item, data / item.name)
    else:
        # somebody brings it past the source, as `dvc pull` does: the catalog has to refuse it too
        shutil.copytree(root / "source", data, symlinks=True)
    held: list = []
    refused = refusal(lambda: held.append(stage.labelled(data)))
    assert refused is not None or said is None, said
    if refused is not None:
        return refused
    table = held[0].assign(md5="m", spec="s", split="train")
    for name, schema in (("split", tables.SPLIT), ("clips", tables.CLIPS)):
        tables.write(table, root / "work" / f"{name}.csv", schema)
        back = tables.read(root / "work" / f"{name}.csv", schema)
        assert back.to_dict("list") == table[[*schema.columns]].to_dict("list")
    for name in table["video"]:
        extraction.extract_clip(data / name, SPEC, ClipStore(store).path(name))
    stored = ClipSet(store, tuple(table["video"]), np.zeros(len(table), np.int64))
    assert stored.read(np.arange(len(table))).shape == (len(table), *SPEC.shape)
    assert len([path for path in store.rglob("*") if path.is_file()]) == len(table)
    return None


def test_a_hostile_name_is_kept_whole_or_refused(
    tmp_path: Path, defaults: Params, video: bytes, count: Callable[[int, int], int]
) -> None:
    rng, outcome = random.Random(7), Counter[str]()
    for number in range(count(60, 5000)):
        root = tmp_path / str(number)
        (root / "source").mkdir(parents=True)
        place(root / "source", b"A/1.avi", video)
        # as a file, as a class folder, and as a row of labels.csv
        way = rng.choice(("file", "class", "labels.csv"))
        if way == "labels.csv":
            place(root / "source", b"B/2.avi", video)
            cells = [b"A/1.avi,run,g", b"B/2.avi,walk,h"]
            row = [b"B/2.avi", b"walk", b"h"]
            hostile = rng.choice((0, 1, 2))
            row[hostile] = b'"' + drawn(rng).replace(b'"', b'""') + b'"'
            cells[1] = b",".join(row)
            (root / "source" / "labels.csv").write_bytes(
                b"video,label,group\n" + b"\n".join(cells) + b"\n"
            )
        else:
            name = drawn(rng)
            if not place(
                root / "source",
                b"B/" + name + b".avi" if way == "file" else name + b"/2.avi",
                video,
            ):
                outcome["no such file can be"] += 1
                shutil.rmtree(root)
                continue
        before = tree(root / "source")
        said = kept(root, defaults)
        outcome["refused" if said else "kept"] += 1
        assert tree(root / "source") == before
        assert {path.name for path in root.iterdir()} <= {"source", "data", "work"}
        assert {path.name for path in (root / "work").glob("*")} <= {
            "clips",
            "clips.csv",
            "split.csv",
        }
        shutil.rmtree(root)
    assert list(tmp_path.iterdir()) == []
    assert min(outcome["refused"], outcome["kept"]) > 5
    print(f"\nnames: {dict(outcome)}")


def test_what_is_shown_of_a_name_is_one_line(count: Callable[[int, int], int]) -> None:
    rng = random.Random(8)
    for _ in range(count(500, 100_000)):
        name = os.fsdecode(drawn(rng))
        text = names.shown(name)
        text.encode()
        assert len(text.splitlines()) <= 1
        assert len(text) < 110
        assert catalog.group_of(name)
