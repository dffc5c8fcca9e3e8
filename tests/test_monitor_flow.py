"""The flow monitor against a real Prefect server, with a log as the service writes it."""

import io
import json
import shutil
import tarfile
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.monitor import monitor
from kinoflow.bundle import Description
from kinoflow.monitor import inputs, reference, samples
from kinoflow.monitor.answers import HeldOut
from kinoflow.monitor.features import Features
from kinoflow.monitor.inputs import Header
from kinoflow.reports import monitoring
from kinoflow.reports.monitoring import Look, Past, history, since
from kinoflow.video import ClipSpec
from kinoflow.workspace import Workspace
from serving.feedback import Feedback
from serving.samples import Samples, Seen
from tests.conftest import ROOT
from tests.media import moving_square, write_video
from tests.test_monitor import ODD, answer, recordings, until

pytest_plugins = ["tests.flows_fixtures"]

ANSWERS = 60


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree as the working folder, with a Bento of version v1, as far as monitoring reads."""
    monkeypatch.chdir(tmp_path)
    text = Workspace(ROOT).params.read_text(encoding="utf-8")
    Workspace().params.write_text(text.replace("sample_footage_mb: 0 ", "sample_footage_mb: 1 "))
    return tmp_path


def pack(tree: Path, held_out: HeldOut, version: str = "v1") -> None:
    """The files of a Bento that monitoring reads, as `stages.package` packs them."""
    folder = tree / "bundle"
    folder.mkdir()
    reference.write(held_out, folder)
    Description(
        name="c", labels=("A", ODD), clip=ClipSpec(4, 16, 16), frames=4, views=1, candidate={},
        seed=0, data="", versions={}, metrics={},
    ).write(folder)  # fmt: skip
    Workspace(tree).dist.mkdir()
    with tarfile.open(Workspace(tree).bento, "w:xz") as archive:
        about = tarfile.TarInfo("./bento.yaml")
        content = f"version: {version}\n".encode()
        about.size = len(content)
        archive.addfile(about, io.BytesIO(content))
        archive.add(folder, "./src/bundle")
    shutil.rmtree(folder)


def log(tree: Path, features: Features, level: int, first: int = 0) -> None:
    """Answers as the service logs them, to clips of about this brightness."""
    state, rng = tree / ".serving", np.random.default_rng(first)
    state.mkdir(exist_ok=True)
    video = write_video(tree / "upload.avi", moving_square(12))
    store, feedback = Samples(state, 5000, 1_000_000), Feedback(state, 0)
    for number, found in enumerate(features[:ANSWERS], start=first):
        clip = rng.integers(0, 2 * level, (3, 8, 8, 3)).astype(np.uint8)
        label = ["A", ODD][number % 2]
        feedback.answered(answer(number, label))
        store.take(answer(number, label), Seen(clip, found, inputs_of(rng), video))
        until(state, answer(number).id, every=number % 20 == 19)
    store.close()
    feedback.close()


def inputs_of(rng: np.random.Generator) -> Header:
    return Header(round(2 + rng.random(), 2), 25.0, 64.0, 48.0, "h264")


def measured(rng: np.random.Generator) -> HeldOut:
    """Held-out clips that look like those of `log` at level 100."""
    made = recordings(rng, 30, 2)
    numbers = [
        inputs.numbers(
            inputs.look(rng.integers(0, 200, (3, 8, 8, 3)).astype(np.uint8)), inputs_of(rng)
        )
        for _ in range(len(made))
    ]
    values = {name: getattr(made, name) for name in ("label", "features", "recording", "truth")}
    confidence = np.full(len(made), 0.75)
    return HeldOut(np.array(numbers), made.codec, confidence=confidence, **values)


def look(tree: Path) -> Look:
    return Look.read(Workspace(tree).monitoring / monitoring.REPORT)


def test_a_tree_without_answers_is_said_to_have_none(
    tree: Path, prefect_server: dict[str, str]
) -> None:
    monitor()
    assert "has no answers yet" in look(tree).word
    page = (Workspace(tree).monitoring / monitoring.PAGE).read_text(encoding="utf-8")
    assert "Nothing was compared" in page


def test_a_change_is_found_told_and_dated(
    tree: Path, client: SyncPrefectClient, api: httpx.Client
) -> None:
    rng = np.random.default_rng(0)
    pack(tree, measured(rng))
    log(tree, recordings(rng, ANSWERS, 1).features, level=100)
    monitor()
    before = look(tree)
    assert (before.word, before.changed, before.answers) == ("", (), ANSWERS)
    assert before.errors is not None
    assert before.errors.wrong == 0
    assert all(each.met for each in before.expectations), before.expectations

    # five times as many as the newest that are looked at
    for number in range(1, 5):
        log(tree, recordings(rng, ANSWERS, 1).features, level=50, first=1000 * number)
    begun = time.time()
    monitor()
    found = look(tree)
    assert "brightness" in found.changed
    assert found.since["brightness"] >= begun
    assert "brightness" in found.sentence
    page = (Workspace(tree).monitoring / monitoring.PAGE).read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") >= 4
    # frames of answers whose videos were kept, under labels that are no markup
    assert "data:image/jpeg" in page
    assert "<b>" not in page
    keys = ("monitor-summary", "monitor-comparisons", "monitor-picture")
    artifacts = {each["key"]: each for each in api.post("/artifacts/latest/filter").json()}
    assert artifacts.keys() >= {*keys}
    assert artifacts["monitor-picture"]["data"].startswith("data:image/svg+xml;base64,")
    rows = json.loads(artifacts["monitor-comparisons"]["data"])
    assert {row["respect"] for row in rows if row["verdict"] == "changed"} >= {"brightness"}

    # the same change, seen again, is as old as it was; without new answers it is no news
    monitor()
    assert look(tree).since["brightness"] == found.time
    assert len(history(Workspace(tree).monitoring)) == 3


def test_answers_of_a_version_that_is_gone_are_not_compared_with_another(
    tree: Path, prefect_server: dict[str, str]
) -> None:
    rng = np.random.default_rng(0)
    pack(tree, measured(rng), version="v2")
    log(tree, recordings(rng, ANSWERS, 1).features, level=100)
    monitor()
    assert "has no Bento of version v1" in look(tree).word
    assert samples.newest_bento(tree / ".serving" / samples.FILE) == "v1"


def test_a_change_is_as_old_as_the_first_of_the_looks_that_all_found_it(tmp_path: Path) -> None:
    def past(time: float, *changed: str, bento: str = "v1", word: str = "") -> Past:
        return Past(time=time, bento=bento, answers=200, changed=changed, word=word)

    looks = [
        past(1, "motion"),
        past(2),
        past(3, "motion"),
        past(4, "fps", bento="v0"),
        past(5, word="too few"),
        past(6, "motion", "fps"),
    ]
    now = Look(time=7, bento="v1", changed=("motion", "fps", "codec"))
    assert since(now, looks) == {"motion": 3, "fps": 6, "codec": 7}
    monitoring.write_history(tmp_path, looks)
    with (tmp_path / monitoring.HISTORY).open("a") as file:
        file.write('{"time": 8, "ben')  # cut off by a kill
    assert history(tmp_path) == looks
