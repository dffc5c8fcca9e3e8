"""Train the winner on fewer recordings, where evaluation.learning_curve is on: would more help?"""

import shutil
from typing import TYPE_CHECKING, NamedTuple

from kinoflow import config
from kinoflow.config import Params
from kinoflow.reports.records import Winner
from kinoflow.system import files
from kinoflow.workspace import Workspace, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from kinoflow.training.kept import KeptTrainings

# how the bundles of these fractions of the recordings are called
NAMES = {0.25: "quarter", 0.5: "half"}
HEADING = "fraction,recordings,clips,side,accuracy,low,high\n"


class Division(NamedTuple):
    """The split or one of the folds, and the bundle that was trained on all its recordings."""

    fold: int | None
    prefix: str  # of the names of bundles that are trained on fewer recordings
    bundle: "Path"
    table: "pd.DataFrame"  # as `kinoflow.data.clips.split_table` gives the split


def learning_curve(workspace: Workspace, params: Params, winner: str) -> "pd.DataFrame":
    """The table `tables.LEARNING_CURVE`: what the winner scores after fewer recordings.

    It is trained on a quarter and on a half of the training recordings, into work/learning_curve/.
    The scores after all of them are those of the bundle that is there. With folds this is done in
    each fold, and the answers of all folds are scored together.

    Raises UserError as `kinoflow.training.fit.fit` does.
    """
    # here, since the stage has to be quick where evaluation.learning_curve is off
    import pandas as pd

    from kinoflow.data import clips
    from kinoflow.system import locks
    from kinoflow.system.terminal import silenced_stderr

    with silenced_stderr():
        from kinoflow.training.kept import KeptTrainings

    folds = clips.fold_tables(workspace)
    divisions = [
        Division(number, f"fold{number}-", workspace.fold_models(winner) / str(number), table)
        for number, table in folds.items()
    ] or [Division(None, "", workspace.bundle(winner), clips.split_table(workspace))]
    kept = KeptTrainings(
        workspace, "learning_curve", params.resolve(winner), workspace.learning_curve_models
    )
    with locks.held(workspace.lock(f"train-{winner}"), f"training {winner}"):
        kept.leave([each.prefix + name for each in divisions for name in NAMES.values()])
        points = [_points(kept, divisions, fraction, params) for fraction in (*NAMES, 1.0)]
    return pd.DataFrame([row for rows in points for row in rows])


def fewer(table: "pd.DataFrame", fraction: float, seed: int) -> "pd.DataFrame":
    """The rows of a split with a fraction of its training recordings, and all other rows.

    Each class keeps this fraction of its recordings, rounded, and at least one. What a smaller
    fraction keeps, a larger one keeps as well.

    Args:
        table: the split, as `kinoflow.data.clips.split_table` gives it.
        fraction: above 0, up to 1.
        seed: decides which recordings are kept.
    """
    import numpy as np

    training = table["split"] == "train"
    kept = ~training
    for label, rows in table[training].groupby("label"):
        groups = np.random.default_rng(seed).permutation(sorted(rows["group"].unique()))
        chosen = groups[: max(1, round(fraction * len(groups)))]
        kept |= training & (table["label"] == label) & table["group"].isin(chosen)
    return table.loc[kept].reset_index(drop=True)


def _points(
    kept: "KeptTrainings", divisions: "Sequence[Division]", fraction: float, params: Params
) -> list[dict[str, object]]:
    """The rows of the table for one fraction of the recordings."""
    from kinoflow import bundle
    from kinoflow.reports import metrics, scoring
    from kinoflow.training.fit import TrainingData
    from kinoflow.training.lessons import Lesson

    recordings, trained_on, judged = 0, 0, []
    for fold, prefix, folder, table in divisions:
        part = fewer(table, fraction, params.seed)
        recordings += part.loc[part["split"] == "train", "group"].nunique()
        trained_on += int((part["split"] == "train").sum())
        if fraction in NAMES:
            data = TrainingData.of(kept.workspace, part[part["split"] != "test"])
            called = f"{prefix}{NAMES[fraction]} of the recordings"
            lesson = Lesson.of(kept.workspace, kept.run, fold)
            model = kept.train(prefix + NAMES[fraction], data, lesson=lesson, called=called)
        else:
            model = bundle.load(folder)
        _, sides = scoring.load_sides(kept.workspace, ("val", "test"), table)
        judged.append(
            {name: (side, scoring.answer(model, side, name)) for name, side in sides.items()}
        )
    rows = []
    for name in ("val", "test"):
        side = scoring.join([each[name][0] for each in judged])
        answers = scoring.join_answers([each[name][1] for each in judged])
        hits = answers.calibrated.argmax(axis=1) == side.clips.labels
        low, high = metrics.bootstrap_interval(
            hits, side.groups, params.evaluation.bootstrap, params.seed
        )
        rows.append(
            {
                "fraction": fraction,
                "recordings": round(recordings / len(divisions)),
                "clips": round(trained_on / len(divisions)),
                "side": name,
                "accuracy": hits.mean(),
                "low": low,
                "high": high,
            }
        )
    return rows


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    if not params.evaluation.learning_curve:
        shutil.rmtree(workspace.learning_curve_models, ignore_errors=True)
        workspace.learning_curve_models.mkdir(parents=True)
        files.write_text(workspace.learning_curve, HEADING)
        print("learning_curve: evaluation.learning_curve is off")
        return
    from kinoflow.data import tables

    winner = Winner.read(workspace.winner).winner
    table = learning_curve(workspace, params, winner)
    tables.write(table, workspace.learning_curve, tables.LEARNING_CURVE)
    tested = table[table["side"] == "test"]
    print(
        f"learning_curve: {winner} has test accuracy "
        + ", ".join(
            f"{r.accuracy:.3f} after {r.recordings} recordings" for r in tested.itertuples()
        )
    )


if __name__ == "__main__":
    run(main)
