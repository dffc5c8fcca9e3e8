"""Time a training step of CSN's depthwise 3D convolution, and of other ways to the same result."""

import statistics
import time
from typing import Any

CLIPS, FRAMES, SIDE, CHANNELS = 8, 16, 16, 64
ROUNDS = 7


def report() -> str:
    """The comparison, as a Markdown table."""
    taken = {name: _milliseconds(layer) for name, layer in _layers().items()}
    ours = taken["kinoflow.models.layers.depthwise.DepthwiseConv3D"]
    lines = [f"| {name} | {ms:.0f} | {ms / ours:.2f} |" for name, ms in taken.items()]
    return "\n".join(
        [
            f"Forward and backward through one 3x3x3 layer of {CHANNELS} channels, {CLIPS} clips "
            f"of {FRAMES} frames of {SIDE}x{SIDE}, all cores, TensorFlow, median of {ROUNDS} "
            "steps. All but the last give the same result.",
            "",
            "| | ms | times kinoflow |",
            "|---|---:|---:|",
            *lines,
            "",
        ]
    )


def _layers() -> dict[str, Any]:
    from keras import layers, ops

    from kinoflow.models.layers.depthwise import DepthwiseConv3D

    class Shifted(DepthwiseConv3D):
        """All 27 products one by one."""

        def call(self, x):  # type: ignore[no-untyped-def]
            frames, height, width = x.shape[1:4]
            x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
            total = 0.0
            for t in range(3):
                for i in range(3):
                    for j in range(3):
                        part = x[:, t : t + frames, i : i + height, j : j + width]
                        total = total + part * self.kernel[t, i, j, :, 0]
            return total

    return {
        "kinoflow.models.layers.depthwise.DepthwiseConv3D": DepthwiseConv3D(),
        "27 shifted products": Shifted(),
        "keras.layers.Conv3D(groups=channels)": layers.Conv3D(
            CHANNELS, 3, padding="same", groups=CHANNELS
        ),
        "keras.layers.Conv3D, full": layers.Conv3D(CHANNELS, 3, padding="same"),
    }


def _milliseconds(layer: Any) -> float:
    import keras
    import tensorflow as tf

    clip = keras.Input((FRAMES, SIDE, SIDE, CHANNELS))
    model = keras.Model(clip, layer(clip))
    x = tf.random.stateless_normal((CLIPS, FRAMES, SIDE, SIDE, CHANNELS), (0, 0))

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(model(x) ** 2)
        return tape.gradient(loss, [x, *model.trainable_variables])

    taken = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        step()[0].numpy()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:]) * 1000  # the first pays for tracing
