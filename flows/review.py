"""Corrected answers as a folder for review, and the reviewed ones as labelled videos.

Nothing in it is trained on by itself. A person marks in review.csv what to keep, and `accept`
copies that into a folder that the person names.
"""

import csv
import io
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kinoflow import config
from kinoflow.data import catalog, names, tables
from kinoflow.monitor import feedback
from kinoflow.monitor.feedback import Correction
from kinoflow.reports import page
from kinoflow.system import files
from kinoflow.system.cluster import Pool, spread
from kinoflow.system.errors import UserError
from kinoflow.video.frames import UnreadableVideo
from kinoflow.workspace import LABELS, Workspace

REVIEW = "review.csv"
PROVENANCE = "feedback.csv"  # in the folder that reviewed videos are copied into
COLUMNS = (
    *("keep", "label", "group", "video"),
    *("given", "proposed", "confidence", "bento", "time"),
)
_YES, _NO = {"yes", "y", "x", "1", "true"}, {"", "no", "n", "0", "false"}
_FRAMES, _SIDE = 6, 160  # frames of a video on the page, and pixels of their longer side
# Cells that begin so are formulas for a spreadsheet, and labels come from whoever uses the service.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# the service keeps videos without their names; the suffix by what the file begins with
_SUFFIXES = (
    (b"RIFF", ".avi"),
    (b"\x1a\x45\xdf\xa3", ".mkv"),
    (b"GIF8", ".gif"),
    (b"FLV", ".flv"),
    (b"OggS", ".ogv"),
    (b"0&\xb2u", ".wmv"),
    (b"\x00\x00\x01\xba", ".mpg"),
    (b"\x00\x00\x01\xb3", ".mpg"),
    (b"G", ".ts"),
)


class Row(NamedTuple):
    """One video under one proposed label, in the order of COLUMNS."""

    keep: str  # by the reviewer
    label: str  # the proposed one, unless the reviewer changes it
    group: str  # the recording; each video is one of its own, unless the reviewer changes it
    video: str  # the file, in the folder of the review
    given: str
    proposed: str
    confidence: str
    bento: str
    time: str


def offer(workspace: Workspace, params: config.Params) -> int:
    """Make the folder `reports/feedback.review`: the videos, review.csv and a page.

    What a reviewer has written into review.csv stays. Videos that the service no longer has go.

    Args:
        workspace: the work tree, where the service is started.
        params: all settings.

    Returns how many videos there are to review. Raises UserError for a review.csv that cannot be
    read, and for feedback that cannot.
    """
    target = workspace.review
    decided = {}
    if (target / REVIEW).exists():
        decided = {(row.video, row.proposed): row for row in read(target / REVIEW)}
    found = feedback.corrections(feedback.folder(workspace.root, params.serving.state))
    with files.replacing_folder(target) as partial:
        partial.chmod(0o700)  # as the service's own folder
        rows: dict[tuple[str, str], Row] = {}
        for correction in found:
            if video := _copied(correction, partial):
                row = _row(correction, video)
                rows[video, row.proposed] = decided.get((video, row.proposed), row)
        _write(partial / REVIEW, COLUMNS, [*rows.values()])
        strips = _strips(partial, sorted({row.video for row in rows.values()}), params.compute.pool)
        text = page.render(
            "feedback.html",
            rows=[(row, strips[row.video]) for row in rows.values()],
            silent=sum(correction.footage is None for correction in found),
            review=(target / REVIEW).as_posix(),
        )
        files.write_text(partial / "index.html", text)
    return len(rows)


def accept(workspace: Workspace, folder: Path) -> list[str]:
    """Copy the videos that the reviewer keeps into a folder, each once.

    Where the folder has a labels.csv, or holds nothing, they go below feedback/ and into
    labels.csv. Otherwise they go into its class folders. Its feedback.csv notes where each comes
    from.

    Args:
        workspace: the work tree with the review.
        folder: what `dataset.path` names, or will.

    Returns the paths of the videos that were not there before. Raises UserError if there is no
    review, and for rows that cannot be used.
    """
    review = workspace.review / REVIEW
    if not review.exists():
        raise UserError(f"{review} is missing: `python -m flows.feedback --review` makes it")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder")
    if folder.resolve() == workspace.data.resolve():
        raise UserError(
            f"{folder} is kept by `python -m stages.download`: name the folder that dataset.path "
            "names, or a new one"
        )
    kept = [row for row in read(review) if _is_kept(row, review)]
    labels = folder / LABELS
    listed = labels.exists() or not folder.is_dir() or not any(folder.iterdir())
    table = catalog.read_labels(labels) if labels.exists() else tables.empty(tables.LABELS)
    if listed:
        placed = [(row, f"feedback/{row.video}") for row in kept]
        known = {*table["video"]}
    else:
        placed = [(row, f"{_class_folder(row, folder)}/feedback-{row.video}") for row in kept]
        known = {path for _, path in placed if (folder / path).exists()}
    _check(placed, review)
    new = [(row, path) for row, path in placed if path not in known]
    added = [{"video": path, "label": row.label, "group": row.group} for row, path in new]
    every = pd.concat([table, pd.DataFrame(added, dtype="str")], ignore_index=True).fillna("")
    if listed and new:
        names.check(every, str(review))
    for row, path in new:
        with files.replacing(folder / path) as partial:
            shutil.copyfile(workspace.review / row.video, partial)
    if listed and new:
        tables.write(every, labels, tables.LABELS)
    _note(folder / PROVENANCE, placed)
    return [path for _, path in new]


def read(path: Path) -> list[Row]:
    """The rows of a review.csv.

    Raises UserError for a file that is not such a table.
    """
    table = tables.read_foreign(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise UserError(
            f"{path} has no column {', '.join(missing)}: bring it back, or delete {path}"
        )
    cells = table[[*COLUMNS]].to_numpy(object)
    return [Row(*(_unguarded(cell) for cell in row)) for row in cells]


# === The folder for review ===


def _copied(correction: Correction, folder: Path) -> str | None:
    """Copy a video under a name by its content; None if the service has it no longer."""
    if correction.footage is None:
        return None
    try:
        name = files.md5(correction.footage) + _suffix(correction.footage)
        if not (folder / name).exists():
            shutil.copyfile(correction.footage, folder / name)
    except FileNotFoundError:
        return None
    return name


def _suffix(video: Path) -> str:
    with video.open("rb") as file:
        head = file.read(16)
    for magic, suffix in _SUFFIXES:
        if head.startswith(magic):
            return suffix
    return ".mp4"  # and those that begin like it; decoders do not go by the name


def _row(correction: Correction, video: str) -> Row:
    return Row(
        keep="",
        label=correction.proposed,
        group=f"feedback-{Path(video).stem[:12]}",
        video=video,
        given=correction.given,
        proposed=correction.proposed,
        confidence=f"{correction.confidence:.3f}",
        bento=correction.bento,
        time=f"{datetime.fromtimestamp(correction.time, UTC):%Y-%m-%d %H:%M:%S}",
    )


def _strips(folder: Path, videos: list[str], pool: Pool) -> dict[str, bytes | None]:
    """A strip of frames of each video, by its name; None for one that does not decode.

    What was uploaded is decoded as the service does it, in processes with bounds.
    """
    paths = [(folder / video).absolute() for video in videos]
    return dict(spread(_strip, paths, pool, "frames", failed=_no_strip))


def _strip(path: Path) -> tuple[str, bytes | None]:
    from kinoflow.reports import drawing
    from kinoflow.video.decoder import probe, sample
    from kinoflow.video.spec import ClipSpec

    try:
        info = probe(path)
        scale = _SIDE / max(info.width, info.height)
        size = max(1, round(info.height * scale)), max(1, round(info.width * scale))
        frames = sample(path, ClipSpec(_FRAMES, *size))
    except UnreadableVideo:
        return _no_strip(path)
    return path.name, drawing.strip([*frames], size[0])


def _no_strip(path: Path, problem: str = "") -> tuple[str, bytes | None]:
    return path.name, None


# === What a reviewer keeps ===


def _is_kept(row: Row, review: Path) -> bool:
    answer = row.keep.strip().casefold()
    if answer not in _YES | _NO:
        raise UserError(f"{review}: keep is {names.shown(row.keep)} for {row.video}: yes or no")
    return answer in _YES


def _class_folder(row: Row, folder: Path) -> str:
    """The class folder of a label, where there is no labels.csv; it has to be there already.

    So a label that somebody made up, or one with a slash in it, makes no folder. And in folders of
    a published split, where the top folders are sides and no classes, nothing is put anywhere.
    """
    if row.label in {path.name for path in folder.iterdir() if path.is_dir()}:
        return row.label
    raise UserError(
        f"{folder} has no class folder {names.shown(row.label)}, and no {LABELS}: make the folder, "
        f"or change the label of {row.video} in the review"
    )


def _check(placed: list[tuple[Row, str]], review: Path) -> None:
    """Raise UserError for a video with two labels, or a label that cannot be used."""
    labels: dict[str, str] = {}
    for row, _ in placed:
        if (other := labels.setdefault(row.video, row.label)) != row.label:
            raise UserError(
                f"{review} keeps {row.video} as {names.shown(other)} and as "
                f"{names.shown(row.label)}: keep one"
            )
        if not row.label:
            raise UserError(f"{review}: no label for {row.video}")
        if not (review.parent / row.video).is_file():
            raise UserError(f"{review} keeps {names.shown(row.video)}, which is not there")
    rows = [{"video": path, "label": row.label, "group": row.group} for row, path in placed]
    if rows:
        names.check(pd.DataFrame(rows), str(review))


def _note(path: Path, placed: list[tuple[Row, str]]) -> None:
    """Note where videos come from, each once."""
    noted = tables.read_foreign(path).to_numpy(object).tolist() if path.exists() else []
    known = {video for video, *_ in noted}
    accepted = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    added = [
        [video, row.label, row.group, *row[4:], accepted]
        for row, video in placed
        if video not in known
    ]
    if added:
        columns = ("video", *COLUMNS[1:3], *COLUMNS[4:], "accepted")
        _write(path, columns, [*([_unguarded(cell) for cell in row] for row in noted), *added])


# === Tables that people open in spreadsheets ===


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([_guarded(cell) for cell in row] for row in rows)
    files.write_text(path, text.getvalue())


def _guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
