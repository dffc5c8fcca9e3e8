"""The page of benchmarks/restyle.py: what restyled clips did to accuracy, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.styles import STYLES
from kinoflow.config import Params
from kinoflow.reports import comparison

WITHOUT, WITH = WAYS = ("without", "with")
_RESAMPLES = 5000

# by clips (real, rendered), candidate, split and way
Results = dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]


@dataclass(frozen=True)
class Row:
    """A candidate trained both ways, and scored on the same test clips in one look.

    Accuracies are shares of all answers of all trainings.
    """

    clips: str  # real or rendered
    candidate: str
    look: str
    trainings: int  # each way
    answers: int
    recordings: int
    without: float
    restyled: float
    difference: float
    low: float  # of the 95% interval of the difference
    high: float
    p: float  # of this comparison alone
    trained: tuple[float, float]  # accuracy on training clips, without and with


def rows(results: Results, seed: int) -> list[Row]:
    """A row for each candidate and look.

    Differences are paired by clip and training, and resampled by recording.

    Args:
        results: what was measured.
        seed: of the resampling.
    """
    found = []
    for clips, candidates in results.items():
        for candidate, splits in candidates.items():
            both = [each for each in splits.values() if set(each) == set(WAYS)]
            if not both:
                continue
            groups = np.concatenate([each[WITHOUT]["groups"] for each in both])
            for look in both[0][WITHOUT]["hits"]:
                hits = {
                    way: np.concatenate([each[way]["hits"][look] for each in both]) for way in WAYS
                }
                # a is the first of the two, and the difference is how much better it is
                ordered = {WITH: hits[WITH], WITHOUT: hits[WITHOUT]}
                pair = comparison.compare(ordered, groups, bootstrap=_RESAMPLES, seed=seed).iloc[0]
                trained = [
                    float(np.mean([each[way]["train_accuracy"] for each in both])) for way in WAYS
                ]
                found.append(
                    Row(
                        clips,
                        candidate,
                        look,
                        len(both),
                        len(groups),
                        len(set(groups)),
                        float(hits[WITHOUT].mean()),
                        float(hits[WITH].mean()),
                        float(pair["difference"]),
                        float(pair["low"]),
                        float(pair["high"]),
                        float(pair["p"]),
                        (trained[0], trained[1]),
                    )
                )
    return found


def page(results: Results, params: Params, share: float, steps: int) -> str:
    """The whole page.

    Args:
        results: what was measured.
        params: the settings of all trainings.
        share: of the clips that were shown restyled.
        steps: of training the network of each style.
    """
    table = rows(results, params.seed)
    parts = [_introduction(params, share, steps), _verdict(table), *_tables(table)]
    minutes = sum(
        measured["processor_minutes"]
        for candidates in results.values()
        for splits in candidates.values()
        for split in splits.values()
        for measured in split.values()
    )
    parts.append(
        f"{minutes:.0f} processor minutes of training in all, networks for styles not counted.\n\n"
        f"{machine.name()}, beside other work\n"
    )
    return "\n".join(parts)


def _introduction(params: Params, share: float, steps: int) -> str:
    clip, training = params.clip, params.training
    return f"""# Does restyling help recognition?

`python -m benchmarks.restyle` writes this page. Networks for image recognition go by texture more
than by shape, and training on restyled pictures makes them go by shape (Geirhos et al., ICLR 2019).
`augment.restyle` does this with clips: here, each training clip is shown repainted with a
probability of {share:g}, in one of {len(STYLES)} styles that code draws ({", ".join(STYLES)}).
Their networks were trained for {steps} steps on the rendered training clips, so that no clip that
is tested on had a part in them.

Each candidate is trained with and without, on the same clips with the same seeds and all other
settings the same ([restyle.yaml](restyle.yaml)): {training.epochs} epochs on clips of
{clip.frames} frames of {clip.width}x{clip.height}, flipped, recoloured and cut in time at random;
`in training` is the accuracy on these, which are harder where they are restyled. Validation clips
choose the epoch that is kept, and nothing else; they are not restyled. Test clips are looked
at once. Differences are with minus without, paired by clip; intervals resample recordings, and say
nothing of what other seeds would give. p is that of a permutation test, corrected by Holm's method
for all the comparisons on this page.

`lrcn` and `frame_moments` see colours. `r2plus1d` sees what changes from frame to frame, in which
less of a look is left. `motion_histograms`, the most accurate one from scratch on these clips
([accuracy.md](accuracy.md)), was not trained: it sees directions of edges and of motion in grey,
and nothing else of a look.
"""


def _verdict(table: Sequence[Row]) -> str:
    corrected = comparison.holm(np.array([row.p for row in table]))
    better = [r for r, p in zip(table, corrected, strict=True) if p < 0.05 and r.difference > 0]
    worse = [r for r, p in zip(table, corrected, strict=True) if p < 0.05 and r.difference < 0]
    rest = len(table) - len(better) - len(worse)

    def listed(some: Sequence[Row]) -> str:
        each = [f"`{r.candidate}`, {_look(r)} ({r.difference:+.3f})" for r in some]
        return f": {'; '.join(each)}" if each else ""

    return (
        f"Of {len(table)} comparisons, restyled clips made {len(better)} better{listed(better)}.\n"
        f"They made {len(worse)} worse{listed(worse)}.\n"
        f"The other {rest} cannot be told from chance.\n"
    )


def _look(row: Row) -> str:
    return "real clips" if row.clips == "real" else f"rendered, {row.look}"


def _tables(table: Sequence[Row]) -> list[str]:
    corrected = comparison.holm(np.array([row.p for row in table]))
    parts = []
    for clips, heading, explained in _HEADINGS:
        chosen = [(r, p) for r, p in zip(table, corrected, strict=True) if r.clips == clips]
        if not chosen:
            parts.append(f"## {heading}\n\nNot measured yet.\n")
            continue
        lines = [
            f"## {heading}\n",
            explained.format(recordings=max(row.recordings for row, _ in chosen)),
            "| candidate | tested in | trainings each way | answers | without | with | difference "
            "| 95% interval | p | in training, without and with |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| `{row.candidate}` | {row.look} | {row.trainings} | {row.answers} "
            f"| {row.without:.3f} | {row.restyled:.3f} | {row.difference:+.3f} "
            f"| {row.low:+.3f} to {row.high:+.3f} | {f'{p:.3f}' if p >= 0.001 else '< 0.001'} "
            f"| {row.trained[0]:.3f}, {row.trained[1]:.3f} |"
            for row, p in chosen
        ]
        parts.append("\n".join([*lines, ""]))
    return parts


_HEADINGS = (
    (
        "real",
        "Real recordings",
        "Clips of UCF-101 (BabyCrawling, Punch, PushUps, YoYo), divided by recording into five "
        "parts:\neach is tested on by a training that has seen none of its recordings. "
        "{recordings} recordings are\ntested on, each once. Chance is 0.25.\n",
    ),
    (
        "rendered",
        "Unseen looks",
        "Films of the embedded data, trained on in the plain look. Each of {recordings} other "
        "recordings is\ntested in three looks of the same film: plain, drawn by pencil, and at "
        "night. Neither of the last\ntwo is among the styles. The classes come in three pairs, "
        "each of which is the other played\nbackwards; chance is 0.167, and 0.5 for what tells "
        "pairs but not directions.\n",
    ),
)
