"""Check the names of videos, labels and groups, for every source of videos and for data/.

A name becomes a path, a cell of a table, a key in JSON and a line on a terminal, on this machine
and on any other that pulls the data later.
"""

import unicodedata
from collections.abc import Iterable

import pandas as pd

from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable

# bytes of a video's file name; file systems allow 255, and the clip store adds .npy
LONGEST = 251
_LONGEST_FOLDER = 255  # bytes
_LONGEST_PATH = 1024  # bytes; systems allow 1024 to 4096, including the folder above
_SHOWN = 100  # characters of a name in an error


def check_videos(videos: Iterable[str], where: str) -> None:
    """Raise UserError for a video that cannot be stored under its name.

    Two names that differ only in case, or in how Unicode writes them, are refused as well, because
    some file systems treat them as equal and would lose one of the videos.

    Args:
        videos: paths with forward slashes.
        where: where the videos were found, for errors.
    """
    seen: dict[str, str] = {}
    for video in videos:
        if problem := _path_problem(video):
            raise UserError(f"{where}: the video {shown(video)} {problem}: rename it")
        if (other := seen.setdefault(_folded(video), video)) != video:
            raise _alike(where, "videos", other, video)


def check(table: pd.DataFrame, where: str) -> None:
    """Raise UserError for a video, label or group whose name cannot be used.

    `check_videos` says which names a video may have. A label or group must not hold control
    characters, nor begin or end with a space. Two labels must not differ only in case or in how
    Unicode writes them, because people would take them for one.

    Args:
        table: has the columns `video` and `label`, and may have `group`.
        where: where the names were found, for errors.
    """
    check_videos(table["video"], where)
    for what in ("label", "group"):
        if what in table:
            distinct = table.drop_duplicates(what)
            for name, video in zip(distinct[what], distinct["video"], strict=True):
                if problem := _text_problem(name):
                    raise UserError(
                        f"{where}: the {what} {shown(name)} of {shown(video)} {problem}: rename it"
                    )
    seen: dict[str, str] = {}
    for label in table["label"].unique():
        if (other := seen.setdefault(_folded(label), label)) != label:
            raise _alike(where, "labels", other, label)


def shown(name: str) -> str:
    """A name for an error message: on one line, without control characters, cut if too long."""
    text = printable(name)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 30]}...{text[-27:]}"
    return text if text == text.strip() else f"'{text}'"


def _path_problem(name: str) -> str:
    """What is wrong with the path of a video; "" if nothing is."""
    if problem := _character_problem(name):
        return problem
    *folders, file = parts = name.split("/")
    if "\\" in name or {"", ".", ".."} & {*parts}:
        return "is no path below a folder"
    if any(part.startswith(".") for part in parts):
        return "is hidden, since its name or a folder's begins with a dot"
    if (size := len(file.encode())) > LONGEST:
        return f"has a name of {size} bytes, more than the {LONGEST} that its clip can have"
    if any(len(part.encode()) > _LONGEST_FOLDER for part in folders):
        return f"lies in a folder with a name of more than {_LONGEST_FOLDER} bytes"
    if (size := len(name.encode())) > _LONGEST_PATH:
        return f"has a path of {size} bytes, more than {_LONGEST_PATH}"
    return ""


def _text_problem(name: str) -> str:
    """What is wrong with a label or a group; "" if nothing is."""
    if problem := _character_problem(name):
        return problem
    if name != name.strip():
        return "begins or ends with a space"
    if (size := len(name.encode())) > _LONGEST_PATH:
        return f"has {size} bytes, more than {_LONGEST_PATH}"
    return ""


def _character_problem(name: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not in UTF-8"
    # line breaks and other controls; characters that join letters or emoji are allowed
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        return "holds a control character"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _alike(where: str, what: str, one: str, other: str) -> UserError:
    # names that only Unicode writes differently look the same: escapes show the difference
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    first, second = (ascii(one), ascii(other)) if same else (shown(one), shown(other))
    how = "in how Unicode writes them" if same else "in case"
    return UserError(f"{where}: the {what} {first} and {second} differ only {how}: rename one")
