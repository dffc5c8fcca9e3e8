"""What exports to what, how far it then is from Keras, and how large it is.

    python -m benchmarks.exporting [ARCHITECTURE ...]

Every architecture with its default options, random weights and a head that makes its answers sure.
It writes benchmarks/exporting.md, or prints the rows of the architectures that are named. It takes
about half an hour on two cores.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import footage, machine
from kinoflow.compress import exporting, formats
from kinoflow.compress.exporting import Clips, Limits
from kinoflow.compress.forms import Details
from kinoflow.models.registry import MODULES
from kinoflow.system import errors, files, terminal
from kinoflow.system.errors import UserError
from kinoflow.video import sample
from kinoflow.video.spec import ClipSpec

PAGE = Path(__file__).parent / "exporting.md"
CLIP = ClipSpec(16, 64, 64)
CLIPS = 16  # to compare on; as many others are what int8 is fitted to

Form = tuple[str, str]  # format and precision
# weights of 16 bits are left out: they take half the bytes, and compute as those in float32
FORMS: tuple[Form, ...] = tuple(
    (each.name, precision)
    for each in formats.FORMATS.values()
    for precision in each.precisions
    if precision in {"float32", "int8"}
)


@dataclass(frozen=True)
class Row:
    """What became of one architecture: the details of each form, or why there is none."""

    name: str
    forms: dict[Form, Details | str]


def measure(name: str, compared: Clips, calibration: Clips) -> Row:
    """Export one architecture to everything."""
    from tests.networks import save_bundle, sure_model

    found: dict[Form, Details | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / name
        save_bundle(bundle, sure_model(name, CLIP, shown=compared.frames), CLIP, clip=CLIP)
        for form, precision in FORMS:
            target = Path(folder) / f"{form}-{precision}"
            try:
                found[form, precision] = exporting.export(
                    bundle,
                    target,
                    form,
                    compared,
                    precision=precision,
                    calibration=calibration,
                    limits=None if precision == "float32" else Limits(1, 0),
                ).details
            except UserError as problem:
                found[form, precision] = str(problem).partition(": ")[2]
    return Row(name, found)


def clips(folder: Path) -> tuple[Clips, Clips]:
    """Clips to compare on and, of other videos, clips to fit int8 to."""
    videos = footage.real()
    named = "clips of UCF-101" if videos else "clips of rendered films"
    videos = videos or footage.rendered(folder, 2 * CLIPS, 160, 120)
    chosen = np.unique(np.linspace(0, len(videos) - 1, 2 * CLIPS).astype(int))
    frames = np.stack([sample(videos[index], CLIP) for index in chosen])
    return Clips(frames[::2], named), Clips(frames[1::2], named)


# === The page ===


def verdicts(rows: list[Row]) -> str:
    """Which format takes which architecture, as Markdown."""
    lines = []
    for row in rows:
        cells = [_verdict(row.forms[form, "float32"]) for form in formats.FORMATS]
        lines.append(f"| `{row.name}` | {' | '.join(cells)} |")
    head = f"| | {' | '.join(formats.FORMATS)} |"
    return "\n".join([head, f"|---|{'---|' * len(formats.FORMATS)}", *lines, ""])


def _verdict(form: Details | str) -> str:
    return form if isinstance(form, str) else f"yes, {form.largest_change:.0e}"


def sizes(rows: list[Row]) -> str:
    """Megabytes of the model in each form, as Markdown."""
    head = " | ".join(" ".join(form) for form in FORMS)
    lines = []
    for row in rows:
        cells = [_size(row.forms[form]) for form in FORMS]
        known = [form.bundle_bytes for form in row.forms.values() if isinstance(form, Details)]
        lines.append(f"| `{row.name}` | {max(known, default=0) / 1e6:.2f} | {' | '.join(cells)} |")
    return "\n".join(
        [f"| | model.keras | {head} |", f"|---|{'---:|' * (len(FORMS) + 1)}", *lines, ""]
    )


def _size(form: Details | str) -> str:
    return "" if isinstance(form, str) else f"{form.bytes / 1e6:.2f}"


def losses(rows: list[Row]) -> str:
    """How far int8 is from Keras, as Markdown."""
    named = [form for form in FORMS if form[1] != "float32"]
    head = " | ".join(" ".join(form) for form in named)
    lines = []
    for row in rows:
        cells = [_loss(row.forms[form]) for form in named]
        lines.append(f"| `{row.name}` | {' | '.join(cells)} |")
    return "\n".join([f"| | {head} |", f"|---|{'---|' * len(named)}", *lines, ""])


def _loss(form: Details | str) -> str:
    if isinstance(form, str):
        return form
    return f"{form.largest_change:.1g}, {form.agreement:.0%} of labels"


def page(rows: list[Row], named: str) -> str:
    """benchmarks/exporting.md."""
    versions: dict[str, str] = {}
    for row in rows:
        for form in row.forms.values():
            versions |= form.versions if isinstance(form, Details) else {}
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"""# What exports to what

`python -m benchmarks.exporting` writes this page. Every architecture with its default options takes
{CLIP.frames} frames of {CLIP.height}x{CLIP.width} and knows five classes. Weights are random, and
those of the head are scaled so that clips get different and sure answers, in which rounding shows.
Each form was made, loaded again in its runtime, and compared with Keras on {CLIPS} {named};
int8 was fitted to as many others. In float32, a form whose answers are too far from Keras' does not
count: [docs/edge.md](../docs/edge.md) says how far that is.

{machine.name()}
{told}

## Formats

Yes, and the largest change of a probability; or why not.

{verdicts(rows)}
## Integers

The largest change of a probability, and how many labels stay. These networks are a hard case:
before their heads were enlarged, random weights told clips apart by little more than what rounding
changes. What int8 costs a trained model, `kinoflow export` tells.

{losses(rows)}
## Megabytes

{sizes(rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exporting", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MODULES, []], metavar="ARCHITECTURE")
    names = parser.parse_args().names
    terminal.quiet()
    with tempfile.TemporaryDirectory() as folder:
        compared, calibration = clips(Path(folder))
    rows = []
    for name in names or MODULES:
        rows.append(measure(name, compared, calibration))
        print(verdicts(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    text = page(rows, compared.named)
    if names:
        print(text)
    else:
        files.write_text(PAGE, text)
        print(f"wrote {PAGE}")


if __name__ == "__main__":
    errors.run(main)
