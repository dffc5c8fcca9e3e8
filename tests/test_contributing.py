"""CONTRIBUTING.md tried as it stands, in a copy of the tree: its model, source and stage."""

import re
import sys
import textwrap
from pathlib import Path

import pytest

from kinoflow.data import tables
from tests.checkout import Checkout
from tests.conftest import ROOT
from tests.media import moving_square, write_video

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def changes(section: str) -> list[tuple[str, str]]:
    """The language and text of each block of code in a section of the page."""
    _, _, rest = PAGE.partition(f"\n## {section}\n")
    text = rest.partition("\n## ")[0]
    found = re.findall(r"^( *)```(python|diff)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [(language, textwrap.dedent(block)) for _, language, block in found]


def apply(folder: Path, language: str, block: str) -> str:
    """Make one change of the page in the tree in `folder`; returns the file that it touches."""
    first, _, body = block.partition("\n")
    if language == "python":
        name = first.removeprefix("# ")
        assert not (folder / name).exists()
        (folder / name).write_text(body, encoding="utf-8")
        return name
    name = first.removeprefix("+++ ")
    # a line of the page may leave out the comment that ends it in the file
    before = "\n".join(line[1:] for line in body.splitlines() if line[:1] != "+")
    after = "\n".join(line[1:] for line in body.splitlines() if line[:1] != "-")
    text = (folder / name).read_text(encoding="utf-8")
    places = [*re.finditer("^" + re.escape(before), text, re.MULTILINE)]
    assert len(places) == 1, f"{name} has not one place like that of CONTRIBUTING.md"
    (start, end) = places[0].span()
    (folder / name).write_text(text[:start] + after + text[end:], encoding="utf-8")
    return name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the tree with all that the page adds, and footage for its source."""
    footage = tmp_path_factory.mktemp("footage")
    for day in range(1, 6):
        for place, label in enumerate(("Rest", "Run")):
            for number in (1, 2):
                video = footage / f"2026-11-{day:02}" / f"{label}-{number:02}.avi"
                write_video(video, moving_square(12, seed=100 * place + 10 * day + number))
    made = Checkout(tmp_path_factory.mktemp("contributed"))
    for section in ("Add a model", "Add a source", "Add a stage"):
        found = changes(section)
        touched = {apply(made.folder, language, block) for language, block in found}
        assert len(touched) == len(found) == 3, section
    made.set(
        dataset__path=str(footage),
        split__near_duplicates="warn",  # all footage here is of one square
        clip={"frames": 4, "height": 24, "width": 24},
        training__epochs=1,
        evaluation__bootstrap=20,
        candidates={"shallow3d": {"model": "shallow3d", "options": {"filters": [4, 8]}}},
    )
    made.run("python", "-m", "stages.dependencies")  # make deps
    made.run("python", "docs/drawings.py")  # make drawings
    return made


def test_what_the_page_adds_has_our_style_and_keeps_our_arrows(checkout: Checkout) -> None:
    checkout.run("ruff", "check", ".")
    checkout.run("ruff", "format", "--check", ".")
    checkout.run("lint-imports")


def test_the_drawing_shows_the_new_stage(checkout: Checkout) -> None:
    assert "catalog --> lengths" in (checkout.folder / "docs/architecture.md").read_text()


def test_the_new_stage_and_source_run_and_the_new_model_is_trained_and_scored(
    checkout: Checkout,
) -> None:
    ran = checkout.repro("lengths", "evaluate@shallow3d")
    assert {"lengths", "train@shallow3d", "evaluate@shallow3d"} <= {*ran}
    # five days, two videos of each class on each
    videos = tables.read(checkout.folder / "work/catalog.csv", tables.CATALOG)
    assert len(videos) == 20
    assert {*videos["label"]} == {"Rest", "Run"}
    assert (videos["group"] == videos["video"].str.partition("/")[0]).all(), "a day is a group"
    lengths = checkout.read("reports/lengths.json")
    assert lengths.keys() == {"Rest", "Run"}
    assert lengths["Run"] == pytest.approx(lengths["Rest"])
    scored = checkout.read("reports/shallow3d/metrics.json")
    assert scored["test"].keys() >= {"accuracy", "accuracy_low", "accuracy_high"}
    assert checkout.repro("lengths", "evaluate@shallow3d") == []


def test_the_tests_of_models_take_the_new_one_up(checkout: Checkout) -> None:
    done = checkout.run(
        sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider",
        "tests/test_models.py", "-k", "shallow3d",
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 3


def test_a_source_without_its_footage_is_told_in_one_line(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.set(dataset__path=str(tmp_path))
    done = checkout.run("python", "-m", "stages.download", fails=True)
    assert done.returncode == 2
    assert "holds no videos such as" in done.stderr
    assert "Traceback" not in done.stderr
