"""What each channel of a network is worth to its loss on training clips.

TensorFlow is imported by name here: Keras has no gradients of its own.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.compress.channels import Graph
from kinoflow.config import Run
from kinoflow.training.fit import TrainingData, augmented_batches

Worth = NDArray[np.float64]  # of each number of a graph


def by_taylor(model: keras.Model, graph: Graph, run: Run, data: TrainingData) -> Worth:
    """How much the loss changes without a channel, squared, to first order.

    Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019): the change is
    the sum of weight times gradient over a channel's part of a weight. It is squared, averaged over
    the batches of an epoch, and summed over all weights that make the channel or take it.

    Args:
        model: uint8 (B, T, H, W, 3) to float32 (B, classes).
        graph: its channels.
        run: the settings that it was trained with, for its batches.
        data: what it was trained on.

    Returns (numbers,).
    """
    import tensorflow as tf

    axes = [axis for axis in graph.axes if axis.role != "keeps"]
    # a weight may have several such axes
    weights = {id(weight): weight for weight in (axis.layer.weights[axis.weight] for axis in axes)}
    variables = [weight.value for weight in weights.values()]

    def products(clips: Any, labels: Any, shares: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(variables)  # a frozen network's too
            answers = model(clips, training=False)
            losses = keras.losses.categorical_crossentropy(labels, answers)
            loss = ops.mean(losses * ops.cast(shares, losses.dtype))
        return [a * b for a, b in zip(tape.gradient(loss, variables), variables, strict=True)]

    compiled = tf.function(products, autograph=False, reduce_retracing=True)
    batches = augmented_batches(run, data)
    found = np.zeros(graph.count)
    for index in range(len(batches)):
        values = compiled(*map(tf.convert_to_tensor, batches[index]))
        by_weight = dict(zip(weights, map(np.asarray, values), strict=True))
        for axis in axes:
            value = by_weight[id(axis.layer.weights[axis.weight])]
            found += np.square(graph.summed(axis, value)) / len(batches)
    return found


def by_size(graph: Graph) -> Worth:
    """The sum of squares of all weights that make a channel or take it, (numbers,)."""
    found = np.zeros(graph.count)
    for axis in graph.axes:
        if axis.role != "keeps":
            weight = ops.convert_to_numpy(axis.layer.weights[axis.weight])
            found += graph.summed(axis, np.square(weight))
    return found
