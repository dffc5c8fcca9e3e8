"""Importing this module registers every layer of our own, so that Keras' safe mode loads it.

Whoever loads a bundle imports it; models import the modules that they use.
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
