"""Write a bundle so that the same training always gives the same bytes."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.system import files

if TYPE_CHECKING:
    import keras


def save(folder: Path, model: "keras.Model", description: Description, history: str) -> None:
    """Write a bundle, whole or not at all.

    Args:
        folder: the bundle's; a bundle that is already there is replaced.
        model: the trained model.
        description: what bundle.json holds.
        history: the text of history.csv.
    """
    with files.replacing_folder(folder) as partial:
        model.save(partial / bundle.MODEL)
        make_reproducible(partial / bundle.MODEL)
        description.write(partial)
        files.write_text(partial / bundle.HISTORY, history)


def weights_md5(options: dict[str, Any]) -> str | None:
    """The MD5 of the file that a model's option `weights` names; None if it names no file."""
    path = Path(str(options.get("weights"))).expanduser()
    return files.md5(path) if path.is_file() else None


def make_reproducible(archive: Path, more: Mapping[str, bytes] | None = None) -> None:
    """Rewrite a .keras file without what differs each time a model is saved.

    These are the date and the memory addresses that Keras uses as ids of shared objects.

    Args:
        archive: the file.
        more: what it is to hold beside, by name; Keras passes it over.
    """
    stripped = archive.with_suffix(".stripped")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(stripped, "w") as new:
        for entry in sorted(old.namelist()):
            content = old.read(entry)
            if entry == "metadata.json":
                metadata = json.loads(content)
                metadata.pop("date_saved", None)
                content = json.dumps(metadata, sort_keys=True).encode()
            elif entry == "config.json":
                content = renumbered(content.decode()).encode()
            new.writestr(zipfile.ZipInfo(entry), content)
        for entry, content in (more or {}).items():
            new.writestr(zipfile.ZipInfo(entry), content)
    stripped.replace(archive)


def renumbered(config: str) -> str:
    """A model's configuration with shared objects numbered in the order in which they appear."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], str(len(numbers) + 1))

    return re.sub(r'(?<="shared_object_id": )\d+', number, config)
