"""The parts of the page about the data, and on what the scores rest."""

import json
from typing import Any

import pandas as pd

from kinoflow.data import tables
from kinoflow.data.tables import SIDES
from kinoflow.reports.records import Finding
from stages.report_inputs import Inputs

_FEW = 20  # recordings on the test side below which an interval is wide whatever the model does

_METHODS = {
    "stratified_group": "drawn so that no recording is on two sides",
    "official": "the published one, which keeps recordings whole",
    "leave_one_group_out": "leaves out one group of recordings",
    "group_kfold": "cross-validation whose folds keep recordings whole",
    "random": "random: recordings are on several sides",
}


def data(inputs: Inputs) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the section shows, and its numbers: a row for each class."""
    catalog = tables.read(inputs.workspace.catalog, tables.CATALOG)
    explored = tables.read(inputs.workspace.exploration / "per_class.csv", tables.EXPLORED)
    videos = inputs.videos
    sides = pd.DataFrame(
        {
            f"{side} {what}": videos[videos["split"] == side].groupby("label")["group"].agg(how)
            for side in SIDES
            for what, how in (("clips", "size"), ("recordings", "nunique"))
        },
        index=pd.Index(sorted(videos["label"].unique()), name="class"),
    )
    classes = sides.fillna(0).astype("int64").reset_index()
    measured = explored.set_index("label").reindex(classes["class"])
    for name in ("minutes", "motion", "flow"):
        classes[name] = measured[name].to_numpy()
    good = catalog[catalog["readable"]]
    return {
        "totals": [
            ("videos", f"{len(good):,}"),
            ("classes", f"{videos['label'].nunique():,}"),
            ("recordings", f"{videos['group'].nunique():,}"),
            ("minutes", f"{good['seconds'].sum() / 60:,.1f}"),
            ("set aside", f"{len(catalog) - len(good):,}"),
        ],
        "sides": [
            (
                side,
                int((videos["split"] == side).sum()),
                int(videos.loc[videos["split"] == side, "group"].nunique()),
            )
            for side in SIDES
        ],
        "columns": list(classes.columns),
        "classes": list(classes.itertuples(index=False)),
        "findings": [
            (finding.meaning, finding.table, finding.column, _count(finding))
            for finding in inputs.verdict.warnings
        ],
    }, classes


def trust(inputs: Inputs) -> list[tuple[str, str, str]]:
    """What there is to know before the scores are believed: topic, verdict, and why.

    The verdict is "good", "heed", "bad", or "" for what only informs.
    """
    verdict = inputs.verdict
    leaks = json.loads(inputs.workspace.leaks_numbers.read_text(encoding="utf-8"))
    method = inputs.params.split.method
    recordings = pd.Series(inputs.groups).nunique()
    gain = 100 * (leaks["random"] - leaks["grouped"])
    test = inputs.winner.metrics.test
    drop = 100 * (inputs.winner.metrics.val.accuracy - test.accuracy)
    return [
        (
            "Recordings kept whole",
            "bad" if method == "random" else "good",
            f"The split is {_METHODS[method]}."
            + (" These scores are inflated." if method == "random" else ""),
        ),
        (
            "Near-duplicates",
            "bad" if leaks["leaking"] else "good",
            f"Pairs of clips that show the same, on two sides of the split: {leaks['leaking']}.",
        ),
        (
            "What a leak would be worth",
            "",
            f"A cheap model without any sense of time gains {gain:+.1f} points on a random split "
            "of these clips, by recognising recordings.",
        ),
        (
            "Validation of the data",
            "heed" if verdict.warnings else "good",
            "Every expectation is met."
            if not verdict.warnings
            else f"Nothing forbids training. Not met: {len(verdict.warnings)}, listed below.",
        ),
        (
            "How much was tested",
            "heed" if recordings < _FEW else "good",
            f"{len(inputs.groups)} clips of {recordings} recordings. Intervals resample "
            "recordings, because clips of one recording are right or wrong together.",
        ),
        (
            "Validation against test",
            "heed" if drop > 100 * (test.accuracy_high - test.accuracy_low) / 2 else "good",
            f"The winner was chosen by validation clips alone; on test clips it scores "
            f"{abs(drop):.1f} points {'less' if drop > 0 else 'more'}.",
        ),
        (
            "Confidence",
            "heed" if test.ece > 0.1 else "good",
            f"Expected calibration error {test.ece:.3f}, and {test.ece_uncalibrated:.3f} before "
            "temperature scaling.",
        ),
    ]


def _count(finding: Finding) -> str:
    return f"{finding.count:,}" if finding.count else "–"
