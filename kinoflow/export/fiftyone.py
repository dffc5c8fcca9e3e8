"""The videos and what all candidates said of them, as a dataset that FiftyOne loads.

Plain JSON in the layout of `fiftyone.types.LegacyFiftyOneDataset`: each sample is a dictionary
of fields, each label names its class, and writing it takes no FiftyOne. The other layout,
`FiftyOneDataset`, is the content of its database, whose form changes between versions.
"""

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from kinoflow import config
from kinoflow.data import tables
from kinoflow.reports import leaderboard
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace

Fields = dict[str, Any]

_METADATA, _SAMPLES, _FRAMES = "metadata.json", "samples.json", "frames.json"

_SHAPLEY = [name for name, kind in tables.EXPLAINED.columns.items() if kind == "float64"]


@dataclass(frozen=True)
class Exported:
    """What a dataset holds."""

    videos: int
    candidates: tuple[str, ...]  # whose predictions it has
    changed: dict[str, str]  # what has changed since some of them were scored, by candidate
    explained: int  # videos with an explanation


def export(workspace: Workspace, folder: Path) -> Exported:
    """Write a dataset of all readable videos of a work tree, which stay where they are.

    A sample has these fields, those of predictions and explanations only if it has any:

    - `tags`, `split`: the side of the split, `train`, `val` or `test`; videos that the split leaves
      out have none
    - `recording`: the group
    - `ground_truth`: a Classification
    - `predicted_<candidate>`: a Classification. `confidence` is the probability of its label,
      `probabilities` has those of all classes in the order of the dataset's `default_classes`, and
      `logits` their logarithms
    - `explanation`: TemporalDetections of the segments of time, with the Shapley value of each as
      `value`; not if clips are sampled by motion, since their segments are none of the video
    - `explanation_path`, `explanation_method`, `explained_because`: a video of the clip beside what
      the winner looks at; how that was found; and why this clip was chosen

    Args:
        workspace: the work tree.
        folder: where the JSON files go. It is made if it does not exist.

    Raises UserError if the videos are not cataloged and split yet, and for a folder that holds
    anything but an earlier dataset.
    """
    if not workspace.catalog.exists() or not workspace.split.exists():
        raise UserError("there is nothing to export yet: run `make repro`")
    strangers = _present(folder) - {_METADATA, _SAMPLES, _FRAMES}
    if strangers:
        raise UserError(
            f"{folder} holds other files, such as {min(strangers)}: choose a new folder"
        )

    catalog = tables.read(workspace.catalog, tables.CATALOG)
    sides = tables.read(workspace.split, tables.SPLIT).set_index("video")["split"]
    rows = leaderboard.results(workspace).rows
    predicted = {row["candidate"]: _predictions(workspace, row["candidate"]) for row in rows}
    explained = _explanations(workspace)

    labels = sorted(catalog["label"].unique())
    samples = []
    for row in catalog[catalog["readable"]].to_dict("records"):
        video = cast(str, row["video"])
        sample = _video(workspace, cast(Fields, row)) | _side(sides.get(video))
        for name, answers in predicted.items():
            if video in answers:
                sample[f"predicted_{name}"] = _prediction(answers[video], labels)
        samples.append(sample | explained.get(video, {}))
    has_overlays = any("explanation_path" in sample for sample in samples)
    info = {
        "description": "Videos, ground truth and predictions, exported by kinoflow",
        "default_classes": labels,
        # the App offers these to choose from
        "app_config": {"media_fields": ["filepath", *["explanation_path"] * has_overlays]},
    }
    # every video sample names a file of labels of its frames: of these there are none
    files.write_json(folder / _FRAMES, {"frames": {}})
    files.write_json(folder / _SAMPLES, {"samples": samples})
    files.write_json(folder / _METADATA, {"media_type": "video", "info": info})
    return Exported(
        videos=len(samples),
        candidates=tuple(predicted),
        changed={row["candidate"]: row["changed"] for row in rows if row["changed"]},
        explained=sum("explanation_path" in sample for sample in samples),
    )


def _present(folder: Path) -> set[str]:
    """The names in a folder; none if there is no such folder."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose a new folder")
    return {path.name for path in folder.glob("*")}


def _video(workspace: Workspace, row: Fields) -> Fields:
    """The fields that a row of the catalog gives."""
    path = (workspace.data / row["video"]).absolute()
    return {
        "_media_type": "video",  # FiftyOne would go by the end of the file's name
        "filepath": str(path),
        "frames": _FRAMES,
        "metadata": {
            "_cls": "VideoMetadata",
            "size_bytes": int(row["bytes"]),
            "mime_type": mimetypes.guess_type(path.name)[0],
            "frame_width": int(row["width"]),
            "frame_height": int(row["height"]),
            "frame_rate": float(row["fps"]),
            "total_frame_count": int(row["frames"]),
            "duration": float(row["seconds"]),
            "encoding_str": row["codec"],
        },
        "recording": row["group"],
        "ground_truth": {"_cls": "Classification", "label": row["label"]},
    }


def _side(side: str | None) -> Fields:
    return {"tags": []} if side is None else {"tags": [side], "split": side}


def _predictions(workspace: Workspace, candidate: str) -> dict[str, pd.Series]:
    """The row of `tables.PREDICTIONS` of each video that a candidate was tested on."""
    table = tables.read(workspace.report(candidate) / "predictions.csv", tables.PREDICTIONS)
    return {row["video"]: row for _, row in table.iterrows()}


def _prediction(answer: pd.Series, labels: list[str]) -> Fields:
    """A row of `tables.PREDICTIONS` as a Classification."""
    # a class that this model was not trained for has no column
    of_class = answer.reindex([f"p_{label}" for label in labels], fill_value=0.0)
    probabilities = of_class.to_numpy(np.float64)
    smallest = np.finfo(np.float32).tiny  # JSON has no infinity
    return {
        "_cls": "Classification",
        "label": answer["predicted"],
        "confidence": float(answer[f"p_{answer['predicted']}"]),
        "probabilities": probabilities.tolist(),
        "logits": np.log(np.maximum(probabilities, smallest)).tolist(),
    }


def _explanations(workspace: Workspace) -> dict[str, Fields]:
    """The fields of each video that the stage `explain` chose, by the video."""
    folder = workspace.explanations
    try:
        table = tables.read(folder / "clips.csv", tables.EXPLAINED)
    except FileNotFoundError:
        return {}
    catalog = tables.read(workspace.catalog, tables.CATALOG)
    frames = dict(zip(catalog["video"], catalog["frames"], strict=True))
    spread = config.load(workspace.params).clip.sampling != "motion"
    found: dict[str, Fields] = {}
    for row in table.to_dict("records"):
        video = cast(str, row["video"])
        if video in found or video not in frames:
            continue  # the first reason is the gravest
        fields: Fields = {
            "explanation_path": str((folder / cast(str, row["file"])).absolute()),
            "explanation_method": row["method"],
            "explained_because": row["why"],
        }
        if spread:
            values = [float(row[name]) for name in _SHAPLEY]
            fields["explanation"] = _segments(values, int(frames[video]))
        found[video] = fields
    return found


def _segments(values: list[float], frames: int) -> Fields:
    """Equal parts of a video of so many frames, each with its value."""
    ends = [frames * number // len(values) for number in range(len(values) + 1)]
    return {
        "_cls": "TemporalDetections",
        "detections": [
            {
                "_cls": "TemporalDetection",
                "label": f"segment {number}",
                "support": [first + 1, max(first + 1, last)],  # frames count from 1
                "value": value,
            }
            for number, (value, first, last) in enumerate(
                zip(values, ends[:-1], ends[1:], strict=True), start=1
            )
        ],
    }
