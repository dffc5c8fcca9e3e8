"""Report what the split leaks: near-duplicates on two sides, and how much random splits flatter.

With `split.near_duplicates: block` the pipeline stops at a leak, after the report is written.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from kinoflow import config
from kinoflow.config import Split
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipStore
from kinoflow.reports.drawing import strip
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video.padding import unpadded
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run
from stages import leaks_page
from stages.leaks_page import Strips

_SHOWN = 40  # how many pairs the page shows; leaks and the most similar come first
_FRAMES = 8  # how many frames of a clip the page shows
_STRIP = 84  # pixels: the height of these frames
_RANDOM_SPLITS = 5  # how many random splits the cheap model is scored on
_COMPONENTS = 128  # principal components that the cheap model is given


def judge(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Give each pair of near-duplicates its sides and a verdict; leaks come first.

    The verdict is `leaks` if the videos of a pair are on two sides. Otherwise it is `merged` if
    the split took both for one group, and `one side` if they are on one side by chance. Pairs with
    a video that the split leaves out are dropped.

    Args:
        pairs: near-duplicates, as `stages.duplicates.find` gives them.
        table: the split, with `video`, `split` and `group`.

    Returns the columns of `tables.LEAKS`.
    """
    side, group = table.set_index("video")["split"], table.set_index("video")["group"]
    found = pairs[pairs["video"].isin(side.index) & pairs["other"].isin(side.index)].copy()
    one, other = found["video"], found["other"]
    found["split"], found["other_split"] = one.map(side), other.map(side)
    together = np.where(one.map(group) == other.map(group), "merged", "one side")
    found["verdict"] = np.where(found["split"] == found["other_split"], together, "leaks")
    return _leaks_first(found)


def _leaks_first(found: pd.DataFrame) -> pd.DataFrame:
    order = found.assign(kept=found["verdict"] != "leaks")
    return order.sort_values(["kept", "similarity"], ascending=[True, False])[
        [*tables.LEAKS.columns]
    ]


def judge_folds(
    pairs: pd.DataFrame, table: pd.DataFrame, folds: Mapping[int, pd.DataFrame]
) -> pd.DataFrame:
    """As `judge`, where a pair leaks if it does so in the split or in any fold.

    Args:
        pairs: near-duplicates, as `stages.duplicates.find` gives them.
        table: the split, with `video`, `split` and `group`.
        folds: each fold by its number, with the same columns. A pair that leaks in one has sides
            such as "test of fold 2".
    """
    found = judge(pairs, table)
    for number, fold in folds.items():
        sides = fold.assign(split=fold["split"] + f" of fold {number}")
        judged = judge(pairs, sides)
        leaking = judged[judged["verdict"] == "leaks"]
        # the first place in which a pair leaks is enough
        new = leaking.index[found.loc[leaking.index, "verdict"] != "leaks"]
        found.loc[new] = leaking.loc[new]
    return _leaks_first(found)


def score_cheap_model(
    features: NDArray[np.float32],
    labels: NDArray,
    tests: Sequence[NDArray[np.bool_]],
    seed: int,
) -> dict[str, float]:
    """How well a cheap model tells the classes apart on this split and on random ones.

    The model is logistic regression on principal components. It has no sense of time.

    Args:
        features: (N, F) what each clip looks like, as `appearance` gives it.
        labels: (N,) the label of each clip.
        tests: for the split, or for each fold, (N,) whether each clip is in the test set.
        seed: decides the random splits.

    Returns test accuracies by name. `grouped` is that on the split, or on all folds together.
    `random`, `random_lowest` and `random_highest` are the mean and the range over random splits,
    which are stratified by class and have as many test clips. `chance` is that of always answering
    the commonest class. `random` less `grouped` is how much it helps to know the recordings.
    """

    def accuracy(held: NDArray[np.bool_]) -> float:
        model = make_pipeline(
            StandardScaler(),
            PCA(min(_COMPONENTS, int((~held).sum()), features.shape[1]), random_state=seed),
            LogisticRegression(C=0.1, max_iter=500),
        )
        # for matrices this small, threads of BLAS wait for each other far longer than they work
        with threadpool_limits(1, user_api="blas"):
            model.fit(features[~held], labels[~held])
            return float(model.score(features[held], labels[held]))

    random = []
    for number in range(_RANDOM_SPLITS):
        rows = np.arange(len(labels))
        _, held = train_test_split(
            rows, test_size=int(tests[0].sum()), stratify=labels, random_state=seed + number
        )
        random.append(accuracy(np.isin(rows, held)))
    grouped = np.average([accuracy(test) for test in tests], weights=[t.sum() for t in tests])
    tested = labels[np.logical_or.reduce(tests)]
    return {
        "grouped": round(float(grouped), 4),
        "random": round(float(np.mean(random)), 4),
        "random_lowest": round(min(random), 4),
        "random_highest": round(max(random), 4),
        "chance": round(float(pd.Series(tested).value_counts(normalize=True).max()), 4),
    }


def appearance(clip: Frames) -> NDArray[np.float32]:
    """Features (F,) of what a clip (T, H, W, 3) looks like, whatever the order of its frames.

    They are the histogram of its colours, and the mean and standard deviation over time of its
    frames at 16 x 16 pixels.
    """
    clip = unpadded(clip)
    small = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA) for frame in clip]
    colours = [
        np.bincount((clip[..., channel] >> 4).ravel(), minlength=16) / clip[..., channel].size
        for channel in range(3)
    ]
    layout = np.stack(small).astype(np.float32) / 255
    parts = [*colours, layout.mean(axis=0), layout.std(axis=0)]
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def strips(pair: pd.Series, store: ClipStore) -> Strips:
    """Frames of both clips of a pair, in order of time: a JPEG file for each clip."""
    one, other = (_strip(pair[name], store) for name in ("video", "other"))
    return one, other


def _strip(video: str, store: ClipStore) -> bytes:
    clip = store.memmap(video)
    rows = np.linspace(0, len(clip) - 1, min(_FRAMES, len(clip))).round().astype(int)
    return strip([np.asarray(clip[row]) for row in rows], _STRIP)


def check(found: pd.DataFrame, params: Split, page: Path) -> str:
    """A warning of the near-duplicates on two sides of the split; "" if there are none.

    Args:
        found: near-duplicates with their verdicts.
        params: the section `split` of params.yaml.
        page: the page that shows them.

    Raises UserError instead if `near_duplicates` is `block`.
    """
    leaking = found[found["verdict"] == "leaks"]
    if leaking.empty:
        return ""
    first = leaking.iloc[0]
    message = (
        f"{len(leaking)} pairs of near-duplicates stand on two sides of the split, the first "
        f"{first['video']} ({first['split']}) and {first['other']} ({first['other_split']}): "
        f"see {page}"
    )
    if params.near_duplicates == "block":
        way_out = "set split.near_duplicates to merge to keep them together"
        if params.method not in ("stratified_group", "group_kfold"):
            way_out += ", or take one of each pair out of the data if published sides divide them"
        raise UserError(f"{message}, and {way_out}")
    return message


def _tested(table: pd.DataFrame, divided: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each video of the split (N,) is on the test side of the split or of a fold."""
    tested = divided.loc[divided["split"] == "test", "video"]
    return table["video"].isin(tested).to_numpy()


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table, store = clips.split_table(workspace), ClipStore(workspace.clips)
    folds = clips.fold_tables(workspace)
    found = judge_folds(tables.read(workspace.duplicates, tables.DUPLICATES), table, folds)
    features = np.stack([appearance(store.read(video)) for video in table["video"]])
    tests = [_tested(table, divided) for divided in folds.values() or (table,)]
    numbers = score_cheap_model(features, table["label"].to_numpy(), tests, params.seed)
    shown = [strips(pair, store) for _, pair in found.head(_SHOWN).iterrows()]
    page = leaks_page.render(found, numbers, shown, _RANDOM_SPLITS)
    files.write_text(workspace.leaks_page, page)
    tables.write(found, workspace.leaks, tables.LEAKS)
    leaking = int((found["verdict"] == "leaks").sum())
    files.write_json(workspace.leaks_numbers, {"pairs": len(found), "leaking": leaking, **numbers})
    if warning := check(found, params.split, workspace.leaks_page):
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"leaks: {leaking} pairs on two sides; a cheap model has accuracy {numbers['grouped']:.3f} "
        f"on this split and {numbers['random']:.3f} on random ones"
    )


if __name__ == "__main__":
    run(main)
