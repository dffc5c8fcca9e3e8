"""Count the multiply-adds that a model's answer to one clip takes.

TensorFlow is imported by name here: its graph says what is computed, of layers that nobody listed
too.
"""

import math
from typing import Any

import keras
from keras import layers


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of convolutions, matrix products and attention for one clip (B = 1).

    Each element of a result counts as many as products are summed in it, those with padding
    included. What is done value by value (normalisation, activations, pooling, sums) is left out,
    as is usual.

    Args:
        model: uint8 (B, T, H, W, 3) to float32 (B, classes); of recurrent layers every step counts.

    Raises ValueError for a convolution of grouped channels, which TensorFlow hides from its graph.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    clip = keras.Input(batch_shape=(1, *model.input_shape[1:]), dtype=model.inputs[0].dtype)
    # a graph shows a loop once, however often it runs
    flat = keras.models.clone_model(
        model, input_tensors=clip, clone_function=_unrolled, recursive=True
    )
    function = tf.function(
        lambda x: flat(x, training=False),
        input_signature=[tf.TensorSpec(clip.shape, clip.dtype)],
        autograph=False,
        jit_compile=False,
    ).get_concrete_function()
    # functions within the function are written out
    graph = convert_variables_to_constants_v2(function).graph
    return sum(_of(operation) for operation in graph.get_operations())


def _unrolled(layer: layers.Layer) -> layers.Layer:
    changes: dict[str, Any] = {}
    if isinstance(layer, layers.RNN):
        # even outside of training, dropout would advance random numbers, which no graph can freeze
        changes = {"unroll": True, "dropout": 0.0, "recurrent_dropout": 0.0}
    return type(layer).from_config(layer.get_config() | changes)


def _of(operation: Any) -> int:
    """Multiply-adds of one operation of a TensorFlow graph."""
    kind = operation.type
    if kind in {"Conv2D", "Conv3D"}:
        *kernel, _ = operation.inputs[1].shape
        return _size(operation.outputs[0]) * math.prod(kernel)
    if kind == "DepthwiseConv2dNative":
        height, width, _, _ = operation.inputs[1].shape
        return _size(operation.outputs[0]) * height * width
    if kind in {"MatMul", "BatchMatMul", "BatchMatMulV2"}:
        turned = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return _size(operation.outputs[0]) * operation.inputs[0].shape[-2 if turned else -1]
    if kind == "Einsum":
        return _of_einsum(operation.get_attr("equation").decode(), operation.inputs)
    if kind.endswith("PartitionedCall"):
        raise ValueError(f"multiply-adds of {operation.name} cannot be counted")
    return 0


def _of_einsum(equation: str, inputs: Any) -> int:
    """The product of all indices' sizes; an ellipsis stands for indices too."""
    sizes: dict[str, int] = {}
    terms = equation.partition("->")[0].split(",")
    for term, tensor in zip(terms, inputs, strict=True):
        shape = list(tensor.shape)
        before, dots, after = term.partition("...")
        sizes |= dict(zip(before, shape, strict=False))
        if dots:
            sizes |= dict(zip(after, shape[len(shape) - len(after) :], strict=True))
            unnamed = shape[len(before) : len(shape) - len(after)]
            sizes["..."] = max(sizes.get("...", 1), math.prod(unnamed))
    return math.prod(sizes.values()) if len(terms) > 1 else 0


def _size(tensor: Any) -> int:
    return math.prod(tensor.shape)
