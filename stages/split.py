"""Divide the videos into train, val and test so that no recording stands on two sides.

But for `random`, which is there to show what published numbers owe to the leak.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from kinoflow import config
from kinoflow.config import Split
from kinoflow.data import catalog, tables
from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS, LISTS, Workspace, run

SIDES = ("train", "val", "test")


def stratified_group(table: pd.DataFrame, params: Split, seed: int) -> pd.Series:
    """A side per row of the catalog: groups whole, classes as balanced as groups allow.

    Raises UserError where a class has fewer than three groups.
    """
    groups = table.groupby("label")["group"].nunique()
    few = groups[groups < len(SIDES)]
    if len(few):
        counted = ", near-duplicates as one" if params.near_duplicates == "merge" else ""
        raise UserError(
            f"class {few.index[0]} has {few.iloc[0]} groups (recordings{counted}), and a grouped "
            f"split into train, val and test takes at least {len(SIDES)} in each class"
            + (f"; so do {', '.join(few.index[1:])}" if len(few) > 1 else "")
        )
    sides = pd.Series("train", index=table.index, dtype="str")
    test = _held_out(table, params.test, seed)
    sides[test] = "test"
    rest = table.drop(index=test)
    sides[_held_out(rest, params.val / (1 - params.test), seed)] = "val"
    return sides


def official(table: pd.DataFrame, published: pd.Series, params: Split, seed: int) -> pd.Series:
    """A side per row of the catalog as published; "" for videos that the lists leave out.

    `published` maps a video's name to train, val or test. Where it knows no val, val is carved
    out of train by group.
    """
    sides = table["video"].map(published).fillna("").astype("str")
    if (sides == "").all():
        raise UserError(
            f"none of the {len(table)} videos is in the published lists, "
            f"which name videos such as {published.index[0]}"
        )
    if not (sides == "val").any():
        train = table[sides == "train"]
        if not train.empty:
            sides[_held_out(train, params.val, seed)] = "val"
    return sides


def leave_one_group_out(
    table: pd.DataFrame, stated: pd.Series, params: Split, seed: int
) -> pd.Series:
    """A side per row of the catalog: the groups of number `fold` for test, as UCF-50 asks for.

    A group's number ends its name as `stated`: v_Basketball_g07 has the number 7 in every class.
    Val is carved out of the rest by the table's groups. Raises UserError for groups without a
    number, and for a number that no group has.
    """
    numbers = stated.str.extract(r"(\d+)$", expand=False)
    if numbers.isna().any():
        raise UserError(
            f"split.method leave_one_group_out goes by the number that ends a group's name, and "
            f"{stated[numbers.isna()].iloc[0]} has none"
        )
    held = numbers.astype(int) == params.fold
    if not held.any():
        known = sorted(set(numbers.astype(int)))
        raise UserError(
            f"split.fold {params.fold}: no group has this number; there are {known[0]} to "
            f"{known[-1]}"
        )
    sides = pd.Series("train", index=table.index, dtype="str").mask(held, "test")
    if not held.all():
        sides[_held_out(table[~held], params.val, seed)] = "val"
    return sides


def random(table: pd.DataFrame, params: Split, seed: int) -> pd.Series:
    """A side per row of the catalog whatever its group, stratified by class: this leaks.

    Raises UserError where a class has too few videos for that.
    """

    def held_out(rows: pd.DataFrame, fraction: float) -> pd.Index:
        try:
            _, held = train_test_split(
                rows.index, test_size=fraction, stratify=rows["label"], random_state=seed
            )
        except ValueError as error:
            raise UserError(f"split.method random, {len(rows)} videos: {error}") from None
        return held

    sides = pd.Series("train", index=table.index, dtype="str")
    test = held_out(table, params.test)
    sides[test] = "test"
    sides[held_out(table.drop(index=test), params.val / (1 - params.test))] = "val"
    return sides


def published_lists(lists: Path, fold: int, videos: pd.Series) -> pd.Series:
    """Which side the published lists put each video on, by the video's name.

    Those of UCF-101 are trainlistNN.txt and testlistNN.txt with lines `Class/video.avi`, with or
    without a label number; those of HMDB-51 <class>_test_splitN.txt with lines `video.avi 1`,
    where 1 is train, 2 is test and 0 is neither. Raises UserError for a fold that has no lists.
    """
    by_class = sorted(lists.glob(f"*_test_split{fold}.txt"))
    if by_class:
        return _lists_by_class(by_class, fold)
    if others := {path.stem.rpartition("split")[2] for path in lists.glob("*_test_split*.txt")}:
        raise UserError(
            f"split.fold {fold}: the lists in {lists} are those of {', '.join(sorted(others))}"
        )
    by_name = {Path(video).name: video for video in videos}
    found = {}
    for side in ("train", "test"):
        path = lists / f"{side}list{fold:02d}.txt"
        if not path.exists():
            raise UserError(
                f"split.fold {fold} has no {path}: there are "
                + (", ".join(sorted(p.name for p in lists.glob("*.txt"))) or "no lists at all")
            )
        for line in path.read_text(encoding="utf-8").split("\n"):
            if entry := line.strip():
                name = Path(entry.split()[0]).name
                found[by_name.get(name, entry.split()[0])] = side
    return pd.Series(found, dtype="str")


def _lists_by_class(lists: list[Path], fold: int) -> pd.Series:
    sides = {"1": "train", "2": "test"}
    found = {}
    for path in lists:
        label = path.name.removesuffix(f"_test_split{fold}.txt")
        for line in path.read_text(encoding="utf-8").split("\n"):
            if entry := line.strip():
                video, _, side = entry.rpartition(" ")
                if side in sides:
                    found[f"{label}/{video.strip()}"] = sides[side]
    return pd.Series(found, dtype="str")


def published_column(labels: Path) -> pd.Series:
    """Which side the split column of a labels.csv puts each video on.

    Raises UserError if there is no such column, or it holds anything but train, val and test.
    """
    table = catalog.read_labels(labels) if labels.is_file() else pd.DataFrame()
    if "split" not in table:
        raise UserError(
            "split.method official needs published lists: set dataset.lists to their folder, "
            "give labels.csv a split column, or put the class folders into train/, val/ and "
            "test/; for UCF-50, which has no lists, use leave_one_group_out"
        )
    sides = table.set_index("video")["split"]
    unknown = sides[~sides.isin(SIDES)]
    if len(unknown):
        raise UserError(
            f"{labels}: {unknown.index[0]} has the split {unknown.iloc[0]!r}, "
            f"which is none of {', '.join(SIDES)}"
        )
    return sides


def published_folders(videos: pd.Series, data: Path) -> pd.Series:
    """Which side each video is on by the folder of `data` it lies in; empty without such folders.

    A labels.csv stands above folders.
    """
    if (data / LABELS).is_file():
        return pd.Series(dtype="str")
    sides = catalog.from_folders(videos, str(data)).set_index("video")["split"]
    return sides[sides != ""]


def check(table: pd.DataFrame, sides: pd.Series) -> None:
    """Raise UserError if a group stands on two sides or a side lacks a class."""
    used = table.assign(split=sides)[sides != ""]
    per_group = used.groupby("group")["split"].nunique()
    leaking = per_group[per_group > 1]
    if len(leaking):
        rows = used[used["group"] == leaking.index[0]].drop_duplicates("split")
        raise UserError(
            f"{len(leaking)} groups would stand on two sides of the split, the first "
            f"{leaking.index[0]}: "
            + ", ".join(f"{row.video} in {row.split}" for row in rows.itertuples())
        )
    counts = pd.crosstab(used["label"], used["split"]).reindex(columns=SIDES, fill_value=0)
    for side in SIDES:
        missing = counts.index[counts[side] == 0]
        if len(missing):
            raise UserError(
                f"{side} would have no video of class {', '.join(missing)}: "
                "give that class more groups, or change split.val and split.test"
            )


def merged(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """The groups of a catalog's rows, one where near-duplicates connect several.

    `pairs` names videos that show the same, as `video` and `other`. A merged group is called by
    the first of its members' names.
    """
    names, numbers = np.unique(table["group"], return_inverse=True)
    number = pd.Series(numbers, index=table["video"])
    known = pairs[pairs["video"].isin(number.index) & pairs["other"].isin(number.index)]
    ends = number[known["video"]].to_numpy(), number[known["other"]].to_numpy()
    graph = coo_array((np.ones(len(known)), ends), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = pd.Series(names).groupby(component).first()
    return pd.Series(first[component[numbers]].to_numpy(), index=table.index, dtype="str")


def divide(
    table: pd.DataFrame, params: Split, seed: int, data: Path, pairs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The table `video, split, group` for the readable videos of a catalog.

    `pairs` are near-duplicates of different groups. Where they are to be merged, `group` is the
    merged one, and stays on one side but for what published lists prescribe.

    Raises UserError as `stratified_group`, `official` and `check` do.
    """
    by_folder = published_folders(table["video"], data)
    if len(by_folder) and params.method != "official":
        raise UserError(
            f"{data}/ is divided already, into {', '.join(sorted(by_folder.unique()))}, and "
            f"split.method {params.method} would ignore that: set it to official, or write a "
            "labels.csv with the columns video and label to divide anew"
        )
    table = table[table["readable"]].reset_index(drop=True)
    stated = table
    if params.near_duplicates == "merge" and pairs is not None:
        table = table.assign(group=merged(table, pairs))
    if params.method == "official":
        lists = data / LISTS
        if lists.exists():
            published = published_lists(lists, params.fold, table["video"])
        else:
            published = by_folder if len(by_folder) else published_column(data / LABELS)
        sides = official(table, published, params, seed)
        check(stated, sides)
    elif params.method == "leave_one_group_out":
        sides = leave_one_group_out(table, stated["group"], params, seed)
        check(stated, sides)
    elif params.method == "random":
        sides = random(table, params, seed)
        # every clip for a recording of its own, which is what this method makes believe
        check(table.assign(group=table["video"]), sides)
    else:
        sides = stratified_group(table, params, seed)
        check(table, sides)
    return table[["video"]].assign(split=sides, group=table["group"])[sides != ""]


def _held_out(table: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """The rows of the fold that holds `fraction` of them and is closest to it in every class.

    Folds are stratified by class and keep groups whole.
    """
    folds = max(2, round(1 / fraction))
    labels, groups = table["label"].to_numpy(), table["group"].to_numpy()
    most = int(table.groupby("label")["group"].nunique().min())
    splitter = StratifiedGroupKFold(min(folds, max(2, most)), shuffle=True, random_state=seed)
    wanted = table["label"].value_counts() * fraction

    def distance(rows: np.ndarray) -> float:
        held = table["label"].iloc[rows].value_counts().reindex(wanted.index, fill_value=0)
        # a class without any is worse than any imbalance
        return float((held - wanted).abs().sum() + len(table) * (held == 0).sum())

    candidates = [rows for _, rows in splitter.split(labels, labels, groups)]
    return table.index[min(candidates, key=distance)]


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table = catalog.read(workspace.catalog)
    pairs = tables.read(workspace.duplicates, tables.DUPLICATES)
    split = divide(table, params.split, params.seed, workspace.data, pairs)
    tables.write(split, workspace.split, tables.SPLIT)
    left_out = int(table["readable"].sum()) - len(split)
    print(
        f"split ({params.split.method}): "
        + ", ".join(f"{(split['split'] == side).sum()} {side}" for side in SIDES)
        + (f"; {left_out} in no published list are left out" if left_out else "")
        + ("; it LEAKS" if params.split.method == "random" else "")
    )


if __name__ == "__main__":
    run(main)
