"""Fast style transfer: a network that is trained for one style, and its file."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from kinoflow.commands import style_train
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.models.layers.backbones import squeezenet
from kinoflow.style import fast, fast_training, flow, losses, pictures
from kinoflow.style.fast import About, FastStyle, Recipe
from kinoflow.style.fast_training import moved
from kinoflow.style.features import Features
from kinoflow.style.network import transform_network
from kinoflow.style.optimise import Style
from kinoflow.style.pairs import Pairs
from kinoflow.system.errors import UserError
from kinoflow.video import Frames
from kinoflow.workspace import Workspace
from tests.media import moving_square

RECIPE = Recipe(
    strength=0.9,
    smoothness=3.0,
    filters=4,
    blocks=1,
    size=48,
    batch=2,
    steps=40,
    learning_rate=0.02,
    seed=3,
)
PICTURES = np.random.default_rng(0).random((2, 37, 53, 3), dtype=np.float32)


def stripes() -> pictures.Picture:
    """A style: diagonal stripes of orange and blue."""
    rows, columns = np.mgrid[:64, :64]
    orange = ((rows + columns) // 6 % 2)[..., None].astype(np.float32)
    colours = np.array([[0.1, 0.2, 0.7], [1.0, 0.6, 0.1]], np.float32)
    return orange * colours[1] + (1 - orange) * colours[0]


@pytest.fixture(scope="module")
def features() -> Features:
    keras.utils.set_random_seed(1)
    # the first layers alone, since compiling the others would take most of the time
    return Features(weights=None, content=["fire2_concat"], style=["conv1", "fire2_concat"])


@pytest.fixture(scope="module")
def style(features: Features) -> Style:
    return Style(features, [stripes()])


def store(folder: Path, count: int = 3, frames: int = 6) -> ClipSet:
    """A clip store of squares that cross."""
    for number in range(count):
        path = ClipStore(folder).path(f"{number}.avi")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, moving_square(frames, 48, 48, seed=number))
    names = tuple(f"{number}.avi" for number in range(count))
    return ClipSet(folder, names, np.zeros(count, np.int64))


def trained(path: Path, style: Style, clipset: ClipSet, recipe: Recipe = RECIPE) -> About:
    return fast_training.train(path, style, ["stripes.png"], clipset, "data", recipe)


@pytest.fixture(scope="module")
def made(style: Style, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast")
    trained(folder / "a.keras", style, store(folder / "clips"))
    return folder / "a.keras"


def frames_of(folder: Path) -> pictures.Picture:
    return pictures.to_floats(ClipStore(folder / "clips").read("0.avi"))


# === The network ===


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (37, 53)])
def test_an_untrained_network_shows_pictures_of_any_size_as_bright_as_all(
    size: tuple[int, int],
) -> None:
    network = transform_network(4, 1)
    shown = PICTURES[:, : size[0], : size[1]]
    painted = np.asarray(keras.ops.convert_to_numpy(network(shown)))
    assert painted.shape == shown.shape
    for picture, original in zip(painted, shown, strict=True):
        assert np.corrcoef(picture[..., 0].ravel(), original[..., 0].ravel())[0, 1] > 0.95
    darker = np.asarray(keras.ops.convert_to_numpy(network(0.5 * shown)))
    assert np.abs(darker - painted).max() < 0.1


def test_fewer_filters_and_blocks_make_a_smaller_network() -> None:
    sizes = [transform_network(*each, 0).count_params() for each in ((4, 1), (4, 2), (8, 2))]
    assert sizes == sorted(sizes)
    assert sizes[0] < 5000


def test_every_place_of_the_pattern_is_learned(made: Path) -> None:
    learned = keras.saving.load_model(made)
    keras.utils.set_random_seed(RECIPE.seed)
    drawn = transform_network(4, 1, learned.get_layer("pattern").side)
    for name in ("pattern", "fine_pattern"):
        before, after = (network.get_layer(name).get_weights()[0] for network in (drawn, learned))
        assert (np.abs(after - before).max(axis=-1) > 1e-4).all()


def test_a_pattern_is_what_a_bare_wall_is_painted_with() -> None:
    wall, rough = np.full((1, 64, 80, 3), 0.5, np.float32), {}
    for side in (0, 6):
        keras.utils.set_random_seed(1)
        network = transform_network(4, 1, side)
        # it begins as zeros, with which a network changes nothing
        last = network.get_layer("change")
        rng = np.random.default_rng(0)
        last.set_weights([rng.normal(0, 0.3, weight.shape) for weight in last.get_weights()])
        painted = keras.ops.convert_to_numpy(network(wall))
        # every second pixel: within two by two there are differences without a pattern as well
        rough[side] = np.asarray(painted)[0, ::2, ::2].std(axis=(0, 1)).max()
    assert rough[0] < 1e-3
    assert rough[6] > 0.02


# === Training ===


def test_what_is_painted_has_the_style_and_is_within_the_colours(made: Path, style: Style) -> None:
    shown = frames_of(made.parent)
    painted = fast.load(made)(shown)
    assert painted.shape == shown.shape
    assert painted.dtype == np.float32
    assert painted.min() >= 0
    assert painted.max() <= 1
    before, after = (
        float(np.mean(losses.style_distance(style.features(each)[1], style.grams)))
        for each in (shown, painted)
    )
    assert after < 0.6 * before


def test_a_frame_is_painted_alike_alone_and_with_others_and_at_any_size(made: Path) -> None:
    network = fast.load(made)
    together = network(PICTURES)
    np.testing.assert_allclose(network(PICTURES[1:])[0], together[1], atol=1e-4)
    for height, width in ((5, 7), (16, 40), (37, 1)):
        assert network(PICTURES[:, :height, :width]).shape == (2, height, width, 3)


def test_a_training_that_is_interrupted_goes_on_and_gives_the_same_bytes(
    made: Path,
    style: Style,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read = Pairs.read
    clipset = store(tmp_path / "clips")

    def interrupted(self: Pairs, step: int) -> object:
        if step == 21:
            raise KeyboardInterrupt
        return read(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Pairs, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "a.keras", style, clipset)
    assert not (tmp_path / "a.keras").exists()
    trained(tmp_path / "a.keras", style, clipset)
    assert "going on after step 20" in capsys.readouterr().err
    assert (tmp_path / "a.keras").read_bytes() == made.read_bytes()
    # nothing is left of what went on
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.keras", "clips"]


def test_another_recipe_begins_anew(
    style: Style,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clipset = store(tmp_path / "clips")
    short = RECIPE.model_copy(update={"steps": 4})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fast_training, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "a.keras", style, clipset, short)
    trained(tmp_path / "a.keras", style, clipset, short.model_copy(update={"seed": 9}))
    assert "going on" not in capsys.readouterr().err


def test_the_temporal_loss_makes_video_flicker_less(style: Style, tmp_path: Path) -> None:
    clipset = store(tmp_path / "clips")
    flicker = {}
    for consistency in (0.0, 1000.0):
        recipe = RECIPE.model_copy(update={"consistency": consistency})
        path = tmp_path / f"{consistency:g}.keras"
        trained(path, style, clipset, recipe)
        network, found = fast.load(path), []
        for video in clipset.videos:
            clip = ClipStore(clipset.folder).read(video)
            painted = network(pictures.to_floats(clip))
            for t in range(1, len(clip)):
                motion = flow.motion(clip[t - 1], clip[t])
                warped = flow.warp(painted[t - 1], motion.backward)
                squares = np.square(painted[t] - warped).mean(-1)
                found.append((squares * motion.visible).sum() / motion.visible.sum())
        flicker[consistency] = np.mean(found)
    assert flicker[1000.0] < 0.8 * flicker[0.0]


def test_frames_are_moved_as_the_flow_says() -> None:
    rng = np.random.default_rng(0)
    shown = rng.random((2, 9, 12, 3), dtype=np.float32)
    backward = rng.normal(0, 3, (2, 9, 12, 2)).astype(np.float32)
    expected = np.stack([flow.warp(*each) for each in zip(shown, backward, strict=True)])
    found = keras.ops.convert_to_numpy(moved(shown, backward))
    # OpenCV rounds places to a 32nd of a pixel
    assert np.abs(found - expected).max() < 0.05


def test_pairs_are_frames_that_follow_each_other(style: Style, tmp_path: Path) -> None:
    clipset = store(tmp_path / "clips", frames=5)
    pairs = Pairs(clipset, RECIPE, style)
    assert pairs.shape == (48, 48)
    (before, after), (backward, visible, recoloured) = pairs.read(0)
    assert before.shape == after.shape == (2, 48, 48, 3)
    assert (backward.shape, visible.shape) == ((2, 48, 48, 2), (2, 48, 48, 1))
    # what they are to show has the style's colours
    for frame, wanted in zip(np.concatenate([before, after]), recoloured, strict=True):
        expected = pictures.painted_from(frame, style.palette)
        np.testing.assert_allclose(wanted, expected, atol=1e-6)
    known = np.concatenate([clipset.clip(row) for row in range(3)]).astype(np.float32) / 255
    for one, other in zip(before, after, strict=True):
        places = []
        for frame in (one, other):
            # either as it is or mirrored
            away = [np.abs(known - each).max((1, 2, 3)) for each in (frame, frame[:, ::-1])]
            places.append(int(np.minimum(*away).argmin()))
            assert np.minimum(*away).min() < 1e-6
        assert places[1] == places[0] + 1
    again = Pairs(clipset, RECIPE, style).read(0)
    assert all((x == y).all() for x, y in zip(again[0], (before, after), strict=True))


@pytest.mark.parametrize(("count", "frames", "why"), [(0, 5, "no clips"), (2, 1, "one frame")])
def test_what_cannot_be_trained_on_is_told(
    style: Style, tmp_path: Path, count: int, frames: int, why: str
) -> None:
    with pytest.raises(UserError, match=why):
        trained(tmp_path / "a.keras", style, store(tmp_path / "clips", count, frames))
    assert not (tmp_path / "a.keras").exists()


# === Its file ===


def test_the_file_says_what_the_network_was_trained_by(made: Path) -> None:
    about = fast.read_about(made)
    assert about.styles == ("stripes.png",)
    assert about.recipe == RECIPE
    assert (about.features, about.data) == ("SqueezeNet", "data")
    assert about.losses.keys() == {"loss", "content", "style", "roughness", "flicker"}
    assert fast.load(made).about == about


def damaged(made: Path, folder: Path) -> Iterator[Path]:
    (folder / "cut.keras").write_bytes(made.read_bytes()[:-200])
    (folder / "text.keras").write_text("no network")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(folder / "other.keras")
    yield from (folder / f"{name}.keras" for name in ("cut", "text", "other", "missing"))


def test_a_file_that_holds_no_network_for_a_style_is_told(made: Path, tmp_path: Path) -> None:
    for path in damaged(made, tmp_path):
        with pytest.raises(UserError, match="no such file|no network for a style") as problem:
            fast.load(path)
        assert "\n" not in str(problem.value)


# === The command ===


def tree(folder: Path) -> Workspace:
    """A work tree with clips, one of which is for training."""
    workspace = Workspace(folder)
    names = store(workspace.clips).videos
    rows = pd.DataFrame({"video": names, "split": tables.SIDES, "group": ["1", "2", "3"]})
    tables.write(rows, workspace.split, tables.SPLIT)
    known = {"label": "A", "group": "1", "bytes": 1, "md5": "0", "readable": True, "problem": ""}
    catalog = pd.DataFrame({"video": names, "codec": "x", **known})
    for name in tables.CATALOG.columns:
        if name not in catalog:
            catalog[name] = 1
    catalog = catalog[[*tables.CATALOG.columns]].astype(tables.CATALOG.columns)
    tables.write(catalog, workspace.catalog, tables.CATALOG)
    records = pd.DataFrame({"video": names, "md5": "0", "spec": "6x48x48"})
    ClipStore(workspace.clips).write_records(records)
    return workspace


def run(*options: object) -> None:
    parser = argparse.ArgumentParser()
    style_train.add_arguments(parser)
    style_train.train(parser.parse_args([str(each) for each in options]))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pictures.write(tmp_path / "stripes.png", stripes())
    return tmp_path / "stripes.png"


def test_the_command_trains_on_training_clips_alone(
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "squeezenet.weights.h5"
    squeezenet((64, 64, 3)).save_weights(weights)
    workspace = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen, clip = set(), ClipSet.clip

    def watched(self: ClipSet, row: int) -> Frames:
        seen.add(self.videos[row])
        return clip(self, row)

    monkeypatch.setattr(ClipSet, "clip", watched)
    sizes = ("--size", 32, "--filters", 4, "--blocks", 1, "--batch", 1, "--steps", 3)
    run("--style", picture, "--weights", weights, "-o", "out.keras", *sizes)
    assert seen == {"0.avi"}
    assert "out.keras: style distance" in capsys.readouterr().out
    about = fast.read_about(tmp_path / "out.keras")
    assert (about.recipe.steps, about.recipe.size) == (3, 32)
    assert about.data == clips.data_md5(workspace)


def test_the_command_says_what_is_wrong(
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"must end in \.keras"):
        run("--style", picture, "-o", "out.mp4")
    with pytest.raises(FileNotFoundError) as missing:
        run("--style", picture, "-o", "out.keras")
    assert "dvc repro" in str(Workspace().explain_missing(missing.value))
    tree(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        run("--style", "none.png", "-o", "out.keras")
    with pytest.raises(UserError, match="there is no file none.h5"):
        run("--style", picture, "-o", "out.keras", "--weights", "none.h5")
    for option, value in (("--strength", "2"), ("--steps", "0"), ("--smoothness", "x")):
        with pytest.raises(SystemExit):
            run("--style", picture, "-o", "out.keras", option, value)
        assert option in capsys.readouterr().err


def test_pictures_of_uint8_come_back_by_the_same_colours(made: Path) -> None:
    network: FastStyle = fast.load(made)
    frames: Frames = moving_square(2, 24, 32)
    painted = network(pictures.to_floats(frames))
    assert pictures.to_bytes(painted).shape == frames.shape
