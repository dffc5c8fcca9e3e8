"""Layers that compute in 8-bit integers, fitted after training to clips of training recordings."""

import sys
from typing import TYPE_CHECKING, Any

from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

LEAST = 8  # clips that ranges of values can be found from at all

# What convolutions and products of matrices take is rounded, and nothing else. Squares and their
# means, of which normalisation consists, span too wide a range for 256 steps: with them rounded, a
# quarter of the labels of R(2+1)D changed.
_EXACT = (
    *("Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "ReduceMean", "ReduceSum"),
    *("SquaredDifference", "Sqrt", "Subtract"),
)


def quantised(converted: Any, network: "keras.Model", views: Frames) -> Any:
    """An OpenVINO model whose layers compute in int8 where NNCF knows how.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
    Only Inference" (CVPR 2018): weights and what flows between layers are rounded to 256 steps of a
    range, which is found from the views.

    Args:
        converted: the model as OpenVINO has it.
        network: the Keras model that it was converted from.
        views: what the model is shown of training clips, uint8 (N, T, H, W, 3).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import nncf

    from kinoflow.compress.rebuild import attends

    nncf.set_log_level(40)
    return nncf.quantize(
        converted,
        nncf.Dataset(views, lambda view: view[None]),
        subset_size=len(views),
        ignored_scope=nncf.IgnoredScope(types=[*_EXACT], validate=False),
        # leaves in float what attention is known to lose by rounding
        model_type=nncf.ModelType.TRANSFORMER if attends(network) else None,
    )
