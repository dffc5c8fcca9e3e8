"""The data that were accepted last, and how far new data may differ from them.

Great Expectations looks at one state of the data. What only shows over time is looked at here: a
class that vanished, many more unreadable videos, and a label whose new videos look different, which
is what a mix-up of labels or a broken camera does.
"""

from collections import Counter
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from kinoflow.data import looks
from kinoflow.data.clips import ClipStore
from kinoflow.data.looks import Sample
from kinoflow.system import documents, files
from kinoflow.system.terminal import printable, progress

_MANY = 500  # clips that are not looked at without showing how far it is
_NAMED = 3  # videos that a sentence names
_LISTED = 10  # classes that a sentence names


class Known(BaseModel):
    """A readable video."""

    model_config = ConfigDict(frozen=True)

    video: str
    label: str
    group: str
    md5: str
    look: tuple[float, ...]  # in the order of `looks.NAMES`

    @property
    def content(self) -> tuple[str, str]:
        """What makes it another video: its file and its label, but not its name."""
        return self.md5, self.label


class Accepted(BaseModel):
    """A state of the data, as it is compared with later ones."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    dataset: str  # the section `dataset` of params.yaml, as JSON
    spec: str  # what clips are, as in their records: looks of other clips cannot be compared
    unreadable: int
    videos: tuple[Known, ...]  # the readable ones

    @cached_property
    def classes(self) -> dict[str, int]:
        """How many readable videos each class has."""
        return Counter(known.label for known in self.videos)

    @property
    def unreadable_fraction(self) -> float:
        return self.unreadable / max(1, self.unreadable + len(self.videos))


def read(path: Path) -> Accepted | None:
    """The data that were accepted last; None if none were.

    Raises UserError for a file that is no such record.
    """
    return documents.read_model(Accepted, path) if path.exists() else None


def write(accepted: Accepted, path: Path) -> None:
    """Remember accepted data, whole or not at all."""
    files.write_text(path, accepted.model_dump_json() + "\n")


def observe(
    table: pd.DataFrame, store: ClipStore, *, dataset: str, spec: str, earlier: Accepted | None
) -> Accepted:
    """The present state of the data.

    Only clips of videos that `earlier` does not hold are read.

    Args:
        table: the catalog.
        store: the clips of its readable videos.
        dataset: the section `dataset` of params.yaml, as JSON.
        spec: what the clips are; see `kinoflow.data.clips.describe`.
        earlier: the data that were accepted last.
    """
    looked = {}
    if earlier and earlier.spec == spec:
        looked = {known.md5: known.look for known in earlier.videos}
    rows = table.loc[table["readable"], ["video", "label", "group", "md5"]].to_numpy(object)
    unknown = sum(md5 not in looked for *_, md5 in rows)
    videos = []
    # a few take no longer than a second
    for video, label, group, md5 in progress(rows, "looks") if unknown > _MANY else rows:
        if md5 not in looked:
            found = looks.look(store.read(video))
            looked[md5] = tuple(float(number) for number in np.round(found, 4))
        videos.append(Known(video=video, label=label, group=group, md5=md5, look=looked[md5]))
    unreadable = int((~table["readable"]).sum())
    return Accepted(dataset=dataset, spec=spec, unreadable=unreadable, videos=tuple(videos))


def unexpected(
    now: Accepted,
    before: Accepted,
    *,
    unreadable_jump: float,
    look_alpha: float,
    accept: Collection[str],
) -> list[str]:
    """What stands against training on new data, each in a sentence that says how to accept it.

    Data that `dataset` in params.yaml names anew are not compared: a person changed that setting.

    Args:
        now: the present data.
        before: the data that were accepted last.
        unreadable_jump: by how much the fraction of unreadable videos may rise.
        look_alpha: the level of significance, over all classes, at which a class looks different.
        accept: the classes that are meant to vanish or to look different.
    """
    if now.dataset != before.dataset:
        return []
    found = [*_vanished(now, before, accept), *_more_unreadable(now, before, unreadable_jump)]
    if now.spec == before.spec:
        found += _different_looks(now, before, look_alpha, accept)
    return found


def _vanished(now: Accepted, before: Accepted, accept: Collection[str]) -> list[str]:
    return [
        f"the class {printable(label)} has vanished: {count} of its videos were accepted before, "
        "and none can be read now. If that is meant, add it to validation.accept in params.yaml"
        for label, count in sorted(before.classes.items())
        if label not in now.classes and label not in accept
    ]


def _more_unreadable(now: Accepted, before: Accepted, jump: float) -> list[str]:
    rise = now.unreadable_fraction - before.unreadable_fraction
    if rise <= jump:
        return []
    return [
        f"{now.unreadable_fraction:.1%} of the videos cannot be read ({now.unreadable} of "
        f"{now.unreadable + len(now.videos)}), and {before.unreadable_fraction:.1%} could not be "
        "before: the column problem of work/catalog.csv says why. If that is meant, raise "
        f"validation.unreadable_jump ({jump:g}) in params.yaml"
    ]


def _different_looks(
    now: Accepted, before: Accepted, alpha: float, accept: Collection[str]
) -> list[str]:
    known = {each.content for each in before.videos}
    new = [each for each in now.videos if each.content not in known and each.label not in accept]
    every = [*before.videos, *new]
    if not new or not before.videos:
        return []
    labels = np.array([each.label for each in every], object)
    groups = np.array([each.group for each in every], object)
    is_new = np.arange(len(every)) >= len(before.videos)
    numbers = looks.with_likeness(np.array([each.look for each in every]), labels)
    samples = {}
    for label in sorted({each.label for each in new} & before.classes.keys()):
        chosen = labels == label
        samples[label] = Sample(groups[chosen], is_new[chosen], numbers[chosen])
    changes = looks.changes(samples, alpha)
    different = looks.significant(changes, alpha)
    if None in different:
        # what all share is said once
        own = [label for label in different if label is not None]
        change = changes[None]
        about = f", most in {_listed(sorted(own))}" if own else ""
        return [
            f"the new videos look different from those accepted before{about}: "
            f"{_how(change, new)}. Look at them. If videos and labels are right, add their "
            f"classes to validation.accept in params.yaml: {', '.join(map(printable, samples))}"
        ]
    sentences = []
    for label in sorted(filter(None, different)):
        young = [each for each in new if each.label == label]
        sentences.append(
            f"the new videos of the class {printable(label)} look different from those accepted "
            f"before: {_how(changes[label], young)}. Look at them. If videos and labels are right, "
            "add the class to validation.accept in params.yaml"
        )
    return sentences


def _how(change: looks.Change, new: list[Known]) -> str:
    """Which number differs most, and in which videos."""
    name = [*looks.NAMES, looks.LIKENESS][change.feature]
    recordings = len({each.group for each in new})
    named = [printable(each.video) for each in sorted(new, key=lambda each: each.video)[:_NAMED]]
    return (
        f"{name} is {change.now:.2f} on average, and was {change.before:.2f} (p = {change.p:.2g}, "
        f"{len(new)} videos of {recordings} recordings, such as {', '.join(named)})"
    )


def _listed(labels: list[str]) -> str:
    named = ", ".join(map(printable, labels[:_LISTED]))
    return named + (f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else "")
