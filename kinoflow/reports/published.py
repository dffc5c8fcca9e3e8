"""What was published for each architecture, and on which split: for the page of a run.

A score on clips drawn at random measures something else than one on clips whose recordings were
never trained on. So no published score is shown without its split.
"""

from dataclasses import dataclass
from typing import Literal

Division = Literal["grouped", "random", "other data"]
Metric = Literal["accuracy", "F1"]


@dataclass(frozen=True)
class Published:
    """One published score.

    Args:
        data: what it was measured on.
        division: "grouped": no recording is on two sides; "random": clips were drawn at random, so
            recordings are on both sides; "other data": a set of single videos, each cut from a
            recording of its own.
        score: accuracy, or macro F1 if `metric` says so.
        source: authors, venue and year; or what the recipe of that study is called.
        trained_before: on which data the weights were trained before; "" if they were not.
    """

    data: str
    division: Division
    score: float
    source: str
    trained_before: str = ""
    metric: Metric = "accuracy"


def _grouped(score: float, source: str, trained_before: str = "", data: str = "") -> Published:
    data = data or "UCF-101, mean of the three official splits"
    return Published(data, "grouped", score, source, trained_before)


def _random(data: str, metric: Metric, score: float, recipe: str) -> Published:
    return Published(data, "random", score, f"recipe {recipe}", metric=metric)


_SPLIT_1 = "UCF-101, official split 1"
_NINE = "nine classes of UCF-101"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "frame_voting": (
        _grouped(0.730, "Simonyan and Zisserman, NeurIPS 2014: frames alone", "ImageNet"),
        _grouped(0.448, "recipe ucf101_vgg16_voting", "ImageNet", _SPLIT_1),
    ),
    "cnn_rnn": (_random("UCF-50", "F1", 0.4071, "ucf50_cnn_rnn"),),
    "cnn_lstm": (_random("UCF-50", "F1", 0.4548, "ucf50_cnn_lstm"),),
    "lrcn": (
        _grouped(0.682, "Donahue et al., TPAMI 2017: frames alone", "ImageNet"),
        _random("UCF-50", "F1", 0.7717, "ucf50_lrcn"),
    ),
    "convlstm": (
        _random("UCF-101", "accuracy", 0.84, "ucf101_convlstm"),
        _random("UCF-50", "F1", 0.6136, "ucf50_convlstm"),
    ),
    "vgg_lstm": (_random(_NINE, "accuracy", 0.90, "ucf101_vgg_lstm"),),
    "resnet_lstm": (
        _grouped(0.826, "Ng et al., CVPR 2015: the best on frames alone", "Sports-1M"),
        _random(_NINE, "accuracy", 0.77, "ucf101_resnet_lstm"),
    ),
    "c3d": (_grouped(0.823, "Tran et al., ICCV 2015: one network", "Sports-1M"),),
    "r3d": (
        _grouped(0.844, "Hara et al., CVPR 2018: ResNet-18", "Kinetics-400"),
        _grouped(0.424, "Hara et al., CVPR 2018: ResNet-18", data=_SPLIT_1),
    ),
    "r2plus1d": (
        _grouped(0.968, "Tran et al., CVPR 2018: frames alone", "Kinetics-400"),
        _random(_NINE, "accuracy", 0.79, "ucf101_r2plus1d"),
    ),
    "csn": (_random(_NINE, "accuracy", 0.18, "ucf101_csn"),),
    "i3d": (
        _grouped(
            0.956,
            "Carreira and Zisserman, CVPR 2017: frames alone",
            "ImageNet and Kinetics-400",
        ),
    ),
    "timesformer": (
        Published(
            "Kinetics-400", "other data", 0.780, "Bertasius et al., ICML 2021", "ImageNet-21k"
        ),
    ),
    "movinet": (
        Published("Kinetics-600", "other data", 0.72, "Kondratyuk et al., CVPR 2021: A0 stream"),
    ),
}
