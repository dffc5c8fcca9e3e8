"""What a model answers to held-out clips: what the service's answers are compared with.

One file in the folder of a Bento's bundle: an .npz file without pickles, the same bytes for the
same answers.
"""

import io
import lzma
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np
from pydantic import ValidationError

from kinoflow.bundle import DESCRIPTION, Bundle, Description
from kinoflow.monitor import features, inputs
from kinoflow.monitor.answers import HeldOut
from kinoflow.monitor.inputs import Header
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames

FILE = "reference.npz"  # in the folder of the bundle

_FOLDER = "./src/bundle"  # in a .bento file
_MOST = 2000  # clips; of more, whole recordings are left out
# processors differ in the last digits
_DIGITS = {"features": 4, "confidence": 6}


@dataclass(frozen=True)
class Clip:
    """A clip that the model was not trained on."""

    video: Path
    truth: str  # the label that is right
    recording: str


def make(bundle: Bundle, clips: Sequence[Clip], read: Callable[[Clip], Frames]) -> HeldOut:
    """Measure held-out clips as the service measures those that it answers.

    Args:
        bundle: the model.
        clips: which ones. Of more than 2,000, recordings are chosen at random.
        read: gives the frames of a clip, as sampled by the bundle's spec.
    """
    ask = features.forward(bundle)
    chosen = _bounded(clips)
    rows = [_answer(bundle, ask, read(clip), inputs.header(clip.video)) for clip in chosen]
    numbers, codec, label, confidence, found = zip(*rows, strict=True) if rows else ((),) * 5
    return HeldOut(
        numbers=np.array(numbers, np.float64).reshape(-1, len(inputs.NUMBERS)),
        codec=np.array(codec, np.str_),
        label=np.array(label, np.str_),
        confidence=np.array(confidence, np.float64).round(_DIGITS["confidence"]),
        features=np.array(found, np.float32).reshape(len(rows), -1).round(_DIGITS["features"]),
        recording=np.array([clip.recording for clip in chosen], np.str_),
        truth=np.array([clip.truth for clip in chosen], np.str_),
    )


def _answer(
    bundle: Bundle, ask: features.Forward, clip: Frames, header: Header
) -> tuple[tuple[float, ...], str, str, float, features.Features]:
    probabilities, found = ask(bundle.views(clip))
    (answer,) = bundle.calibrated(probabilities.mean(axis=0)[None])
    best = int(np.argsort(-answer, kind="stable")[0])
    return (
        *(inputs.numbers(inputs.look(clip), header), header.codec),
        *(bundle.labels[best], float(answer[best]), found.mean(axis=0)),
    )


def _bounded(clips: Sequence[Clip]) -> list[Clip]:
    """At most 2,000 clips, of whole recordings, in their order."""
    recordings = sorted({clip.recording for clip in clips})
    sizes = {name: sum(clip.recording == name for clip in clips) for name in recordings}
    kept, count = set[str](), 0
    for name in np.random.default_rng(0).permutation(recordings).tolist():
        if count + sizes[name] <= _MOST:
            kept.add(name)
            count += sizes[name]
    return [clip for clip in clips if clip.recording in kept]


def write(reference: HeldOut, folder: Path) -> None:
    """Write the file into the folder of a bundle."""
    with files.replacing(folder / FILE) as partial, partial.open("wb") as file:
        arrays = {each.name: getattr(reference, each.name) for each in fields(reference)}
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_from(bento: Path) -> tuple[HeldOut | None, tuple[str, ...]]:
    """The file in a .bento file, None if it was packed without one, and the model's labels.

    Raises UserError for a damaged Bento, and FileNotFoundError.
    """
    wanted = {f"{_FOLDER}/{name}": name for name in (FILE, DESCRIPTION)}
    found: dict[str, bytes] = {}
    try:
        # once from its beginning to its end, since every step back would unpack it anew
        with tarfile.open(bento, "r|*") as archive:
            for member in archive:
                if member.name in wanted and (file := archive.extractfile(member)):
                    found[wanted[member.name]] = file.read()
        description = Description.model_validate_json(found[DESCRIPTION])
    except (tarfile.TarError, lzma.LZMAError, EOFError, KeyError, ValidationError) as error:
        raise UserError(f"{bento} is no Bento, or a damaged one ({error})") from None
    held_out = _loaded(io.BytesIO(found[FILE])) if FILE in found else None
    return held_out, description.labels


def _loaded(file: IO[bytes]) -> HeldOut:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return HeldOut(**{each.name: arrays[each.name] for each in fields(HeldOut)})
    except (BadZipFile, KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{FILE} is damaged, or of another version of kinoflow ({error}): package the model "
            "again"
        ) from None
