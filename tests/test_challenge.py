"""The champion is scored anew by its own code, on the clips that it has not seen."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import bentos, bundle, config
from kinoflow.bundle import Description
from kinoflow.config import Candidate
from kinoflow.data import clips, seen, tables
from kinoflow.reports.decision import Evidence
from kinoflow.reports.records import Refit
from kinoflow.system.errors import UserError
from kinoflow.training import export
from kinoflow.video import ClipSpec, sample
from kinoflow.workspace import Workspace
from stages.challenge import challenge
from stages.package_code import copy_code
from tests import documents
from tests.conftest import ROOT
from tests.media import footage
from tests.networks import build

SPEC = ClipSpec(4, 16, 16)
LABELS = ("A", "<b>B", "C")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A work tree with 24 test clips of 12 recordings, and a champion that knows A and <b>B."""
    workspace = Workspace(tmp_path_factory.mktemp("tree"))
    yaml = YAML()
    params = yaml.load(Workspace(ROOT).params)
    params["clip"].update(frames=4, height=16, width=16)
    params["candidates"] = {"new": {"model": "frame_voting"}}
    yaml.dump(params, workspace.params)
    footage(workspace.data, classes=3, groups=4, clips=2)
    videos = sorted(
        path.relative_to(workspace.data).as_posix() for path in workspace.data.rglob("*.avi")
    )
    labels = [LABELS["ABC".index(video[0])] for video in videos]
    groups = [video.rpartition("_c")[0] for video in videos]
    catalog = pd.DataFrame({"video": videos, "label": labels, "group": groups})
    catalog["md5"] = [f"{number:032d}" for number in range(len(videos))]
    catalog[["codec", "problem"]] = "mjpeg", ""
    catalog[["frames", "width", "height", "bytes"]] = 12, 64, 48, 1
    catalog[["fps", "seconds", "readable"]] = 25.0, 0.48, True
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    split = catalog[["video", "group"]].assign(split="test")
    tables.write(split, workspace.split, tables.SPLIT)
    tables.write(tables.empty(tables.FOLDS), workspace.folds, tables.FOLDS)
    Refit(refit=False).write(workspace.refit_record)
    documents.winner("new").write(workspace.winner)
    for video in videos:
        path = clips.ClipStore(workspace.clips).path(video)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, sample(workspace.data / video, SPEC))
    train(workspace.bundle("new"), "new", LABELS, SPEC, seed=1)
    answer(workspace, videos, labels)
    pack(workspace, workspace.bundle("new"), workspace.bento, "new1")
    return workspace


def train(folder: Path, name: str, labels: tuple[str, ...], clip: ClipSpec, seed: int) -> None:
    import keras

    keras.utils.set_random_seed(seed)
    candidate = Candidate(model="frame_voting", options={"filters": [4, 8], "pools": [2, 2]})
    description = Description(
        name=name,
        labels=labels,
        clip=clip,
        frames=clip.frames,
        views=1,
        candidate=candidate.model_dump(),
        seed=0,
        data="",
        versions={},
        metrics={},
    )
    export.save(folder, build(candidate, clip, len(labels)), description, "epoch\n")


def answer(workspace: Workspace, videos: list[str], labels: list[str]) -> None:
    """What evaluation recorded of the newest model."""
    model = bundle.load(workspace.bundle("new"))
    store = clips.ClipStore(workspace.clips)
    answers = model.predict(np.stack([store.read(video) for video in videos]))
    table = pd.DataFrame(answers, columns=[f"p_{label}" for label in LABELS])
    table.insert(0, "video", videos)
    table.insert(1, "label", labels)
    table.insert(2, "predicted", [LABELS[row] for row in answers.argmax(axis=1)])
    tables.write(table, workspace.answers("new"), tables.PREDICTIONS)


def pack(
    workspace: Workspace, model: Path, bento: Path, version: str, shown: pd.DataFrame | None = None
) -> None:
    """A .bento file with a model, the code that runs it, and the list of what it has seen."""
    bento.parent.mkdir(exist_ok=True)
    source = workspace.root / "source"
    if not source.exists():
        copy_code(source)
    with tarfile.open(bento, "w:xz", preset=0) as archive:
        text = f"version: '{version}'\n".encode()
        entry = tarfile.TarInfo("./bento.yaml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        archive.add(source, "./src")
        archive.add(model, "./src/bundle")
        if shown is not None:
            path = workspace.root / "seen.csv"
            tables.write(shown, path, seen.SEEN)
            archive.add(path, f"./src/bundle/{seen.FILE}")


def compared(tree: Workspace, clip: ClipSpec, shown: pd.DataFrame | None) -> Evidence:
    """The newest model against a champion with this spec, which has seen these clips."""
    model = tree.root / f"old-{clip.height}"
    if not model.exists():
        train(model, "old", LABELS[:2], clip, seed=0)
    champion = tree.dist / "kinoflow-old1.bento"
    pack(tree, model, champion, "old1", shown)
    bentos.crown(tree.champion, champion)
    return challenge(tree, config.load(tree.params))


def hits(tree: Workspace, videos: list[str], clip: ClipSpec) -> list[bool]:
    """Whether the champion is right about videos, computed here."""
    model = bundle.load(tree.root / f"old-{clip.height}")
    read = [sample(tree.data / video, clip) for video in videos]
    named = [model.labels[row] for row in model.predict(np.stack(read)).argmax(axis=1)]
    truth = tables.read(tree.catalog, tables.CATALOG).set_index("video")["label"][videos]
    return [one == other for one, other in zip(named, truth, strict=True)]


def test_only_clips_that_are_new_to_both_and_of_known_classes_count(tree: Workspace) -> None:
    table = seen.clips(tree)
    # one clip by its content, and a whole recording by one clip of it that is gone now
    shown = pd.concat(
        [
            table.iloc[:1].assign(recording="x", merged="x"),
            table.iloc[2:3].assign(md5="gone", merged="x"),
        ]
    )
    found = compared(tree, SPEC, shown)
    first, second = table["video"][0], table["recording"][2]
    out = (table["video"] == first) | (table["recording"] == second)
    assert (found.known, found.left_out) == (True, out.sum())
    assert out.sum() == 3
    assert found.unknown_clips == 8
    assert (found.new_labels, found.lost_labels) == (("C",), ())
    agrees(found, tree, SPEC, list(table["video"][known(tree) & ~out]))
    assert [each.label for each in found.recalls] == [*LABELS]
    assert sum(each.clips for each in found.recalls) == 24
    assert min(found.champion.latency_ms, found.challenger.latency_ms) > 0
    assert not found.same_model


def test_clips_of_another_size_are_read_from_the_videos(tree: Workspace) -> None:
    clip = ClipSpec(6, 24, 24)
    found = compared(tree, clip, None)
    # it does not say what it was trained on, which is not to have seen nothing
    assert (found.known, found.left_out) == (False, 0)
    agrees(found, tree, clip, list(seen.clips(tree)["video"][known(tree)]))


def known(tree: Workspace) -> pd.Series:
    return tables.read(tree.catalog, tables.CATALOG)["label"].isin(LABELS[:2])


def agrees(found: Evidence, tree: Workspace, clip: ClipSpec, counted: list[str]) -> None:
    """The accuracies are those of these clips, as they are computed here."""
    assert found.difference is not None
    assert found.difference.clips == len(counted)
    champion = hits(tree, counted, clip)
    answers = tables.read(tree.answers("new"), tables.PREDICTIONS).set_index("video").loc[counted]
    newest = answers["predicted"] == answers["label"]
    assert found.champion.accuracy == pytest.approx(np.mean(champion), abs=1e-6)
    assert found.difference.value == pytest.approx(newest.mean() - np.mean(champion), abs=1e-6)
    assert found.difference.low <= found.difference.value <= found.difference.high


def test_a_champion_that_has_seen_everything_leaves_nothing_to_compare(tree: Workspace) -> None:
    found = compared(tree, SPEC, seen.clips(tree))
    assert found.difference is None
    assert found.left_out == 24
    assert found.champion.accuracy is None


def test_a_model_that_cannot_be_run_is_one_line(tree: Workspace) -> None:
    train(tree.root / "broken", "old", LABELS[:2], SPEC, seed=0)
    (tree.root / "broken" / bundle.MODEL).write_bytes(b"no model")
    champion = tree.dist / "kinoflow-old1.bento"
    pack(tree, tree.root / "broken", champion, "old1")
    bentos.crown(tree.champion, champion)
    with pytest.raises(UserError, match="the model of Bento old1 cannot be scored: "):
        challenge(tree, config.load(tree.params))
