"""What is packaged: the winner's bundle, or a form of one."""

from dataclasses import dataclass
from pathlib import Path

from kinoflow.bundle import Description
from kinoflow.compress import formats
from kinoflow.compress.forms import DETAILS, Details
from kinoflow.config import Serving
from kinoflow.reports.records import Winner, chosen_form, packaged
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class Chosen:
    """A trained model that is to be packaged."""

    candidate: str
    folder: Path  # of the bundle or the form
    answers: Path  # what it answered to test clips
    refit: bool  # whether it was trained once more, with validation clips

    def __str__(self) -> str:
        """In words, for the terminal."""
        details = form_details(self.folder)
        form = "" if details is None else f" as {details.format} {details.precision}"
        without = "" if runs_on_tensorflow(details) else ", without TensorFlow"
        again = ", trained once more on train and val" if self.refit else ""
        return f"{self.candidate}{form}{without}{again}"


def choose(workspace: Workspace) -> Chosen:
    """What reports/choice.json says; the winner where it names no form, or where there is none.

    Raises UserError for a form that is not there or cannot be read.
    """
    form = chosen_form(workspace)
    if form is not None:
        candidate, folder = form
        if not (folder / DETAILS).exists():
            raise UserError(
                f"{workspace.choice} chooses {folder}, which holds no form: run the stages that "
                "make and choose forms again"
            )
        refit = Description.read(folder).refit
        return Chosen(candidate, folder, workspace.choice_answers, refit)
    winner = Winner.read(workspace.winner).winner
    folder = packaged(workspace, winner)
    refit = folder != workspace.bundle(winner)
    answers = workspace.refit_answers if refit else workspace.answers(winner)
    return Chosen(winner, folder, answers, refit)


def form_details(folder: Path) -> Details | None:
    """What a form says of itself; None for the folder of a bundle."""
    return Details.read(folder) if (folder / DETAILS).exists() else None


def runs_on_tensorflow(details: Details | None) -> bool:
    """Whether TensorFlow runs a form, as it runs a bundle, for which `details` is None."""
    return details is None or formats.find(details.format).runtime == "tensorflow"


def require_servable(chosen: Chosen, serving: Serving) -> None:
    """Raise UserError for settings that take TensorFlow, if what was chosen does without."""
    if runs_on_tensorflow(form_details(chosen.folder)):
        return
    for setting, wanted, nothing in (
        ("style", serving.style, "null"),
        ("gpu", serving.gpu, "false"),
    ):
        if wanted:
            raise UserError(
                f"serving.{setting} takes TensorFlow, and this Bento holds {chosen}: set it to "
                f"{nothing}, or have the winner itself packaged with compress.enabled: false"
            )
