"""Open a model up: feed it floats instead of uint8, see inside it, and differentiate it.

A model takes uint8 and casts it in its first layer, and a cast from integers has no gradient. So
its layers, with their weights, are put behind a float32 input. Nothing else is different.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

# a probability below this has a logarithm as if it were this large
SMALLEST = 1e-30


@dataclass(frozen=True)
class Call:
    """One call of a layer while the model was put together again."""

    layer: keras.layers.Layer
    inputs: Any  # its first argument
    mask: Any  # of frames, where the layer was given one
    output: Any


@dataclass(frozen=True)
class Trace:
    """A model behind a float32 input, with the calls of its layers in order."""

    clip: Any  # the input, (B, T, H, W, 3), values 0 to 255
    calls: tuple[Call, ...]
    probabilities: Any  # the output, (B, classes)


def make_deterministic() -> None:
    """Have TensorFlow compute the same gradients again and again; for the whole process."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def trace(model: keras.Model) -> Trace:
    """Put a model's own layers behind a float32 input.

    Args:
        model: uint8 (B, T, H, W, 3) to float32 (B, classes). Its weights are shared, not copied.
    """
    clip = keras.Input(batch_shape=model.input_shape, dtype="float32", name="clip")
    calls: list[Call] = []

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            # a backbone: its layers one by one, since its last maps may be too coarse. Keras has no
            # public way to run a network's layers on inputs that other layers made.
            return layer._run_through_graph(args[0], lambda each: each, call_fn=call)
        output = layer(*args, **kwargs)
        calls.append(Call(layer, args[0], kwargs.get("mask"), output))
        return output

    opened = keras.models.clone_model(
        model, input_tensors=clip, clone_function=lambda layer: layer, call_function=call
    )
    return Trace(clip, tuple(calls), opened.output)


def logits(probabilities: Any, label: int) -> Any:
    """The logit of a class less the mean logit, (B,), from probabilities (B, classes).

    For a softmax this is exact, since logarithms of probabilities are logits less a number that all
    classes share. Gradients of the probability itself fade where a model is sure.
    """
    logarithms = ops.log(ops.maximum(probabilities, SMALLEST))
    return logarithms[:, label] - ops.mean(logarithms, axis=1)


def gradient(function: Callable[[Any], Any], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gradient of a function's sum.

    Args:
        function: made of Keras operations; takes a tensor, returns one of any shape.
        at: where to differentiate.

    Returns an array of the shape of `at`.

    Raises NotImplementedError on a backend other than TensorFlow, JAX and torch.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(at)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = ops.sum(function(x))
        return np.asarray(tape.gradient(total, x))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: ops.sum(function(x)))(ops.convert_to_tensor(at)))
    if backend == "torch":
        import torch

        x = ops.convert_to_tensor(at).requires_grad_()
        (slope,) = torch.autograd.grad(ops.sum(function(x)), x)
        return np.asarray(ops.convert_to_numpy(slope))
    raise NotImplementedError(f"no gradients with the backend {backend}")
