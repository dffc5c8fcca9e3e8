"""The part of the page on whether the packaged model replaced the champion."""

from typing import Any

from kinoflow.reports.decision import Contender, Decision, Evidence

_WORDS = {
    # verdict: class of its mark, word, heading
    "promote": ("good", "promoted", "The newest model became champion"),
    "first": ("good", "promoted", "The first model became champion"),
    "unchanged": ("good", "unchanged", "The newest model was the champion already"),
    "hold": ("heed", "waits", "A person has to decide; the champion is served until then"),
    "reject": ("bad", "rejected", "The champion stays"),
}


def decision(made: Decision) -> dict[str, Any]:
    """What the section shows."""
    if made.verdict is None:
        return {"verdict": None}
    mark, word, heading = _WORDS[made.verdict]
    return {
        "verdict": made.verdict,
        "mark": mark,
        "word": word,
        "heading": heading,
        "decided": made.decided or "",
        "person": made.person,
        "reasons": made.reasons,
        "since": made.since,
        "until": made.until if made.verdict == "hold" else None,
        **(_numbers(made, made.evidence) if made.evidence else {"contenders": []}),
    }


def _numbers(made: Decision, evidence: Evidence) -> dict[str, Any]:
    both = evidence.challenger, evidence.champion
    found, limits = evidence.difference, made.limits
    rows: list[tuple[str, ...]] = [
        ("candidate", *(each.candidate for each in both)),
        ("version of the Bento", *(each.version for each in both)),
        ("accuracy on the same clips", *(_number(each.accuracy) for each in both)),
        ("calibration error", *(_number(each.ece) for each in both)),
        ("milliseconds a clip, in the same run", *(f"{each.latency_ms:.1f}" for each in both)),
        ("megabytes", *(_megabytes(each) for each in both)),
    ]
    if found is not None:
        value, low, high = (
            f"{100 * end:+.1f}".replace("-", "−") for end in (found.value, found.low, found.high)
        )
        rows.append((f"difference in points ({100 * evidence.confidence:g}% interval)",
                     f"{value} ({low} to {high})", ""))  # fmt: skip
    counts = [
        ("in all", evidence.clips),
        ("seen by the champion: left out", evidence.left_out),
        ("of a class new to it: left out", evidence.unknown_clips),
        ("compared", found.clips if found else 0),
        ("recordings of these", found.recordings if found else 0),
    ]
    floor = limits.class_floor if limits else 0.0
    floors = limits.class_floors if limits else {}
    recalls = [
        (
            each.label,
            each.found,
            each.clips,
            _number(each.found / each.clips if each.clips else None),
            f"{floors.get(each.label, floor):g}",
            _number(each.champion),
        )
        for each in evidence.recalls
    ]
    return {"contenders": rows, "counts": counts, "recalls": recalls}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _megabytes(each: Contender) -> str:
    return f"{each.size_mb:.2f}"
