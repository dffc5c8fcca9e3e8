"""Normalisation that suits small batches and few steps of training."""

from keras import layers

# Keras' default of 0.99 needs hundreds of steps to forget the initial statistics: too many for
# small data
_MOMENTUM = 0.9


def group_normalised(x):
    """Group normalisation of (..., C), in up to 8 groups of channels (Wu and He, ECCV 2018).

    For small batches, as of clips: their statistics are too poor for batch normalisation.
    """
    channels = x.shape[-1]
    groups = next(groups for groups in range(min(8, channels), 0, -1) if channels % groups == 0)
    return layers.GroupNormalization(groups=groups)(x)


def batch_normalised(x, *, learned: bool = True):
    """Batch normalisation of (..., C) (Ioffe and Szegedy, ICML 2015).

    With `learned`, each channel then gets a learned scale and offset.
    """
    return layers.BatchNormalization(momentum=_MOMENTUM, center=learned, scale=learned)(x)
