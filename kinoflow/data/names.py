"""What videos, labels and groups may be called: one check, for every source and for data/ itself.

A name becomes a path, a cell of a table, a key of JSON and a line on a terminal, on this machine
and on whichever one pulls the data later.
"""

import unicodedata
from collections.abc import Iterable

import pandas as pd

from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable

# bytes, and file systems take 255: the store of clips adds .npy
LONGEST = 251
_LONGEST_FOLDER = 255
_LONGEST_PATH = 1024  # systems take 1024 to 4096 with the folder that it is put into
_SHOWN = 100  # characters of a name in an error


def check_videos(videos: Iterable[str], where: str) -> None:
    """Raise UserError for a video that cannot be stored below a folder under its name.

    Videos are named by paths with forward slashes; `where` says where they were found. Two that
    differ only in case, or in how Unicode writes them, are refused as well: systems that take
    them for one would lose one of them.
    """
    seen: dict[str, str] = {}
    for video in videos:
        if problem := _of_path(video):
            raise UserError(f"{where}: the video {shown(video)} {problem}: rename it")
        if (other := seen.setdefault(_folded(video), video)) != video:
            raise _alike(where, "videos", other, video)


def check(table: pd.DataFrame, where: str) -> None:
    """Raise UserError for a name that cannot be used in a table with video, label and group.

    Beside what `check_videos` refuses, these are labels and groups that nobody would see to be
    two: with spaces around them, and labels that differ only in case. `group` may be missing.
    """
    check_videos(table["video"], where)
    for what in ("label", "group"):
        if what in table:
            each = table.drop_duplicates(what)
            for name, video in zip(each[what], each["video"], strict=True):
                if problem := _of_text(name):
                    raise UserError(
                        f"{where}: the {what} {shown(name)} of {shown(video)} {problem}: rename it"
                    )
    seen: dict[str, str] = {}
    for label in table["label"].unique():
        if (other := seen.setdefault(_folded(label), label)) != label:
            raise _alike(where, "labels", other, label)


def shown(name: str) -> str:
    """A name for an error: on one line, whatever it holds, and not too long."""
    text = printable(name)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 30]}...{text[-27:]}"
    return text if text == text.strip() else f"'{text}'"


def _of_path(name: str) -> str:
    """What is wrong with the path of a video, or nothing."""
    if problem := _of_characters(name):
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


def _of_text(name: str) -> str:
    """What is wrong with a label or a group, or nothing."""
    if problem := _of_characters(name):
        return problem
    if name != name.strip():
        return "begins or ends with a space"
    if (size := len(name.encode())) > _LONGEST_PATH:
        return f"has {size} bytes, more than {_LONGEST_PATH}"
    return ""


def _of_characters(name: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not in UTF-8"
    # line breaks and other controls, but not what joins letters or emoji
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        return "holds a control character"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _alike(where: str, what: str, one: str, other: str) -> UserError:
    # equal to the eye where Unicode alone writes them in two ways
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    first, second = (ascii(one), ascii(other)) if same else (shown(one), shown(other))
    how = "in how Unicode writes them" if same else "in case"
    return UserError(f"{where}: the {what} {first} and {second} differ only {how}: rename one")
