"""The formats that a model can be exported to, and what each of them needs."""

import difflib
from dataclasses import dataclass
from importlib.util import find_spec

from kinoflow.system.errors import UserError


@dataclass(frozen=True)
class Format:
    """A file format for models, and the library that runs it.

    `precisions` names how weights may be kept, and `int8` how layers may compute, too.
    """

    name: str
    file: str  # of the model, in the folder of a form
    runtime: str  # the module that runs it
    package: str  # that has this module
    modules: tuple[str, ...]  # that making such a file takes
    precisions: tuple[str, ...] = ("float32",)
    extra: str | None = None  # of kinoflow, with these modules; None: they come with it
    fitted: bool = True  # whether int8 finds ranges of values from clips
    batched: bool = False  # whether all views of a clip at a time are faster than one by one


FORMATS = {
    each.name: each
    for each in (
        Format("keras", "model", "tensorflow", "tensorflow", ("tensorflow",)),
        Format(
            "openvino",
            "model.xml.gz",
            "openvino",
            "openvino",
            ("openvino", "nncf"),
            ("float32", "float16", "bfloat16", "int8"),
            "openvino",
            batched=True,
        ),
        Format(
            "onnx",
            "model.onnx",
            "onnxruntime",
            "onnxruntime",
            ("onnx", "onnxruntime", "tf2onnx"),
            ("float32", "float16", "bfloat16", "int8"),
            "onnx",
        ),
        Format(
            "litert",
            "model.tflite",
            "ai_edge_litert",
            "ai-edge-litert",
            ("ai_edge_litert",),
            ("float32", "float16", "int8"),
            "litert",
            fitted=False,
        ),
    )
}


def find(name: str) -> Format:
    """The format of that name.

    Raises UserError if there is none.
    """
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise UserError(f"no format {name!r}; there are {', '.join(FORMATS)}{hint}")
    return FORMATS[name]


def check(form: Format, precision: str) -> None:
    """Check that models can be made in this format and precision here.

    Raises UserError for a precision that the format does not have, and for a library that is not
    installed.
    """
    if precision not in form.precisions:
        raise UserError(
            f"{form.name} has no precision {precision!r}; there are {', '.join(form.precisions)}"
        )
    _require(form, form.modules)


def check_runtime(form: Format) -> None:
    """Check that models of this format can be run here.

    Raises UserError if the library that runs them is not installed.
    """
    _require(form, (form.runtime,))


def _require(form: Format, modules: tuple[str, ...]) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(
            f"{form.name} needs {missing[0]}, which is not installed: "
            f"pip install 'kinoflow[{form.extra}]'"
        )
