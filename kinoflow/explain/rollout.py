"""Attention rollout: how far the tokens of a transformer reach its answer.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020).
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.explain.tracing import Call, trace
from kinoflow.models.layers.attention import AttentionAlong
from kinoflow.video.spec import Frames


def has_attention(model: keras.Model) -> bool:
    """Whether a model is a transformer, which rollout can explain."""
    return any(isinstance(layer, AttentionAlong) for layer in model.layers)


class Rollout:
    """Attention rollout of one model.

    Half of what a token becomes in a block is what it was (the residual connection), the other half
    is what it attends to, the mean over heads. Blocks attend along time or along space alone, so
    the relevance (T, S) of all tokens is passed back through one small matrix for each place or
    time. It starts evenly spread, since the answer is made of the mean of all tokens.

    Args:
        model: the model.

    Raises ValueError for a model that is no transformer.
    """

    def __init__(self, model: keras.Model) -> None:
        traced = trace(model)
        self._blocks = [call for call in traced.calls if isinstance(call.layer, AttentionAlong)]
        if not self._blocks:
            raise ValueError(f"{model.name} has no attention")
        self._grid = next(
            call.output.shape[1:4] for call in traced.calls if _cuts_tubelets(call, self._blocks)
        )
        seen = [call.inputs for call in self._blocks]
        masks = [call.mask for call in self._blocks if call.mask is not None]
        self._seen = keras.Model(traced.clip, [seen, masks])

    def __call__(self, views: Frames, label: int) -> NDArray[np.float32]:
        """The relevance of each tubelet.

        Args:
            views: uint8 (B, T, H, W, 3), as the model takes them.
            label: is not used: attention is the same whatever class is asked for.

        Returns float32 (B, t, h, w), 0 or more; the sum over a view is 1.
        """
        seen, masks = self._seen(views.astype(np.float32), training=False)
        left = list(masks)
        given = [left.pop(0) if call.mask is not None else None for call in self._blocks]
        relevance: NDArray | None = None
        for call, x, mask in reversed(list(zip(self._blocks, seen, given, strict=True))):
            if relevance is None:
                relevance = _start(x.shape[1:3], len(views), mask)
            elif relevance.shape[2] != x.shape[2]:
                # the tokens of a time were averaged into one
                relevance = np.repeat(relevance, x.shape[2], axis=2) / x.shape[2]
            relevance = (relevance + _passed_back(relevance, call.layer, x, mask)) / 2
        assert relevance is not None
        return relevance.reshape(len(views), *self._grid).astype(np.float32)


def _cuts_tubelets(call: Call, blocks: list[Call]) -> bool:
    """Whether a call gives the tubelets, (B, T, rows, columns, D), that the first block sees."""
    shape, tokens = call.output.shape, blocks[0].inputs.shape
    return len(shape) == 5 and (shape[1], shape[2] * shape[3], shape[4]) == tuple(tokens[1:])


def _start(tokens: tuple[int, int], count: int, mask: Any) -> NDArray[np.float64]:
    """Relevance (B, T, S) spread evenly over all tokens, padding left out."""
    shown = np.ones((count, tokens[0])) if mask is None else np.asarray(mask, np.float64)
    shown = shown / shown.sum(axis=1, keepdims=True)
    return np.repeat(shown[:, :, None], tokens[1], axis=2) / tokens[1]


def _passed_back(
    relevance: NDArray, layer: AttentionAlong, x: Any, mask: Any
) -> NDArray[np.float64]:
    """What relevance (B, T, S) after a block's attention is owed to the tokens before it."""
    count, frames, places = relevance.shape
    if layer.axis == 1:
        x = ops.transpose(x, (0, 2, 1, 3))
        relevance = relevance.transpose(0, 2, 1)
    tokens = x.shape[2]
    folded = ops.reshape(x, (-1, tokens, x.shape[3]))
    if layer.axis == 1 and mask is not None:
        mask = ops.repeat(mask, places, axis=0)[:, None, :]
    else:
        mask = None
    _, weights = layer.attention(
        folded, folded, attention_mask=mask, return_attention_scores=True, training=False
    )
    weights = np.asarray(ops.convert_to_numpy(weights), np.float64).mean(axis=1)
    back = np.einsum("nq,nqk->nk", relevance.reshape(-1, tokens), weights)
    if layer.axis == 1:
        return back.reshape(count, places, frames).transpose(0, 2, 1)
    return back.reshape(count, frames, places)
