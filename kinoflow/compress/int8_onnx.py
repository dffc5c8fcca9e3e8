"""int8 in the ONNX format, by ONNX Runtime's static quantisation."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress import batches
from kinoflow.compress.quantise import Judge, Layers, Method, accurate
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import onnx

_ROUNDED = ("Conv", "Gemm", "MatMul")

Names = tuple[str, ...]  # of the nodes of one layer


def quantised(path: Path, model: Bundle, fitted: Frames, judge: Judge | None) -> Layers:
    """Rewrite a model so that its layers compute in int8 where that costs little.

    Ranges reach from the lowest value of all clips to the highest one. Weights have a range for
    each channel.

    Args:
        path: the ONNX model, in float32.
        model: the bundle, for its views.
        fitted: training clips (N, T, H, W, 3) from which ranges of values are found.
        judge: see `accurate`.

    Returns how many of its layers are in int8.

    Raises UserError as `accurate` does.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    views = np.concatenate([model.views(clip) for clip in fitted])
    # it warns of each node that it leaves alone
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        prepared, ranges = Path(folder) / "prepared.onnx", Path(folder) / "ranges.json"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        exact = onnx.load(prepared)
        (taken,) = exact.graph.input
        size = taken.type.tensor_type.shape.dim[0].dim_value

        def fit(kept: Sequence[Names]) -> bytes:
            written = Path(folder) / "quantised.onnx"
            quantize_static(
                prepared,
                written,
                None if ranges.exists() else _Reader(views, size, taken.name),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_ROUNDED],
                per_channel=True,
                # 7 bits: with 8, processors without VNNI cut sums off, and answer otherwise
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*never, *(name for layer in kept for name in layer)],
                calibration_cache_path=ranges,
            )
            quantised = onnx.load(written)
            _take_exact(quantised, {name for layer in kept for name in layer})
            return bytes(quantised.SerializeToString())

        def answer(quantised: bytes, shown: Frames) -> Probabilities:
            run = _session(quantised)
            return np.stack([run(model.views(clip)).mean(axis=0) for clip in shown])

        layers = _layers(exact)
        known = {name for layer in layers for name in layer}
        never = [node.name for node in exact.graph.node if node.name not in known]

        def without(_: bytes, layer: Names, shown: Frames) -> Probabilities:
            return answer(fit([layer]), shown)

        method = Method(layers, fit, without, answer)
        whole = prepared.read_bytes()
        network, found = accurate(method, lambda shown: answer(whole, shown), judge)
    path.write_bytes(network)
    return found


class _Reader:
    """Hands views (N, T, H, W, 3) to ONNX Runtime in batches."""

    def __init__(self, views: Frames, size: int, name: str) -> None:
        self.rest = batches.cut(views, size)
        self.name = name

    def get_next(self) -> dict[str, Frames] | None:
        batch = next(self.rest, None)
        return None if batch is None else {self.name: batch}


def _take_exact(model: "onnx.ModelProto", kept: set[str]) -> None:
    """Have nodes in float take what the nodes in int8 before them give, before it is rounded.

    ONNX Runtime rounds what a node gives as well as what it takes: else it finds no integer kernel.
    """
    made = {name: node for node in model.graph.node for name in node.output}
    waiting = [node for node in model.graph.node if node.name in kept]
    seen = {node.name for node in waiting}
    while waiting:
        reader = waiting.pop()
        for index, name in enumerate(reader.input):
            back = made.get(name)
            to = made.get(back.input[0]) if back and back.op_type == "DequantizeLinear" else None
            if to is not None:
                reader.input[index] = to.input[0]
            before = made.get(reader.input[index])
            if before and before.op_type not in _ROUNDED and before.name not in seen:
                seen.add(before.name)
                waiting.append(before)
    # from the end, since what a node took may be left over once the node is gone
    nodes = [*model.graph.node]
    read = {each.name for each in model.graph.output}
    del model.graph.node[:]
    used = []
    for node in reversed(nodes):
        if read & set(node.output):
            read |= set(node.input)
            used.append(node)
    model.graph.node.extend(reversed(used))
    constants = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _session(model: bytes) -> Callable[[Frames], Probabilities]:
    """The model as a function from views (N, T, H, W, 3) to probabilities (N, classes)."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()

    def run(batch: Frames) -> Probabilities:
        return np.asarray(session.run(None, {taken.name: batch})[0])

    return batches.in_batches(run, taken.shape[0])


def _layers(model: "onnx.ModelProto") -> list[Names]:
    """What can be in int8: nodes with the same weights are one layer, as steps in time are."""
    from onnx import numpy_helper

    weights = {
        tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer
    }
    found: dict[Any, list[str]] = {}
    for node in model.graph.node:
        # where a constant is the left one of a product, it is no weight: scaling, for one
        if node.op_type in _ROUNDED and node.input[0] not in weights:
            key = next((weights[name] for name in node.input if name in weights), node.name)
            found.setdefault(key, []).append(node.name)
    return [tuple(names) for names in found.values()]
