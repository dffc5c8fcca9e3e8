"""The table of videos, and the labels.csv that users may write."""

import re
import warnings
from pathlib import Path
from typing import IO

import pandas as pd

from kinoflow import files
from kinoflow.console import UserError

COLUMNS = {
    "video": "str",  # path below data/
    "label": "str",
    "group": "str",  # the recording it was cut from
    "frames": "Int64",  # counted by decoding; this and what follows is empty if not readable
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

# v_PushUps_g05_c02: class, group, clip
_UCF_NAME = re.compile(r"(.+_g\d+)_c\d+")
# April_09_brush_hair_u_nm_np1_ba_goo_0: the film and the class, then visible body parts, camera
# motion, people, viewpoint, quality and the clip's number
_HMDB_NAME = re.compile(r"(.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+")


def read(path: Path) -> pd.DataFrame:
    """The catalog, one row per video in the order of `video`."""
    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=_empty_numbers())


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the catalog, whole or not at all."""
    files.write_text(path, table[list(COLUMNS)].to_csv(index=False, lineterminator="\n"))


def read_labels(path: Path | str, content: IO[bytes] | None = None) -> pd.DataFrame:
    """A labels.csv: `video,label`, and `group` and `split` where the user gives them.

    With `content`, `path` is but the name of where that came from.

    Raises UserError for a file that is no such table, a video listed twice or one without label.
    """
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            # else, in lines longer than the first, what comes first would be left out
            table = pd.read_csv(
                content or path, dtype="str", keep_default_na=False, index_col=False
            )
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8: save it as that") from None
    except pd.errors.ParserWarning:
        raise UserError(f"{path}, line 2: more fields than the first line has") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None
    missing = {"video", "label"} - set(table.columns)
    if missing:
        hint = ": separate columns by commas" if ";" in table.columns[0] else ""
        raise UserError(
            f"{path} has no column {', '.join(sorted(missing))} in its first line{hint}"
        )
    for column in ("video", "label"):
        if (table[column] == "").any():
            row = table.index[table[column] == ""].tolist()[0] + 2
            raise UserError(f"{path}, line {row}: no {column}")
    twice = table["video"][table["video"].duplicated()]
    if len(twice):
        raise UserError(f"{path} lists {twice.iloc[0]} twice")
    return table


def group_of(video: str) -> str:
    """The recording that a video was cut from, by names as in UCF-101 and HMDB-51; else itself.

    v_Class_g01_c02 -> v_Class_g01, and Film_class_u_nm_np1_fr_med_3 -> Film_class.
    """
    stem = Path(video).stem
    match = _UCF_NAME.fullmatch(stem) or _HMDB_NAME.fullmatch(stem)
    return match.group(1) if match else video


def _empty_numbers() -> dict[str, list[str]]:
    return {name: [""] for name, dtype in COLUMNS.items() if dtype in ("Int64", "Float64")}
