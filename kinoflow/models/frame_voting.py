"""Frame voting: an image classifier on every frame, and the vote over its answers."""

from typing import Literal

import keras
from keras import layers

from kinoflow.models.layers.backbones import frame_encoder, pretrained
from kinoflow.models.layers.frames import FoldTime, UnfoldTime, clip_frames, frame_mask
from kinoflow.models.layers.pooling import Vote
from kinoflow.video.spec import ClipSpec


def frame_voting(
    stored: ClipSpec,
    seen: ClipSpec,
    classes: int,
    *,
    filters: tuple[int, ...] = (16, 32, 64, 64),
    pools: tuple[int, ...] = (2, 2, 2, 2),
    backbone: str | None = None,
    weights: str | None = None,
    trainable: bool = False,
    flatten: bool = False,
    units: tuple[int, ...] = (),
    dropout: float = 0.25,
    vote: Literal["mean", "mode"] = "mean",
) -> keras.Model:
    """Classify single frames and let them vote; the order of frames plays no part.

    Single-frame baseline and late fusion by averaging as in Karpathy et al., "Large-scale Video
    Classification with Convolutional Neural Networks" (CVPR 2014). Without `backbone` a small
    CNN from scratch; with it that of keras.applications (VGG16, say) or SqueezeNet, with
    `weights` by name or path, frozen unless `trainable`. The image that it gives is averaged over
    space, or with `flatten` laid out in full. `units` are the widths of dense layers before the
    head, each followed by dropout. Training fits the mean of the frames' probabilities.

    The vote is the `mean` of the frames' probabilities, or the `mode`: the share of frames for
    which each class is the most probable.

    uint8 (B, T, H, W, 3) to float32 (B, classes). Raises ValueError for another vote.
    """
    clip, x = clip_frames(stored, seen)

    # === Each frame: (B * T, H, W, 3) to (B * T, classes) ===
    x = FoldTime()(x)
    if backbone is None:
        x = frame_encoder(x, filters, pools, dropout)
    else:
        _, x = pretrained(x, backbone, weights, trainable=trainable)
    x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
    for width in units:
        x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
    if not units:
        x = layers.Dropout(dropout)(x)
    x = layers.Dense(classes, activation="softmax", dtype="float32")(x)

    # === The vote ===
    x = UnfoldTime(seen.frames, dtype="float32")(x)
    x = Vote(vote, dtype="float32", name="probabilities")(x, mask=frame_mask(clip, stored))
    return keras.Model(clip, x, name="frame_voting")
