"""Fakes of earlier steps, so that a discriminator does not forget what it has seen through."""

from typing import Any

import keras
from keras import layers, ops


class Pool(layers.Layer):
    """Fakes of earlier steps, one of which is given back in place of every second new one.

    Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
    Training" (CVPR 2017), section 2.3. What is kept is part of a model's weights, and so of its
    checkpoints.

    Args:
        size: how many fakes are kept; at least as many as a batch has.
        height: of a fake, in pixels.
        width: of a fake, in pixels.
        seed: of what is chosen at random.
        **kwargs: of the base class.
    """

    def __init__(self, size: int, height: int, width: int, seed: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.size = size
        self.random = keras.random.SeedGenerator(seed)
        shape = (size, height, width, 3)
        self.kept = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="kept")
        # how many fakes have come so far, up to `size`
        self.count = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="count"
        )
        self.built = True

    def call(self, fakes):
        """Fakes (B, H, W, 3), some of which are of earlier steps; the new ones are kept for later.

        Until the pool is full, new fakes are kept and given back as they are.
        """
        batch = ops.shape(fakes)[0]
        fakes = ops.stop_gradient(fakes)
        # a different place for each fake of the batch
        order = keras.random.uniform((self.size,), seed=self.random)
        places = ops.top_k(order, batch)[1]
        filling = ops.convert_to_tensor(self.count) < self.size
        next_free = ops.minimum(self.count + ops.arange(batch), self.size - 1)
        places = ops.where(filling, next_free, ops.cast(places, "int32"))
        exchanged = keras.random.uniform((batch,), seed=self.random) < 0.5
        before = ops.take(self.kept, places, axis=0)
        chosen = ops.reshape(ops.logical_and(exchanged, ops.logical_not(filling)), (-1, 1, 1, 1))
        stored = ops.reshape(ops.logical_or(exchanged, filling), (-1, 1, 1, 1))
        now = ops.where(stored, fakes, before)
        self.kept.assign(ops.scatter_update(self.kept, ops.expand_dims(places, -1), now))
        self.count.assign(ops.minimum(self.count + batch, self.size))
        return ops.where(chosen, before, fakes)
