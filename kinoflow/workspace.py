"""The paths of a work tree, and how to run a command in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from kinoflow.system import errors

LABELS = "labels.csv"  # in the folder of videos: their labels, groups and sides of the split
LISTS = ".lists"  # in the folder of videos: published split lists; hidden, so it is no class


@dataclass(frozen=True)
class Workspace:
    """The paths of one work tree.

    Args:
        root: where params.yaml lies; the working folder if not given.
    """

    root: Path = Path()

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    # === The videos, pinned by data.dvc ===

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def data_dvc(self) -> Path:
        return self.root / "data.dvc"

    @property
    def labels(self) -> Path:
        """The table of labels and groups that users may give."""
        return self.data / LABELS

    @property
    def lists(self) -> Path:
        """Published split lists."""
        return self.data / LISTS

    @property
    def downloads(self) -> Path:
        """Archives that are being downloaded, and their unpacked content."""
        return self.root / ".downloads"

    def lock(self, name: str) -> Path:
        """The lock file called `name`: a run holds it while it changes the work tree."""
        return self.root / ".locks" / name

    # === What stages before training write ===

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def downloaded(self) -> Path:
        return self.work / "downloaded.json"

    @property
    def catalog(self) -> Path:
        return self.work / "catalog.csv"

    @property
    def scratch_clips(self) -> Path:
        """Clips that the stage `catalog` keeps for `extract`."""
        return self.work / "scratch" / "clips"

    @property
    def scratch_pairs(self) -> Path:
        """Pairs of frames that the stage `catalog` keeps for `explore`."""
        return self.work / "scratch" / "pairs"

    @property
    def split(self) -> Path:
        return self.work / "split.csv"

    @property
    def clips(self) -> Path:
        return self.work / "clips"

    @property
    def clips_table(self) -> Path:
        return self.work / "clips.csv"

    @property
    def duplicates(self) -> Path:
        return self.work / "duplicates.csv"

    @property
    def validation(self) -> Path:
        """The verdict of the stage `validate`."""
        return self.work / "validation.json"

    @property
    def architectures(self) -> Path:
        """Lists of the code that each candidate's model is made of."""
        return self.work / "architectures"

    def checkpoints(self, candidate: str) -> Path:
        """The checkpoint from which a killed training of one candidate resumes."""
        return self.work / "checkpoints" / candidate

    def training(self, candidate: str) -> Path:
        """Learning curves and duration of one candidate's training."""
        return self.work / "training" / candidate

    def scores(self, candidate: str) -> Path:
        """The scores of one candidate that selection may use: no test scores."""
        return self.work / "scores" / f"{candidate}.json"

    # === Results ===

    @property
    def models(self) -> Path:
        return self.root / "models"

    def bundle(self, candidate: str) -> Path:
        """The trained model of one candidate."""
        return self.models / candidate

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    def report(self, candidate: str) -> Path:
        """The evaluation of one candidate."""
        return self.reports / candidate

    @property
    def page(self) -> Path:
        """The page over everything, for people."""
        return self.reports / "index.html"

    @property
    def exploration(self) -> Path:
        return self.reports / "explore"

    @property
    def validation_site(self) -> Path:
        return self.reports / "validation"

    @property
    def leaks(self) -> Path:
        return self.reports / "leaks.csv"

    @property
    def leaks_numbers(self) -> Path:
        return self.reports / "leaks.json"

    @property
    def leaks_page(self) -> Path:
        return self.reports / "leaks.html"

    @property
    def winner(self) -> Path:
        return self.reports / "winner.json"

    @property
    def dist(self) -> Path:
        """Exported Bentos."""
        return self.root / "dist"

    def explain_missing(self, error: FileNotFoundError) -> str | None:
        """One line on which command makes a missing file; None for a file that no stage makes."""
        outputs = {self.work, self.models, self.reports}
        if not outputs & {*Path(str(error.filename)).parents}:
            return None
        return f"{error.filename} is missing: `dvc repro` makes it"


def run(main: Callable[[Workspace], None]) -> NoReturn:
    """Run `main` on the work tree in the working folder, and exit as `errors.run` does."""
    workspace = Workspace()
    errors.run(partial(main, workspace), missing=workspace.explain_missing)
