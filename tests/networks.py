"""Small networks of every architecture, clips for them, and bundles of them."""

from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kinoflow import models
from kinoflow.bundle import Description
from kinoflow.config import Candidate
from kinoflow.training import export
from kinoflow.video import ClipSpec, Frames

CLIP = ClipSpec(8, 40, 40)

# options with which each architecture is about as small as it can be
SMALL: dict[str, dict[str, Any]] = {
    "frame_voting": {"filters": (8, 16), "pools": (4, 4), "dropout": 0.0},
    "frame_moments": {"filters": (8, 16), "pools": (4, 4), "dropout": 0.0},
    "motion_histograms": {"cells": 2, "bins": 4, "dropout": 0.0},
    "cnn_rnn": {"filters": (4, 8, 8), "units": 16, "dropout": 0.0},
    "cnn_lstm": {"filters": (4, 8, 8), "units": 16, "dropout": 0.0},
    "lrcn": {"units": 16, "dropout": 0.0},
    "convlstm": {"filters": (4, 6), "dropout": 0.0, "recurrent_dropout": 0.0},
    "vgg_lstm": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "resnet_lstm": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "c3d": {"filters": (8, 16), "units": 16, "dropout": 0.0},
    "r3d": {"filters": (8, 16), "dropout": 0.0},
    "r2plus1d": {"filters": (8, 16), "dropout": 0.0},
    "csn": {"filters": (8, 16), "dropout": 0.0},
    "i3d": {"dropout": 0.0},
    "timesformer": {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0},
    "vivit": {"width": 16, "depth": 1, "temporal_depth": 1, "heads": 2, "dropout": 0.0},
    "movinet": {"filters": (8, 8), "expansion": 2, "dropout": 0.0},
}


def build(candidate: Candidate, clip: ClipSpec, classes: int) -> keras.Model:
    """The candidate's model for a store of such clips."""
    return models.build(
        candidate.model,
        stored_clip=clip,
        model_clip=candidate.spec(clip),
        classes=classes,
        options=candidate.options,
    )


def small_model(
    name: str,
    clip: ClipSpec = CLIP,
    taken: ClipSpec | None = None,
    *,
    seed: int = 0,
    **extra: Any,
) -> keras.Model:
    """A small model of five classes, the same for the same seed.

    It takes clips of `clip`, or less of each: `taken`. `extra` are options of its builder.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    taken = taken or clip
    candidate = Candidate(
        model=name,
        frames=taken.frames,
        height=taken.height,
        width=taken.width,
        options=SMALL.get(name, {}) | extra,
    )
    return build(candidate, clip, 5)


def sure_model(
    name: str,
    clip: ClipSpec = CLIP,
    *,
    small: bool = False,
    shown: Frames | None = None,
    **extra: Any,
) -> keras.Model:
    """A model whose answers are sure and differ between clips, though its weights are random.

    So differences between it and another show.

    Args:
        name: of its architecture.
        clip: what it takes, whole.
        small: whether it is about as small as it can be; else its options are the defaults.
        shown: clips that it is to tell apart; noise if not given.
        extra: options of its builder.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    options = (SMALL[name] if small else {}) | extra
    candidate = Candidate(
        model=name, frames=clip.frames, height=clip.height, width=clip.width, options=options
    )
    model = build(candidate, clip, 5)
    make_sure(model, noise(8, clip) if shown is None else shown)
    return model


def make_sure(model: keras.Model, shown: Frames) -> None:
    """Make the answers of a model with random weights sure, and different for clips (N, ...)."""
    # the last layer with weights makes logits, which are spread about 0 here
    head = next(layer for layer in reversed(model.layers) if layer.weights)
    logits = np.log(np.maximum(answers(model, shown), 1e-12))
    kernel, bias = head.get_weights()
    centred = logits - logits.mean(axis=1, keepdims=True)
    mean = centred.mean(axis=0)
    scale = 3 / (centred - mean).std()
    head.set_weights([scale * kernel, scale * (bias - mean)])


def shared_model(name: str, **extra: Any) -> keras.Model:
    """As `small_model`, but built once: for one test after the other, each with the first weights.

    A test may train it, and may not have two of the same options.
    """
    model, weights = _built(name, tuple(sorted(extra.items())))
    keras.utils.set_random_seed(0)
    model.set_weights(weights)
    return model


@cache
def _built(name: str, extra: tuple[tuple[str, Any], ...]) -> tuple[keras.Model, list[np.ndarray]]:
    model = small_model(name, **dict(extra))
    return model, model.get_weights()


def noise(count: int = 2, spec: ClipSpec = CLIP) -> Frames:
    """Clips (count, T, H, W, 3) of random colours, always the same."""
    return np.random.default_rng(0).integers(0, 256, (count, *spec.shape), dtype=np.uint8)


def answers(model: keras.Model, clips: Frames) -> np.ndarray:
    """Probabilities (B, classes)."""
    # called as it is, since compiling takes longer than answering; a bundle's answers are compiled
    return np.asarray(keras.ops.convert_to_numpy(model(clips, training=False)))


def save_bundle(
    folder: Path,
    model: keras.Model,
    taken: ClipSpec,
    views: int = 1,
    *,
    flip: bool = False,
    clip: ClipSpec = CLIP,
) -> None:
    description = Description(
        name="test",
        labels=tuple("ABCDE"),
        clip=clip,
        frames=taken.frames,
        views=views,
        candidate={},
        seed=0,
        data="",
        versions={},
        metrics={},
        flip=flip,
    )
    export.save(folder, model, description, "epoch\n")


def spread(model: keras.Model, frames: Frames, factor: float = 300.0) -> None:
    """Give a network with two dense layers weights that answer the same, and are bad for int8.

    What the first of them gives is positive. Its largest channel is multiplied, and what the next
    layer makes of it divided, so that a range of 256 steps holds little of all other channels.
    """
    first, second = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    kernel, bias = first.get_weights()
    after, shift = second.get_weights()
    seen = keras.Model(model.input, first.output)(frames)
    largest = int(np.argmax(np.max(seen, axis=0)))
    kernel[:, largest] *= factor
    bias[largest] *= factor
    after[largest] /= factor
    first.set_weights([kernel, bias])
    second.set_weights([after, shift])
