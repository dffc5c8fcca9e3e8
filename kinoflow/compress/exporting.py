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
from kinoflow.compress import formats, forms
from kinoflow.compress.convert import Answers, Request, answers, convert
from kinoflow.compress.forms import Details, Form
from kinoflow.compress.quantise import LEAST
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import Bounds, OutOfBoundsError, run_sandboxed
from kinoflow.video import sampling
from kinoflow.video.spec import Frames

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# for one conversion; a graph of a hundred unrolled steps takes minutes
_BOUNDS = Bounds(seconds=1800, memory_mb=32768, concurrency=1)

# how far a probability may be from the bundle's, and how many labels have to be the same
_CHANGES = {"float32": 1e-4, "float16": 0.02, "int8": 1.0}
_AGREEMENT = {"float32": 0.0, "float16": 0.0, "int8": 0.9}
_MIXED = 0.05  # the form computes in float32 what the bundle computes in bfloat16 or float16


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
) -> Form:
    """Make a form of a bundle, whole or not at all, and only if it answers as the bundle does.

    Args:
        source: the bundle's folder.
        target: the form's folder, which must not exist.
        form: the name of a format.
        compared: at least one clip that both answer.
        precision: `float32`; `float16` keeps the weights in half the bytes; `int8` computes in
            integers where the format allows it.
        calibration: clips of training recordings, which int8 takes.

    Raises UserError for a folder that holds no bundle or exists already, a format or precision that
    there is not, a library that is not installed, a model that the format cannot hold, too few
    clips to fit int8 to, and a form that is too far from the bundle.
    """
    kind = formats.find(form)
    formats.check(kind, precision)
    if target.exists():
        raise UserError(f"{target} exists already: name another folder, or remove it")
    description = bundle.load(source).description
    if precision == "int8" and (calibration is None or len(calibration.frames) < LEAST):
        count = 0 if calibration is None else len(calibration.frames)
        raise UserError(
            f"int8 is fitted to clips of training recordings, at least {LEAST}, and there are "
            f"{count}: export in the folder of the run that trained the model"
        )
    with files.replacing_folder(target) as partial:
        wanted = Request(
            source.absolute(),
            partial / kind.file,
            form,
            precision,
            compared.frames,
            None if calibration is None else calibration.frames,
        )
        before = _sandboxed(convert, wanted, f"{description.name} cannot become {form}")
        description.write(partial)
        details = _details(kind, precision, partial, source)
        _add_runner(kind, partial)
        unread = Form(partial, description, details=details)
        after = _sandboxed(
            _answers, (unread, compared.frames), f"{form} cannot run {description.name}"
        )
        details = _compared(details, compared, before, after)
        _refuse(details, description, before.mixed)
        details.write(partial)
    return forms.load(target)


def _answers(wanted: tuple[Form, Frames]) -> Answers:
    return answers(*wanted)


def _sandboxed(function: Callable[[Argument], Result], argument: Argument, problem: str) -> Result:
    """The function's result, from a process of its own; UserError if that process ends."""
    try:
        return run_sandboxed(function, argument, _BOUNDS)
    except OutOfBoundsError as error:
        raise UserError(f"{problem}: {error}") from None
    except (RuntimeError, ValueError) as error:
        # what runtimes raise for a file that they cannot take
        raise UserError(f"{problem}: {str(error).strip().splitlines()[0][:200]}") from None


def _details(kind: formats.Format, precision: str, folder: Path, source: Path) -> Details:
    """The details of a form that is not yet compared."""
    packages = [*dict.fromkeys(("kinoflow", "keras", "tensorflow", kind.package))]
    # the weights of OpenVINO lie in a second file
    model = folder / kind.file
    parts = [model, *folder.glob("model.bin"), *model.rglob("*")]
    return Details(
        format=kind.name,
        precision=precision,
        file=kind.file,
        versions={package: importlib.metadata.version(package) for package in packages},
        bytes=sum(part.stat().st_size for part in parts if part.is_file()),
        bundle_bytes=(source / bundle.MODEL).stat().st_size,
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
        }
    )


def _refuse(details: Details, description: Description, mixed: bool) -> None:
    """Raise UserError if a form is further from its bundle than its precision explains."""
    most, least = _CHANGES[details.precision], _AGREEMENT[details.precision]
    most = max(most, _MIXED * mixed)
    if details.largest_change > most or details.agreement < least:
        raise UserError(
            f"{details.format} {details.precision} does not answer as {description.name} does: a "
            f"probability changes by {details.largest_change:.2g}, at most {most:g} is allowed, and "
            f"{details.agreement:.0%} of labels stay, at least {least:.0%} have to"
        )


def _add_runner(kind: formats.Format, folder: Path) -> None:
    """Copy the files by which a form answers without kinoflow."""
    runner = Path(__file__).parent / "runner"
    shutil.copyfile(runner / "predict.py", folder / "predict.py")
    shutil.copyfile(runner / f"runtime_{kind.name}.py", folder / "runtime.py")
    shutil.copyfile(Path(sampling.__file__), folder / "sampling.py")
    needed = f"numpy\nopencv-python-headless\n{kind.package}\n"
    files.write_text(folder / "requirements.txt", needed)
