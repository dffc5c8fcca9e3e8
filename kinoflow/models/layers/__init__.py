"""What several models share: kinoflow's own layers, and functions that stack layers.

Importing this package registers kinoflow's layers, so that Keras' safe mode loads them from a
bundle.
"""

from kinoflow.models.layers import (
    attention,
    backbones,
    causal,
    clip,
    convlstm,
    depthwise,
    factorised,
    folding,
    motion,
    normalisation,
    pooling,
)

__all__ = [
    "attention",
    "backbones",
    "causal",
    "clip",
    "convlstm",
    "depthwise",
    "factorised",
    "folding",
    "motion",
    "normalisation",
    "pooling",
]
