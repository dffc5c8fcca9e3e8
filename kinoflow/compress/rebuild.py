"""Rebuild a model for export: the same weights and answers, in operators that formats have.

What converters cannot take is replaced: loops over time by a step for each frame, scaling with
antialiasing by matrix products, normalisation by what it does outside of training, and pooling in
space and time by pooling each frame, then time.
"""

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from kinoflow.compress.recurrence import in_one_product
from kinoflow.models.layers.attention import AttentionAlong
from kinoflow.models.layers.clip import Pixels
from kinoflow.models.layers.normalisation import GroupNormalization
from kinoflow.models.layers.pooling import Vote, masked_mean

_SIDE = 32  # values beside each other that sums are made over


class PixelsByProducts(Pixels):
    """`Pixels`, which scales by two matrix products: no format has scaling with antialiasing."""

    def build(self, shape):
        self.down, self.across = _scaling(shape[2], self.height), _scaling(shape[3], self.width)

    def call(self, clips):
        frames, height, width, channels = clips.shape[1:]
        x = ops.cast(clips, "float32") / 127.5 - 1.0
        if self.down is not None:
            x = ops.matmul(self.down, ops.reshape(x, (-1, height, width * channels)))
        if self.across is not None:
            x = ops.matmul(self.across, ops.reshape(x, (-1, width, channels)))
        return ops.reshape(x, (-1, frames, self.height, self.width, channels))


def _scaling(size: int, to_size: int) -> np.ndarray | None:
    """The matrix (to_size, size) by which `Pixels` scales a column of pixels; None: it does not."""
    if size == to_size:
        return None
    import tensorflow as tf

    unit = np.eye(size, dtype=np.float32)[None, ..., None]
    with tf.init_scope():  # a layer is built while a graph is made, where there are no values
        scaled = ops.image.resize(unit, (to_size, size), antialias=True)
        return np.asarray(ops.convert_to_numpy(scaled))[0, :, :, 0]


def gelu(x):
    """The exact GELU (Hendrycks and Gimpel, 2016) by erf: Keras takes erfc, which ONNX lacks."""
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


class VoteByPlainArgmax(Vote):
    """`Vote`, since Keras' argmax compares bits to tell -0.0 from 0.0, which no format can."""

    def call(self, x, mask=None, training=False):
        mean = masked_mean(x, mask)
        if self.vote == "mean":
            return mean
        import tensorflow as tf

        ballots = tf.one_hot(tf.argmax(x, axis=-1), x.shape[-1], dtype=x.dtype)
        ballots = ballots if mask is None else ballots * ops.cast(mask, x.dtype)[..., None]
        voters = ops.sum(ballots, axis=(1, 2))[:, None]
        return (ops.sum(ballots, axis=1) + mean) / (voters + 1)


class MaxPooling3DByFrames(layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D`: each frame is pooled, then the frames. LiteRT has no other."""

    def call(self, x):
        frames, *image = x.shape[1:]
        images = ops.reshape(x, (-1, *image))
        images = ops.max_pool(images, self.pool_size[1:], self.strides[1:], self.padding)
        x = ops.reshape(images, (-1, frames, *images.shape[1:]))
        span, step = self.pool_size[0], self.strides[0]
        if span == step == 1:
            return x
        same = self.padding == "same"
        steps = -(-frames // step) if same else (frames - span) // step + 1
        before = max((steps - 1) * step + span - frames, 0) // 2 if same else 0
        # a window that reaches beyond the clip holds its first or last frame, whose repetition
        # leaves the maximum as it is
        places = np.arange(steps) * step - before
        taps = [ops.take(x, np.clip(places + tap, 0, frames - 1), axis=1) for tap in range(span)]
        pooled = taps[0]
        for tap in taps[1:]:
            pooled = ops.maximum(pooled, tap)
        return pooled


class AveragePooling3DByFrames(layers.AveragePooling3D):
    """`keras.layers.AveragePooling3D` of windows of one frame, each frame by itself."""

    def call(self, x):
        frames, *image = x.shape[1:]
        images = ops.reshape(x, (-1, *image))
        images = ops.average_pool(images, self.pool_size[1:], self.strides[1:], self.padding)
        return ops.reshape(images, (-1, frames, *images.shape[1:]))


class GroupNormalizationInFewSteps(GroupNormalization):
    """`GroupNormalization`, without what it does for training: a third of its operators."""

    def call(self, x):
        channels = x.shape[-1]
        groups = (self.groups, channels // self.groups)
        count = math.prod(x.shape[1:-1])
        # several positions side by side, since runtimes are slow at sums of rows of few values
        beside = next(beside for beside in (_SIDE // channels, 1) if beside and count % beside == 0)
        ones = (1,) * (len(x.shape) - 2)

        def over_group(values):
            """The mean over positions and the channels of a group, for each channel."""
            rows = ops.reshape(values, (-1, count // beside, beside * channels))
            means = ops.reshape(ops.mean(rows, axis=1), (-1, beside, *groups))
            means = ops.mean(means, axis=(1, 3))[..., None] * np.ones((1, *groups), np.float32)
            return ops.reshape(means, (-1, *ones, channels))

        # in the input's own shape, so that runtimes join it with what comes before and after
        x = x - over_group(x)
        scale = ops.rsqrt(over_group(ops.square(x)) + self.epsilon)
        x = x * (scale * self.gamma if self.scale else scale)
        return x + self.beta if self.center else x


def rebuilt(model: keras.Model, *, batch: int = 1, pool_by_frames: bool) -> keras.Model:
    """The model for batches of one size, in operators that converters take, computing in float32.

    Args:
        model: uint8 (B, T, H, W, 3) to float32 (B, classes). It keeps its weights.
        batch: how many clips it takes at a time.
        pool_by_frames: whether pooling in space and time is split, for formats without it.

    Returns a model from uint8 (batch, T, H, W, 3) to float32 (batch, classes).
    """
    clip = keras.Input(batch_shape=(batch, *model.input_shape[1:]), dtype="uint8", name="clip")

    def replaced(layer: layers.Layer) -> layers.Layer:
        return _replaced(layer, pool_by_frames)

    network = keras.models.clone_model(
        model, input_tensors=clip, clone_function=replaced, recursive=True
    )
    network.set_weights(model.get_weights())
    return network


def is_mixed(model: keras.Model) -> bool:
    """Whether any layer computes in less than float32, so that the rebuilt model is finer."""
    return any(layer.compute_dtype != "float32" for layer in model.layers if layer.weights)


def attends(model: keras.Model) -> bool:
    """Whether the model has attention, which some converters and rounding spoil."""
    return any(isinstance(layer, AttentionAlong) for layer in model.layers)


_Rule = Callable[[layers.Layer], bool]
# which layers are replaced, and by what; every replacement has the configuration of the original
_ALWAYS: list[tuple[_Rule, type[layers.Layer]]] = [
    (lambda layer: type(layer) is Pixels, PixelsByProducts),
    (lambda layer: type(layer) is Vote, VoteByPlainArgmax),
    (lambda layer: type(layer) is GroupNormalization, GroupNormalizationInFewSteps),
]
_BY_FRAMES: list[tuple[_Rule, type[layers.Layer]]] = [
    (lambda layer: type(layer) is layers.MaxPooling3D, MaxPooling3DByFrames),
    (
        lambda layer: (
            type(layer) is layers.AveragePooling3D and layer.pool_size[0] == layer.strides[0] == 1
        ),
        AveragePooling3DByFrames,
    ),
]


def _replaced(layer: layers.Layer, pool_by_frames: bool) -> layers.Layer:
    config, kind = layer.get_config(), type(layer)
    if layer.dtype_policy.compute_dtype in {"bfloat16", "float16"}:
        config["dtype"] = "float32"
    if isinstance(layer, layers.RNN):
        # even outside of training, recurrent layers advance the random numbers of their dropout
        config |= {"unroll": True, "dropout": 0.0, "recurrent_dropout": 0.0}
        kind = in_one_product(layer) or kind
        kind = in_one_product(layer) or kind
    if getattr(layer, "activation", None) is keras.activations.gelu:
        config["activation"] = gelu
    for fits, other in _ALWAYS + _BY_FRAMES * pool_by_frames:
        if fits(layer):
            kind = other
    if kind is type(layer) and config == layer.get_config():
        return layer
    return kind.from_config(config)
