"""The last layers of every model: from features of a clip to probabilities of classes."""

from keras import layers


def probabilities(x, classes: int):
    """Features (B, D) to probabilities (B, classes), in float32 even in mixed precision."""
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)


def pooled_probabilities(x, classes: int, dropout: float):
    """Features (B, T, H, W, D), averaged over time and space, to probabilities (B, classes)."""
    x = layers.GlobalAveragePooling3D()(x)
    return probabilities(layers.Dropout(dropout)(x), classes)
