"""Make a form of a bundle: convert the model, load what came out, and compare the two."""

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.compress import batches, formats, forms
from kinoflow.compress.convert import Answers, Request, answers, convert, explained, silenced
from kinoflow.compress.forms import Details, Form
from kinoflow.compress.quantise import LEAST, Judge
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.video import sampling
from kinoflow.video.spec import Frames

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# for one conversion; a graph of a hundred unrolled steps takes minutes
_BOUNDS = Bounds(seconds=1800, memory_mb=32768, concurrency=1)


@dataclass(frozen=True)
class Limits:
    """How far a form may be from its bundle."""

    change: float  # of a probability, at most
    agreement: float  # share of clips with the same label, at least


# what each precision explains
LIMITS = {
    "float32": Limits(1e-4, 0),
    "float16": Limits(0.02, 0),
    "bfloat16": Limits(0.1, 0),
    "int8": Limits(1, 0.9),
}
# the form computes in float32 what the bundle computes in bfloat16 or float16
MIXED = Limits(0.05, 0)


@dataclass(frozen=True)
class Clips:
    """Clips that a bundle and a form of it are to answer, or that a form is fitted to."""

    frames: Frames  # (N, T, H, W, 3) as the bundle takes them
    named: str  # where they are from, in words


def export(
    source: Path,
    target: Path,
    form: str,
    compared: Clips,
    *,
    precision: str = "float32",
    calibration: Clips | None = None,
    judge: Judge | None = None,
    limits: Limits | None = None,
) -> Form:
    """Make a form of a bundle, whole or not at all, and only if it answers as the bundle does.

    Args:
        source: the bundle's folder.
        target: the form's folder, which must not exist.
        form: the name of a format.
        compared: at least one clip that both answer.
        precision: `float32`; `float16` and `bfloat16` keep the weights in half the bytes; `int8`
            computes in integers where the format allows it.
        calibration: clips of training recordings, which int8 takes but in LiteRT.
        judge: clips by which int8 leaves layers in float that lose too much; it is neither fitted
            to them nor to be tested on them. None: all layers are in int8, whatever that costs.
            LiteRT has no such choice, and does not ask it.
        limits: how far the form may be from the bundle; None: as far as the precision explains.

    Raises UserError for a folder that holds no bundle or exists already, a format or precision that
    there is not, a library that is not installed, a model that the format cannot hold, too few
    clips to fit int8 to, int8 that is too coarse for every layer, and a form that is too far from
    the bundle.
    """
    kind = formats.find(form)
    formats.check(kind, precision)
    if target.exists():
        raise UserError(f"{target} exists already: name another folder, or remove it")
    model = bundle.load(source)
    description = model.description
    count = 0 if calibration is None else len(calibration.frames)
    if precision == "int8" and kind.fitted and count < LEAST:
        raise UserError(
            f"int8 is fitted to clips of training recordings, at least {LEAST}, and there are "
            f"{count}: export in the folder of the run that trained the model"
        )
    batch = batches.size(batches.views(model)) if kind.batched else 1
    # other processes read both, and may have another working folder
    with files.replacing_folder(target.absolute()) as partial:
        wanted = Request(
            source.absolute(),
            partial / kind.file,
            form,
            precision,
            batch,
            compared.frames,
            None if calibration is None else calibration.frames,
            judge,
        )
        before = _sandboxed(convert, wanted, f"{description.name} cannot become {form}")
        description.write(partial)
        details = _details(kind, wanted)
        add_runner(kind, partial)
        unread = Form(partial, description, details=details)
        after = _sandboxed(
            _answers, (unread, compared.frames), f"{form} cannot run {description.name}"
        )
        details = _compared(details, compared, before, after)
        if limits is None:
            limits = MIXED if before.mixed and precision != "int8" else LIMITS[precision]
        _refuse(details, description, limits)
        details.write(partial)
    return forms.load(target)


def _answers(wanted: tuple[Form, Frames]) -> Answers:
    form, clips = wanted
    with explained(f"{form.details.format} cannot run {form.description.name}"), silenced():
        return answers(form, clips)


def _sandboxed(function: Callable[[Argument], Result], argument: Argument, problem: str) -> Result:
    """The function's result, from a process of its own; UserError if that process ends."""
    try:
        return run_sandboxed(function, argument, _BOUNDS)
    except OutOfBoundsError as error:
        raise UserError(f"{problem}: {error}") from None


def _details(kind: formats.Format, made: Request) -> Details:
    """The details of a form that is not yet compared."""
    packages = [*dict.fromkeys(("kinoflow", "keras", "tensorflow", kind.package))]
    # the weights of OpenVINO lie in a second file
    parts = [made.target, *made.target.parent.glob("model.bin"), *made.target.rglob("*")]
    return Details(
        format=kind.name,
        precision=made.precision,
        file=kind.file,
        batch=made.batch,
        versions={package: importlib.metadata.version(package) for package in packages},
        bytes=sum(part.stat().st_size for part in parts if part.is_file()),
        bundle_bytes=(made.source / bundle.MODEL).stat().st_size,
        compared_on="",
        clips=0,
        largest_change=0.0,
        agreement=1.0,
        milliseconds=0.0,
        bundle_milliseconds=0.0,
    )


def _compared(details: Details, clips: Clips, before: Answers, after: Answers) -> Details:
    one, other = before.probabilities, after.probabilities
    change = np.abs(one - other).max()
    same = one.argmax(axis=1) == other.argmax(axis=1)
    return details.model_copy(
        update={
            "compared_on": clips.named,
            "clips": len(one),
            # not a number is no small change
            "largest_change": float(change) if np.isfinite(change) else 1.0,
            "agreement": float(same.mean()),
            "milliseconds": round(after.milliseconds, 3),
            "bundle_milliseconds": round(before.milliseconds, 3),
            "int8_layers": before.layers.in_int8 if before.layers else 0,
            "float_layers": before.layers.in_float if before.layers else 0,
        }
    )


def _refuse(details: Details, description: Description, limits: Limits) -> None:
    """Raise UserError if a form is further from its bundle than allowed."""
    if details.largest_change > limits.change or details.agreement < limits.agreement:
        raise UserError(
            f"{details.format} {details.precision} does not answer as {description.name} does: "
            f"a probability changes by {details.largest_change:.2g}, where {limits.change:g} is "
            f"allowed, and {details.agreement:.0%} of labels stay, of {limits.agreement:.0%} that "
            "have to"
        )


def add_runner(kind: formats.Format, folder: Path) -> None:
    """Copy the files by which a form answers without kinoflow."""
    runner = Path(__file__).parent / "runner"
    for name in ("predict.py", "video.py"):
        shutil.copyfile(runner / name, folder / name)
    shutil.copyfile(runner / f"runtime_{kind.name}.py", folder / "runtime.py")
    shutil.copyfile(Path(sampling.__file__), folder / "sampling.py")
    needed = f"numpy\nopencv-python-headless\n{kind.package}\n"
    files.write_text(folder / "requirements.txt", needed)
