"""What the split would leak: near-duplicates on two sides, and how much a random split flatters.

The report is written in any case; with `split.near_duplicates: block` the pipeline then stops.
"""

import sys
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

from kinoflow import config
from kinoflow.config import Split
from kinoflow.data import clips, tables
from kinoflow.reports import figures, page
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video.sampling import unpadded
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run

_PICTURES = 40  # pairs shown, the leaking and the most alike first
_FRAMES = 8  # of each clip in a picture
_RANDOM_SPLITS = 5
_COMPONENTS = 128


def judge(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The near-duplicates with their sides and a verdict each, leaks first.

    `table` is that of the split. A pair `leaks` where its videos stand on two sides; else it is
    `merged` where the split took both for one group, or is on `one side` by chance.
    """
    side, group = table.set_index("video")["split"], table.set_index("video")["group"]
    found = pairs[pairs["video"].isin(side.index) & pairs["other"].isin(side.index)].copy()
    one, other = found["video"], found["other"]
    found["split"], found["other_split"] = one.map(side), other.map(side)
    together = np.where(one.map(group) == other.map(group), "merged", "one side")
    found["verdict"] = np.where(found["split"] == found["other_split"], together, "leaks")
    order = found.assign(kept=found["verdict"] != "leaks")
    return order.sort_values(["kept", "similarity"], ascending=[True, False])[
        [*tables.LEAKS.columns]
    ]


def probe(
    seen: NDArray[np.float32], labels: NDArray, test: NDArray[np.bool_], seed: int
) -> dict[str, float]:
    """How well a cheap model tells the classes apart on this split and on random ones.

    `seen` are features (N, F) of the clips, `test` says which are in the test set. The model is
    logistic regression on their principal components. `grouped` is its accuracy on the split,
    `random` the mean over random splits, stratified by class, with as many test clips; what lies
    between them is what knowing the recordings is worth.
    """

    def accuracy(held: NDArray[np.bool_]) -> float:
        model = make_pipeline(
            StandardScaler(),
            PCA(min(_COMPONENTS, int((~held).sum()), seen.shape[1]), random_state=seed),
            LogisticRegression(C=0.1, max_iter=500),
        )
        model.fit(seen[~held], labels[~held])
        return float(model.score(seen[held], labels[held]))

    random = []
    for number in range(_RANDOM_SPLITS):
        rows = np.arange(len(labels))
        _, chosen = train_test_split(
            rows, test_size=int(test.sum()), stratify=labels, random_state=seed + number
        )
        random.append(accuracy(np.isin(rows, chosen)))
    return {
        "grouped": round(accuracy(test), 4),
        "random": round(float(np.mean(random)), 4),
        "random_lowest": round(min(random), 4),
        "random_highest": round(max(random), 4),
        "chance": round(float(pd.Series(labels[test]).value_counts(normalize=True).max()), 4),
    }


def features(clip: Frames) -> NDArray[np.float32]:
    """What a clip (T, H, W, 3) looks like, and nothing of its order in time: (F,).

    The histogram of its colours, and the mean and deviation over time of a coarse picture.
    """
    clip = unpadded(clip)
    small = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA) for frame in clip]
    colours = [
        np.histogram(clip[..., channel], bins=16, range=(0, 256))[0] / clip[..., channel].size
        for channel in range(3)
    ]
    layout = np.stack(small).astype(np.float32) / 255
    parts = [*colours, layout.mean(axis=0), layout.std(axis=0)]
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def picture(pair: pd.Series, store: Path) -> bytes:
    """Both clips of a pair, one above the other, as PNG."""
    shown = {}
    for name, side in (("video", "split"), ("other", "other_split")):
        clip = np.load(clips.clip_path(store, pair[name]), mmap_mode="r")
        rows = np.linspace(0, len(clip) - 1, min(_FRAMES, len(clip))).round().astype(int)
        shown[f"{Path(pair[name]).name}\n{pair[side]}"] = np.asarray(clip[rows])
    return figures.png(figures.contact_sheet(shown))


def report(found: pd.DataFrame, numbers: dict[str, float], pictures: list[bytes]) -> str:
    """The page; the first of the pairs `found` have `pictures`."""
    points = 100 * (numbers["random"] - numbers["grouped"])
    splits = [
        ("this one", f"{numbers['grouped']:.3f}", ""),
        (
            f"random, mean of {_RANDOM_SPLITS}",
            f"{numbers['random']:.3f}",
            f"{numbers['random_lowest']:.3f} to {numbers['random_highest']:.3f}",
        ),
        ("always the commonest class", f"{numbers['chance']:.3f}", ""),
    ]
    leaking = int((found["verdict"] == "leaks").sum())
    shown = [
        page.picture(
            content,
            f"Frames of {pair['video']} above frames of {pair['other']}",
            f"{pair['verdict']}, similarity {pair['similarity']:.3f}"
            f"{', mirrored' if pair['mirrored'] else ''}: {pair['video']} ({pair['split']}, group "
            f"{pair['group']}) and {pair['other']} ({pair['other_split']}, group "
            f"{pair['other_group']})",
        )
        for pair, content in zip(found.to_dict("records"), pictures, strict=False)
    ]
    if len(found) > len(shown):
        shown.append(page.paragraph(f"{len(found) - len(shown)} more are in leaks.csv."))
    return page.document(
        "Leaks",
        page.contents(
            [
                (
                    "What a random split would be worth",
                    page.paragraph(
                        "A cheap model, logistic regression on colours and layout without any "
                        "sense of time, was fitted to the same clips, divided in two ways. On "
                        "random splits, where clips of one recording stand on both sides, it "
                        f"scores {abs(points):.1f} percentage points "
                        + (
                            "higher: what is higher is owed to knowing the recordings."
                            if points > 0
                            else "lower: knowing the recordings is worth nothing here."
                        )
                    )
                    + page.table(("split", "test accuracy", "lowest to highest"), splits),
                ),
                (
                    "Near-duplicates of different groups",
                    page.paragraph(
                        f"{len(found)} pairs of videos show the same although their groups "
                        f"differ; {leaking} of them stand on two sides of the split."
                    )
                    + "\n".join(shown),
                ),
            ]
        ),
    )


def check(found: pd.DataFrame, params: Split, page: Path) -> str:
    """A warning about the pairs on two sides, or "" without any.

    `page` shows them all. Raises UserError instead where `near_duplicates` is `block`.
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
        if params.method != "stratified_group":
            way_out += ", or take one of each pair out of the data where published sides part them"
        raise UserError(f"{message}, and {way_out}")
    return message


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table = clips.split_table(workspace)
    found = judge(tables.read(workspace.duplicates, tables.DUPLICATES), table)
    seen = np.stack(
        [features(np.load(clips.clip_path(workspace.clips, video))) for video in table["video"]]
    )
    numbers = probe(
        seen, table["label"].to_numpy(), (table["split"] == "test").to_numpy(), params.seed
    )
    pictures = [picture(pair, workspace.clips) for _, pair in found.head(_PICTURES).iterrows()]
    files.write_text(workspace.leaks_page, report(found, numbers, pictures))
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
