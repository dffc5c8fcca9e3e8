"""A part of a data set: some of its classes, or some clips of each."""

import difflib
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from kinoflow.config import Dataset
from kinoflow.data import catalog, tables
from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS
from stages.sources.item import Item
from stages.sources.remote.addresses import redacted


def select_items(items: list[Item], dataset: Dataset) -> list[Item]:
    """Only the items of `dataset.classes`, and at most `dataset.clips_per_class` of each class.

    The clips of a class are taken from its groups in turn, so that as many groups as possible are
    kept. A labels.csv loses the rows of the videos left out; hidden files, such as split lists,
    stay. Raises UserError for a class that the data set does not have.
    """
    if dataset.classes is None and dataset.clips_per_class is None:
        return items
    by_name = {item.name: item for item in items if not item.name.startswith(".")}
    labels = by_name.pop(LABELS, None)
    place = redacted(dataset.path or dataset.source)
    table = _read(labels) if labels else catalog.from_folders(sorted(by_name), place)
    if dataset.classes is not None:
        _check_classes(dataset.classes, set(table["label"]))
        table = table[table["label"].isin(dataset.classes)]
    if dataset.clips_per_class is not None:
        groups = table.get("group", pd.Series("", table.index)).where(
            lambda given: given != "", table["video"].map(catalog.group_of)
        )
        rows = [
            row
            for _, members in groups.groupby(table["label"])
            for row in _in_turn(members)[: dataset.clips_per_class]
        ]
        table = table.loc[sorted(rows)]
    selected = [by_name[video] for video in table["video"]]
    selected += [item for item in items if item.name.startswith(".")]
    if labels:
        text = tables.text(table, tables.LABELS)
        selected.append(Item(LABELS, text, partial(_write, text)))
    return selected


def _read(labels: Item) -> pd.DataFrame:
    with TemporaryDirectory() as folder:
        path = Path(folder) / LABELS
        labels.fetch(path)
        return catalog.read_labels(path)


def _check_classes(wanted: tuple[str, ...], known: set[str]) -> None:
    for label in wanted:
        if label not in known:
            close = difflib.get_close_matches(label, known, n=3)
            nearest = close or sorted(known)[:5]
            raise UserError(
                f"dataset.classes: the data set has no class {label!r}; the nearest of its "
                f"{len(known)} are {', '.join(nearest)}"
            )


def _in_turn(groups: pd.Series) -> list[int]:
    """Row labels: the first clip of every group, then the second of every group, and so on."""
    clips = [list(members.index) for _, members in groups.groupby(groups)]
    return [row for turn in zip_longest(*clips) for row in turn if row is not None]


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
