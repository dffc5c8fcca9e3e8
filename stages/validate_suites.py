"""What is expected of the catalog, the split and the clips, in Great Expectations' classes."""

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinoflow.data import clips
from kinoflow.data.tables import SIDES
from kinoflow.video.spec import ClipSpec
from stages.validate_tables import shape_text

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation


def suites(
    spec: ClipSpec, random: bool = False, folds: bool = False
) -> "dict[str, list[Expectation]]":
    """The expectations of each table. One that is not met blocks training or gives a warning.

    Args:
        spec: what a clip has to be.
        random: whether the split was drawn without regard to groups. Groups on two sides then give
            a warning only; the stage `package` refuses a model that was trained on such a split.
        folds: whether there are folds, which have the test clips; the split then has none.
    """
    from great_expectations.expectations.row_conditions import Column

    # mypy does not see what this package exports
    gxe: Any = import_module("great_expectations.expectations")
    known = gxe.ExpectColumnValuesToNotBeNull
    empty = gxe.ExpectColumnValuesToBeNull
    unique = gxe.ExpectColumnValuesToBeUnique
    among = gxe.ExpectColumnValuesToBeInSet
    between = gxe.ExpectColumnValuesToBeBetween
    distinct = gxe.ExpectColumnUniqueValueCountToBeBetween
    covers = gxe.ExpectColumnDistinctValuesToContainSet
    readable = {"row_condition": Column("problem").is_null()}

    def expect(severity: str, kind: Any, column: str, meaning: str, **how: Any) -> "Expectation":
        return kind(column=column, severity=severity, description=meaning, **how)

    block, warn = partial(expect, "critical"), partial(expect, "warning")
    leak = warn if random else block
    sides = ("train", "val") if folds else SIDES
    named = "train and val" if folds else "train, val and test"
    all_sides = [len(sides)]
    origin, shape = clips.describe(spec), shape_text(spec.shape)
    filler = "black frames" if spec.padding == "mask" else "copies of its last frame"
    enough = f"at least {spec.frames} frames"
    found = {
        "catalog": [
            block(known, "video", "every row names a video"),
            block(unique, "video", "a video has one row"),
            block(known, "label", "every video has a label"),
            block(distinct, "label", "at least two classes are readable", min_value=2, **readable),
            block(known, "group", "the recording a video was cut from is known"),
            block(known, "md5", "the content of a readable video is known", **readable),
            block(known, "frames", "the frames of a readable video are counted", **readable),
            block(between, "frames", "a readable video has frames", min_value=1),
            warn(between, "frames", f"{enough}, or {filler} fill the clip", min_value=spec.frames),
            warn(empty, "problem", "every video is readable"),
            warn(unique, "md5", "no two videos are the same file"),
            warn(between, "labels_of_file", "copies of a file have one label", max_value=1),
            warn(between, "fps", "1 to 240 frames a second", min_value=1, max_value=240),
            warn(between, "width", "16 pixels or more", min_value=16),
            warn(between, "height", "16 pixels or more", min_value=16),
            warn(between, "share_of_largest", "a tenth of the largest class", min_value=0.1),
            warn(among, "label_in_split", "the split uses every class", value_set=[True]),
        ],
        "split": [
            block(unique, "video", "a video has one row"),
            block(among, "source", "a readable video of the catalog", value_set=["readable"]),
            block(among, "split", f"a side is {named.replace('and', 'or')}", value_set=[*sides]),
            block(covers, "split", f"{named} have videos", value_set=[*sides]),
            leak(among, "splits_of_group", "no group stands on two sides", value_set=[1]),
            block(among, "splits_of_file", "no file stands on two sides", value_set=[1]),
            block(among, "splits_of_label", "every class stands on all sides", value_set=all_sides),
            # scores on fewer videos mean little, and scores on one group measure one scene
            warn(between, "videos_on_side", "5 videos of the class on the side", min_value=5),
            warn(between, "groups_on_side", "2 groups of the class on the side", min_value=2),
        ],
        "clips": [
            block(among, "rows", "a readable video has one clip", value_set=[1]),
            block(among, "source", "the video has not changed since", value_set=["unchanged"]),
            block(among, "spec", f"a clip is {origin}", value_set=[origin]),
            block(among, "shape", f"a clip's file is whole, {shape}", value_set=[shape]),
            block(among, "dtype", "a clip is uint8", value_set=["uint8"]),
            warn(between, "contrast", "a clip is not blank", min_value=1),
        ],
    }
    if folds:
        once = {"value_set": [1]}
        found["folds"] = [
            block(among, "source", "a readable video of the catalog", value_set=["readable"]),
            block(among, "split", "a side is train, val or test", value_set=[*SIDES]),
            block(among, "tests_of_video", "a video is tested on in one fold", **once),
            block(among, "tests_of_group", "no group is tested on in two folds", **once),
            block(among, "splits_of_group", "no group stands on two sides of a fold", **once),
            block(among, "splits_of_merged", "no merged group stands on two sides", **once),
            block(among, "splits_of_file", "no file stands on two sides of a fold", **once),
            block(among, "splits_of_label", "every class stands on all sides", value_set=[3]),
            warn(between, "groups_on_side", "2 groups of the class on the side", min_value=2),
        ]
    return found
