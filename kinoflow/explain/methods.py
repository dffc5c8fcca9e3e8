"""Explain a bundle's answer to a clip, by the method that suits the architecture or by another.

What is explained is what `Bundle.predict` answers. Where an answer averages several views of a
clip, mirrored ones among them, so does its explanation. Shapley values and occlusion ask the bundle
itself, so a calibrated answer is explained as it is; Grad-CAM and gradients look at the logits of
each view, which a temperature would only scale.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.config import METHODS, Method
from kinoflow.explain import absence, shapley
from kinoflow.system.errors import UserError
from kinoflow.video.padding import valid_frames
from kinoflow.video.sampling import temporal_views
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

INTEGRATION_STEPS = 32

# Grad-CAM is chosen for maps with at least as many rows and columns. By maps of 4x4, at the end of
# R(2+1)D, places came back no faster than in random order (docs/explaining.md).
_CLEAR = 7

# takes a clip (T, H, W, 3) and the index of a class; gives the evidence for it, (T, H, W)
Maps = Callable[[Frames, int], NDArray[np.float32]]
# takes views of a clip and of its baseline, (B, T, H, W, 3); gives maps of each view, (B, t, h, w)
_OfViews = Callable[[Frames, Frames], NDArray[np.float32]]
# a context in which the network may be used
Turn = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Explanation:
    """Where and when a model found evidence for a class in a clip of T frames of H x W pixels."""

    method: Method
    label: int  # index of the class that is explained
    probabilities: Probabilities  # (classes,) the model's answer
    # float32 (T, H, W): evidence for the class, 0 or more, in the method's own unit; 0 in padding
    maps: NDArray[np.float32]
    # float64 (8,): the Shapley value of each eighth of time. Together they are the probability of
    # the class for the clip less that for its mean frame.
    segments: NDArray[np.float64]
    # float64 (256, classes): probabilities with each set of segments present, which they come from
    worth: NDArray[np.float64]


def default_method(model: "keras.Model") -> Method:
    """The method for an architecture: rollout for transformers, Grad-CAM for networks with maps.

    For networks whose maps are too coarse for Grad-CAM it is gradients. For those without maps,
    such as motion histograms, it is occlusion.
    """
    from kinoflow.explain.gradcam import find_layer
    from kinoflow.explain.rollout import has_attention

    if has_attention(model):
        return "rollout"
    layer = find_layer(model)
    if layer is None:
        return "occlusion"
    return "gradcam" if layer.side >= _CLEAR else "gradients"


class Explainer:
    """Explains the answers of one bundle.

    Args:
        model: the bundle.
        method: how maps are made; None: as `default_method` says.
        answers: asks the model, for programs in which others use it too; `Bundle.predict` if None.
        turn: is entered around each further use of the network, which may be many for one clip.
            What it raises ends the explanation.

    Raises UserError for a method that the architecture does not allow, or that looks into a network
    where there is none.
    """

    def __init__(
        self,
        model: Bundle,
        method: Method | None = None,
        *,
        answers: shapley.Answers | None = None,
        turn: Turn = nullcontext,
    ) -> None:
        self.model = model
        self._answers = answers or model.predict
        self.method: Method = method or _suited(model)
        self._maps = _maps(model, self.method, self._answers, turn)

    def maps(self, clip: Frames, label: int) -> NDArray[np.float32]:
        """Evidence for a class in each place and at each time.

        Args:
            clip: uint8 RGB (T, H, W, 3), sampled as `Bundle.clip` says.
            label: index of the class.

        Returns float32 (T, H, W), 0 or more.
        """
        return np.maximum(self._maps(clip, label), 0)

    def explain(self, clip: Frames, label: int | None = None) -> Explanation:
        """Explain the answer to a clip.

        Args:
            clip: uint8 RGB (T, H, W, 3), sampled as `Bundle.clip` says.
            label: index of the class to explain; None: the most probable one.

        Raises ValueError for a clip of another shape.
        """
        probabilities = self._answers(clip[None])[0]
        label = int(probabilities.argmax()) if label is None else label
        worth = shapley.worth_of_times(clip, valid(self.model, clip), self._answers)
        return Explanation(
            method=self.method,
            label=label,
            probabilities=probabilities,
            maps=self.maps(clip, label),
            segments=shapley.shapley_values(worth[:, label]),
            worth=worth,
        )


def methods(model: Bundle) -> tuple[Method, ...]:
    """The methods by which answers of a bundle can be explained, or those of a form of one.

    A form gives answers alone, and occlusion asks for nothing else.
    """
    return METHODS if model.is_network else ("occlusion",)


def _suited(model: Bundle) -> Method:
    # the model loads Keras without its chatter, so it comes before what imports Keras
    return default_method(model.model) if model.is_network else "occlusion"


def valid(model: Bundle, clip: Frames) -> int:
    """How many frames of a clip (T, H, W, 3) are not padding."""
    return valid_frames(clip, masked=model.clip.padding == "mask")


def _maps(model: Bundle, method: Method, answers: shapley.Answers, turn: Turn) -> Maps:
    """How a method makes maps; Keras is imported only by those that open the model."""
    if method not in METHODS:
        raise UserError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if method not in methods(model):
        raise UserError(
            f"{method} looks into the network, and an exported model shows its answers alone: "
            f"choose {' or '.join(methods(model))}, or explain the bundle"
        )
    if method == "occlusion":
        return lambda clip, label: _occlusion(model, clip, label, answers)

    def network(clip: Frames, explained: _OfViews) -> NDArray[np.float32]:
        def in_turn(views: Frames, baselines: Frames) -> NDArray[np.float32]:
            with turn():
                return explained(views, baselines)

        return _over_views(model, clip, in_turn)

    try:
        if method == "gradcam":
            from kinoflow.explain.gradcam import GradCam

            cam = GradCam(model.model)
            return lambda clip, label: network(clip, lambda v, _: cam(v, label))
        if method == "rollout":
            from kinoflow.explain.rollout import Rollout

            rollout = Rollout(model.model)
            return lambda clip, label: network(clip, lambda v, _: rollout(v, label))
    except ValueError as error:
        raise UserError(f"{method} does not suit this model: {error}") from None
    if method == "shap":
        from kinoflow.explain.expected_gradients import ExpectedGradients

        shap = ExpectedGradients(model.model, INTEGRATION_STEPS)
        return lambda clip, label: network(clip, lambda v, b: shap(v, b, label))
    from kinoflow.explain.gradients import Gradients

    steps = INTEGRATION_STEPS if method == "integrated_gradients" else 1
    slopes = Gradients(model.model, steps, turn)
    return lambda clip, label: _over_views(model, clip, lambda v, b: slopes(v, b, label))


def _occlusion(
    model: Bundle, clip: Frames, label: int, answers: shapley.Answers
) -> NDArray[np.float32]:
    real = valid(model, clip)
    places = shapley.occlusion(clip, real, label, answers)
    which = shapley.cells(*clip.shape[1:3])
    maps = np.zeros(clip.shape[:3], np.float32)
    maps[:real] = places.ravel()[which]
    return maps


def _over_views(model: Bundle, clip: Frames, explained: _OfViews) -> NDArray[np.float32]:
    """The mean of what `explained` gives for the views of a clip and for those of its baseline."""
    real = valid(model, clip)
    times = temporal_views(real, model.description.frames, model.description.views)
    baseline = absence.still(clip, real)
    total = np.zeros(clip.shape[:3], np.float32)
    for columns in model.mirrorings:
        views, baselines = (
            np.stack([frames[taken] for taken in times])[..., columns, :]
            for frames in (clip, baseline)
        )
        for maps, taken in zip(np.maximum(explained(views, baselines), 0), times, strict=True):
            places = _steps(len(maps), taken, real)
            total[:real] += _sized(_interpolated(maps, places), clip.shape[1:3])[..., columns]
    total /= np.float32(len(times) * len(model.mirrorings))
    return total


def _steps(steps: int, taken: NDArray[np.int64], frames: int) -> NDArray[np.float64]:
    """Where among the time steps of a view's maps each frame of the clip lies: (frames,).

    Args:
        steps: how many there are, evenly spread over the view.
        taken: (T,) which frames of the clip the view shows; padding follows frame `frames` - 1.
        frames: how many frames of the clip are not padding.
    """
    real = taken[taken < frames]
    at = np.interp(np.arange(frames), real, np.arange(len(real)))
    return np.clip((at + 0.5) * steps / len(taken) - 0.5, 0, steps - 1)


def _interpolated(maps: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps (t, h, w) at places (N,) between their time steps: (N, h, w)."""
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(maps) - 1)
    share = (places - before).astype(np.float32)[:, None, None]
    between: NDArray[np.float32] = maps[before] * (1 - share) + maps[after] * share
    return between


def _sized(maps: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps (N, h, w) scaled to (N, *size)."""
    import cv2

    height, width = size
    if maps.shape[1:] == (height, width):
        return maps
    return np.stack([cv2.resize(each, (width, height)) for each in maps])
