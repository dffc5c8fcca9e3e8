"""Which clips of the test set are worth an explanation."""

import numpy as np
import pandas as pd

from kinoflow.config import Explain


def choose(answers: pd.DataFrame, params: Explain) -> pd.DataFrame:
    """The wrong answers that are surest, the pairs confused most, and a right answer of classes.

    Args:
        answers: the table `tables.PREDICTIONS`.
        params: how many of each.

    Returns `video`, `label`, `predicted` and `why` (error, confused or right). A clip that is there
    for two reasons has two rows.
    """
    table = answers[["video", "label", "predicted"]]
    sure = [row[f"p_{row['predicted']}"] for row in answers.to_dict("records")]
    table = table.assign(sure=sure)
    table = table.sort_values(["sure", "video"], ascending=[False, True], ignore_index=True)
    right = table["label"] == table["predicted"]
    firsts = table[right].drop_duplicates("label").sort_values("label", ignore_index=True)
    spread = np.linspace(0, len(firsts) - 1, min(params.right, len(firsts))).round().astype(int)
    parts = [
        table[~right].head(params.errors).assign(why="error"),
        _confused(table, params.confused).assign(why="confused"),
        firsts.iloc[spread].assign(why="right"),
    ]
    return pd.concat(parts, ignore_index=True).drop(columns="sure")


def _confused(table: pd.DataFrame, pairs: int) -> pd.DataFrame:
    """For each of the pairs of classes confused most often, a clip taken for the other class, and
    one of that other class, a right one if there is any.

    `table` is sorted by how sure the answers are.
    """
    wrong = table[table["label"] != table["predicted"]]
    counts = wrong.groupby(["label", "predicted"]).size().reset_index(name="clips")
    counts = counts.sort_values(
        ["clips", "label", "predicted"], ascending=[False, True, True], ignore_index=True
    )
    seen: set[frozenset[str]] = set()
    rows: list[int] = []
    for pair in counts.itertuples():
        both = frozenset((str(pair.label), str(pair.predicted)))
        if both in seen or len(seen) == pairs:
            continue
        seen.add(both)
        taken = wrong[(wrong["label"] == pair.label) & (wrong["predicted"] == pair.predicted)]
        other = table[table["label"] == pair.predicted]
        # stable, so that the surest of the right ones is first
        other = other.iloc[np.argsort((other["label"] != other["predicted"]), kind="stable")]
        rows += [int(taken.index[0]), *(int(row) for row in other.index[:1])]
    return table.loc[rows]
