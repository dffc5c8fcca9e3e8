"""Explanations find evidence that was put there, for every architecture, views and padding."""

import itertools
import sys
from fractions import Fraction
from pathlib import Path

import av
import keras
import numpy as np
import pytest
from keras import layers

from kinoflow import bundle
from kinoflow.bundle import Bundle, Description
from kinoflow.config import Method
from kinoflow.explain import absence, film, proofs, shapley
from kinoflow.explain.gradcam import find_layer
from kinoflow.explain.gradients import Gradients
from kinoflow.explain.methods import Explainer, default_method
from kinoflow.explain.rollout import Rollout
from kinoflow.explain.tracing import logits, trace
from kinoflow.models import registry
from kinoflow.models.layers.clip import clip_input
from kinoflow.models.layers.folding import per_frame
from kinoflow.models.layers.heads import probabilities
from kinoflow.models.layers.pooling import MeanOverTime
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec, Frames
from tests.networks import CLIP, answers, noise, save_bundle, shared_model, small_model

SPEC = ClipSpec(8, 24, 24)
PLANTED = (slice(2, 4), slice(4, 10), slice(3, 9))  # time, rows, columns: left of the middle
RED = 1  # the class of clips with something red in them
OWN: dict[str, Method] = {
    "motion_histograms": "occlusion",
    "timesformer": "rollout",
    "vivit": "rollout",
}


def planted_clip(spec: ClipSpec = SPEC) -> Frames:
    """Grey noise, with a red patch that is there for two frames."""
    grey = np.random.default_rng(1).integers(90, 110, (*spec.shape[:3], 1), dtype=np.uint8)
    clip = np.repeat(grey, 3, axis=3)
    clip[PLANTED] = (250, 20, 20)
    return clip


def red_network(taken: ClipSpec, *, folded: bool, stored: ClipSpec = SPEC) -> keras.Model:
    """A network that answers by how much bright red it sees, of frames or of space and time."""
    clip = clip_input(stored, taken)
    if folded:

        def features(x):
            x = layers.Conv2D(2, 1, activation="relu", name="maps")(x)
            return layers.GlobalAveragePooling2D()(x)

        x = MeanOverTime()(per_frame(clip.pixels(), features), mask=clip.mask())
    else:
        x = layers.Conv3D(2, 1, activation="relu", name="maps")(clip.pixels())
        x = layers.GlobalAveragePooling3D()(x)
    model = keras.Model(clip.input, probabilities(x, 5), name="red")
    kernel = np.array([[1.0, 0.0], [-0.5, 0.2], [-0.5, 0.2]])
    maps = model.get_layer("maps")
    maps.set_weights([kernel.reshape(maps.kernel.shape), np.array([-1.0, 0.0])])
    head = np.zeros((2, 5))
    head[0, RED], head[1, 0] = 200.0, 1.0
    model.get_layer("probabilities").set_weights([head, np.zeros(5)])
    return model


def red_bundle(
    folder: Path, *, folded: bool = True, frames: int = 8, views: int = 1, flip: bool = False
) -> Bundle:
    taken = ClipSpec(frames, SPEC.height, SPEC.width)
    save_bundle(folder, red_network(taken, folded=folded), taken, views, flip=flip, clip=SPEC)
    return bundle.load(folder)


def bundle_of(model: keras.Model, clip: ClipSpec = CLIP) -> Bundle:
    """A bundle that was never saved, since saving and loading takes longer than explaining."""
    description = Description(
        name="test",
        labels=tuple("ABCDE"),
        clip=clip,
        frames=model.input_shape[1],
        views=1,
        candidate={},
        seed=0,
        data="",
        versions={},
        metrics={},
    )
    made = Bundle(Path(), description)
    made.__dict__["model"] = model  # where the cached property keeps it
    return made


# === Every architecture ===


@pytest.mark.parametrize("name", registry.MODULES)
def test_every_architecture_is_explained(name: str) -> None:
    model, clip = shared_model(name), noise(1)[0]
    opened = trace(model)
    floats = keras.Model(opened.clip, opened.probabilities)
    answer = answers(model, clip[None])[0]
    # behind a float input it is the same model
    np.testing.assert_allclose(np.asarray(floats(clip[None].astype("float32")))[0], answer, 1e-4)

    method = OWN.get(name, "gradcam")
    # of clips as small as these, some networks have maps too coarse for Grad-CAM
    assert default_method(model) in ({method} if name in OWN else {"gradcam", "gradients"})
    explainer, label = Explainer(bundle_of(model), method), int(answer.argmax())
    if explainer.method != "occlusion":
        maps = explainer.maps(clip, label)
        assert maps.shape == clip.shape[:3]
        assert np.isfinite(maps).all()
        assert maps.min() >= 0
        assert np.ptp(maps) > 0

    def answered(clips: Frames) -> np.ndarray:
        return answers(model, clips)

    worth = shapley.worth_of_times(clip, len(clip), answered, segments=3)[:, label]
    values = shapley.shapley_values(worth)
    still = answers(model, absence.still(clip, len(clip))[None])[0]
    assert values.sum() == pytest.approx(answer[label] - still[label], abs=1e-5)
    drops = shapley.occlusion(clip, len(clip), label, answered, grid=2)
    assert drops.shape == (2, 2)
    assert np.isfinite(drops).all()
    assert np.ptp(drops) > 0


def test_the_layer_of_grad_cam_is_the_last_one_fine_enough() -> None:
    sides = {}
    for name in ("r3d", "lrcn", "i3d", "movinet"):
        layer = find_layer(shared_model(name))
        assert layer is not None
        calls = trace(shared_model(name)).calls
        sides[name] = [call.output.shape[-3:-1] for call in calls][layer.index]
    # r3d ends with 10x10 of 40x40, lrcn with a single pixel, and i3d's backbone with one as well
    assert sides["r3d"] == (10, 10)
    assert all(4 <= min(side) <= 10 for side in sides.values()), sides


def test_the_method_follows_the_architecture_and_how_fine_its_maps_are() -> None:
    chosen = {name: default_method(shared_model(name)) for name in ("r3d", "vivit")}
    assert chosen == {"r3d": "gradcam", "vivit": "rollout"}
    assert default_method(shared_model("motion_histograms")) == "occlusion"
    # a quarter of 16 pixels
    assert default_method(small_model("r3d", ClipSpec(4, 16, 16))) == "gradients"


def test_without_shap_its_method_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(UserError, match=r"pip install 'kinoflow\[explain\]'"):
        Explainer(red_bundle(tmp_path / "b"), "shap")


# === Evidence that was put there ===


@pytest.mark.parametrize(
    "method", ["gradcam", "integrated_gradients", "gradients", "occlusion", "shap"]
)
@pytest.mark.parametrize(
    ("folded", "frames", "views", "flip"),
    [(True, 8, 1, False), (False, 8, 1, False), (True, 4, 2, True)],
)
def test_maps_find_evidence(
    method: str, folded: bool, frames: int, views: int, flip: bool, tmp_path: Path
) -> None:
    model = red_bundle(tmp_path / "b", folded=folded, frames=frames, views=views, flip=flip)
    maps = Explainer(model, method).maps(planted_clip(), RED)  # type: ignore[arg-type]
    _, rows, columns = PLANTED
    inside = maps[:, rows, columns].sum() / maps.sum()
    assert inside > 0.6, "in space"
    when = maps.sum(axis=(1, 2))
    if method == "occlusion":  # which hides a place for the whole clip
        assert np.ptp(when) == 0
    else:
        # views take every other frame, so that evidence reaches the frames beside
        assert when[1:5].sum() / when.sum() > 0.9, "in time"


def test_shapley_values_find_the_time_of_evidence_and_add_up(tmp_path: Path) -> None:
    model = red_bundle(tmp_path / "b", frames=4, views=2)
    found = Explainer(model, "gradcam").explain(planted_clip())
    assert found.label == RED
    np.testing.assert_array_equal(found.worth[-1], found.probabilities)
    assert set(np.argsort(found.segments)[-2:]) == {2, 3}
    difference = found.worth[-1, RED] - found.worth[0, RED]
    assert found.segments.sum() == pytest.approx(difference)
    assert difference > 0.2


def test_shapley_values_are_exact() -> None:
    worth = np.random.default_rng(0).random(2**4)
    expected = np.zeros(4)
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        present = 0
        for player in order:
            expected[player] += (worth[present | 1 << player] - worth[present]) / len(orders)
            present |= 1 << player
    np.testing.assert_allclose(shapley.shapley_values(worth), expected)
    with pytest.raises(ValueError, match="6 sets"):
        shapley.shapley_values(worth[:6])


def test_integrated_gradients_add_up_to_the_change_of_the_logit() -> None:
    model, clip = shared_model("c3d"), noise(1)
    still = absence.still(clip[0], len(clip[0]))[None]
    found = Gradients(model, 32)(clip, still, 2).sum()
    ends = [float(np.asarray(logits(answers(model, each), 2))[0]) for each in (clip, still)]
    assert found == pytest.approx(ends[0] - ends[1], rel=0.05)


def test_rollout_is_a_share_of_attention() -> None:
    found = Rollout(shared_model("timesformer"))(noise(2), 0)
    assert found.shape == (2, 8, 5, 5)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="no attention"):
        Rollout(shared_model("c3d"))


def test_padding_is_no_evidence_and_stays_padding(tmp_path: Path) -> None:
    spec = ClipSpec(8, 24, 24, padding="mask")
    clip = planted_clip(spec)
    clip[5:] = 0
    save_bundle(tmp_path / "b", red_network(spec, folded=True, stored=spec), spec, clip=spec)
    model = bundle.load(tmp_path / "b")
    for method in ("gradcam", "occlusion", "integrated_gradients"):
        maps = Explainer(model, method).maps(clip, RED)
        assert maps[:5].sum() > 0
        assert not maps[5:].any(), method
    still = absence.still(clip, 5)
    assert still[:5].any(axis=(1, 2, 3)).all()
    assert not still[5:].any()
    assert list(shapley.segment_of(8, 5, 5)) == [0, 1, 2, 3, 4, -1, -1, -1]


def test_a_method_that_does_not_suit_is_refused() -> None:
    for name, method in (
        ("motion_histograms", "gradcam"),
        ("vivit", "gradcam"),
        ("c3d", "rollout"),
    ):
        with pytest.raises(UserError, match=f"{method} does not suit this model: {name} has no"):
            Explainer(bundle_of(shared_model(name)), method)  # type: ignore[arg-type]


# === Checks of explanations ===


def test_evidence_inside_a_box_is_measured_against_its_area() -> None:
    maps = np.zeros((2, 10, 10), np.float32)
    maps[0, :5, :5] = 1
    boxes = np.array([[0, 0, 0.25, 0.5], [0, 0, 1, 1]])
    # half of the evidence of the first frame lies in an eighth of it; the second has none
    assert proofs.inside(maps, boxes) == pytest.approx((0.5, 0.125))
    assert proofs.inside(np.zeros_like(maps), boxes) == pytest.approx((0.5625, 0.5625))


def test_forgetting_changes_explanations_and_is_undone(tmp_path: Path) -> None:
    model = red_bundle(tmp_path / "b")
    explainer, clip = Explainer(model, "gradcam"), planted_clip()
    before, maps = model.predict(clip[None]), explainer.maps(clip, RED)
    steps = proofs.randomised(explainer, [clip], [RED], [maps], seed=0)
    assert [step.layers for step in steps] == [("probabilities",), ("maps",)]
    assert steps[-1].similarity[0] < 0.9
    np.testing.assert_array_equal(model.predict(clip[None]), before)
    np.testing.assert_array_equal(explainer.maps(clip, RED), maps)


def test_the_order_of_evidence_beats_a_random_order(tmp_path: Path) -> None:
    model = red_bundle(tmp_path / "b")
    explainer, clip = Explainer(model), planted_clip()
    found = explainer.explain(clip)
    for curves in (
        proofs.curves_in_space(explainer, clip, found.maps, RED, (0, 0)),
        proofs.curves_in_time(found.worth[:, RED], found.segments),
    ):
        whole, nothing = curves.deletion[0], curves.deletion[-1]
        assert whole == pytest.approx(found.probabilities[RED])
        assert (curves.insertion[0], curves.insertion[-1]) == (nothing, whole)
        assert (curves.random[0], curves.random[-1]) == (whole, nothing)
        assert proofs.area(curves.deletion) < proofs.area(curves.random)
        assert proofs.area(curves.random) < proofs.area(curves.insertion)


# === Films ===


def test_a_film_shows_the_clip_beside_its_evidence(tmp_path: Path) -> None:
    model = red_bundle(tmp_path / "b")
    found = Explainer(model).explain(planted_clip())
    frames = film.film(planted_clip(), found)
    assert frames.shape == (8, 24 + 4 + 36, 24 + 4 + 24, 3)
    np.testing.assert_array_equal(frames[:, :24, :24], planted_clip())
    beside = frames[:, :24, 28:].astype(int)
    yellow = beside[..., 0] - beside[..., 2]  # red less blue
    assert yellow[PLANTED].mean() > 60
    assert yellow[6].mean() < 10
    for name in ("one.mp4", "two.mp4"):
        film.write_film(tmp_path / name, frames, Fraction(25, 2))
    assert files.md5(tmp_path / "one.mp4") == files.md5(tmp_path / "two.mp4")
    with av.open(str(tmp_path / "one.mp4")) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        assert video.streams.video[0].average_rate == Fraction(25, 2)
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(shown) == 8
    assert np.abs(np.array(shown).astype(int) - frames).mean() < 12
    assert film.strip(planted_clip(), found).shape == (24 + 4 + 24 + 4 + 36, 8 * 24, 3)
