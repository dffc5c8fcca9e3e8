"""Score the champion and the newest model on the same present test clips.

The champion is the Bento that dist/champion names. Its model classifies the clips anew, by the code
in its Bento. The newest model's answers are those that evaluation recorded. What comes out is
work/challenge.json, by which `python -m flows.promote` decides.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kinoflow import bentos, config
from kinoflow.bundle import DESCRIPTION
from kinoflow.config import Params
from kinoflow.data import clips, seen, tables
from kinoflow.reports import comparison, metrics
from kinoflow.reports.decision import Contender, Difference, Evidence, Recall
from kinoflow.reports.records import Refit, Winner, chosen_form, packaged
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised, wait
from kinoflow.workspace import Workspace, run

# what of bundle.json an answer depends on, beside the model
_ANSWERS = ("labels", "clip", "frames", "views", "flip", "temperature")


@dataclass(frozen=True)
class Opened:
    """A Bento that was unpacked."""

    version: str
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "src" / "bundle"

    @cached_property
    def description(self) -> dict[str, Any]:
        """Its bundle.json, unchecked: another version of kinoflow may have written it."""
        found: dict[str, Any] = files.read_json(self.bundle / DESCRIPTION)
        return found

    @cached_property
    def model(self) -> tuple[str, ...]:
        """What tells its model from others: equal for models that give the same answers."""
        settings = {key: self.description.get(key) for key in _ANSWERS}
        return _model(self.bundle), json.dumps(settings, sort_keys=True)

    @property
    def size_mb(self) -> float:
        return round(sum(path.stat().st_size for path in bentos.model_files(self.bundle)) / 1e6, 3)


@dataclass(frozen=True)
class Scored:
    """What a Bento's model answered."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]  # (N, classes)
    latency_ms: float


def challenge(workspace: Workspace, params: Params) -> Evidence:
    """Compare the champion with the newest model.

    Raises UserError if there is no champion or no package of the present winner, or if the
    champion's model cannot be run.
    """
    champion_file = bentos.champion(workspace.champion)
    if champion_file is None:
        raise UserError(f"there is no {workspace.champion}: `python -m flows.promote` makes it")
    answers, folds = _recorded(workspace)
    with tempfile.TemporaryDirectory(prefix="kinoflow-challenge-") as temporary:
        champion = _open(champion_file, Path(temporary) / "champion")
        challenger = _open(workspace.bento, Path(temporary) / "challenger")
        _require_present(workspace, challenger)
        labels = tuple(challenger.description["labels"])
        table = answers.merge(_shown(workspace), on="video", how="left", validate="one_to_one")
        known, counts = _counted(table, champion, challenger, folds=folds)
        timed = list(table["video"][: params.evaluation.latency_clips])
        print(f"challenge: the champion classifies {counts.sum()} of {len(table)} clips")
        old = _scored(champion, list(table["video"][counts]), timed, workspace, params)
        print("challenge: the newest model's latency")
        new = _scored(challenger, [], timed, workspace, params)
        return _evidence(
            table,
            counts,
            (champion, old),
            (challenger, new),
            params=params,
            known=known,
            folds=folds,
            labels=labels,
        )


def _recorded(workspace: Workspace) -> tuple[pd.DataFrame, bool]:
    """The newest model's answers to the test clips, and whether they are those of the folds."""
    winner = Winner.read(workspace.winner).winner
    if len(tables.read(workspace.folds, tables.FOLDS)):
        path = workspace.report(winner) / "predictions.csv"
        return tables.read(path, tables.PREDICTIONS), True
    if chosen_form(workspace) is not None:
        return tables.read(workspace.choice_answers, tables.PREDICTIONS), False
    again = Refit.read(workspace.refit_record).candidate == winner
    path = workspace.refit_answers if again else workspace.answers(winner)
    return tables.read(path, tables.PREDICTIONS), False


def _open(bento: Path, folder: Path) -> Opened:
    folder.mkdir()
    bentos.extract_bento(bento, folder)
    return Opened(bentos.version(bento), folder)


def _require_present(workspace: Workspace, challenger: Opened) -> None:
    """Raise UserError unless the Bento holds the model that the recorded answers are of."""
    form = chosen_form(workspace)
    folder = form[1] if form else packaged(workspace, Winner.read(workspace.winner).winner)
    if _model(folder) != _model(challenger.bundle):
        raise UserError(f"{workspace.bento} is not of the present winner: run `make repro`")


def _model(folder: Path) -> str:
    """What tells one model from another: the MD5 of each of its files."""
    return " ".join(files.md5(path) for path in bentos.model_files(folder))


def _shown(workspace: Workspace) -> pd.DataFrame:
    """`video`, `md5`, `recording` and `merged` of all clips, and the `group` to resample."""
    table = seen.clips(workspace)
    groups = clips.split_table(workspace)[["video", "group"]]
    return table.drop(columns=["label", "split"]).merge(groups, on="video")


def _counted(
    table: pd.DataFrame, champion: Opened, challenger: Opened, *, folds: bool
) -> tuple[bool, pd.Series]:
    """Whether it is known what the champion has seen, and which clips (N,) it has not.

    A champion without a list was trained on the same clips if its hash of them is the same.
    """
    listed = seen.read(champion.bundle)
    if listed is not None:
        return True, pd.Series(~seen.are_seen(table, listed), index=table.index)
    data = champion.description.get("data")
    same = bool(data) and data == challenger.description.get("data") and not folds
    return same, pd.Series(True, index=table.index)


def _scored(
    opened: Opened, videos: list[str], timed: list[str], workspace: Workspace, params: Params
) -> Scored:
    """Have a Bento's model classify videos, and measure its latency, in a process of its own."""
    request, probabilities, about = (
        opened.folder / name for name in ("request.json", "probabilities.npy", "about.json")
    )
    files.write_json(
        request,
        {
            "bundle": str(opened.bundle),
            "clip": asdict(params.clip),
            "store": str(workspace.clips.absolute()),
            "data": str(workspace.data.absolute()),
            "videos": videos,
            "timed": timed,
        },
    )
    program = Path(__file__).with_name("challenge_score.py")
    # -P: the folder of the program is no place to import from
    command = [sys.executable, "-P", str(program), *map(str, (request, probabilities, about))]
    source = opened.folder / "src"
    log = opened.folder / "log"
    with (
        log.open("w") as output,
        run_supervised(
            command,
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(source)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        code = wait(process)
    if code:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise UserError(
            f"the model of Bento {opened.version} cannot be scored: {said[-1] if said else code}"
        )
    found = files.read_json(about)
    return Scored(tuple(found["labels"]), np.load(probabilities), found["latency_ms"])


def _evidence(
    table: pd.DataFrame,
    unseen: pd.Series,
    champion: tuple[Opened, Scored],
    challenger: tuple[Opened, Scored],
    *,
    params: Params,
    known: bool,
    folds: bool,
    labels: tuple[str, ...],
) -> Evidence:
    (old_bento, old), (new_bento, new) = champion, challenger
    of_both = table["label"].isin(old.labels)
    counts = (unseen & of_both).to_numpy(bool)
    right = (table["predicted"] == table["label"]).to_numpy(bool)
    named = np.array(old.labels)[old.probabilities.argmax(axis=1)] if unseen.any() else []
    old_right = np.zeros(len(table), bool)
    old_right[unseen.to_numpy(bool)] = named == table["label"][unseen].to_numpy()
    recalls = tuple(
        Recall(
            label=label,
            found=int(right[mine].sum()),
            clips=int(mine.sum()),
            champion=_mean(old_right[mine & counts]),
        )
        for label in labels
        for mine in [(table["label"] == label).to_numpy(bool)]
    )
    bins = params.evaluation.calibration_bins
    probabilities = table[[f"p_{label}" for label in labels]].to_numpy(np.float32)
    rows = np.flatnonzero(counts[unseen.to_numpy(bool)])
    return Evidence(
        champion=Contender(
            version=old_bento.version,
            candidate=str(old_bento.description.get("name", "")),
            accuracy=_mean(old_right[counts]),
            ece=_ece(table["label"][counts], old.probabilities[rows], old.labels, bins),
            latency_ms=round(old.latency_ms, 3),
            size_mb=old_bento.size_mb,
        ),
        challenger=Contender(
            version=new_bento.version,
            candidate=str(new_bento.description["name"]),
            accuracy=_mean(right[counts]),
            ece=_ece(table["label"], probabilities, labels, bins),
            latency_ms=round(new.latency_ms, 3),
            size_mb=new_bento.size_mb,
        ),
        same_model=old_bento.model == new_bento.model,
        clips=len(table),
        folds=folds,
        known=known,
        left_out=int((~unseen).sum()),
        unknown_clips=int((unseen & ~of_both).sum()),
        new_labels=tuple(label for label in labels if label not in old.labels),
        lost_labels=tuple(label for label in old.labels if label not in labels),
        confidence=params.promotion.confidence,
        difference=_difference(
            right[counts], old_right[counts], table["group"][counts].to_numpy(), params
        ),
        recalls=recalls,
    )


def _difference(
    right: NDArray[np.bool_], old_right: NDArray[np.bool_], groups: NDArray, params: Params
) -> Difference | None:
    """The challenger's accuracy less the champion's (N,), with its interval; None without clips."""
    if not len(groups):
        return None
    which, recording = np.unique(groups, return_inverse=True)
    gains = np.bincount(recording, right.astype(float) - old_right).astype(np.float64)
    low, high = comparison.intervals(
        gains[:, None],
        np.bincount(recording).astype(float),
        params.evaluation.bootstrap,
        params.seed,
        confidence=params.promotion.confidence,
    )
    value = gains.sum() / len(groups)
    return Difference(
        clips=len(groups),
        recordings=len(which),
        value=round(float(value), 6),
        low=round(float(low[0]), 6),
        high=round(float(high[0]), 6),
    )


def _mean(hits: NDArray[np.bool_]) -> float | None:
    return round(float(hits.mean()), 6) if len(hits) else None


def _ece(
    truth: pd.Series, probabilities: NDArray[np.float32], labels: tuple[str, ...], bins: int
) -> float | None:
    """The expected calibration error; None without clips."""
    if not len(truth):
        return None
    place = {label: index for index, label in enumerate(labels)}
    indices = np.array([place[label] for label in truth], np.int64)
    return round(metrics.calibration_error(indices, probabilities, bins), 6)


def main(workspace: Workspace) -> None:
    evidence = challenge(workspace, config.load(workspace.params))
    evidence.write(workspace.challenge)
    found = evidence.difference
    print(
        f"challenge: {evidence.challenger.candidate} against {evidence.champion.candidate}: "
        + (f"{100 * found.value:+.1f} points on {found.clips} clips" if found else "no clips left")
    )


if __name__ == "__main__":
    run(main)
