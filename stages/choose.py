"""Choose the form in which the winner is packaged, by its validation clips alone."""

from dataclasses import dataclass

from kinoflow import config
from kinoflow.compress import settings
from kinoflow.compress.settings import ORIGINAL, Compress
from kinoflow.config import Selection
from kinoflow.reports.records import Choice, Winner
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

_LEVEL = 0.05  # times that differ by less are taken for equal: clocks are not that exact


@dataclass(frozen=True)
class Option:
    """A form of the winner, or the winner itself."""

    name: str
    milliseconds: float  # for a clip
    megabytes: float
    difference: float  # of its accuracy on validation clips to the winner's
    lowest: float  # the lower end of the interval of this difference

    def refused(self, limits: Selection, margin: float) -> str:
        """Why it cannot be packaged, in words; "" if it can."""
        if self.name != ORIGINAL and self.lowest < -margin:
            return (
                f"may be {-100 * self.lowest:.1f} points less accurate on validation clips, "
                f"over {100 * margin:.1f}"
            )
        if limits.max_latency_ms is not None and self.milliseconds > limits.max_latency_ms:
            return f"takes {self.milliseconds:g} ms a clip, over {limits.max_latency_ms:g}"
        if limits.max_size_mb is not None and self.megabytes > limits.max_size_mb:
            return f"is {self.megabytes:g} MB, over {limits.max_size_mb:g}"
        return ""


def choose(winner: str, options: list[Option], wanted: Compress, limits: Selection) -> Choice:
    """Choose one form of the winner, or the winner as it is.

    Args:
        winner: the candidate's name.
        options: its forms and itself.
        wanted: the section `compress` of params.yaml.
        limits: the section `selection` of params.yaml.

    Raises UserError if each of them breaks a limit.
    """
    refused = {each.name: why for each in options if (why := each.refused(limits, wanted.margin))}
    allowed = [each for each in options if each.name not in refused]
    if not allowed:
        raise UserError(
            f"no form of {winner} keeps the limits: "
            + "; ".join(f"{name} {why}" for name, why in refused.items())
        )
    (itself,) = [each for each in options if each.name == ORIGINAL]
    best = _best(allowed, wanted)
    reason = (
        f"of {len(allowed)} that may be packaged, {best.name} is the {wanted.choose}, with "
        f"{best.milliseconds:.1f} ms a clip and {best.megabytes:.2f} MB; the original takes "
        f"{itself.milliseconds:.1f} ms and has {itself.megabytes:.2f} MB"
    )
    return Choice(
        candidate=winner,
        form=None if best.name == ORIGINAL else best.name,
        reason="; ".join([reason, *(f"{name} {why}" for name, why in refused.items())]),
    )


def _best(allowed: list[Option], wanted: Compress) -> Option:
    if wanted.choose == "smallest":
        return min(allowed, key=lambda each: (each.megabytes, each.milliseconds))
    quickest = min(each.milliseconds for each in allowed)
    level = [each for each in allowed if each.milliseconds <= quickest * (1 + _LEVEL)]
    return min(level, key=lambda each: (-each.difference, each.megabytes, each.name))


def _options(workspace: Workspace, winner: str) -> list[Option]:
    """All that the stage compress measured of a candidate, from validation clips alone."""
    # here, since the stage has to be quick where compress.enabled is off
    import pandas as pd

    from kinoflow.data import tables

    folder = workspace.form_records
    known = [
        table[table["candidate"] == winner].drop(columns="candidate").set_index("form")
        for table in (
            tables.read(folder / "forms.csv", tables.FORMS),
            tables.read(folder / "times.csv", tables.FORM_TIMES),
            tables.read(folder / "scores.csv", tables.FORM_SCORES),
        )
    ]
    return [
        Option(
            name=str(name),
            milliseconds=row["median_ms"],
            megabytes=row["bytes"] / 1e6,
            difference=row["difference"],
            lowest=row["difference_low"],
        )
        for name, row in pd.concat(known, axis=1, join="inner").iterrows()
    ]


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    wanted = settings.of(params.compress, workspace.params)
    winner = Winner.read(workspace.winner).winner
    options = _options(workspace, winner) if wanted.enabled and wanted.choose != "none" else []
    if options:
        choice = choose(winner, options, wanted, params.selection)
    else:
        choice = Choice(candidate=winner, reason=f"there are no forms of {winner} to choose from")
    answers = "video,label,predicted\n"
    if choice.form is not None:
        answers = workspace.form_answers(winner, choice.form).read_text(encoding="utf-8")
    files.write_text(workspace.choice_answers, answers)
    choice.write(workspace.choice)
    print(f"choose: {choice.reason}")


if __name__ == "__main__":
    run(main)
