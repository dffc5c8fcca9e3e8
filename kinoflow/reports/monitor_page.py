"""The page of monitoring: what has changed, since when, with pictures and examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from kinoflow.monitor.answers import Floats, HeldOut, Served
from kinoflow.monitor.comparing import LOOKS_PER_WEEK, Comparison
from kinoflow.monitor.inputs import NUMBERS
from kinoflow.reports import monitor_figures, page
from kinoflow.reports.drawing import strip, vector
from kinoflow.reports.monitoring import NAMES, Look, Past, when
from kinoflow.video.spec import Frames

_STRIP = 84  # pixels: the height of the frames on the page
_LISTED = 30  # looks
_TITLE = 60  # characters of a label under an example


@dataclass(frozen=True)
class Example:
    """A video of the service that was kept, and some of its frames, uint8 RGB (H, W, 3)."""

    label: str
    confidence: float
    time: float
    frames: tuple[Frames, ...]


def render(
    look: Look,
    reference: HeldOut | None,
    answers: Served | None,
    kept: Served | None,
    examples: Sequence[Example],
    past: Sequence[Past],
    *,
    false_alarms: float,
    footage: bool,
) -> str:
    """The page as HTML.

    Args:
        look: what was found.
        reference: the held-out clips; None if there are none.
        answers: those that were looked at; None if none were.
        kept: all answers of that version that are kept, for the course of time.
        examples: of the answers that were looked at, the most unusual first.
        past: the looks before.
        false_alarms: the setting of that name.
        footage: whether the service keeps any.
    """
    compared = reference is not None and answers is not None and bool(look.comparisons)
    return page.render(
        "monitor.html",
        look=look,
        when=when,
        facts=_facts(look),
        changes=[_change(look, each) for each in look.comparisons if each.changed],
        rows=[_row(each) for each in look.comparisons],
        overview=overview(look) if compared else None,
        figures=_figures(look, reference, answers, kept)
        if compared and reference is not None and answers is not None
        else [],
        expectations=[
            (
                each.column,
                each.meaning,
                "met" if each.met else "not met",
                each.failing,
                each.answers,
            )
            for each in sorted(look.expectations, key=lambda each: each.met)
        ],
        examples=[_example(each) for each in examples],
        footage=footage,
        looks=[
            (
                when(each.time),
                each.bento or "",
                each.word
                or ", ".join(NAMES[name][0] for name in each.changed if name in NAMES)
                or "nothing",
                each.answers,
            )
            for each in reversed(past[-_LISTED:])
        ],
        false_alarms=false_alarms,
        per_week=LOOKS_PER_WEEK,
    )


def overview(look: Look) -> bytes | None:
    """The figure of all comparisons, an SVG file; None if nothing was tested."""
    tested = [each for each in look.comparisons if each.value is not None]
    if not tested:
        return None
    return vector(
        partial(
            monitor_figures.overview,
            [NAMES[each.name][0] for each in tested],
            [_ratio(each) for each in tested],
            [each.changed for each in tested],
        )
    )


def _ratio(comparison: Comparison) -> float:
    value, chance = comparison.value or 0.0, comparison.by_chance or 0.0
    # what never differs by chance has changed as soon as it differs at all
    return value / chance if chance > 1e-9 else (99.0 if value > 1e-9 else 0.0)


def _facts(look: Look) -> list[tuple[str, str]]:
    facts = [
        ("answers", f"{look.answers:,}"),
        ("held-out clips", f"{look.clips:,}"),
        ("of recordings", f"{look.recordings:,}"),
    ]
    if look.errors is not None:
        facts.append(("marked as wrong", f"{look.errors.wrong / look.errors.answers:.1%}"))
    return facts


def _change(look: Look, comparison: Comparison) -> dict[str, str]:
    name, unit = NAMES[comparison.name]
    values = ""
    if comparison.before is not None and comparison.now is not None:
        values = f"median {comparison.before:.4g} before, {comparison.now:.4g} now"
        values += f" ({unit})" if unit else ""
    return {"name": name, "text": values, "since": when(look.since.get(comparison.name))}


def _row(comparison: Comparison) -> tuple[str | float, ...]:
    def shown(value: float | None, digits: str = ".3g") -> str:
        return "–" if value is None else format(value, digits)

    verdict = comparison.word or ("changed" if comparison.changed else "as before")
    return (
        NAMES[comparison.name][0],
        verdict,
        shown(comparison.before, ".4g"),
        shown(comparison.now, ".4g"),
        shown(comparison.psi),
        f"{comparison.statistic} {shown(comparison.value)}"
        if comparison.value is not None
        else "–",
        shown(comparison.by_chance),
        shown(comparison.p, ".2g"),
        shown(comparison.adjusted, ".2g"),
    )


def _figures(
    look: Look, reference: HeldOut, answers: Served, kept: Served | None
) -> list[tuple[str, bytes, str]]:
    """A heading, an SVG file and a text for those who cannot see it, for each figure."""
    changed = {each.name for each in look.comparisons if each.changed}
    # a number that is the same in all videos needs no picture
    varied = {each.name for each in look.comparisons if each.value is not None}
    found = []
    pairs: list[tuple[str, Floats, Floats]] = []
    for name in (*NUMBERS, "confidence"):
        before, now = _values(reference, name), _values(answers, name)
        if name in varied and (~np.isnan(before)).any() and (~np.isnan(now)).any():
            title, unit = NAMES[name]
            pairs.append((f"{title}, {unit}" if unit else title, before, now))
    if pairs:
        drawn = vector(partial(monitor_figures.distributions, pairs))
        found.append(("Numbers", drawn, "Histograms of held-out clips and answers, in percent"))
    drawn = vector(partial(monitor_figures.shares, reference.label, answers.label))
    found.append(("Labels", drawn, "Shares of labels among held-out clips and answers, in percent"))
    if "codec" in changed:
        drawn = vector(partial(monitor_figures.shares, reference.codec, answers.codec))
        found.append(("Codecs", drawn, "Shares of codecs, in percent"))
    if reference.features.shape[1] and reference.features.shape[1] == answers.features.shape[1]:
        drawn = vector(partial(monitor_figures.features, reference.features, answers.features))
        found.append(("Features", drawn, "Features of held-out clips and answers in a plane"))
    if kept is not None:
        found += [
            (f"Course of {NAMES[name][0]}", _course(name, reference, kept), "Its course over time")
            for name in (*NUMBERS, "confidence")
            if name in changed and (~np.isnan(_values(kept, name))).any()
        ]
    return found


def _course(name: str, reference: HeldOut, kept: Served) -> bytes:
    title, unit = NAMES[name]
    return vector(
        partial(
            monitor_figures.course,
            f"{title}\n{unit}" if unit else title,
            _values(reference, name),
            kept.time,
            _values(kept, name),
        )
    )


def _values(answers: HeldOut | Served, name: str) -> Floats:
    return answers.confidence if name == "confidence" else answers.number(name)


def _example(example: Example) -> tuple[bytes, str]:
    label = example.label if len(example.label) <= _TITLE else example.label[: _TITLE - 1] + "…"
    caption = f"{label}, {example.confidence:.0%}, {when(example.time)}"
    return strip(list(example.frames), _STRIP), caption
