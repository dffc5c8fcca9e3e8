"""Weights in 16 bits: half the bytes, and a conversion back to float32 behind each.

bfloat16 has the exponents of float32 and 8 bits of a number, float16 has 11 bits and ends at 65504.
Runtimes convert once, as they load the model, and compute in float32.
"""

from typing import Any

import numpy as np

_WORTH = 256  # numbers in a constant from which half the bytes outweigh the operator it takes
_LARGEST = 65504  # of float16


def in_openvino(model: Any, kind: str) -> None:
    """Keep the weights of an OpenVINO model in 16 bits; it is changed.

    Args:
        model: the model.
        kind: `bfloat16` or `float16`. In float16, constants with a larger number stay as they are.
    """
    import ml_dtypes
    from openvino import Type, opset13

    nearest = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[kind]
    to = {"bfloat16": Type.bf16, "float16": Type.f16}[kind]
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != Type.f32:
            continue
        values = np.array(node.data)
        if not _worth_it(values, kind):
            continue
        readers = node.output(0).get_target_inputs()
        # left to OpenVINO, bfloat16 would cut digits off instead of rounding
        values = values.astype(nearest).astype(np.float32)
        back = opset13.convert(opset13.constant(values, dtype=to), "f32")
        for reader in readers:
            reader.replace_source_output(back.output(0))


def in_onnx(model: Any, kind: str) -> None:
    """Keep the weights of an ONNX model in 16 bits; it is changed.

    Args:
        model: the model, an `onnx.ModelProto`.
        kind: see `in_openvino`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    to = {"bfloat16": TensorProto.BFLOAT16, "float16": TensorProto.FLOAT16}[kind]
    backs = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if not _worth_it(values, kind):
            continue
        name = tensor.name
        kept = numpy_helper.from_array(
            values.astype(helper.tensor_dtype_to_np_dtype(to)), f"{name}:{kind}"
        )
        tensor.CopyFrom(kept)
        backs.append(helper.make_node("Cast", [kept.name], [name], to=TensorProto.FLOAT))
    # before what takes them: nodes stand in the order in which they are computed
    nodes = [*backs, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)


def _worth_it(values: np.ndarray, kind: str) -> bool:
    return values.size >= _WORTH and (kind == "bfloat16" or np.abs(values).max() <= _LARGEST)
