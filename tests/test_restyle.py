"""The stage that repaints clips in other styles, with a network that is really one."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore, Restyled
from kinoflow.style import fast, fast_training
from kinoflow.style.network import transform_network
from kinoflow.style.pictures import to_floats
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import restyle as stage
from tests.conftest import ROOT

VIDEOS = ("A/one.avi", "B/two.avi")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A work tree with two clips, the second one of two frames and padding."""
    workspace = Workspace(tmp_path)
    clips = np.random.default_rng(0).integers(1, 256, (2, 4, 20, 28, 3)).astype(np.uint8)
    clips[1, 2:] = 0
    store = ClipStore(workspace.clips)
    for video, clip in zip(VIDEOS, clips, strict=True):
        store.path(video).parent.mkdir(parents=True)
        np.save(store.path(video), clip)
    records = tables.empty(tables.CLIPS)
    for column in records:
        records[column] = [*VIDEOS] if column == "video" else ["1"] * len(VIDEOS)
    store.write_records(records)
    return workspace


def asked_for(workspace: Workspace, styles: str) -> Params:
    text = Workspace(ROOT).params.read_text(encoding="utf-8")
    text = text.replace("  restyle: 0  ", "  restyle: 0.5  ").replace("styles: []", styles)
    workspace.params.write_text(text, encoding="utf-8")
    return config.load(workspace.params)


def write_network(path: Path) -> fast.FastStyle:
    keras.utils.set_random_seed(0)
    network = transform_network(4, 1)
    last = network.get_layer("change")
    rng = np.random.default_rng(0)
    last.set_weights([rng.normal(0, 1, weight.shape) for weight in last.get_weights()])
    about = fast.About(
        styles=("dots.png",), features="SqueezeNet", recipe=fast.Recipe(), data="", identity="",
        versions={}, losses={},
    )  # fmt: skip
    path.parent.mkdir(parents=True)
    fast_training.save(path, network, about)
    return fast.load(path)


def test_clips_are_repainted_frame_by_frame_and_padding_stays_black(workspace: Workspace) -> None:
    network = write_network(workspace.style_network("dots"))
    asked_for(workspace, "styles: [dots]")
    stage.main(workspace)
    painted = Restyled.of(workspace.restyled, "dots")
    assert painted.network == files.md5(workspace.style_network("dots"))
    plain, found = ClipStore(workspace.clips), ClipStore(painted.folder)
    first = plain.read(VIDEOS[0])
    expected = 255 * network(to_floats(first))
    assert abs(found.read(VIDEOS[0]) - expected).max() <= 1
    assert abs(first.astype(int) - found.read(VIDEOS[0])).mean() > 10
    second = found.read(VIDEOS[1])
    assert second[:2].reshape(2, -1).max(axis=1).all()
    assert not second[2:].any()
    with pytest.raises(UserError, match="no clips in the style waves: `dvc repro restyle`"):
        Restyled.of(workspace.restyled, "waves")


def test_a_network_that_is_missing_is_named(workspace: Workspace) -> None:
    params = asked_for(workspace, "styles: [dots]")
    with pytest.raises(UserError, match=r"dots\.keras: `kinoflow style train` makes it"):
        stage.networks(workspace, params)
    with pytest.raises(UserError, match="restyle needs styles"):
        asked_for(workspace, "styles: []")


def test_nothing_is_repainted_unasked(workspace: Workspace) -> None:
    workspace.params.write_text(Workspace(ROOT).params.read_text(encoding="utf-8"))
    stage.main(workspace)
    assert [*workspace.restyled.iterdir()] == []
