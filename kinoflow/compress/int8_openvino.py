"""int8 in OpenVINO's format, by NNCF."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress import batches
from kinoflow.compress.quantise import Judge, Layers, Method, accurate
from kinoflow.compress.runner import runtime_openvino
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

# What convolutions and products of matrices take is rounded, and nothing else. Squares and their
# means, of which normalisation consists, span too wide a range for 256 steps: with them rounded, a
# quarter of the labels of R(2+1)D changed.
_EXACT = (
    *("Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "ReduceMean", "ReduceSum"),
    *("SquaredDifference", "Sqrt", "Subtract"),
)
_ROUNDED = {"Convolution", "GroupConvolution", "MatMul"}

Names = tuple[str, ...]  # of the operators of one layer


def quantised(
    converted: Any, network: "keras.Model", model: Bundle, fitted: Frames, judge: Judge | None
) -> tuple[Any, Layers]:
    """An OpenVINO model whose layers compute in int8 where that costs little.

    Args:
        converted: the model as OpenVINO has it.
        network: the Keras model that it was converted from.
        model: the bundle, for its views.
        fitted: training clips (N, T, H, W, 3) from which ranges of values are found.
        judge: see `accurate`.

    Returns the model, and how many of its layers are in int8.

    Raises UserError as `accurate` does.
    """
    # before NNCF makes cores of its own, and looks for the module that tells of its use: see there
    runtime_openvino.core()
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    from kinoflow.compress.rebuild import attends

    nncf.set_log_level(40)
    views = np.concatenate([model.views(clip) for clip in fitted])
    size = network.input_shape[0]
    fed = [*batches.cut(views, size)]
    scope = nncf.ModelType.TRANSFORMER if attends(network) else None
    # NNCF takes the batch for channels, whose ranges it would make alike: with three views at a
    # time, a probability of a TimeSformer changed by 0.19 instead of 0.005
    off = {"matmul": -1, "convolution": -1}
    smoothing = AdvancedSmoothQuantParameters(**(off if size > 1 else {}))
    layers, never = _layers(converted)

    def fit(kept: Sequence[Names]) -> Any:
        names = [name for layer in (*never, *kept) for name in layer]
        return nncf.quantize(
            converted,
            nncf.Dataset(fed),
            subset_size=len(fed),
            ignored_scope=nncf.IgnoredScope(names=names, types=[*_EXACT], validate=False),
            # NNCF's own are symmetric means of each clip's extremes: they cut off what is large in
            # some clips alone, and moved answers of an LSTM's forty times as far
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                smooth_quant_alphas=smoothing,
                # 7 bits for weights: with 8, processors without VNNI cut sums off
                overflow_fix=OverflowFix.ENABLE,
            ),
            # leaves in float what attention is known to lose by rounding
            model_type=scope,
        )

    def answer(quantised: Any, clips: Frames) -> Probabilities:
        run = _compiled(quantised)
        return np.stack([run(model.views(clip)).mean(axis=0) for clip in clips])

    def without(quantised: Any, layer: Names, clips: Frames) -> Probabilities:
        with _in_float(quantised, converted, layer):
            return answer(quantised, clips)

    method = Method(layers, fit, without, answer)
    return accurate(method, lambda clips: answer(converted, clips), judge)


def _compiled(model: Any) -> Callable[[Frames], Probabilities]:
    """The model as a function from views (N, T, H, W, 3) to probabilities (N, classes)."""
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    run = runtime_openvino.core().compile_model(model, "CPU", hint)
    size = run.inputs[0].shape[0]
    return batches.in_batches(lambda batch: np.array(run(batch)[0]), size)


def _layers(model: Any) -> tuple[list[Names], list[Names]]:
    """What can be in int8, and products that cannot.

    Operators with the same weights are one layer, as the steps of recurrence are.
    """
    found: dict[Any, list[str]] = {}
    failing = set()
    for node in model.get_ordered_ops():
        if node.get_type_name() in _ROUNDED:
            name = node.get_friendly_name()
            weights = [_values(each.get_node()) for each in node.input_values()]
            key = next((each for each in weights if each), name)
            found.setdefault(key, []).append(name)
            if weights[0] or _shifted_by_a_number(node):
                failing.add(key)
    return (
        [tuple(names) for key, names in found.items() if key not in failing],
        [tuple(names) for key, names in found.items() if key in failing],
    )


def _values(node: Any) -> bytes | None:
    """The values of a constant, also behind a transposition or the like; None: it is none."""
    while node.get_type_name() != "Constant":
        inputs = node.input_values()
        if not inputs or not _is_constant(node):
            return None
        node = inputs[0].get_node()
    return np.asarray(node.data).tobytes()


def _is_constant(node: Any) -> bool:
    if node.get_type_name() == "Parameter":
        return False
    return all(_is_constant(each.get_node()) for each in node.input_values())


def _shifted_by_a_number(product: Any) -> bool:
    """Whether the same number is added to every channel, as hand-made features do.

    NNCF takes such a number for a bias, wants to correct each channel of it, and fails: "cannot
    reshape array of size 64 into shape (1,1,1,1)". Where a constant is the left one of a product,
    as in scaling, it is OpenVINO that fails: "Check 'any_of(scale.size(), OC, 1U)' failed".
    """
    for reader in product.output(0).get_target_inputs():
        sum_ = reader.get_node()
        if sum_.get_type_name() == "Add":
            others = [each.get_node() for each in sum_.input_values()]
            if any(_is_constant(each) and set(each.get_output_shape(0)) <= {1} for each in others):
                return True
    return False


@contextmanager
def _in_float(quantised: Any, exact: Any, layer: Names) -> Iterator[None]:
    """Have the operators of a layer take what they take in the exact model, for a while."""
    originals = {node.get_friendly_name(): node for node in exact.get_ops()}
    taken = []
    for node in quantised.get_ops():
        if node.get_friendly_name() not in layer:
            continue
        original = originals[node.get_friendly_name()]
        for entry, before in zip(node.inputs(), original.input_values(), strict=True):
            source = entry.get_source_output()
            if _is_constant(before.get_node()):
                taken.append((entry, source))
                entry.replace_source_output(before)
            elif source.get_node().get_type_name() == "FakeQuantize":
                taken.append((entry, source))
                entry.replace_source_output(source.get_node().input_value(0))
    try:
        yield
    finally:
        for entry, source in taken:
            entry.replace_source_output(source)
