"""Trainings that are kept: for stages with several of them, of which only some are out of date.

DVC runs a stage as a whole. A stage that trains several models keeps its output folder
(`persist: true` in dvc.yaml), and this module trains only what is not there yet:

    <name>/        the bundle
    <name>.json    the identity of the training that made it, written last
"""

import hashlib
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.config import Run
from kinoflow.system import documents, files
from kinoflow.training import export
from kinoflow.training.checkpoints import identity
from kinoflow.training.fit import Outputs, Refit, TrainingData, fit
from kinoflow.training.lessons import Lesson
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class KeptTrainings:
    """The trainings of one stage for one candidate.

    Args:
        workspace: the work tree.
        stage: the name of the stage.
        run: the settings of the candidate.
        folder: where the trainings are kept.
    """

    workspace: Workspace
    stage: str
    run: Run
    folder: Path

    def train(
        self,
        name: str,
        data: TrainingData,
        refit: Refit | None = None,
        lesson: Lesson | None = None,
        *,
        called: str,
    ) -> Bundle:
        """The bundle called `name`, trained unless the same training made the one that is there.

        A killed training resumes.

        Args:
            name: of the bundle's folder.
            data: as for `kinoflow.training.fit.fit`.
            refit: as for `kinoflow.training.fit.fit`.
            lesson: as for `kinoflow.training.fit.fit`.
            called: what the training is called in what is printed.

        Raises UserError as `kinoflow.training.fit.fit` does.
        """
        trained_by = {
            "identity": identity(
                self.run,
                data=data.md5,
                code=code_md5(self.workspace.root, self.stage, self.run.name),
                weights=export.weights_md5(self.run.candidate.options),
                styles=[store.network for store in data.painted(self.run.augment)],
                versions=bundle.library_versions(),
                refit=vars(refit) if refit else None,
                lesson=lesson.identity if lesson else None,
            ),
            # what a prediction averages is no part of a training, but of its bundle
            "views": self.run.views,
            "flip": self.run.flip,
        }
        target, record = self.folder / name, self.folder / f"{name}.json"
        files.settle(target)
        kept = record.exists() and files.read_json(record) == trained_by and target.exists()
        state = "kept" if kept else "to be trained"
        print(f"{self.stage}: {self.run.name}, {called}: {state}", flush=True)
        if not kept:
            record.unlink(missing_ok=True)
            checkpoints = self.workspace.checkpoints(f"{self.run.name}.{self.stage}-{name}")
            # of how often it traces, which is once for each training
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            fit(self.run, data, Outputs(target, None, checkpoints), refit, lesson)
            files.write_json(record, trained_by)
        return bundle.load(target)

    def leave(self, names: Iterable[str]) -> None:
        """Delete all but the bundles of these names, and what killed trainings left behind."""
        leave(self.folder, names)


def leave(folder: Path, names: Iterable[str] = ()) -> None:
    """Make a folder of kept trainings hold these alone; an empty folder without any."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {file for name in names for file in (name, f"{name}.json")}
    for path in folder.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def code_md5(root: Path, stage: str, candidate: str) -> str:
    """One MD5 over the code that decides what a stage learns for a candidate.

    This is the code that dvc.yaml says the stage depends on, and that of the candidate's model. So
    the same dependencies give the same MD5, whichever runs came before.
    """
    entry = documents.read_yaml(root / "dvc.yaml")["stages"][stage]
    deps = entry.get("do", entry)["deps"]
    paths = [root / path for path in deps if path.endswith(".py")]
    paths.append(Workspace(root).architectures / f"{candidate}.json")
    digest = hashlib.md5(usedforsecurity=False)
    for path in paths:
        digest.update(f"{path.relative_to(root).as_posix()} {files.md5(path)}\n".encode())
    return digest.hexdigest()
