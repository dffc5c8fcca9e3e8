"""How small and fast forms of trained models are, and what they lose: benchmarks/compress.md.

    python -m benchmarks.compress [--into FOLDER]

Runs the pipeline up to the stage `compress` in a clone of this repository's last commit, on the
embedded data (compress.yaml) and, if KINOFLOW_REAL_DATA is set, on real footage
(compress_real.yaml). Then live video on one core. What FOLDER holds from an earlier run is not
trained again, but all times are measured anew. It takes half an hour on two cores, which should
have nothing else to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from benchmarks import footage, machine
from benchmarks.repository import REPOSITORY
from kinoflow.compress.settings import ORIGINAL
from kinoflow.data import tables
from kinoflow.settings import merge
from kinoflow.system import documents, errors, files
from kinoflow.workspace import Workspace

HERE = Path(__file__).parent
PAGE = HERE / "compress.md"
# how many times as fast as Keras the fastest form of each should be, at least
WANTED = {"r2plus1d": 3.0, "lrcn": 2.0, "cnn_lstm": 2.0, "convlstm": 2.5, "timesformer": 2.0}
# points of accuracy on validation clips that such a form may lose
POINTS = 1.0
# what is followed live: a model that reads frame by frame, and the winner's forms
LIVE = (
    ("movinet", ORIGINAL),
    ("r2plus1d", ORIGINAL),
    ("r2plus1d", "openvino"),
    ("r2plus1d", "openvino_int8"),
    ("r2plus1d", "litert_int8"),
)


@dataclass(frozen=True)
class Found:
    """What the stage compress measured in one work tree."""

    forms: pd.DataFrame  # tables.FORMS
    scores: pd.DataFrame  # tables.FORM_SCORES
    times: pd.DataFrame  # tables.FORM_TIMES

    @classmethod
    def read(cls, tree: Workspace) -> "Found":
        """Read the tables of a work tree."""
        folder = tree.compression
        return cls(
            tables.read(folder / "forms.csv", tables.FORMS),
            tables.read(folder / "scores.csv", tables.FORM_SCORES),
            tables.read(folder / "times.csv", tables.FORM_TIMES),
        )

    @property
    def wide(self) -> pd.DataFrame:
        """A row for each form, with its times and its scores on both sides."""
        key = ["candidate", "form"]
        table = self.forms.merge(self.times, on=key, how="left")
        for side in ("val", "test"):
            rows = self.scores[self.scores["side"] == side].drop(columns="side").set_index(key)
            table = table.join(rows.add_prefix(f"{side}_"), on=key)
        before = table[table["form"] == ORIGINAL].set_index("candidate")
        for name in ("median_ms", "one_core_median_ms", "processor_ms", "bytes"):
            table[f"{name}_before"] = table["candidate"].map(before[name])
        return table


def prepared(tree: Workspace, overlay: Path) -> Found:
    """Run the pipeline up to `compress` in a work tree, which is cloned if it is not there."""
    root = tree.root
    if not tree.params.exists():
        clone = ["git", "clone", "--quiet", str(REPOSITORY.root), str(root)]
        subprocess.run(clone, check=True)
    text = os.path.expandvars(overlay.read_text(encoding="utf-8"))
    values = merge(documents.read_yaml(REPOSITORY.params), documents.parse_yaml(text, overlay))
    YAML().dump(values, tree.params)
    again = ["dvc", "repro", "--force", "--single-item", "compress"]
    for command in (["stages.download"], ["dvc", "repro", "select"], again):
        subprocess.run([sys.executable, "-m", *command], cwd=root, check=True)
    return Found.read(tree)


# === Live ===


def live(model: Path, film: Path) -> dict[str, float]:
    """Follow a film with a model on one core: see `benchmarks.compress_live`."""
    command = [sys.executable, "-m", "benchmarks.compress_live", str(model), str(film)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def followed(tree: Workspace) -> list[dict[str, Any]]:
    """What each of `LIVE` takes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (film,) = footage.rendered(Path(folder), 1, 320, 240)
        for candidate, form in LIVE:
            made = tree.forms / candidate / form
            model = tree.bundle(candidate) if form == ORIGINAL else made
            if model.exists():
                rows.append({"candidate": candidate, "form": form, **live(model, film)})
    return rows


# === The page ===


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def speeds(found: Found) -> str:
    """Sizes and times, as Markdown."""
    head = ["", "MB", "parameters", "M multiply-adds", "ms a clip (95%)", "times Keras"]
    head += ["one core ms (95%)", "times Keras", "processor ms", "peak MB"]
    rows = [
        [
            f"`{row['candidate']}` {row['form']}",
            f"{row['bytes'] / 1e6:.2f} (× {row['bytes'] / row['bytes_before']:.2f})",
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.1f}",
            f"{row['median_ms']:.2f} ({row['p95_ms']:.2f})",
            f"{row['median_ms_before'] / row['median_ms']:.1f}",
            f"{row['one_core_median_ms']:.2f} ({row['one_core_p95_ms']:.2f})",
            f"{row['one_core_median_ms_before'] / row['one_core_median_ms']:.1f}",
            f"{row['processor_ms']:.2f}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in found.wide[found.wide["problem"] == ""].to_dict("records")
    ]
    return _table(head, rows)


def losses(found: Found) -> str:
    """Accuracies and differences, as Markdown."""
    head = ["", "validation", "difference in points", "test", "difference in points"]
    head += ["largest change", "same label", "note"]
    rows = []
    for row in found.wide.to_dict("records"):
        name = f"`{row['candidate']}` {row['form']}"
        if row["problem"]:
            rows.append([name, *[""] * 6, row["problem"]])
            continue
        cells = []
        for side in ("val", "test"):
            interval = f"{row[f'{side}_low']:.3f} to {row[f'{side}_high']:.3f}"
            cells.append(f"{row[f'{side}_accuracy']:.3f} ({interval})")
            cells.append(_points(row, f"{side}_difference"))
        change = f"{row['test_largest_change']:.2g}"
        rows.append([name, *cells, change, f"{row['test_agreement']:.0%}", row["note"]])
    return _table(head, rows)


def _points(row: Any, name: str) -> str:
    if row["form"] == ORIGINAL:
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * row[name]:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def targets(found: Found) -> str:
    """What was to be reached, as Markdown."""
    table = found.wide
    kept = table[table["val_difference"] >= -POINTS / 100]
    rows = []
    for candidate, wanted in WANTED.items():
        forms = kept[kept["candidate"] == candidate]
        row: Any = forms.sort_values("median_ms").to_dict("records")[0]
        speeds = [
            row[f"{name}_before"] / row[name]
            for name in ("median_ms", "one_core_median_ms", "processor_ms")
        ]
        reached = "yes" if speeds[0] >= wanted else "no"
        rows.append(
            [
                f"`{candidate}`",
                f"{wanted:g}",
                row["form"],
                *(f"{speed:.1f}" for speed in speeds),
                f"{row['bytes'] / row['bytes_before']:.2f}",
                reached,
            ]
        )
    head = ["", "times Keras, wanted", "fastest form", "all cores", "one core", "processor time"]
    return _table([*head, "size", "reached"], rows)


def films(rows: list[dict[str, Any]]) -> str:
    """Live video, as Markdown."""
    head = ["", "frames a second", "an answer each", "processor ms a frame"]
    return _table(
        head,
        [
            [
                f"`{row['candidate']}` {row['form']}",
                f"{row['frames_per_s']:,.0f}",
                f"{row['frames_per_answer']:.1f} frames",
                f"{row['processor_ms']:.2f}",
            ]
            for row in rows
        ],
    )


def page(found: Found, real: Found | None, rows: list[dict[str, Any]]) -> str:
    """benchmarks/compress.md."""
    footage_part = ""
    if real is not None:
        footage_part = f"""
# Real footage

200 clips of UCF-101 of four classes, split by recording.

{speeds(real)}
{losses(real)}"""
    return f"""# Smaller and faster

`python -m benchmarks.compress` writes this page: the stage `compress` on models that the pipeline
trained. Milliseconds are for one clip, all its views, without decoding: median and 95th percentile
of a process of its own. *Times Keras*: how many times as fast as the bundle in the same run.
Accuracies have 95% intervals, and differences to the original are paired, with recordings
resampled. What each form is, docs/compressing.md explains. More on fewer channels is in pruning.md,
on other precisions in docs/edge.md.

{machine.name()}

# To be reached

The fastest form of each that loses at most {POINTS:g} point of accuracy on validation clips.

{targets(found)}
# Embedded data

{speeds(found)}
{losses(found)}{footage_part}
# Live, on one core

From frames of 320x240 as a camera gives them to the label: `kinoflow live` with its defaults, on
one processor core, as fast as it goes.

{films(rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compress", description=__doc__)
    parser.add_argument("--into", type=Path, help="folder for the work trees; kept")
    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as scratch:
        folder = (into or Path(scratch)).absolute()
        tree = Workspace(folder / "embedded")
        found = prepared(tree, HERE / "compress.yaml")
        real = None
        if os.environ.get("KINOFLOW_REAL_DATA"):
            real = prepared(Workspace(folder / "real"), HERE / "compress_real.yaml")
        rows = followed(tree)
    files.write_text(PAGE, page(found, real, rows))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    errors.run(main)
