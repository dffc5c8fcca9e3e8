"""Great Expectations over catalog, split and clips: what would spoil training stops here."""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kinoflow import config
from kinoflow.data import catalog, clips, tables
from kinoflow.reports.records import Verdict
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video.sampling import unpadded
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace, run
from stages import validate_page
from stages.validate_page import Check

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.expectations.expectation import Expectation

_SIDES = ["train", "val", "test"]
_LISTED = 10  # videos named in validation.json
_SHOWN = 3  # videos named on the terminal

# all that NumPy raises on a header with flipped or missing bytes
_DAMAGED = (ValueError, TypeError, OverflowError, SyntaxError, TokenError)


@dataclass(frozen=True)
class Finding:
    """An expectation that the data does not meet."""

    table: str
    expectation: str  # in Great Expectations' words
    column: str
    severity: str  # critical or warning
    meaning: str  # in ours
    videos: tuple[str, ...]  # sorted, the first few
    count: int  # of all videos concerned; 0 where it is the table as a whole

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"{self.table}.{self.column} {self.expectation} ({self.meaning})"
        shown = self.videos[:_SHOWN]
        more = f" and {self.count - len(shown)} more" if self.count > len(shown) else ""
        return f"{text}: {', '.join(shown)}{more}" if shown else text


def validate(
    videos: pd.DataFrame,
    split: pd.DataFrame,
    made: pd.DataFrame,
    store: Path,
    spec: ClipSpec,
    site: Path,
    *,
    random: bool = False,
) -> list[Finding]:
    """Hold a catalog, its split and its clips against what training relies on.

    `made` is the table of the clips in the folder `store`; `random` says that the split was asked
    to ignore groups. Returns what is not as expected, and writes a page with every expectation
    and the values that do not meet it to `site`/index.html.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    videos = videos.mask(videos == "")  # what is not there has to be null to be found
    features = {
        "catalog": catalog_features(videos, split),
        "split": split_features(split, videos),
        "clips": clip_features(made, videos, store),
    }
    results = {
        name: _check(context, name, features[name], suite)
        for name, suite in suites(spec, random).items()
    }
    findings = [
        _finding(name, result)
        for name, found in results.items()
        for result in found
        if not result.success
    ]
    checks = {name: [_on_page(result) for result in found] for name, found in results.items()}
    files.write_text(site / "index.html", validate_page.render(checks))
    return findings


def catalog_features(videos: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The catalog, with what its suite asks of classes and files."""
    table = videos.copy()
    # null means readable, as a row condition can ask; the page shows why the others are not
    table["problem"] = table["problem"].fillna("unreadable").mask(table["readable"])
    sizes = table.groupby("label")["readable"].transform("sum")
    table["share_of_largest"] = sizes / sizes.max()
    used = table.loc[table["video"].isin(split["video"]), "label"]
    table["label_in_split"] = table["label"].isin(used)
    table["labels_of_file"] = table.groupby("md5")["label"].transform("nunique")
    return table


def split_features(split: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """The split, with what the catalog knows of its videos and on how many sides that stands."""
    known = videos[["video", "label", "group", "md5", "readable"]].drop_duplicates("video")
    # the groups as the catalog has them: what the split took for a group is not asked
    table = split[["video", "split"]].merge(known, on="video", how="left")
    table["source"] = _source(table["readable"], "readable")
    for name, column in {"group": "group", "file": "md5", "label": "label"}.items():
        table[f"splits_of_{name}"] = table.groupby(column)["split"].transform("nunique")
    side = table.groupby(["label", "split"])
    table["videos_on_side"] = side["video"].transform("nunique")
    table["groups_on_side"] = side["group"].transform("nunique")
    return table


def clip_features(made: pd.DataFrame, videos: pd.DataFrame, store: Path) -> pd.DataFrame:
    """The table of clips, with what the files hold and whether the videos are still the same.

    A readable video that it lacks has `rows` 0 and nothing else, so that it fails one
    expectation and not all.
    """
    known = videos[["video", "md5", "readable"]].drop_duplicates("video")
    table = made.merge(known, on="video", how="left", suffixes=("", "_now"))
    table["rows"] = table.groupby("video")["video"].transform("size")
    table["source"] = _source(table["readable"], "unchanged")
    table.loc[table["readable"].eq(True) & (table["md5"] != table["md5_now"]), "source"] = "changed"
    held = [_held(clips.clip_path(store, video)) for video in table["video"]]
    table = table.join(pd.DataFrame(held, columns=["shape", "dtype", "contrast"]))
    absent = known[known["readable"] & ~known["video"].isin(made["video"])]
    return pd.concat([table, absent[["video"]].assign(rows=0)], ignore_index=True)


def suites(spec: ClipSpec, random: bool = False) -> "dict[str, list[Expectation]]":
    """What is expected of each table: a failure blocks the pipeline or is only warned of.

    Under a `random` split groups stand on two sides by design: that is warned of, and packaging
    refuses what comes of it.
    """
    from great_expectations.expectations.row_conditions import Column

    gxe: Any = import_module("great_expectations.expectations")  # mypy sees none of its exports
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
    made, shape = clips.describe(spec), _shape(spec.shape)
    filled = "some are black" if spec.padding == "mask" else "some repeat"
    return {
        "catalog": [
            block(known, "video", "every row names a video"),
            block(unique, "video", "a video has one row"),
            block(known, "label", "every video has a label"),
            block(distinct, "label", "at least two classes are readable", min_value=2, **readable),
            block(known, "group", "the recording a video was cut from is known"),
            block(known, "md5", "the content of a readable video is known", **readable),
            block(known, "frames", "the frames of a readable video are counted", **readable),
            block(between, "frames", "a readable video has frames", min_value=1),
            warn(between, "frames", f"{spec.frames} frames, or {filled}", min_value=spec.frames),
            warn(empty, "problem", "every video is readable"),
            warn(unique, "md5", "no file is there twice"),
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
            block(among, "split", "a side is train, val or test", value_set=_SIDES),
            block(covers, "split", "train, val and test have videos", value_set=_SIDES),
            leak(among, "splits_of_group", "no group stands on two sides", value_set=[1]),
            block(among, "splits_of_file", "no file stands on two sides", value_set=[1]),
            block(among, "splits_of_label", "every class stands on all sides", value_set=[3]),
            # fewer hardly measure a class, or measure how well one scene is known
            warn(between, "videos_on_side", "5 videos of the class on the side", min_value=5),
            warn(between, "groups_on_side", "2 groups of the class on the side", min_value=2),
        ],
        "clips": [
            block(among, "rows", "a readable video has one clip", value_set=[1]),
            block(among, "source", "the video is as it was", value_set=["unchanged"]),
            block(among, "spec", f"a clip is {made}", value_set=[made]),
            block(among, "shape", f"a clip's file is whole, {shape}", value_set=[shape]),
            block(among, "dtype", "a clip is uint8", value_set=["uint8"]),
            warn(between, "contrast", "a clip is no blank picture", min_value=1),
        ],
    }


def _check(
    context: "EphemeralDataContext", name: str, table: pd.DataFrame, suite: "list[Expectation]"
) -> list[Any]:
    """Run one suite, and return Great Expectations' result of each expectation."""
    import great_expectations as gx

    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = gx.ValidationDefinition(
        name=name,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name=name, expectations=suite)),
    )
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table},
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["video"],
            "return_unexpected_index_query": False,
        },
    )
    results: list[Any] = outcome.results
    return results


def _finding(table: str, result: Any) -> Finding:
    config = result.expectation_config
    if not result.result:
        raise RuntimeError(f"{table}: {config.type} could not run: {result.exception_info}")
    rows = result.result.get("unexpected_index_list") or []
    videos = sorted({row["video"] for row in rows if not pd.isna(row["video"])})
    return Finding(
        table=table,
        expectation=config.type,
        column=config.kwargs["column"],
        severity=config.severity.value,
        meaning=config.description,
        videos=tuple(videos[:_LISTED]),
        count=len(videos),
    )


def _on_page(result: Any) -> Check:
    config = result.expectation_config
    column = config.kwargs["column"]
    terms = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in config.kwargs.items()
        if name not in ("column", "batch_id", "row_condition")
    ]
    rows = result.result.get("unexpected_index_list") or []
    return Check(
        column=column,
        expectation=" ".join([config.type, ", ".join(terms)]).strip(),
        meaning=config.description,
        blocks=config.severity.value == "critical",
        met=result.success,
        rows=result.result.get("element_count"),
        failing=validate_page.values((row["video"], row[column]) for row in rows),
    )


def _source(readable: pd.Series, good: str) -> pd.Series:
    """Per row `good`, or what is wrong with its video; `readable` is null where there is none."""
    return readable.map({True: good, False: "unreadable"}).fillna("not in the catalog")


def _held(path: Path) -> tuple[str, str | None, float | None]:
    """Shape, type and contrast of a stored clip; instead of a shape why there is none.

    Contrast is the standard deviation over some of the pixels, in grey levels, of the channel
    where it is largest.
    """
    try:
        clip = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        return "no file", None, None
    except _DAMAGED:
        return "damaged", None, None
    contrast = None
    if clip.ndim == 4 and clip.size and clip.dtype == np.uint8:
        pixels = unpadded(clip[:: max(1, len(clip) // 4), ::4, ::4])
        contrast = float(pixels.std(axis=(0, 1, 2)).max())
    return _shape(clip.shape), str(clip.dtype), contrast


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    # whatever happens from here on, training must not go by an older verdict
    workspace.validation.unlink(missing_ok=True)
    with files.replacing_folder(workspace.validation_site) as site:
        findings = validate(
            catalog.read(workspace.catalog),
            tables.read(workspace.split, tables.SPLIT),
            clips.read_table(workspace.clips_table),
            workspace.clips,
            params.clip,
            site,
            random=params.split.method == "random",
        )
    failures = [finding for finding in findings if finding.severity == "critical"]
    warnings = [finding for finding in findings if finding.severity == "warning"]
    listed = {"failures": list(map(asdict, failures)), "warnings": list(map(asdict, warnings))}
    verdict = {"passed": not failures, "split": params.split.method, **listed}
    Verdict.model_validate(verdict).write(workspace.validation)
    for finding in warnings:
        print(f"warning: {finding}", file=sys.stderr)
    page = workspace.validation_site / "index.html"
    if failures:
        found = "; ".join(map(str, failures))
        raise UserError(f"the data failed validation: {found}; details are in {page}")
    print(f"validate: passed, warnings: {len(warnings)}, see {page}")


if __name__ == "__main__":
    run(main)
