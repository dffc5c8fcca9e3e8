"""Which files of a folder are the data set: those that its labels.csv lists, or all its videos."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kinoflow.system.errors import UserError
from kinoflow.workspace import LABELS

if TYPE_CHECKING:
    import pandas as pd

VIDEO_SUFFIXES = {
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe"),
    *(".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".gif"),
}


def is_video(name: str) -> bool:
    """Whether a file is a video, judged by the suffix of its name."""
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def dataset_files(found: Iterable[str], labels: "pd.DataFrame | None", place: str) -> list[str]:
    """The names of the files that make up the data set, sorted.

    With a labels.csv these are the videos that it lists and labels.csv itself; without one, all
    files that are videos by their names.

    Args:
        found: the names of all files at the place, as paths below it.
        labels: the content of its labels.csv; None where it has none.
        place: what errors call the place.

    Raises UserError if there is no video, and for a video that labels.csv lists and the place
    does not hold.
    """
    found = set(found)
    if labels is None:
        videos = {name for name in found if is_video(name)}
    else:
        videos = set(labels["video"])
        missing = sorted(videos - found)
        if missing:
            raise UserError(
                f"{LABELS} lists {len(missing)} videos that {place} does not hold, "
                f"the first {missing[0]}"
            )
    if not videos:
        raise UserError(
            f"dataset.path {place} holds no videos: kinoflow looks for a folder per class "
            f"with files ending in {', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return sorted(videos if labels is None else {*videos, LABELS})
