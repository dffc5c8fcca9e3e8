"""Read YAML and JSON into pydantic models, and say in one line what is wrong with a file."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from kinoflow.system.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

# pydantic's types of error for an unknown key, in a model and in a dataclass
_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}
# its types of error whose message already says which value is wrong
_WITHOUT_VALUE = {"missing", "json_invalid"}
_SHOWN = 100  # characters of a wrong value


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: dicts, lists, strings, numbers, booleans and None.

    Raises UserError, with the file and the line, for a file that is not valid YAML, and
    FileNotFoundError.
    """
    return parse_yaml(path.read_text(encoding="utf-8"), path)


def parse_yaml(text: str, path: Path) -> Any:
    """The content of a YAML text that was read from `path`; see `read_yaml`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def checked(model: type[Model], values: Any, path: Path, section: str = "") -> Model:
    """Check `values`, which were read from `path`, and return them as a `model`.

    Args:
        model: what they have to be.
        values: the values.
        path: the file.
        section: the key that they stand under; the whole file if not given.

    Raises UserError that names the file, the key and what is wrong with it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error, model, section)}") from None


def read_model(model: type[Model], path: Path) -> Model:
    """Read a JSON file as a `model`.

    Raises UserError that names the file, the key and what is wrong with it, and FileNotFoundError.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error, model)}") from None


def describe(error: ValidationError, model: type[BaseModel], section: str = "") -> str:
    """What is wrong with values for a `model`, in one line: the first error, and how many more.

    Args:
        error: what pydantic raised.
        model: the model that the values were meant for; its keys are suggested for misspelt ones.
        section: the name of the section that holds the values; it is put before each key.
    """
    # a misspelt key is also a missing one: name the misspelling
    first, *others = sorted(error.errors(), key=lambda each: each["type"] not in _UNKNOWN_KEY)
    key = ".".join([section] * bool(section) + [str(part) for part in first["loc"]])
    if first["type"] in _UNKNOWN_KEY:
        text = f"unknown key {key}{_suggestion(str(first['loc'][-1]), model)}"
    else:
        text = (f"{key}: " if key else "") + _message(first)
    return text + (f" (and {len(others)} more)" if others else "")


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "value_error":  # raised by our own validators
        return str(error["ctx"]["error"])
    if error["type"] in _WITHOUT_VALUE:
        return error["msg"]
    return f"{error['msg']}, got {_shortened(repr(error['input']))}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _suggestion(key: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, sorted(_keys(model)), n=1)
    return f": did you mean {close[0]}?" if close else ""


def _keys(annotation: Any) -> set[str]:
    """The keys of a model, and of all models and dataclasses within it."""
    if dataclasses.is_dataclass(annotation):
        return {field.name for field in dataclasses.fields(annotation)}
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set().union(*(_keys(part) for part in get_args(annotation)))
    fields = annotation.model_fields
    return {*fields}.union(*(_keys(field.annotation) for field in fields.values()))
