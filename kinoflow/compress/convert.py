"""Convert a bundle's model to a format, in a process of its own: converters may crash.

TensorFlow is imported by name here: all converters start from its graphs.
"""

import contextlib
import gzip
import io
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinoflow import bundle
from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress import halving
from kinoflow.compress.quantise import Judge, Layers
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    import keras

_OPSET = 18  # of ONNX: the newest that tf2onnx is tested with
_ROUNDS = 5


@dataclass(frozen=True)
class Request:
    """What is to be converted, and how."""

    source: Path  # the bundle
    target: Path  # the file or folder to write
    format: str
    precision: str
    batch: int  # of views that the file takes at a time
    clips: Frames  # (N, T, H, W, 3) that the bundle is to answer
    calibration: Frames | None = None  # (M, T, H, W, 3) that int8 is fitted to
    judge: Judge | None = None  # by whom layers stay in float; None: none does


@dataclass(frozen=True)
class Answers:
    """What a model answers to clips, and how long it takes."""

    probabilities: Probabilities  # (N, classes)
    milliseconds: float  # for one clip, the median of several
    mixed: bool = False  # whether it computes in less than float32
    layers: Layers | None = None  # of a form in int8


def convert(request: Request) -> Answers:
    """Write the model in another format, and return what the bundle answers to the clips.

    Raises UserError, with the converter's reason, for a model that the format cannot hold.
    """
    with silenced():
        from kinoflow.compress import rebuild

        model = bundle.load(request.source)
        with explained(f"{model.description.name} cannot become {request.format}"):
            found = answers(model, request.clips)
            network = rebuild.rebuilt(
                model.model, batch=request.batch, pool_by_frames=request.format == "litert"
            )
            layers = _WRITERS[request.format](network, request, model)
        mixed = rebuild.is_mixed(model.model)
    return Answers(found.probabilities, found.milliseconds, mixed, layers)


def answers(model: Bundle, clips: Frames) -> Answers:
    """What a bundle or a form of it answers to clips (N, T, H, W, 3), at least one."""
    probabilities = model.predict(clips)
    taken = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        model.predict(clips[:1])
        taken.append(time.perf_counter() - begun)
    return Answers(probabilities, statistics.median(taken) * 1000)


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn what converters and runtimes raise into a UserError: the problem, and why."""
    try:
        yield
    except (MemoryError, UserError):
        raise
    except Exception as error:  # noqa: BLE001  they raise many classes
        raise UserError(f"{problem}: {reason(error)}") from None


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what converters and runtimes write to stdout and stderr."""
    with silenced_stderr(), contextlib.redirect_stdout(io.StringIO()):
        yield


def reason(error: Exception) -> str:
    """The line of a converter's message that says why, shortened."""
    text = str(error)
    # as LiteRT's converter says it, and as OpenVINO's
    lacking = {*re.findall(r"'tf\.(\w+)' op is neither", text)}
    lacking |= {*re.findall(r"No conversion rule found for operations: (.+)", text)}
    if lacking:
        return f"it has no operator {', '.join(sorted(lacking))}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


# === The formats ===


def _keras(network: "keras.Model", request: Request, model: Bundle) -> None:
    network.export(request.target, format="tf_saved_model", verbose=False)


def _openvino(network: "keras.Model", request: Request, model: Bundle) -> Layers | None:
    # both libraries tell their makers how they are used, unless they cannot find this module
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    graph, layers = request.target.with_name("graph.pb"), None
    graph.write_bytes(_frozen(network).graph.as_graph_def().SerializeToString())
    try:
        converted = openvino.convert_model(graph, input=list(network.input_shape))
    finally:
        graph.unlink()
    if request.precision == "int8":
        from kinoflow.compress import int8_openvino

        assert request.calibration is not None
        converted, layers = int8_openvino.quantised(
            converted, network, model, request.calibration, request.judge
        )
    if request.precision in {"float16", "bfloat16"}:
        halving.in_openvino(converted, request.precision)
    plain = request.target.with_suffix("")
    openvino.save_model(converted, plain, compress_to_fp16=False)
    # of a small network, the text of the graph takes more bytes than the weights do
    request.target.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    return layers


def _onnx(network: "keras.Model", request: Request, model: Bundle) -> Layers | None:
    import onnx
    import tf2onnx
    import tf2onnx.optimizer
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    # Keras mends what tf2onnx has not: it uses names that NumPy 2 has removed
    patch_tf2onnx()
    from kinoflow.compress.rebuild import attends

    steps, moving = tf2onnx.optimizer._optimizers, "optimize_transpose"
    # it moves transpositions of attention wrongly past sums (ViViT: "Input shape:{1,8,8,96}");
    # networks of convolutions are faster with it
    left_out = steps.pop(moving) if attends(network) else None
    try:
        frozen = _frozen(network)
        tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[frozen.inputs[0].name],
            output_names=[frozen.outputs[0].name],
            opset=_OPSET,
            output_path=str(request.target),
        )
    finally:
        if left_out is not None:
            steps[moving] = left_out
            steps.move_to_end(moving, last=False)
    if request.precision == "int8":
        from kinoflow.compress import int8_onnx

        assert request.calibration is not None
        return int8_onnx.quantised(request.target, model, request.calibration, request.judge)
    if request.precision in {"float16", "bfloat16"}:
        converted = onnx.load(request.target)
        halving.in_onnx(converted, request.precision)
        onnx.save(converted, request.target)
    return None


def _litert(network: "keras.Model", request: Request, model: Bundle) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(network)])
    if request.precision != "float32":
        # in int8 without clips to fit to: weights in int8, and what products take is rounded to its
        # range of the moment. Fitted, networks grew, lost more, and normalisation became slow.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    request.target.write_bytes(converter.convert())


_WRITERS: dict[str, Callable[["keras.Model", Request, Bundle], Layers | None]] = {
    "keras": _keras,
    "openvino": _openvino,
    "onnx": _onnx,
    "litert": _litert,
}


def _frozen(network: "keras.Model") -> Any:
    """The network as a TensorFlow function of one batch, whose weights are constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function = tf.function(
        lambda clip: network(clip, training=False),
        input_signature=[tf.TensorSpec(network.input_shape, "uint8", name="clip")],
        autograph=False,
    )
    return convert_variables_to_constants_v2(function.get_concrete_function())
