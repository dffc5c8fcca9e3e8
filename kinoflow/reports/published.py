"""What was published for each architecture, and on which split: for the page of a run.

A score on clips drawn at random measures something else than one on clips whose recordings were
never trained on. So no published score is shown without its split.
"""

from dataclasses import dataclass
from typing import Literal

Division = Literal["grouped", "random", "other data"]


@dataclass(frozen=True)
class Published:
    """One published score.

    Args:
        data: what it was measured on.
        division: "grouped": no recording is on two sides; "random": clips were drawn at random, so
            recordings are on both sides; "other data": a set of single videos, each cut from a
            recording of its own.
        score: accuracy, or macro F1 where `metric` says so.
        source: authors, venue and year; or what the recipe of that study is called.
        trained_before: on which data the weights were trained before; "" if they were not.
    """

    data: str
    division: Division
    score: float
    source: str
    trained_before: str = ""
    metric: Literal["accuracy", "F1"] = "accuracy"


_UCF101 = "UCF-101, mean of the three official splits"
_NINE = "UCF-101, nine classes"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "frame_voting": (
        Published(
            _UCF101, "grouped", 0.730, "Simonyan and Zisserman, NeurIPS 2014: frames alone", "ImageNet"
        ),
        Published(
            "UCF-101, official split 1", "grouped", 0.448, "recipe ucf101_vgg16_voting", "ImageNet"
        ),
    ),
    "cnn_rnn": (
        Published("UCF-50", "random", 0.4071, "recipe ucf50_cnn_rnn", metric="F1"),
    ),
    "cnn_lstm": (
        Published("UCF-50", "random", 0.4548, "recipe ucf50_cnn_lstm", metric="F1"),
    ),
    "lrcn": (
        Published(_UCF101, "grouped", 0.682, "Donahue et al., TPAMI 2017: frames alone", "ImageNet"),
        Published("UCF-50", "random", 0.7717, "recipe ucf50_lrcn", metric="F1"),
    ),
    "convlstm": (
        Published("UCF-101", "random", 0.84, "recipe ucf101_convlstm"),
        Published("UCF-50", "random", 0.6136, "recipe ucf50_convlstm", metric="F1"),
    ),
    "vgg_lstm": (Published(_NINE, "random", 0.90, "recipe ucf101_vgg_lstm"),),
    "resnet_lstm": (
        Published(
            _UCF101, "grouped", 0.826, "Ng et al., CVPR 2015: the best on frames alone", "Sports-1M"
        ),
        Published(_NINE, "random", 0.77, "recipe ucf101_resnet_lstm"),
    ),
    "c3d": (Published(_UCF101, "grouped", 0.823, "Tran et al., ICCV 2015: one network", "Sports-1M"),),
    "r3d": (
        Published(_UCF101, "grouped", 0.844, "Hara et al., CVPR 2018: ResNet-18", "Kinetics-400"),
        Published("UCF-101, official split 1", "grouped", 0.424, "Hara et al., CVPR 2018: ResNet-18"),
    ),
    "r2plus1d": (
        Published(_UCF101, "grouped", 0.968, "Tran et al., CVPR 2018: frames alone", "Kinetics-400"),
        Published(_NINE, "random", 0.79, "recipe ucf101_r2plus1d"),
    ),
    "csn": (Published(_NINE, "random", 0.18, "recipe ucf101_csn"),),
    "i3d": (
        Published(
            _UCF101,
            "grouped",
            0.956,
            "Carreira and Zisserman, CVPR 2017: frames alone",
            "ImageNet and Kinetics-400",
        ),
    ),
    "timesformer": (
        Published("Kinetics-400", "other data", 0.780, "Bertasius et al., ICML 2021", "ImageNet-21k"),
    ),
    "movinet": (
        Published(
            "Kinetics-600", "other data", 0.72, "Kondratyuk et al., CVPR 2021: A0, streaming"
        ),
    ),
}
