"""Merge, override and compare the values of a params.yaml, as nested dictionaries.

OmegaConf is not used here. It merges sections that a recipe replaces as a whole, takes `${` in a
value for a reference, and reads values as YAML 1.1, so that `no` and `010` in a setting would mean
something else than in params.yaml. It also accepts a setting without a value, and keys below a
number.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kinoflow.system.errors import UserError

Values = dict[str, Any]

# sections that a recipe replaces as a whole: keys that it does not name are not in the study
_REPLACED = {"dataset", "split", "augment", "candidates", "students", "forms", "style"}


def merge(base: Values, changes: Values) -> Values:
    """Return `base` with `changes` laid over it.

    This goes key by key, except for sections that a recipe replaces as a whole.
    """
    merged = _laid_over(base, changes)
    if "candidates" in changes and "students" not in changes:
        merged["students"] = {}  # their teachers may be gone
    return merged


def _laid_over(base: Values, changes: Values) -> Values:
    merged = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key not in _REPLACED:
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged


def override(values: Values, settings: Sequence[str]) -> Values:
    """Return a copy of `values` with settings such as `training.epochs=2`.

    Raises UserError for a setting that is not `key=value`, or whose key or value is not valid.
    """
    values = copy.deepcopy(values)
    for setting in settings:
        key, equals, value = setting.partition("=")
        *above, last = key.split(".")
        section = values
        for part in above:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UserError(f"-S {setting}: {part} has no keys of its own")
        if not equals or not last:
            raise UserError(f"-S {setting}: a setting is key=value, such as training.epochs=2")
        try:
            section[last] = YAML(typ="safe").load(value)
        except YAMLError:
            raise UserError(f"-S {setting}: the value is not valid YAML") from None
    return values


def with_absolute_paths(values: Values, root: Path) -> Values:
    """Return a copy of `values` with absolute paths instead of paths relative to `root`."""
    values = copy.deepcopy(values)
    _make_absolute(values["dataset"], ("path", "lists"), root)
    for candidate in [*values["candidates"].values(), *values.get("students", {}).values()]:
        options = candidate.get("options", {})
        # otherwise it names weights that Keras downloads
        if (root / Path(str(options.get("weights"))).expanduser()).is_file():
            _make_absolute(options, ("weights",), root)
    for domain in ("a", "b"):
        _make_absolute(values.get("style", {}).get(domain, {}), ("folder",), root)
    return values


def differences(values: Values, others: Values, sections: Iterable[str]) -> list[str]:
    """The settings of these sections in which `values` differ from `others`, as `key=value`.

    Keys are dotted and sorted. The values are those of `values`, None for keys that it lacks.
    """
    own, other = _flatten(values, sections), _flatten(others, sections)
    return [
        f"{key}={own.get(key)}" for key in sorted({*own, *other}) if own.get(key) != other.get(key)
    ]


def _make_absolute(section: Values, keys: Iterable[str], root: Path) -> None:
    for key in keys:
        if section.get(key) and "://" not in str(section[key]):
            section[key] = str((root / Path(section[key]).expanduser()).absolute())


def _flatten(values: Values, sections: Iterable[str]) -> Values:
    """The values of these sections by their dotted keys."""
    flat: Values = {}
    for key in values.keys() & {*sections}:
        value = values[key]
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{below}": v for below, v in _flatten(value, value).items()}
        else:
            flat[key] = value
    return flat
