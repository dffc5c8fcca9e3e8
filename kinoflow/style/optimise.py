"""Style transfer by optimisation: a picture is changed until it has the content and the style.

Gatys et al., "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016). Coarse to
fine after Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer" (CVPR 2017).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import keras

from kinoflow.style import pictures
from kinoflow.style.canvas import Canvas, Losses, Slope
from kinoflow.style.features import Features
from kinoflow.style.losses import gram
from kinoflow.style.pictures import Picture
from kinoflow.style.solvers import Report, adam, lbfgs

_STYLE = 12.0  # what makes style weigh about as much as content at a strength of one half
_COARSEST = 96  # pixels: a level's shorter side is at least this


@dataclass(frozen=True)
class Options:
    """How a picture is painted.

    Args:
        strength: of the style, from 0 (the content as it is) to 1 (nothing but style).
        smoothness: the weight of total variation; more gives calmer areas.
        consistency: the weight of the temporal loss in video; 0: each frame is painted as if it
            were the only one.
        method: `lbfgs`, which needs fewer steps, or `adam`.
        steps: of the optimiser at each level.
        later_steps: of the optimiser for a picture that starts from the one before it.
        levels: of size, coarse to fine, each twice as large as the one before.
        learning_rate: of Adam.
        tolerance: L-BFGS ends when a step gains less than this share of the loss.
        keep_colours: whether the content's colours are kept and only brightness is painted.
    """

    strength: float = 0.5
    smoothness: float = 40.0
    consistency: float = 20.0
    method: Literal["lbfgs", "adam"] = "lbfgs"
    steps: int = 60
    later_steps: int = 20
    levels: int = 3
    learning_rate: float = 0.02
    tolerance: float = 1e-5
    keep_colours: bool = False


class Style:
    """How one or several pictures are painted: which features occur together in them.

    Args:
        features: the network that sees them.
        painted: pictures (H, W, 3) of any sizes.
        weights: how much each of them counts; None: all the same.
        longest: the longer side of the pictures when they are looked at, in pixels; None: as they
            are. Strokes of a larger picture are larger.
        like: a picture whose brightness they take on, without colours: see
            `Options.keep_colours`. None: they stay as they are.

    Raises ValueError for no picture, and for weights that do not fit.
    """

    def __init__(
        self,
        features: Features,
        painted: Sequence[Picture],
        weights: Sequence[float] | None = None,
        longest: int | None = None,
        like: Picture | None = None,
    ) -> None:
        weights = [1.0] * len(painted) if weights is None else weights
        if not painted or len(weights) != len(painted) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError("give at least one picture, and a weight for each of them")
        self.features = features
        self.weights = [weight / sum(weights) for weight in weights]
        self.pictures = []
        for picture in painted:
            seen = pictures.resized(picture, *pictures.size_within(picture.shape, longest))
            self.pictures.append(seen if like is None else pictures.as_bright_as(seen, like))
        palettes = [pictures.palette(picture) for picture in self.pictures]
        self.palette = pictures.Palette(
            *(
                sum(weight * value for weight, value in zip(self.weights, values, strict=True))
                for values in zip(*palettes, strict=True)
            )
        )
        self._grams: dict[float, list[Any]] = {}

    def recoloured(self, content: Picture, strength: float) -> Picture:
        """A content (H, W, 3) with the style's colours, as far as a strength asks for them.

        It is what content is measured against: a picture hardly gets new colours by gradients.
        """
        return pictures.painted_from(content, self.palette, min(1.0, 2.0 * strength))

    @property
    def grams(self) -> list[Any]:
        """The Gram matrices (1, D, D) of the layers for style."""
        return self.grams_at(1.0)

    def grams_at(self, scale: float) -> list[Any]:
        """The same for the pictures at a share of their size, for coarse pictures."""
        if scale not in self._grams:
            total: list[Any] = []
            for weight, picture in zip(self.weights, self.pictures, strict=True):
                height, width = (round(side * scale) for side in picture.shape[:2])
                size = pictures.size_within((height, width), None)
                _, found = self.features(pictures.resized(picture, *size)[None])
                parts = [weight * gram(each) for each in found]
                total = [x + y for x, y in zip(total, parts, strict=True)] if total else parts
            self._grams[scale] = total
        return self._grams[scale]


class Temporal(NamedTuple):
    """What a frame of a video should look like because of the frame before it."""

    warped: Picture  # the painted frame before, moved along, (H, W, 3)
    visible: Picture  # 1 where a pixel was visible before, 0 elsewhere, (H, W)


class Step(NamedTuple):
    """How far the painting of a picture is."""

    level: int  # from 0, the coarsest
    levels: int
    step: int  # that was taken, from 1
    steps: int  # at most, at this level
    losses: Losses
    picture: Picture  # at this level's size


Watch = Callable[[Step], None]


class Painter:
    """Paints pictures in one style. What is compiled for one size serves all pictures of it.

    Args:
        style: how to paint.
        options: see `Options`.
    """

    def __init__(self, style: Style, options: Options) -> None:
        self.style = style
        self.options = options
        self._canvases: dict[tuple[int, int], Canvas] = {}

    def paint(
        self,
        content: Picture,
        start: Picture | None = None,
        temporal: Temporal | None = None,
        watch: Watch | None = None,
        unfinished: Step | None = None,
    ) -> Picture:
        """Paint a picture.

        Args:
            content: what it shows, (H, W, 3), at least 32 pixels high and wide.
            start: what to begin with, (H, W, 3), in `later_steps` at full size; None: the content,
                coarse to fine.
            temporal: what the frame before says; None: nothing is before it.
            watch: is called after each step.
            unfinished: where an earlier call without `start` was interrupted; go on from there.

        Returns a picture (H, W, 3).
        """
        target, picture = self.target(content), content if start is None else start
        if self.options.keep_colours:
            picture = pictures.grey(picture)
            if temporal is not None:
                temporal = temporal._replace(warped=pictures.grey(temporal.warped))
        elif start is None:
            picture = target
        scales = self.scales(*content.shape[:2])
        first, steps, done = 0, self.options.steps, 0
        if unfinished is not None:
            first, done, picture = unfinished.level, unfinished.step, unfinished.picture
        elif start is not None:
            first, steps = len(scales) - 1, self.options.later_steps
        for level in range(first, len(scales)):
            height, width = self._size(content, scales[level])
            canvas = self._canvas(height, width)
            canvas.wish(
                pictures.resized(target, height, width),
                self.style.grams_at(scales[level]),
                self._shares(temporal),
                *(pictures.resized(each, height, width) for each in temporal or ()),
            )
            report = _reporter(watch, level, len(scales), steps, done)
            picture, left = pictures.resized(picture, height, width), max(1, steps - done)
            if self.options.method == "lbfgs":
                picture = lbfgs(canvas, picture, left, self.options.tolerance, report)
            else:
                picture = adam(canvas, picture, left, report)
            done = 0
        return pictures.recoloured(picture, content) if self.options.keep_colours else picture

    def target(self, content: Picture) -> Picture:
        """The content (H, W, 3) as it shows below the style: grey, or with the style's colours."""
        if self.options.keep_colours:
            return pictures.grey(content)
        return self.style.recoloured(content, self.options.strength)

    @staticmethod
    def _size(content: Picture, scale: float) -> tuple[int, int]:
        height, width = content.shape[:2]
        return max(pictures.LEAST, round(height * scale)), max(pictures.LEAST, round(width * scale))

    def scales(self, height: int, width: int) -> list[float]:
        """The levels' shares of the full size, from the coarsest to 1."""
        scales = [1.0]
        while len(scales) < self.options.levels and min(height, width) * scales[0] / 2 >= _COARSEST:
            scales.insert(0, scales[0] / 2)
        return scales

    def _shares(self, temporal: Temporal | None) -> Losses:
        strength = self.options.strength
        return Losses(
            content=1.0 - strength,
            style=_STYLE * strength,
            roughness=self.options.smoothness * strength,
            flicker=0.0 if temporal is None else self.options.consistency,
        )

    def _canvas(self, height: int, width: int) -> Canvas:
        if (height, width) not in self._canvases:
            canvas = Canvas(self.style.features, height, width)
            method = self.options.method
            canvas.compile(
                optimizer=Slope()
                if method == "lbfgs"
                else keras.optimizers.Adam(self.options.learning_rate, epsilon=1e-12),
                # XLA makes JAX fast; TensorFlow compiles for longer than it saves
                jit_compile=keras.backend.backend() == "jax",
            )
            self._canvases[height, width] = canvas
        return self._canvases[height, width]


def stylise(
    content: Picture,
    style: Style,
    options: Options | None = None,
    start: Picture | None = None,
    temporal: Temporal | None = None,
) -> Picture:
    """Paint one picture; for many of one size make a `Painter`, which compiles once.

    Args:
        content: what it shows, (H, W, 3), at least 32 pixels high and wide.
        style: how it is painted.
        options: see `Options`.
        start: what to begin with; None: the content, coarse to fine.
        temporal: what the frame before says; None: nothing is before it.

    Returns a picture (H, W, 3).
    """
    return Painter(style, options or Options()).paint(content, start, temporal)


def _reporter(watch: Watch | None, level: int, levels: int, steps: int, done: int) -> Report:
    def report(step: int, losses: Losses, picture: Picture) -> None:
        if watch is not None:
            watch(Step(level, levels, done + step, steps, losses, picture))

    return report
