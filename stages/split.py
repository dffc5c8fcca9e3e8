"""Divide the videos into train, val and test so that no recording is on two sides.

Only the method `random` breaks this rule: it shows how much a leak flatters the scores.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from kinoflow import config
from kinoflow.config import Split
from kinoflow.data import tables
from kinoflow.data.tables import SIDES
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run
from stages.split_published import published_sides, read_folders

_TRIES = 20  # divisions into folds that are tried until every class is on all sides


def stratified_group(table: pd.DataFrame, params: Split, seed: int) -> pd.Series:
    """The side of each row of the catalog: no group is divided, and classes are balanced.

    Raises UserError if a class has fewer than three groups.
    """
    groups = table.groupby("label")["group"].nunique()
    few = groups[groups < len(SIDES)]
    if len(few):
        counted = ", near-duplicates as one" if params.near_duplicates == "merge" else ""
        raise UserError(
            f"class {few.index[0]} has {few.iloc[0]} groups (recordings{counted}), and a grouped "
            f"split into train, val and test takes at least {len(SIDES)} in each class"
            + (f"; {', '.join(few.index[1:])} have too few as well" if len(few) > 1 else "")
        )
    sides = pd.Series("train", index=table.index, dtype="str")
    test = _held_out(table, params.test, seed)
    sides[test] = "test"
    rest = table.drop(index=test)
    sides[_held_out(rest, params.val / (1 - params.test), seed)] = "val"
    return sides


def official(table: pd.DataFrame, published: pd.Series, params: Split, seed: int) -> pd.Series:
    """The published side of each row of the catalog; "" for videos that have none.

    Args:
        table: the catalog.
        published: train, val or test, by a video's name. If no video is on val, some groups of
            train are moved there.
        params: the section `split` of params.yaml.
        seed: decides which groups are moved to val.

    Raises UserError if none of the videos has a published side.
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
    """The side of each row of the catalog: groups with the number `fold` are for testing.

    This is the protocol of UCF-50. A group's number ends its name: v_Basketball_g07 has the
    number 7, as one group of every class does. Some of the other groups become val.

    Args:
        table: the catalog, with near-duplicate groups merged where that is asked for.
        stated: the group of each row before merging, whose name ends in its number.
        params: the section `split` of params.yaml.
        seed: decides which groups become val.

    Raises UserError for groups without a number, and for a number that no group has.
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


def group_kfold(table: pd.DataFrame, params: Split, seed: int) -> tuple[pd.Series, list[pd.Series]]:
    """The side of each row of the catalog in the training that is packaged, and in each fold.

    The groups are divided into `params.folds` parts, balanced by class. Each fold tests on one of
    them, so that every video is tested on once. In the training that is packaged no video is on
    test. Where a class would be missing on a side, because groups with several classes are hard to
    balance, other divisions are tried.

    Raises UserError if a class has fewer groups than there are folds, or than each fold needs to
    have the class on all of its sides.
    """
    groups = table.groupby("label")["group"].nunique()
    # with two folds, each has half of the groups left for train and val
    least = max(params.folds, len(SIDES), 4 if params.folds == 2 else 0)
    few = groups[groups < least]
    if len(few):
        counted = ", near-duplicates as one" if params.near_duplicates == "merge" else ""
        raise UserError(
            f"class {few.index[0]} has {few.iloc[0]} groups (recordings{counted}), and "
            f"split.folds {params.folds} takes at least {least} in each class"
            + (f"; {', '.join(few.index[1:])} have too few as well" if len(few) > 1 else "")
        )

    def divided(test: pd.Index, seed: int) -> pd.Series:
        sides = pd.Series("train", index=table.index, dtype="str")
        sides[test] = "test"
        sides[_held_out(table.drop(index=test), params.val, seed)] = "val"
        return sides

    labels = table["label"].to_numpy()
    for drawn in range(seed, seed + _TRIES):
        splitter = StratifiedGroupKFold(params.folds, shuffle=True, random_state=drawn % 2**32)
        parts = splitter.split(table.index, labels, table["group"].to_numpy())
        folds = [divided(table.index[rows], drawn % 2**32) for _, rows in parts]
        if not any(_missing(labels, each) for each in folds):
            break
    return divided(table.index[:0], seed), folds


def random(table: pd.DataFrame, params: Split, seed: int) -> pd.Series:
    """A random side for each row of the catalog, stratified by class: groups leak.

    Raises UserError if a class has too few videos.
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


def check(table: pd.DataFrame, sides: pd.Series, needed: Sequence[str] = SIDES) -> None:
    """Raise UserError if a group is on two sides or a class is missing on one of those needed."""
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
    for side in needed:
        missing = counts.index[counts[side] == 0]
        if len(missing):
            raise UserError(
                f"{side} would have no video of class {', '.join(missing)}: "
                "give that class more groups, or change the settings of split"
            )


def merged_groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """The group of each row of the catalog, where groups that share near-duplicates are one.

    A merged group is called like the first of its groups in alphabetical order.

    Args:
        table: the catalog.
        pairs: near-duplicates, named in `video` and `other`.
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
    """The table `video`, `split`, `group` of the readable videos that are on a side.

    Args:
        table: the catalog.
        params: the section `split` of params.yaml.
        seed: decides everything that is drawn at random.
        data: the folder of the videos, which may hold published sides.
        pairs: near-duplicates of different groups. Where params say to merge them, `group` is
            the merged group. It stays on one side, unless published sides divide it.

    Raises UserError as the methods and `check` do.
    """
    return divide_with_folds(table, params, seed, data, pairs)[0]


def divide_with_folds(
    table: pd.DataFrame, params: Split, seed: int, data: Path, pairs: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `divide` gives, and the table `tables.FOLDS`.

    The second table has no rows unless the method is `group_kfold`.
    """
    by_folder = read_folders(table["video"], data)
    if len(by_folder) and params.method != "official":
        raise UserError(
            f"{data}/ is divided already, into {', '.join(sorted(by_folder.unique()))}, and "
            f"split.method {params.method} would ignore that: set it to official, or write a "
            "labels.csv with the columns video and label to divide anew"
        )
    readable = table[table["readable"]].reset_index(drop=True)
    merged = readable
    if params.near_duplicates == "merge" and pairs is not None:
        merged = readable.assign(group=merged_groups(readable, pairs))
    # `official` and `leave_one_group_out` fix the sides of groups as the catalog has them. So these
    # groups are checked: published sides may divide a merged group.
    folds: list[pd.Series] = []
    if params.method == "official":
        published = published_sides(table, data, params.fold)
        sides = official(merged, published, params, seed)
        check(readable, sides)
    elif params.method == "leave_one_group_out":
        sides = leave_one_group_out(merged, readable["group"], params, seed)
        check(readable, sides)
    elif params.method == "random":
        sides = random(merged, params, seed)
        # here every video counts as a group of its own, so only the classes are checked
        check(merged.assign(group=merged["video"]), sides)
    elif params.method == "group_kfold":
        sides, folds = group_kfold(merged, params, seed)
        check(merged, sides, needed=("train", "val"))
        for each in folds:
            check(merged, each)
    else:
        sides = stratified_group(merged, params, seed)
        check(merged, sides)
    divided = merged[["video"]].assign(split=sides, group=merged["group"])[sides != ""]
    numbered = [divided.assign(fold=number, split=each) for number, each in enumerate(folds, 1)]
    return divided, pd.concat([tables.empty(tables.FOLDS), *numbered], ignore_index=True)


def _missing(labels: NDArray, sides: pd.Series) -> bool:
    """Whether a class (N,) is missing on one of the sides (N,)."""
    counts = pd.crosstab(labels, sides.to_numpy()).reindex(columns=SIDES, fill_value=0)
    return bool((counts == 0).any(axis=None))


def _held_out(table: pd.DataFrame, fraction: float, seed: int) -> pd.Index:
    """The rows to hold out: about `fraction` of every class, in whole groups.

    The rows are divided into 1 / `fraction` stratified folds, and the fold that comes closest to
    `fraction` in every class is held out.
    """
    folds = max(2, round(1 / fraction))
    labels, groups = table["label"].to_numpy(), table["group"].to_numpy()
    most = int(table.groupby("label")["group"].nunique().min())
    splitter = StratifiedGroupKFold(min(folds, max(2, most)), shuffle=True, random_state=seed)
    wanted = table["label"].value_counts() * fraction

    def distance(rows: np.ndarray) -> float:
        held = table["label"].iloc[rows].value_counts().reindex(wanted.index, fill_value=0)
        # a class of which nothing is held out is worse than any imbalance
        return float((held - wanted).abs().sum() + len(table) * (held == 0).sum())

    candidates = [rows for _, rows in splitter.split(labels, labels, groups)]
    return table.index[min(candidates, key=distance)]


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    table = tables.read(workspace.catalog, tables.CATALOG)
    pairs = tables.read(workspace.duplicates, tables.DUPLICATES)
    split, folds = divide_with_folds(table, params.split, params.seed, workspace.data, pairs)
    tables.write(split, workspace.split, tables.SPLIT)
    tables.write(folds, workspace.folds, tables.FOLDS)
    left_out = int(table["readable"].sum()) - len(split)
    print(
        f"split ({params.split.method}): "
        + ", ".join(f"{(split['split'] == side).sum()} {side}" for side in SIDES)
        + (f"; in {params.split.folds} folds each is tested on once" if len(folds) else "")
        + (f"; {left_out} in no published list are left out" if left_out else "")
        + ("; it LEAKS" if params.split.method == "random" else "")
    )


if __name__ == "__main__":
    run(main)
