"""What several models share: layers of our own, and functions that stack layers.

Importing it registers every layer of our own, so that Keras' safe mode loads them from a bundle.
"""

from kinoflow.models.layers import (
    attention,
    backbones,
    causal,
    clip,
    depthwise,
    folding,
    motion,
    pooling,
)

__all__ = [
    "attention",
    "backbones",
    "causal",
    "clip",
    "depthwise",
    "folding",
    "motion",
    "pooling",
]
