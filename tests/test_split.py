from pathlib import Path

import pandas as pd
import pytest

from kinoflow.config import Params, Split
from kinoflow.system.errors import UserError
from stages import split


def table(classes: int = 3, groups: int = 10, clips: int = 3) -> pd.DataFrame:
    rows = [
        {"video": f"{c}/v_{c}_g{g:02d}_c{n:02d}.avi", "label": c, "group": f"v_{c}_g{g:02d}"}
        for c in "ABCDEF"[:classes]
        for g in range(1, groups + 1)
        for n in range(1, clips + 1)
    ]
    return pd.DataFrame(rows).assign(readable=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "groups", "clips"), [(2, 3, 1), (3, 10, 3), (6, 7, 2)])
def test_groups_stay_whole_and_every_side_has_every_class(
    classes: int, groups: int, clips: int, seed: int, defaults: Params, tmp_path: Path
) -> None:
    catalog = table(classes, groups, clips)
    result = split.divide(catalog, defaults.split, seed, tmp_path).merge(
        catalog, on=["video", "group"]
    )
    assert len(result) == len(catalog)
    assert (result.groupby("group")["split"].nunique() == 1).all()
    assert (result.groupby("label")["split"].nunique() == 3).all()


def test_sides_have_the_size_asked_for(defaults: Params, tmp_path: Path) -> None:
    shares = split.divide(table(), defaults.split, 7, tmp_path)["split"].value_counts(True)
    assert shares["test"] == pytest.approx(0.2, abs=0.04)
    assert shares["val"] == pytest.approx(0.2, abs=0.06)


def test_the_seed_decides(defaults: Params, tmp_path: Path) -> None:
    one, again, other = (
        split.divide(table(), defaults.split, seed, tmp_path) for seed in (1, 1, 2)
    )
    assert one.equals(again)
    assert not one.equals(other)


def test_unreadable_videos_are_not_used(defaults: Params, tmp_path: Path) -> None:
    catalog = table()
    catalog.loc[5, "readable"] = False
    result = split.divide(catalog, defaults.split, 7, tmp_path)
    assert catalog.loc[5, "video"] not in set(result["video"])


def test_too_few_groups_are_refused(defaults: Params, tmp_path: Path) -> None:
    catalog = table()
    catalog = catalog[(catalog["label"] != "B") | catalog["group"].str.endswith(("g01", "g02"))]
    with pytest.raises(UserError, match="class B has 2 groups.*at least 3"):
        split.divide(catalog, defaults.split, 7, tmp_path)
    pairs = pd.DataFrame({"video": ["A/v_A_g01_c01.avi"], "other": ["A/v_A_g02_c01.avi"]})
    three = table(2, 3, 1)
    with pytest.raises(UserError, match="class A has 2 groups .recordings, near-duplicates as one"):
        split.divide(three, defaults.split, 7, tmp_path, pairs)


def test_random_ignores_groups_and_keeps_the_shares_of_every_class(
    defaults: Params, tmp_path: Path
) -> None:
    asked = defaults.split.model_copy(update={"method": "random", "near_duplicates": "warn"})
    catalog = table()
    result = split.divide(catalog, asked, 7, tmp_path).merge(catalog, on=["video", "group"])
    assert len(result) == len(catalog)
    assert (result.groupby("group")["split"].nunique() > 1).any()
    counts = pd.crosstab(result["label"], result["split"])
    assert (counts == pd.Series({"test": 6, "train": 18, "val": 6})).all(axis=None)
    assert split.divide(catalog, asked, 7, tmp_path).equals(
        split.divide(catalog, asked, 7, tmp_path)
    )
    with pytest.raises(UserError, match="split.method random, 4 videos: "):
        split.divide(catalog.iloc[[0, 1, 2, 40]], asked, 7, tmp_path)


def lists(folder: Path, train: list[str], test: list[str]) -> None:
    folder = folder / ".lists"
    folder.mkdir()
    (folder / "trainlist01.txt").write_text("".join(f"{name} 1\r\n" for name in train))
    (folder / "testlist01.txt").write_text("".join(f"{name}\r\n" for name in test))


def official(defaults: Params, **changes: object) -> Split:
    return defaults.split.model_copy(update={"method": "official", **changes})


def test_official_follows_the_lists_and_carves_val_by_group(
    defaults: Params, tmp_path: Path
) -> None:
    catalog = table()
    tested = catalog["group"].str[-2:].isin(["01", "02"])
    listed = catalog["video"].str.contains("c01|c02")
    lists(
        tmp_path,
        list(catalog["video"][~tested & listed]),
        list(catalog["video"][tested & listed]),
    )
    result = split.divide(catalog, official(defaults), 7, tmp_path).merge(
        catalog, on=["video", "group"]
    )
    assert set(result["video"]) == set(catalog["video"][listed])
    assert set(result["video"][result["split"] == "test"]) == set(catalog["video"][tested & listed])
    assert (result.groupby("group")["split"].nunique() == 1).all()
    assert (result["split"] == "val").sum() > 0


def test_a_group_on_two_sides_is_an_error(defaults: Params, tmp_path: Path) -> None:
    catalog = table()
    test = catalog["video"].str.contains("c01")  # one clip of every recording
    lists(tmp_path, list(catalog["video"][~test]), list(catalog["video"][test]))
    with pytest.raises(UserError, match="groups would stand on two sides.*v_A_g01_c01.avi in test"):
        split.divide(catalog, official(defaults), 7, tmp_path)


def test_a_side_without_a_class_is_an_error(defaults: Params, tmp_path: Path) -> None:
    catalog = table()
    test = (catalog["label"] != "C") & catalog["group"].str.endswith("g01")
    lists(tmp_path, list(catalog["video"][~test]), list(catalog["video"][test]))
    with pytest.raises(UserError, match="test would have no video of class C"):
        split.divide(catalog, official(defaults), 7, tmp_path)


def test_lists_of_other_videos_or_another_fold_are_refused(
    defaults: Params, tmp_path: Path
) -> None:
    lists(tmp_path, ["X/other.avi"], ["X/another.avi"])
    with pytest.raises(UserError, match="none of the 90 videos is in the published lists"):
        split.divide(table(), official(defaults), 7, tmp_path)
    with pytest.raises(UserError, match="split.fold 2 has no .*trainlist02.txt: there are testl"):
        split.divide(table(), official(defaults, fold=2), 7, tmp_path)


def test_official_takes_the_split_column_of_labels_csv(defaults: Params, tmp_path: Path) -> None:
    catalog = table()
    side = catalog["group"].str[-2:].map({"01": "val", "02": "test"}).fillna("train")
    labels = catalog.assign(split=side)[["video", "label", "group", "split"]]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    result = split.divide(catalog, official(defaults), 7, tmp_path)
    assert list(result["split"]) == list(side)

    labels.assign(split="train ").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError, match="has the split 'train '"):
        split.divide(catalog, official(defaults), 7, tmp_path)
    labels.drop(columns="split").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError, match="needs published lists"):
        split.divide(catalog, official(defaults), 7, tmp_path)


def by_sides(sides: dict[str, str]) -> pd.DataFrame:
    """The catalog of a folder such as train/A/1.avi; `sides` maps folders to what they mean."""
    videos = [f"{side}/{c}/{n}.avi" for side in sides for c in "AB" for n in range(4)]
    catalog = pd.DataFrame({"video": videos, "group": videos, "readable": True})
    return catalog.assign(label=catalog["video"].str.split("/").str[1])


def test_official_takes_folders_of_published_sides(defaults: Params, tmp_path: Path) -> None:
    sides = {"training": "train", "Val": "val", "test": "test"}
    catalog = by_sides(sides)
    catalog.loc[0, "readable"] = False
    result = split.divide(catalog, official(defaults), 7, tmp_path)
    assert len(result) == len(catalog) - 1
    assert (result["video"].str.partition("/")[0].map(sides) == result["split"]).all()

    # without val some of train becomes it, as with published lists
    result = split.divide(by_sides({"train": "", "test": ""}), official(defaults), 7, tmp_path)
    tops = result["video"].str.partition("/")[0]
    assert set(result["split"][tops == "test"]) == {"test"}
    assert set(result["split"][tops == "train"]) == {"train", "val"}


def test_a_class_called_test_is_no_side_even_if_only_a_broken_video_shows_that(
    defaults: Params, tmp_path: Path
) -> None:
    # as the catalog takes them, train and test are classes here, since Other is one
    catalog = by_sides({"train": "", "test": "", "Other": ""})
    catalog["readable"] = ~catalog["video"].str.startswith("Other/")
    with pytest.raises(UserError, match="split.method official needs published lists"):
        split.divide(catalog, official(defaults), 7, tmp_path)


@pytest.mark.parametrize(
    "method", ["stratified_group", "random", "leave_one_group_out", "group_kfold"]
)
def test_folders_of_published_sides_are_not_ignored(
    defaults: Params, tmp_path: Path, method: str
) -> None:
    params = defaults.split.model_copy(update={"method": method})
    catalog = by_sides({"train": "", "test": ""})
    says = f"is divided already, into test, train, and split.method {method} would ignore that"
    with pytest.raises(UserError, match=says):
        split.divide(catalog, params, 7, tmp_path)
    # what says itself what the labels are may be divided anew
    (tmp_path / "labels.csv").write_text(catalog[["video", "label"]].to_csv(index=False))
    if method != "leave_one_group_out":
        assert len(split.divide(catalog, params, 7, tmp_path)) == len(catalog)


def test_real_official_lists(real_data: Path, defaults: Params, tmp_path: Path) -> None:
    (tmp_path / ".lists").symlink_to(real_data / "ucfTrainTestlist")
    videos = [
        f"{p.parent.name}/{p.name}" for p in sorted((real_data / "ucf101-mini").rglob("*.avi"))
    ]
    catalog = pd.DataFrame({"video": videos, "readable": True})
    catalog["label"] = catalog["video"].str.partition("/")[0]
    catalog["group"] = catalog["video"].str.extract(r"(v_.+_g\d+)_c")[0]
    result = split.divide(catalog, official(defaults), 7, tmp_path)
    assert result["split"].value_counts()["test"] == 56


def test_near_duplicates_keep_groups_together(defaults: Params, tmp_path: Path) -> None:
    catalog = table(2, 8, 2)
    chain = [f"A/v_A_g{number:02d}_c01.avi" for number in (1, 4, 7)]
    pairs = pd.DataFrame({"video": chain[:2], "other": chain[1:]})
    for seed in range(5):
        result = split.divide(catalog, defaults.split, seed, tmp_path, pairs)
        joined = result[result["group"] == "v_A_g01"]
        assert len(joined) == 6
        assert joined["split"].nunique() == 1
        assert result["group"].nunique() == 14
    for way in ("block", "warn"):
        params = defaults.split.model_copy(update={"near_duplicates": way})
        result = split.divide(catalog, params, 1, tmp_path, pairs)
        assert result["group"].nunique() == 16


def test_published_lists_stand_above_near_duplicates(defaults: Params, tmp_path: Path) -> None:
    catalog = table(2, 6, 1)
    sides = pd.Series(["test", "train", "train", "train", "train", "train"] * 2)
    (tmp_path / "labels.csv").write_text(
        catalog.assign(split=sides)[["video", "label", "split"]].to_csv(index=False)
    )
    pairs = pd.DataFrame({"video": [catalog["video"][0]], "other": [catalog["video"][1]]})
    result = split.divide(catalog, official(defaults), 7, tmp_path, pairs).set_index("video")
    assert (result.loc[catalog["video"][sides == "test"], "split"] == "test").all()
    assert set(result.loc[catalog["video"][sides == "train"], "split"]) == {"train", "val"}


def kfold(defaults: Params, **changes: object) -> Split:
    return defaults.split.model_copy(update={"method": "group_kfold", **changes})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("groups", "folds"), [(10, 5), (5, 5), (4, 2), (3, 3)])
def test_with_folds_every_video_is_tested_on_once_and_its_recording_is_nowhere_else(
    groups: int, folds: int, seed: int, defaults: Params, tmp_path: Path
) -> None:
    catalog = table(3, groups, 2)
    pairs = pd.DataFrame({"video": ["A/v_A_g01_c01.avi"], "other": ["B/v_B_g02_c01.avi"]})
    if groups == 3:
        pairs = pairs.head(0)  # merged, two classes would have too few
    main, found = split.divide_with_folds(
        catalog, kfold(defaults, folds=folds), seed, tmp_path, pairs
    )
    assert set(main["split"]) == {"train", "val"}
    assert list(main["video"]) == list(catalog["video"])
    assert sorted(found["fold"].unique()) == list(range(1, folds + 1))
    tested = found[found["split"] == "test"]
    assert sorted(tested["video"]) == sorted(catalog["video"])
    assert (tested.groupby("group")["fold"].nunique() == 1).all()
    assert (found.groupby(["fold", "group"])["split"].nunique() == 1).all()
    labelled = found.merge(catalog[["video", "label"]], on="video")
    assert (labelled.groupby(["fold", "label"])["split"].nunique() == 3).all()
    if len(pairs):
        assert (
            tested.set_index("video").loc[[*pairs["video"], *pairs["other"]], "fold"].nunique() == 1
        )
    again = split.divide_with_folds(catalog, kfold(defaults, folds=folds), seed, tmp_path, pairs)
    assert main.equals(again[0])
    assert found.equals(again[1])


def test_folds_are_balanced_and_other_methods_have_none(defaults: Params, tmp_path: Path) -> None:
    _, found = split.divide_with_folds(table(), kfold(defaults), 7, tmp_path)
    shares = pd.crosstab(found["fold"], found["split"], normalize="index")
    assert shares["test"].to_list() == pytest.approx([0.2] * 5)
    assert shares["val"].to_list() == pytest.approx([0.16] * 5, abs=0.05)
    divided, none = split.divide_with_folds(table(), defaults.split, 7, tmp_path)
    assert divided.equals(split.divide(table(), defaults.split, 7, tmp_path))
    assert none.empty


def test_more_folds_than_a_class_has_recordings_are_refused(
    defaults: Params, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="A has 4 groups .* split.folds 5 takes at least 5 .*; B"):
        split.divide(table(2, 4), kfold(defaults), 7, tmp_path)
    with pytest.raises(UserError, match="3 groups .* split.folds 2 takes at least 4 in each class"):
        split.divide(table(2, 3), kfold(defaults, folds=2), 7, tmp_path)
