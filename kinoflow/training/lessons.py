"""Who teaches a student, and what beside the labelled clips.

The stage `teach` writes for each student who teaches it. With folds, the teacher in a fold is the
bundle that was trained on that fold, since any other has seen the clips that the fold tests on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.config import Distil, Run
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.system import documents, files
from kinoflow.system.errors import UserError
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace


class Teaching(BaseModel):
    """work/teachings/<student>.json: the MD5 of each teacher's bundle, by the teacher's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: dict[str, str]
    folds: dict[str, dict[str, str]] = {}  # of the bundles that were trained on each fold


@dataclass(frozen=True)
class Lesson:
    """What a student is taught by.

    Args:
        teachers: whose mean answer it learns, by name.
        settings: how it learns.
        unlabelled: clips without labels; what they have as labels is not looked at.
        unlabelled_md5: of those clips; None without any.
    """

    teachers: Mapping[str, Bundle]
    settings: Distil
    unlabelled: ClipSet | None = None
    unlabelled_md5: str | None = None

    @classmethod
    def of(cls, workspace: Workspace, run: Run, fold: int | None = None) -> "Lesson | None":
        """What the candidate of a run is taught by; None if it has no teacher.

        Args:
            workspace: the work tree.
            run: the settings.
            fold: the fold that is trained on; None for the split.

        Raises FileNotFoundError if the stage `teach` has not run, and UserError for a teacher that
        is not there.
        """
        if not run.candidate.teacher:
            return None
        teaching = documents.read_model(Teaching, workspace.teaching(run.name))
        folders = {
            name: workspace.bundle(name)
            if fold is None
            else workspace.fold_models(name) / f"{fold}"
            for name in teaching.teachers
        }
        settings = run.candidate.distil
        store = ClipStore(workspace.unlabelled)
        records = store.records()
        used = settings.unlabelled and len(records) > 0
        return cls(
            {name: bundle.load(folder) for name, folder in folders.items()},
            settings,
            unlabelled_set(store, records["video"]) if used else None,
            _md5(tables.text(records, tables.CLIPS)) if used else None,
        )

    @property
    def md5s(self) -> dict[str, str]:
        """The MD5 of each teacher's bundle."""
        return {name: files.folder_md5(each.folder) for name, each in self.teachers.items()}

    @property
    def identity(self) -> dict[str, object]:
        """What a training depends on beside its own settings, as JSON can hold it."""
        return {"teachers": self.md5s, "unlabelled": self.unlabelled_md5}

    def check(self, run: Run, labels: tuple[str, ...]) -> None:
        """Raise UserError for a teacher of other classes or of other clips than the student's.

        Args:
            run: the student's settings.
            labels: its classes.
        """
        for name, teacher in self.teachers.items():
            if teacher.labels != labels:
                raise UserError(
                    f"{run.name} cannot learn from {name}, which knows other classes "
                    f"({_shown(teacher.labels)}, not {_shown(labels)}): train {name} again"
                )
            if teacher.clip != run.clip:
                raise UserError(
                    f"{run.name} cannot learn from {name}, which was trained on other clips "
                    f"({_size(teacher.clip)}, not {_size(run.clip)}): train {name} again"
                )


def unlabelled_set(store: ClipStore, videos: Iterable[str]) -> ClipSet:
    """The clips of a store, in the order of their videos, as if all were of class 0."""
    names = tuple(sorted(videos))
    return ClipSet(store.folder, names, np.zeros(len(names), np.int64))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:6]) + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")


def _size(clip: ClipSpec) -> str:
    return f"{clip.frames}x{clip.height}x{clip.width}"
