"""Every CSV of the work tree: one schema for each, one reader and one writer for all.

A label, group or video may be called NA, null, True, 1e3 or 007. So text is never read as a
missing value or as a number. Only an empty cell in a column of numbers is a missing value.
"""

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from kinoflow.system import files
from kinoflow.system.errors import UserError


@dataclass(frozen=True)
class Schema:
    """The columns of a table.

    Args:
        columns: the pandas type of each column by its name, in the order of the columns.
        others: the pandas type of further columns, whose names depend on the data; None if there
            are none.
        float_format: how floats are written; None: as the shortest text that is read back as the
            same float64.
    """

    columns: dict[str, str]
    others: str | None = None
    float_format: str | None = None


CATALOG = Schema(
    {
        "video": "str",  # path below data/
        "label": "str",
        "group": "str",  # the recording it was cut from
        "frames": "Int64",  # counted by decoding; from here to codec empty if not readable
        "fps": "Float64",  # frames per second
        "seconds": "Float64",
        "width": "Int64",  # pixels
        "height": "Int64",  # pixels
        "codec": "str",
        "bytes": "int64",
        "md5": "str",
        "readable": "bool",
        "problem": "str",  # why not readable
    }
)

# where the actor of a synthetic video is, in fractions of the frame's width and height
TRUTH = Schema(
    {
        "video": "str",
        "frame": "int64",
        "left": "float64",
        "top": "float64",
        "right": "float64",
        "bottom": "float64",
    },
    float_format="%.4f",
)

CLIPS = Schema(
    {
        "video": "str",
        "md5": "str",  # of the video that was decoded
        "spec": "str",  # the clip spec and the decoder, as `kinoflow.data.clips.describe`
    }
)

SIDES = ("train", "val", "test")  # of a split

SPLIT = Schema(
    {
        "video": "str",
        "split": "str",  # one of SIDES
        "group": "str",  # the catalog's, or the one that groups with near-duplicates merged into
    }
)

# One row per fold and video, written by the stage split: in each fold a video is on one side, and
# in one fold it is on test. Empty unless split.method is group_kfold.
FOLDS = Schema({"fold": "int64", **SPLIT.columns})  # folds are counted from 1

# the split joined with the catalog and the clip records: all data that training uses
TRAINED = Schema({**SPLIT.columns, "label": "str", "md5": "str", "spec": "str"})

DUPLICATES = Schema(
    {
        "video": "str",
        "group": "str",
        "other": "str",
        "other_group": "str",
        "similarity": "float64",
        "mirrored": "bool",
    }
)

LEAKS = Schema(
    {
        "video": "str",
        "split": "str",
        "group": "str",
        "other": "str",
        "other_split": "str",
        "other_group": "str",
        "similarity": "float64",
        "mirrored": "bool",
        "verdict": "str",  # leaks, merged or one side
    }
)

# one row per class, written by the stage explore
EXPLORED = Schema(
    {
        "label": "str",
        "videos": "int64",
        "groups": "int64",
        "set_aside": "int64",
        "minutes": "float64",
        "seconds_median": "float64",
        "measured": "int64",
        # optical flow in percent of the frame's width per second; empty if none was measured
        "motion": "float64",  # the median over the videos, without the camera's share
        "motion_low": "float64",  # the first quartile
        "motion_high": "float64",  # the third quartile
        "flow": "float64",  # the median with the camera's share
        # the mean value of each channel, 0 to 256; empty if none was measured
        "red": "float64",
        "green": "float64",
        "blue": "float64",
    },
    float_format="%.3f",
)

# one row per epoch: its number, and a column for each of its scores
HISTORY = Schema({"epoch": "int64"}, others="float64")

_FLOAT32 = "%.9g"  # gives back every float32

# further columns: p_<label>, the probability of each class
PREDICTIONS = Schema(
    {"video": "str", "label": "str", "predicted": "str"}, others="float64", float_format=_FLOAT32
)
PER_CLASS = Schema(
    {
        "label": "str",
        "precision": "float64",
        "recall": "float64",
        "f1": "float64",
        "clips": "int64",
    },
    float_format=_FLOAT32,
)
MOST_CONFUSED = Schema(
    {"label": "str", "taken_for": "str", "clips": "int64", "rate": "float64"},
    float_format=_FLOAT32,
)
# what the winner's answers were explained by; s1 to s8 are the Shapley values of eighths of time
EXPLAINED = Schema(
    {
        "file": "str",  # the film, in the same folder
        "video": "str",
        "why": "str",  # the clip was chosen: error, confused or right
        "label": "str",
        "predicted": "str",  # and explained
        "method": "str",
        **{f"s{number}": "float64" for number in range(1, 9)},
    },
    float_format="%.6f",
)
# mean probability of the explained class as parts of clips go or come
CURVES = Schema(
    {
        "parts": "str",  # space or time
        "curve": "str",  # deletion or insertion
        "order": "str",  # evidence or random
        "fraction": "float64",  # of the parts that are gone, or that have come
        "probability": "float64",
        "low": "float64",  # of the 95% interval, recordings resampled
        "high": "float64",
    },
    float_format="%.6f",
)
CONFUSION = Schema({"actual": "str", "predicted": "str"})

# one row per bin of confidence that has clips, before and after calibration
RELIABILITY = Schema(
    {
        "calibrated": "bool",
        "low": "float64",  # the bin holds confidences above this one
        "high": "float64",  # and up to this one
        "confidence": "float64",  # the mean over the bin's clips
        "accuracy": "float64",
        "clips": "int64",
    },
    float_format=_FLOAT32,
)

# one row per class: the accuracy on its test clips, with their frames in these orders
TIME = Schema(
    {
        "label": "str",
        "clips": "int64",
        "as_is": "float64",
        "shuffled": "float64",
        "reversed": "float64",
        "frozen": "float64",
    },
    float_format=_FLOAT32,
)

# one row per pair of candidates
COMPARISON = Schema(
    {
        "a": "str",
        "b": "str",
        "difference": "float64",  # the accuracy of a minus that of b
        "low": "float64",  # of the 95% interval, recordings resampled; for this pair alone
        "high": "float64",
        "p": "float64",  # for this pair alone
        "p_holm": "float64",  # for all pairs together
        "verdict": "str",
    },
    float_format=_FLOAT32,
)

# what the winner's architecture scores when it is trained on fewer recordings
LEARNING_CURVE = Schema(
    {
        "fraction": "float64",  # of the recordings of the training side
        "recordings": "int64",  # trained on; with folds, the mean over them
        "clips": "int64",  # trained on; with folds, the mean over them
        "side": "str",  # that is scored
        "accuracy": "float64",
        "low": "float64",  # of the 95% interval, recordings resampled
        "high": "float64",
    },
    float_format=_FLOAT32,
)

# one row per form of a candidate, and one for its bundle, whose form is called original
FORMS = Schema(
    {
        "candidate": "str",
        "form": "str",
        "format": "str",
        "precision": "str",
        "prune": "float64",  # share of the channels that were taken out
        "sparsity": "float64",  # share of the weights that were set to 0
        "bytes": "Int64",  # of the model; this and the next two are empty if there is a problem
        "parameters": "Int64",
        "multiply_adds": "Int64",  # for one view of a clip
        "note": "str",  # what was done beyond what was asked
        "problem": "str",  # why there is no such form
    }
)
# what a form scores on one side of the split, beside its bundle
FORM_SCORES = Schema(
    {
        "candidate": "str",
        "form": "str",
        "side": "str",
        "clips": "int64",
        "accuracy": "float64",
        "low": "float64",  # of the 95% interval, recordings resampled
        "high": "float64",
        "difference": "float64",  # the accuracy of the form minus that of the bundle
        "difference_low": "float64",  # of the 95% interval, recordings resampled
        "difference_high": "float64",
        "largest_change": "float64",  # of a probability
        "agreement": "float64",  # share of clips with the same label
    },
    float_format=_FLOAT32,
)
# what a form takes, by the clock of the machine that made it; decoding is not counted
FORM_TIMES = Schema(
    {
        "candidate": "str",
        "form": "str",
        "median_ms": "float64",  # a clip, with all cores
        "p95_ms": "float64",
        "one_core_median_ms": "float64",
        "one_core_p95_ms": "float64",
        "processor_ms": "float64",  # processor time of a clip, with all cores
        "peak_mb": "float64",  # memory of a process that loads it and answers
    },
    float_format="%.3f",
)

# a labels.csv, which users write as well: it may have further columns
LABELS = Schema({"video": "str", "label": "str"}, others="str")


def empty(schema: Schema) -> pd.DataFrame:
    """A table of this schema without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in schema.columns.items()})


def schema_of(table: pd.DataFrame) -> Schema:
    """A schema to write a table with that is for people and other programs, and never read here."""
    return Schema({str(name): str(kind) for name, kind in table.dtypes.items()}, None, _FLOAT32)


def read(path: Path, schema: Schema) -> pd.DataFrame:
    """Read a table that `write` wrote with the same schema."""
    with path.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    kinds = {name: kind for name in names if (kind := schema.columns.get(name, schema.others))}
    return pd.read_csv(
        path,
        dtype=kinds,
        keep_default_na=False,
        na_values={name: [""] for name, kind in kinds.items() if kind not in ("str", "bool")},
        # a carriage return within a field is not quoted
        lineterminator="\n",
    )


def write(table: pd.DataFrame, path: Path, schema: Schema) -> None:
    """Write a table, whole or not at all; equal tables give equal bytes."""
    files.write_text(path, text(table, schema))


def text(table: pd.DataFrame, schema: Schema) -> str:
    """A table as CSV: the columns of the schema, then the others if the schema allows any."""
    others = [name for name in table.columns if schema.others and name not in schema.columns]
    return table[[*schema.columns, *others]].to_csv(
        index=False, lineterminator="\n", float_format=schema.float_format
    )


def read_foreign(path: Path | str, content: IO[bytes] | None = None) -> pd.DataFrame:
    """Read a table that kinoflow did not write, every cell as text.

    Args:
        path: the file; if `content` is given, only its name in errors.
        content: the file's content, if the file is not on this machine.

    Raises UserError for a file that is not a table in UTF-8.
    """
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            # for lines with more fields than the first line, pandas only warns, and drops fields
            return pd.read_csv(content or path, dtype="str", keep_default_na=False, index_col=False)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except pd.errors.ParserWarning:
        raise UserError(f"{path}, line 2: more fields than the first line has") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None
