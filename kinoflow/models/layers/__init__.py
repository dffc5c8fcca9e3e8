"""What several models share: layers of our own, and functions that stack layers.

Importing it registers every layer, so that Keras' safe mode loads them.
"""

from kinoflow.models.layers import attention, backbones, causal, frames, motion, pooling, separable

__all__ = ["attention", "backbones", "causal", "frames", "motion", "pooling", "separable"]
