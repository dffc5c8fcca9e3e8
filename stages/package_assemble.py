"""Lay out all that a Bento is built from."""

import importlib.metadata
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kinoflow.compress import formats
from kinoflow.compress.formats import Format
from kinoflow.config import Serving
from kinoflow.monitor import reference
from kinoflow.monitor.answers import HeldOut
from kinoflow.reports.card import Card
from kinoflow.reports.records import ServiceSettings
from kinoflow.style import fast
from kinoflow.system import files
from kinoflow.system.errors import UserError
from stages.package_choice import form_details, runs_on_tensorflow
from stages.package_code import copy_code
from stages.package_videos import make_check

_OF_BUNDLES = ("tensorflow", "keras")  # packages that only bundles need


def assemble(
    bundle: Path,
    serving: Serving,
    card: Card,
    held_out: HeldOut,
    folder: Path,
    style: Path | None = None,
) -> None:
    """Lay out in `folder` all that a Bento is built from; the same inputs give the same bytes.

    Args:
        bundle: the folder of the trained model: a bundle, or a form of one.
        serving: the section `serving` of params.yaml.
        card: what GET /model answers.
        held_out: what monitoring compares the service's answers with.
        folder: the folder to fill, which need not exist.
        style: the network by which the service repaints clips; None: it does not.

    Raises UserError if `style` holds no network for a style.
    """
    form = form_details(bundle)
    shutil.copytree(bundle, folder / "bundle")
    make_check(folder / "bundle", folder / "check")
    reference.write(held_out, folder / "bundle")
    copy_code(folder, form.format if form else None)
    settings = serving.model_dump(include=set(ServiceSettings.model_fields))
    ServiceSettings.model_validate(settings).write(folder / "serving.json")
    card.write(folder / "card.json")
    if style is not None:
        fast.read_about(style)
        shutil.copyfile(style, folder / "style.keras")
    bentofile: dict[str, Any] = {
        "service": "serving.service:Kinoflow",
        # BentoML's own files are in the Bento too, so its version is part of what names the Bento
        "labels": {"candidate": bundle.name, "bentoml": importlib.metadata.version("bentoml")},
        "python": {
            "packages": requirements(gpu=serving.gpu, form=form.format if form else None),
            "lock_packages": False,
        },
        "docker": {"python_version": ".".join(map(str, sys.version_info[:2]))},
    }
    if form is not None:
        without = "" if runs_on_tensorflow(form) else ", without TensorFlow"
        named = f"{card.candidate} as {form.format} {form.precision}"
        labels = {"candidate": card.candidate, "format": form.format, "precision": form.precision}
        bentofile |= {
            "labels": {**bentofile["labels"], **labels},
            "description": f"Says which action a video shows: {named}{without}.",
        }
    files.write_json(folder / "bentofile.yaml", bentofile)  # all JSON is YAML


def requirements(*, gpu: bool, form: str | None = None) -> list[str]:
    """The packages of the extra `serving` and all that they need, pinned as installed here.

    For a form, the library that runs it stands in for TensorFlow and Keras.

    BentoML could pin them itself, but over the network and to the newest versions. BentoML is left
    out, since it adds a pin of itself. The CUDA libraries, which `gpu` adds, need not be installed
    here: a package that is not installed is left out, for pip to resolve.

    Args:
        gpu: whether TensorFlow is to compute on GPUs.
        form: the name of a format; None: a bundle.

    Raises UserError if the installed kinoflow does not know the extra.
    """
    extras = {"serving", "gpu"} if gpu else {"serving"}
    wanted = [
        requirement
        for requirement in _needed_by("kinoflow", extras)
        if not _applies(requirement, ())  # only the extras': not what kinoflow always needs
    ]
    if not wanted:
        raise UserError(
            "the installed kinoflow is older than its pyproject.toml: run `make install`"
        )
    if form is not None:
        wanted = _of_form(wanted, formats.find(form))
    asked = {
        str(canonicalize_name(requirement.name)): f"[{','.join(sorted(requirement.extras))}]"
        for requirement in wanted
        if requirement.extras
    }
    pins = _closure(wanted)
    del pins["bentoml"]
    return sorted(f"{name}{asked.get(name, '')}=={version}" for name, version in pins.items())


def _of_form(wanted: list[Requirement], form: Format) -> list[Requirement]:
    """What serving a form needs, of what serving a bundle does."""
    if form.extra is None:
        return wanted
    # of the form's extra, only what runs it: the rest converts
    (runtime,) = (
        requirement
        for requirement in _needed_by("kinoflow", {form.extra})
        if requirement.name == form.package
    )
    return [each for each in wanted if each.name not in _OF_BUNDLES] + [runtime]


def _closure(wanted: list[Requirement]) -> dict[str, str]:
    """The installed versions of what is wanted, and of what that needs in turn, by name."""
    versions: dict[str, str] = {}
    visited = set()
    waiting = [*wanted]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += _needed_by(name, extras)
    return versions


def _needed_by(package: str, extras: Iterable[str]) -> list[Requirement]:
    """What an installed package needs on this machine, with these extras of it."""
    found = [Requirement(text) for text in importlib.metadata.requires(package) or ()]
    return [requirement for requirement in found if _applies(requirement, extras)]


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
