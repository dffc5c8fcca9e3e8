"""Pictures are painted in a style by optimisation."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from kinoflow.explain.tracing import gradient
from kinoflow.style import losses, pictures, shipped
from kinoflow.style.canvas import Canvas, Losses, Slope
from kinoflow.style.features import Features
from kinoflow.style.optimise import Options, Painter, Step, Style
from kinoflow.style.unfinished import Unfinished
from kinoflow.system import files
from kinoflow.system.errors import UserError
from tests.style import scene, squeezenet_file, stripes
from tests.test_cli import call

QUICK = Options(steps=12, levels=1, smoothness=0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squeezenet_file(tmp_path_factory.mktemp("weights") / "squeezenet.weights.h5")


@pytest.fixture(scope="module")
def features(weights: Path) -> Features:
    return Features(weights=str(weights))


@pytest.fixture(scope="module")
def painter(features: Features) -> Painter:
    """What is compiled for one picture serves all tests: they set the options that they need."""
    return Painter(Style(features, [stripes()]), QUICK)


def to_style(features: Features, picture: pictures.Picture, style: Style) -> float:
    return float(losses.style_distance(features(picture[None])[1], style.grams)[0])


def to_content(features: Features, picture: pictures.Picture, content: pictures.Picture) -> float:
    return float(losses.content_distance(features(picture[None])[0], features(content[None])[0])[0])


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_painted_picture_is_nearer_to_the_style_and_still_shows_the_content(
    method: str, features: Features, painter: Painter
) -> None:
    content, style = scene(), Style(features, [stripes()])
    painter.style, painter.options = style, QUICK
    if method == "adam":
        painter = Painter(style, replace(QUICK, method="adam", learning_rate=0.05))
    seen: list[Step] = []
    painted = painter.paint(content, watch=seen.append)
    assert painted.shape == content.shape
    assert painted.dtype == np.float32
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert to_style(features, painted, style) < 0.6 * to_style(features, content, style)
    assert to_content(features, painted, content) < to_content(features, stripes(), content)
    assert [step.step for step in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].losses.style < seen[0].losses.style
    # the canvas is used again, and nothing of the first picture is left in it
    assert np.abs(painter.paint(content) - painted).max() < 0.02


def test_strength_goes_from_the_content_to_the_style(features: Features, painter: Painter) -> None:
    content, style, painted = scene(), Style(features, [stripes()]), []
    for strength in (0, 0.2, 0.9):
        painter.style, painter.options = style, replace(QUICK, strength=strength)
        painted.append(painter.paint(content))
    assert np.abs(painted[0] - content).max() < 0.02
    distances = [to_style(features, each, style) for each in painted]
    assert distances[0] > distances[1] > distances[2]


def test_kept_colours_are_those_of_the_content(features: Features, painter: Painter) -> None:
    content = 0.4 + 0.3 * scene()
    painter.style = Style(features, [stripes()], like=content)
    painter.options = replace(QUICK, keep_colours=True)
    painted = painter.paint(content)
    inside = ((painted > 0) & (painted < 1)).all(axis=2)
    assert inside.mean() > 0.8
    changes = (painted - content)[inside]
    assert np.abs(changes - changes.mean(axis=1, keepdims=True)).max() < 1e-4
    assert np.abs(changes).mean() > 0.004


def test_styles_are_blended_by_their_weights(features: Features) -> None:
    one, other = stripes(), scene(seed=5)
    blend = Style(features, [one, other], [3.0, 1.0])
    for mixed, first, second in zip(
        blend.grams, Style(features, [one]).grams, Style(features, [other]).grams, strict=True
    ):
        assert np.allclose(mixed, 0.75 * first + 0.25 * second, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="weight"):
        Style(features, [one, other], [1.0])
    with pytest.raises(ValueError, match="at least one"):
        Style(features, [])


def test_the_slope_of_a_canvas_is_the_gradient_of_its_losses(features: Features) -> None:
    content, start, style = scene(), scene(seed=2), Style(features, [stripes()])
    warped, visible = scene(seed=3), (scene(seed=4)[..., 0] > 0.3).astype(np.float32)
    canvas = Canvas(features, *content.shape[:2])
    canvas.compile(optimizer=Slope(), jit_compile=False)
    shares = Losses(0.5, 2.0, 3.0, 4.0)
    canvas.wish(content, style.grams, shares, warped, visible)
    loss, single, slope = canvas.slope(start)
    assert loss == pytest.approx(sum(np.multiply(shares, single)), rel=1e-4)
    wanted = features(content[None])[0]

    def total(picture):
        contents, styles = features(picture)
        return (
            0.5 * losses.content_distance(contents, wanted)
            + 2.0 * losses.style_distance(styles, style.grams)
            + 3.0 * losses.total_variation(picture)
            + 4.0 * losses.temporal_distance(picture, warped[None], visible[None, ..., None])
        )

    assert loss == pytest.approx(float(ops.sum(total(start[None]))), rel=1e-4)
    expected = gradient(total, start[None])[0]
    assert np.abs(slope - expected).max() < 1e-3 * np.abs(expected).max()


def test_large_pictures_are_painted_from_coarse_to_fine(features: Features) -> None:
    painter = Painter(Style(features, [stripes()]), replace(QUICK, levels=3, steps=1))
    assert painter.scales(90, 400) == [1.0]
    assert painter.scales(240, 320) == [0.5, 1.0]
    assert painter.scales(1000, 1001) == [0.25, 0.5, 1.0]
    seen: list[Step] = []
    content = scene(193, 215)
    assert painter.paint(content, watch=seen.append).shape == content.shape
    assert [step.picture.shape[:2] for step in seen] == [(96, 108), (193, 215)]


# === The command ===


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures.write(tmp_path / "clip.png", scene(41, 51))
    pictures.write(tmp_path / "style.jpg", stripes())
    return tmp_path


def arguments(folder: Path, weights: Path) -> list[str]:
    return [
        *("style", str(folder / "clip.png"), "--style", str(folder / "style.jpg")),
        *("-o", str(folder / "out.png"), "--features", "SqueezeNet", "--weights", str(weights)),
        *("--steps", "4", "--levels", "1"),
    ]


def test_the_command_paints_a_picture_and_tells_the_losses(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments(folder, weights)) == 0
    said = capsys.readouterr().err
    assert re.search(r"clip.png: 4/4, level 1 of 1, content \S+, style \S+", said)
    assert "wrote" in said
    painted = pictures.read(folder / "out.png")
    assert painted.shape == (41, 51, 3)
    assert np.abs(painted - pictures.read(folder / "clip.png")).mean() > 0.01
    assert sorted(path.name for path in folder.iterdir()) == ["clip.png", "out.png", "style.jpg"]


def test_an_interrupted_picture_goes_on(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Unfinished.keep_picture

    def interrupt(self: Unfinished, level: int, step: int, picture: pictures.Picture) -> None:
        keep(self, level, step, picture)
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("kinoflow.commands.style_work._EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "keep_picture", interrupt)
        assert call(monkeypatch, *arguments(folder, weights)) == 130
    assert "run again to go on" in capsys.readouterr().err
    assert not (folder / "out.png").exists()
    assert call(monkeypatch, *arguments(folder, weights)) == 0
    assert "goes on at level 1, step 3" in capsys.readouterr().err
    assert (folder / "out.png").exists()


def test_only_the_same_run_goes_on(tmp_path: Path) -> None:
    output, run = tmp_path / "out.mp4", {"strength": 0.5, "styles": ("a", "b")}
    frame = pictures.to_bytes(scene())
    Unfinished(output, run).keep_frame(3, frame)
    kept = Unfinished(output, run)
    found = kept.frame(3, frame.shape)
    assert found is not None
    assert np.array_equal(found, frame)
    assert kept.frame(4, frame.shape) is None
    assert kept.frame(3, (32, 32, 3)) is None
    # as a power cut may leave it
    next(kept.folder.glob("*.png")).write_bytes(b"")
    assert kept.frame(3, frame.shape) is None
    kept.keep_picture(1, 20, scene())
    other = Unfinished(output, run | {"strength": 0.6})
    assert other.picture() is None
    other.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--style", "none.png"], "none.png: there is no such file"),
        (["--style", __file__], "is no picture, or a damaged one"),
        (["-o", "out.mp4"], "is a picture, so out.mp4 must end in .png or"),
        (["--blend", "1", "2"], "a number for each --style: 1, got 2"),
        (["--blend", "0"], "some weight"),
        (["--strength", "2"], "must be a number from 0 to 1, got 2"),
        (["--weights", "none.h5"], "there is no file none.h5"),
        (["--style-layers", "conv77"], "has no layer 'conv77'"),
    ],
)
def test_what_the_command_cannot_use_is_told_in_one_line(
    extra: list[str],
    message: str,
    folder: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert call(monkeypatch, *arguments(folder, weights), *extra) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert not (folder / "out.png").exists()


def test_a_picture_is_not_written_over_itself_and_a_style_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(folder / "clip.png")
    assert call(monkeypatch, "style", clip, "--style", clip, "-o", clip) == 2
    assert "is read itself" in capsys.readouterr().err
    assert call(monkeypatch, "style", clip, "-o", str(folder / "out.png")) == 2
    assert "name the style" in capsys.readouterr().err
    missing = str(folder / "missing.mp4")
    assert call(monkeypatch, "style", missing, "--style", clip, "-o", missing) == 2
    assert "missing.mp4: there is no such file" in capsys.readouterr().err


# === Weights ===


def test_weights_of_a_package_are_read_without_running_it(
    weights: Path, features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    from kinoflow.models.layers.backbones import squeezenet

    with monkeypatch.context() as without:
        without.setattr(shipped, "_PACKAGE", "a_package_that_is_not_installed")
        assert shipped.squeezenet_weights(tmp_path / "kept") is None
    real = shipped.squeezenet_weights(tmp_path / "real")
    assert real is not None
    assert not np.allclose(Features(weights=str(real))(scene()[None])[1][0], 0)
    network = squeezenet((None, None, 3))  # type: ignore[arg-type]
    network.load_weights(weights)
    arrays = {
        layer.name.replace("_", "/", 1): layer.get_weights()
        for layer in network.layers
        if layer.weights
    }
    package = tmp_path / "path" / "ndf"
    file = package / "example_models/weights/squeezenet_weights.pkl"
    file.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemError('was run')")
    file.write_bytes(pickle.dumps(arrays))
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(UserError, match=r"install that version"):
        shipped.squeezenet_weights(tmp_path / "kept")
    monkeypatch.setattr(shipped, "_MD5", files.md5(file))
    found = shipped.squeezenet_weights(tmp_path / "kept")
    assert found is not None
    picture = scene()[None]
    for one, other in zip(
        features(picture)[1], Features(weights=str(found))(picture)[1], strict=True
    ):
        assert np.allclose(one, other)
    file.write_bytes(pickle.dumps(Path("a")))
    monkeypatch.setattr(shipped, "_MD5", files.md5(file))
    with pytest.raises(pickle.UnpicklingError, match="no part of an array"):
        shipped.squeezenet_weights(tmp_path / "elsewhere")
