"""Make and measure the forms of all candidates that they are wanted of."""

import shutil
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kinoflow.bundle import MODEL, Bundle
from kinoflow.compress.measuring import measure
from kinoflow.compress.settings import ORIGINAL, WINNER, Compress
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.reports.records import Winner
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.workspace import Workspace
from stages.compress_score import Judge

with silenced_stderr():
    from kinoflow.training import kept
    from stages.compress_make import Workshop, about

_TIMED = 8  # clips that answers are timed on, in turn


@dataclass(frozen=True)
class Measured:
    """The rows of the tables that the stage writes."""

    forms: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)

    def write(self, workspace: Workspace) -> None:
        """Write all tables to reports/compress, and to work/compress those without test scores."""
        val = [row for row in self.scores if row["side"] == "val"]
        for target, scores in ((workspace.compression, self.scores), (workspace.form_records, val)):
            with files.replacing_folder(target) as folder:
                for name, rows, schema in (
                    ("forms", self.forms, tables.FORMS),
                    ("scores", scores, tables.FORM_SCORES),
                    ("times", self.times, tables.FORM_TIMES),
                ):
                    table = pd.DataFrame(rows, columns=[*schema.columns])
                    tables.write(_filled(table, schema), folder / f"{name}.csv", schema)


def _filled(table: pd.DataFrame, schema: tables.Schema) -> pd.DataFrame:
    """The table in the types of its schema; text that is missing is empty."""
    text = [name for name, kind in schema.columns.items() if kind == "str"]
    return table.fillna(dict.fromkeys(text, "")).astype(schema.columns)


def compress(workspace: Workspace, params: Params, wanted: Compress) -> Measured:
    """Make forms in work/forms/, and measure them and their originals.

    A form that cannot be made is a row that says why, and the others are made all the same.

    Args:
        workspace: the work tree.
        params: the settings.
        wanted: the section `compress` of them.

    Raises UserError for a candidate that there is not.
    """
    winner = Winner.read(workspace.winner).winner
    names = list(dict.fromkeys(winner if each == WINNER else each for each in wanted.candidates))
    for name in names:
        params.resolve(name)  # raises UserError unless it is a candidate
    found = Measured()
    kept.leave(workspace.forms, names)
    shutil.rmtree(workspace.all_form_answers, ignore_errors=True)
    for name in names:
        with locks.held(workspace.lock(f"compress-{name}"), f"compressing {name}"):
            workshop = Workshop(workspace, params, wanted, name)
            kept.leave(workshop.folder, wanted.forms)
            _candidate(workshop, Judge(workspace, params, workshop.original), found)
    return found


def _candidate(workshop: Workshop, judge: Judge, found: Measured) -> None:
    """Add the rows of one candidate: its bundle, then each of its forms."""
    name, original = workshop.candidate, workshop.original
    row = {"candidate": name, "form": ORIGINAL, "format": "keras", "precision": "float32"}
    size = (original.folder / MODEL).stat().st_size
    found.forms.append({**row, "bytes": size, **vars(about(original))})
    _measure(ORIGINAL, original, workshop, judge, found)
    for form, recipe in workshop.settings.forms.items():
        row = {"candidate": name, "form": form, **recipe.model_dump()}
        try:
            made, known = workshop.make(form, recipe)
            _measure(form, made, workshop, judge, found)
        except UserError as problem:
            found.forms.append({**row, "problem": str(problem)})
            print(f"compress: {name} {form}: {problem}", flush=True)
            continue
        found.forms.append({**row, "bytes": made.details.bytes, **vars(known)})


def _measure(name: str, model: Bundle, workshop: Workshop, judge: Judge, found: Measured) -> None:
    """Add the rows of one form, and print them."""
    clips = workshop.validation.frames[:_TIMED]
    everything, one = measure(model.folder, clips), measure(model.folder, clips, cores=1)
    scores = judge.score(name, model)
    found.scores.extend(scores)
    found.times.append(
        {
            "candidate": workshop.candidate,
            "form": name,
            **vars(everything),
            "one_core_median_ms": one.median_ms,
            "one_core_p95_ms": one.p95_ms,
        }
    )
    said = ", ".join(f"{row['side']} accuracy {row['accuracy']:.3f}" for row in scores)
    print(
        f"compress: {workshop.candidate} {name}: {everything.median_ms:.1f} ms a clip, {said}",
        flush=True,
    )
