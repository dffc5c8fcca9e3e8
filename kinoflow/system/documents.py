"""Settings that people write: reading YAML, and saying in one line what is wrong with it."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from kinoflow.system.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

# what pydantic calls a key that a model, or a dataclass within one, does not have
_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: dicts, lists, strings, numbers, booleans and None.

    Raises UserError, with the file and the line, for a file that is not valid YAML, and
    FileNotFoundError.
    """
    return parse_yaml(path.read_text(encoding="utf-8"), path)


def parse_yaml(text: str, path: Path) -> Any:
    """The content of a YAML text that was read from `path`, as `read_yaml` gives it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def checked(model: type[Model], values: Any, path: Path) -> Model:
    """`values`, which were read from `path`, as a `model`.

    Raises UserError that names the file, the key and what is wrong with it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error, model)}") from None


def describe(error: ValidationError, model: type[BaseModel], section: str = "") -> str:
    """What is wrong with values for a `model`, in one line: the first error, and how many more.

    Args:
        error: what pydantic raised.
        model: the model that the values were meant for; its keys are suggested for misspelt ones.
        section: the name of the section that holds the values, which all keys are named after.
    """
    # a misspelt key is also a missing one: name the misspelling
    first, *others = sorted(error.errors(), key=lambda each: each["type"] not in _UNKNOWN_KEY)
    key = ".".join([section] * bool(section) + [str(part) for part in first["loc"]])
    if first["type"] in _UNKNOWN_KEY:
        text = f"unknown key {key}{_suggestion(str(first['loc'][-1]), model)}"
    elif first["type"] == "value_error":  # raised by our own validators
        message = str(first["ctx"]["error"])
        text = f"{key}: {message}" if key else message
    elif first["type"] == "missing":
        text = f"{key}: {first['msg']}"
    else:
        text = f"{key}: {first['msg']}, got {first['input']!r}"
    return text + (f" (and {len(others)} more)" if others else "")


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
