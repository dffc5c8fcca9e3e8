"""Train a network that repaints frames in one style, on pairs of frames of clips.

Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (ECCV 2016):
the losses are those of `kinoflow.style.optimise`, but the network learns to make them small for
any frame. The temporal loss is that of Gao et al., "ReCoNet: Real-time Coherent Video Style
Transfer Network" (ACCV 2018): what moves with the frames has to look the same.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kinoflow import bundle
from kinoflow.data.clips import ClipSet
from kinoflow.explain.tracing import make_deterministic
from kinoflow.style import losses
from kinoflow.style.fast import ABOUT, About, Recipe
from kinoflow.style.features import Features
from kinoflow.style.network import transform_network
from kinoflow.style.optimise import Style
from kinoflow.style.pairs import Pairs
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training.checkpoints import Checkpoints, code_md5
from kinoflow.training.export import make_reproducible
from kinoflow.training.history import History
from kinoflow.training.read_ahead import ReadAhead

# as in `kinoflow.style.optimise`: style weighs about as much as content at a strength of one half
_STYLE = 12.0
_ROUNDS = 20  # after each of so many a checkpoint is written and progress is told
_LOSSES = ("content", "style", "roughness", "flicker")


def train(
    path: Path, style: Style, names: Sequence[str], clips: ClipSet, data: str, recipe: Recipe
) -> About:
    """Train a network for a style and write its file.

    A killed training goes on from its last checkpoint, in a hidden folder beside the file, and
    gives the same weights as one that was not killed.

    Args:
        path: the file to write, .keras.
        style: how to paint, and the network that content and style are measured with.
        names: of the files of the style's pictures.
        clips: what is trained on, uint8 (T, H, W, 3) each, of at least two frames.
        data: a hash of these clips.
        recipe: the settings.

    Returns what the file says of the network.

    Raises UserError if there is nothing to train on, and for a loss that is not finite.
    """
    make_deterministic()
    pairs = Pairs(clips, recipe, style)
    keras.utils.set_random_seed(recipe.seed)
    # a place of the pattern that no frame reaches would stay as it was drawn at random
    reached = -(-min(pairs.shape) // 4)
    network = transform_network(recipe.filters, recipe.blocks, min(recipe.pattern, reached))
    trainer = Trainer(network, style.features, style.grams, recipe, pairs.shape)
    identity = _identity(style, data, recipe)
    checkpoints = Checkpoints(path.with_name(f".{path.name}.checkpoint"), identity)
    history = History(None)
    checkpoints.resume(trainer, history)
    ends = np.linspace(0, recipe.steps, min(_ROUNDS, recipe.steps) + 1).round().astype(int)
    if history.scores:
        print(f"{path.name}: going on after step {ends[len(history)]}", file=sys.stderr)
    ahead = ReadAhead(pairs.read, recipe.steps)
    for begin, end in zip(ends[len(history) : -1], ends[len(history) + 1 :], strict=True):
        begun = time.monotonic()
        trainer.reset_metrics()
        for step in range(begin, end):
            shown, followed = ahead[step]
            scores = trainer.train_on_batch(shown, followed, return_dict=True)
        found = {name: float(scores[name]) for name in ("loss", *_LOSSES)}
        if not np.isfinite(found["loss"]):
            raise UserError(f"training diverged (loss {found['loss']}): lower the learning rate")
        seconds = time.monotonic() - begun
        history.add(found, seconds)
        checkpoints.save(trainer, history)
        each = ", ".join(f"{name} {found[name]:.4f}" for name in _LOSSES)
        rate = seconds / (end - begin)
        print(
            f"step {end}/{recipe.steps}: {each}, {rate:.2f} s a step", file=sys.stderr, flush=True
        )
    about = About(
        styles=tuple(names),
        features=style.features.network,
        recipe=recipe,
        data=data,
        identity=identity,
        versions=bundle.library_versions(),
        losses={name: round(value, 6) for name, value in history.scores[-1].items()},
    )
    save(path, network, about)
    checkpoints.delete()
    return about


class Trainer(keras.Model):
    """A network behind the losses that it learns by: on two frames (B, H, W, 3) at a time.

    Args:
        network: what learns.
        features: the network that content and style are measured with.
        grams: how the style is painted, (1, D, D) for each layer.
        recipe: the weights of the losses, and the learning rate.
        shape: of a frame, (H, W).
    """

    def __init__(
        self,
        network: keras.Model,
        features: Features,
        grams: Sequence[Any],
        recipe: Recipe,
        shape: tuple[int, int],
    ) -> None:
        before, after = keras.Input((*shape, 3)), keras.Input((*shape, 3))
        super().__init__(inputs=[before, after], outputs=[network(before), network(after)])
        self.features = features
        self.grams = [ops.convert_to_numpy(each) for each in grams]
        strength = recipe.strength
        self.shares = {
            "content": 1.0 - strength,
            "style": _STYLE * strength,
            "roughness": recipe.smoothness * strength,
            "flicker": recipe.consistency,
        }
        self.trackers = [keras.metrics.Mean(name=name) for name in _LOSSES]
        rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.steps)
        self.compile(
            optimizer=keras.optimizers.Adam(rate),
            # XLA makes JAX fast; TensorFlow compiles for longer than it saves
            jit_compile=keras.backend.backend() == "jax",
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        backward, visible, recoloured = y
        before, after = y_pred
        painted = ops.concatenate([before, after], axis=0)
        contents, styles = self.features(painted)
        wanted, _ = self.features(recoloured)
        distances = (
            losses.content_distance(contents, wanted),
            losses.style_distance(styles, [ops.convert_to_tensor(each) for each in self.grams]),
            losses.total_variation(painted),
            losses.temporal_distance(after, moved(before, backward), visible),
        )
        total = 0.0
        for tracker, distance in zip(self.trackers, distances, strict=True):
            value = ops.mean(distance)
            tracker.update_state(value)
            total += self.shares[tracker.name] * value
        return total


def moved(pictures: Any, backward: Any) -> Any:
    """`kinoflow.style.flow.warp` made of Keras' operations, which a gradient passes through.

    Args:
        pictures: those of the frames before, (B, H, W, C).
        backward: from the next frames to those before, (B, H, W, 2).

    Returns (B, H, W, C); what comes from beyond the edge is that of the edge.
    """
    batch, height, width, channels = ops.shape(pictures)
    columns = ops.arange(width, dtype="float32")[None, None, :] + backward[..., 0]
    rows = ops.arange(height, dtype="float32")[None, :, None] + backward[..., 1]
    columns = ops.clip(columns, 0.0, width - 1.0)
    rows = ops.clip(rows, 0.0, height - 1.0)
    left, top = ops.floor(columns), ops.floor(rows)
    across, down = (columns - left)[..., None], (rows - top)[..., None]
    left, top = ops.cast(left, "int32"), ops.cast(top, "int32")
    right = ops.minimum(left + 1, width - 1)
    below = ops.minimum(top + 1, height - 1)
    flat = ops.reshape(pictures, (-1, channels))
    first = ops.arange(batch, dtype="int32")[:, None, None] * (height * width)

    def at(row: Any, column: Any) -> Any:
        return ops.take(flat, first + row * width + column, axis=0)

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(below, left) * (1 - across) + at(below, right) * across
    return upper * (1 - down) + lower * down


def save(path: Path, network: keras.Model, about: About) -> None:
    """Write a network's file, whole or not at all; the same training gives the same bytes.

    Args:
        path: the file, .keras.
        network: what was trained.
        about: what it was trained by.
    """
    with files.replacing(path) as partial:
        network.save(partial)
        make_reproducible(partial, {ABOUT: about.model_dump_json(indent=2).encode()})


def _identity(style: Style, data: str, recipe: Recipe) -> str:
    """One SHA-256 over all that a training depends on."""
    digest = hashlib.sha256()
    for array in [*style.features.model.get_weights(), *style.pictures]:
        digest.update(np.ascontiguousarray(array).tobytes())
    parts = [
        recipe.model_dump(),
        style.features.network,
        style.features.layers,
        style.weights,
        data,
        code_md5(),
        [files.md5(path) for path in sorted(Path(__file__).parent.glob("*.py"))],
        bundle.library_versions(),
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()
