"""Lay out all that a Bento is built from."""

import importlib.metadata
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kinoflow.config import Serving
from kinoflow.monitor import reference
from kinoflow.monitor.answers import HeldOut
from kinoflow.reports.card import Card
from kinoflow.reports.records import ServiceSettings
from kinoflow.style import fast
from kinoflow.system import files
from kinoflow.system.errors import UserError
from stages.package_code import copy_code
from stages.package_videos import make_check


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
        bundle: the trained model.
        serving: the section `serving` of params.yaml.
        card: what GET /model answers.
        held_out: what monitoring compares the service's answers with.
        folder: the folder to fill, which need not exist.
        style: the network by which the service repaints clips; None: it does not.

    Raises UserError if `style` holds no network for a style.
    """
    shutil.copytree(bundle, folder / "bundle")
    make_check(folder / "bundle", folder / "check")
    reference.write(held_out, folder / "bundle")
    copy_code(folder)
    settings = serving.model_dump(include=set(ServiceSettings.model_fields))
    ServiceSettings.model_validate(settings).write(folder / "serving.json")
    card.write(folder / "card.json")
    if style is not None:
        fast.read_about(style)
        shutil.copyfile(style, folder / "style.keras")
    bentofile = {
        "service": "serving.service:Kinoflow",
        # BentoML's own files are in the Bento too, so its version is part of what names the Bento
        "labels": {"candidate": bundle.name, "bentoml": importlib.metadata.version("bentoml")},
        "python": {"packages": requirements(gpu=serving.gpu), "lock_packages": False},
        "docker": {"python_version": ".".join(map(str, sys.version_info[:2]))},
    }
    files.write_json(folder / "bentofile.yaml", bentofile)  # all JSON is YAML


def requirements(*, gpu: bool) -> list[str]:
    """The packages of the extra `serving` and all that they need, pinned as installed here.

    BentoML could pin them itself, but over the network and to the newest versions. BentoML is left
    out, since it adds a pin of itself. The CUDA libraries, which `gpu` adds, need not be installed
    here: a package that is not installed is left out, for pip to resolve.

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
    asked = {
        str(canonicalize_name(requirement.name)): f"[{','.join(sorted(requirement.extras))}]"
        for requirement in wanted
        if requirement.extras
    }
    pins = _closure(wanted)
    del pins["bentoml"]
    return sorted(f"{name}{asked.get(name, '')}=={version}" for name, version in pins.items())


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
