"""A picture that learns: its pixels are the weights of a model, and training paints it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kinoflow.style.features import Features
from kinoflow.style.losses import (
    content_distance,
    style_distance,
    temporal_distance,
    total_variation,
)
from kinoflow.style.pictures import Picture


class Losses(NamedTuple):
    """How far a picture is from what it should be; `kinoflow.style.losses` has the measures."""

    content: float
    style: float
    roughness: float
    flicker: float


class Canvas(keras.Model):
    """A picture, and what it should look like.

    What it should look like is kept in weights as well. So one canvas, compiled once, serves all
    frames of a video.

    Args:
        features: the network that content and style are measured with.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    """

    def __init__(self, features: Features, height: int, width: int) -> None:
        super().__init__(name="canvas")
        self.features = features
        self.picture = self.add_weight(shape=(1, height, width, 3), name="picture")
        shapes = features.model.compute_output_shape((1, height, width, 3))
        count = len(features.layers.content)
        self.contents = [self._fixed(shape) for shape in shapes[:count]]
        self.grams = [self._fixed((1, shape[-1], shape[-1])) for shape in shapes[count:]]
        self.warped = self._fixed((1, height, width, 3))
        self.visible = self._fixed((1, height, width, 1))
        self.shares = self._fixed((len(Losses._fields),))
        self.trackers = [keras.metrics.Mean(name=name) for name in Losses._fields]

    def _fixed(self, shape: Sequence[int]) -> Any:
        return self.add_weight(shape=tuple(shape), trainable=False, initializer="zeros")

    def wish(
        self,
        content: Picture,
        grams: Sequence[Any],
        shares: Losses,
        warped: Picture | None = None,
        visible: Picture | None = None,
    ) -> None:
        """Say what the picture should look like.

        Args:
            content: what it shows, (H, W, 3).
            grams: how it is painted, (1, D, D) for each layer.
            shares: the weight of each loss.
            warped: the picture before it, moved along, (H, W, 3); None: no picture is before it.
            visible: 1 where a pixel was visible before, (H, W).
        """
        wanted, _ = self.features(content[None])
        for weight, value in zip(self.contents, wanted, strict=True):
            weight.assign(value)
        for weight, value in zip(self.grams, grams, strict=True):
            weight.assign(value)
        self.shares.assign(np.asarray(shares, np.float32))
        self.warped.assign(np.zeros(self.warped.shape) if warped is None else warped[None])
        self.visible.assign(
            np.zeros(self.visible.shape) if visible is None else visible.reshape(self.visible.shape)
        )

    def call(self, _: Any) -> Any:
        """The losses, (1, 4)."""
        contents, styles = self.features(self.picture)
        terms = (
            content_distance(contents, [ops.convert_to_tensor(each) for each in self.contents]),
            style_distance(styles, [ops.convert_to_tensor(each) for each in self.grams]),
            total_variation(self.picture),
            temporal_distance(self.picture, self.warped, self.visible),
        )
        return ops.stack(terms, axis=-1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        return ops.sum(self.shares * y_pred)

    def compute_metrics(self, x, y, y_pred, sample_weight=None) -> dict[str, Any]:
        for index, tracker in enumerate(self.trackers):
            tracker.update_state(y_pred[:, index])
        return self.get_metrics_result()

    def step(self) -> tuple[float, Losses]:
        """Have the optimiser change the picture once.

        Returns the whole loss and the single ones, of the picture as it was before.
        """
        self.reset_metrics()
        found = self.train_on_batch(np.zeros((1, 1), np.float32), return_dict=True)
        return float(found["loss"]), Losses(*(float(found[name]) for name in Losses._fields))

    def slope(self, picture: Picture) -> tuple[float, Losses, Picture]:
        """The whole loss of a picture (H, W, 3), the single ones, and the gradient.

        The canvas has to be compiled with `Slope`.
        """
        self.picture.assign(picture[None])
        loss, losses = self.step()
        return loss, losses, self.shown()

    def shown(self) -> Picture:
        """The picture, (H, W, 3)."""
        return np.array(ops.convert_to_numpy(self.picture)[0])


class Slope(keras.optimizers.Optimizer):
    """An optimiser that puts a weight's gradient in its place.

    So the gradient of a compiled training step is at hand, whatever the backend.
    """

    def __init__(self) -> None:
        super().__init__(learning_rate=1.0)

    def update_step(self, gradient, variable, learning_rate) -> None:
        self.assign(variable, gradient)
