"""The paths of a work tree, and how to run a command in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from kinoflow.system import errors

LABELS = "labels.csv"  # in the folder of videos: their labels, groups and sides of the split
TRUTH = ".truth.csv"  # in the folder of synthetic videos: where the actor is; hidden, as well
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
    def truth(self) -> Path:
        """Where the actor is in each frame; only synthetic videos have it."""
        return self.data / TRUTH

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
    def folds(self) -> Path:
        """The sides that each video is on in each fold; empty unless there are folds."""
        return self.work / "folds.csv"

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
    def unlabelled_footage(self) -> Path:
        """Videos without labels, from which students learn; may hold none."""
        return self.root / "unlabelled"

    @property
    def unlabelled(self) -> Path:
        """The clips of those videos."""
        return self.work / "unlabelled"

    @property
    def teachers(self) -> Path:
        """What students may be taught by: documents on each candidate that is no student."""
        return self.work / "teachers"

    def trained(self, candidate: str) -> Path:
        """The MD5 of the bundle of a candidate that is no student."""
        return self.teachers / f"{candidate}.json"

    def trained_on_folds(self, candidate: str) -> Path:
        """The MD5 of each of its bundles that were trained on the folds."""
        return self.teachers / f"{candidate}.folds.json"

    def teacher_scores(self, candidate: str) -> Path:
        """Its validation scores, where the best is to teach."""
        return self.teachers / f"{candidate}.scores.json"

    @property
    def teachings(self) -> Path:
        """Who teaches each student; an empty folder without students."""
        return self.work / "teachings"

    def teaching(self, student: str) -> Path:
        """Who teaches a student, with the MD5 of their bundles."""
        return self.teachings / f"{student}.json"

    @property
    def architectures(self) -> Path:
        """Lists of the code that each candidate's model is made of."""
        return self.work / "architectures"

    def checkpoints(self, candidate: str) -> Path:
        """The checkpoint from which a killed training of one candidate resumes."""
        return self.work / "checkpoints" / candidate

    def fold_models(self, candidate: str) -> Path:
        """The models of one candidate that were trained on the folds; empty without folds."""
        return self.work / "folds" / candidate

    def training(self, candidate: str) -> Path:
        """Learning curves and duration of one candidate's training."""
        return self.work / "training" / candidate

    def scores(self, candidate: str) -> Path:
        """The scores of one candidate that selection may use: no test scores."""
        return self.work / "scores" / f"{candidate}.json"

    def evaluated(self, candidate: str) -> Path:
        """The MD5 of each file of one candidate's report."""
        return self.work / "evaluated" / f"{candidate}.json"

    def answers(self, candidate: str) -> Path:
        """What one candidate's bundle itself answered, which its Bento has to repeat."""
        return self.work / "answers" / f"{candidate}.csv"

    @property
    def restyled(self) -> Path:
        """The clips in other styles, a store for each; an empty folder without `restyle`."""
        return self.work / "restyled"

    @property
    def style_models(self) -> Path:
        """The generators of `make style`; not below `models`, which the main pipeline reads."""
        return self.root / "style" / "models"

    def style_network(self, name: str) -> Path:
        """A network that repaints pictures in one style."""
        return self.root / "style" / "networks" / f"{name}.keras"

    @property
    def refit(self) -> Path:
        """The winner, trained once more on train and val; an empty folder without `refit`."""
        return self.work / "refit"

    @property
    def refit_answers(self) -> Path:
        """What the bundle `refit` answered, which its Bento has to repeat."""
        return self.work / "refit.csv"

    @property
    def forms(self) -> Path:
        """Smaller and faster forms, <candidate>/<name>; an empty folder without `compress`."""
        return self.work / "forms"

    @property
    def form_records(self) -> Path:
        """What is known of forms without test clips: all that `choose` may use."""
        return self.work / "compress"

    @property
    def all_form_answers(self) -> Path:
        """What forms answered."""
        return self.work / "form_answers"

    def form_answers(self, candidate: str, form: str) -> Path:
        """What one form answered to the test clips; with folds, to the validation clips."""
        return self.all_form_answers / candidate / f"{form}.csv"

    @property
    def choice_answers(self) -> Path:
        """What the form that is packaged answered, which its Bento has to repeat."""
        return self.work / "choice.csv"

    @property
    def learning_curve_models(self) -> Path:
        """Models that were trained on fewer recordings; empty if there is no learning curve."""
        return self.work / "learning_curve"

    @property
    def challenge(self) -> Path:
        """What the champion and the newest model score on the present test clips."""
        return self.work / "challenge.json"

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
    def explanations(self) -> Path:
        """Explanations of the winner's answers, and how they were checked."""
        return self.reports / "explain"

    @property
    def validation_site(self) -> Path:
        return self.reports / "validation"

    @property
    def validation_history(self) -> Path:
        """The pages of earlier validations. No candidate can be called so: its name has a dot."""
        return self.reports / "validation.history"

    @property
    def review(self) -> Path:
        """Videos with corrected answers, for a person to look at."""
        return self.reports / "feedback.review"

    @property
    def accepted(self) -> Path:
        """The data that passed validation last; `make clean` does not delete it."""
        return self.root / ".history" / "accepted.json"

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
    def figures(self) -> Path:
        """The numbers behind the figures of the page."""
        return self.reports / "figures"

    @property
    def winner(self) -> Path:
        return self.reports / "winner.json"

    @property
    def compression(self) -> Path:
        """What the forms of models lose and gain."""
        return self.reports / "compress"

    @property
    def choice(self) -> Path:
        """Which form of the winner is packaged."""
        return self.reports / "choice.json"

    @property
    def refit_record(self) -> Path:
        """What `refit` was trained on, and its test scores."""
        return self.reports / "refit.json"

    @property
    def learning_curve(self) -> Path:
        return self.reports / "learning_curve.csv"

    @property
    def decision(self) -> Path:
        """Whether the newest model replaces the champion, and why."""
        return self.reports / "decision.json"

    @property
    def monitoring(self) -> Path:
        """What the service saw, compared with what its model was tested on."""
        return self.reports / "monitor"

    @property
    def dist(self) -> Path:
        """Exported Bentos: the newest model's, and those that were champions."""
        return self.root / "dist"

    @property
    def bento(self) -> Path:
        """The newest model, packaged."""
        return self.dist / "kinoflow.bento"

    @property
    def journal(self) -> Path:
        """Who was champion when, and why."""
        return self.dist / "journal.jsonl"

    @property
    def champion(self) -> Path:
        """Names the Bento that is served; without this file, the newest one is."""
        return self.dist / "champion"

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
