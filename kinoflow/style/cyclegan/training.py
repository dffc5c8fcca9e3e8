"""Train a CycleGAN; a killed training continues after its last whole epoch."""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kinoflow import bundle
from kinoflow.data import tables
from kinoflow.style.cyclegan.batches import UnpairedBatches
from kinoflow.style.cyclegan.model import CycleGANModel, compiled
from kinoflow.style.cyclegan.store import Store
from kinoflow.style.pictures import to_bytes, to_floats
from kinoflow.style.settings import DOMAINS, CycleGan
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training import curves
from kinoflow.training.averaging import AveragedWeights
from kinoflow.training.checkpoints import Checkpoints
from kinoflow.training.history import History, Scores
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    from dvclive.live import Live

_SAMPLES = 6  # pictures of each domain that are shown while it trains
RECORD = "cyclegan.json"  # beside the networks: what they were trained by


@dataclass(frozen=True)
class Outputs:
    """The folders that a training writes to.

    Args:
        networks: gets a_to_b.keras, b_to_a.keras, history.csv and cyclegan.json, whole or not at
            all.
        curves: gets losses and sample pictures, as DVCLive writes them; None: they are not drawn.
        checkpoints: holds the last epoch of a training that is not over.
    """

    networks: Path
    curves: Path | None
    checkpoints: Path


def train(settings: CycleGan, store: Store, outputs: Outputs, seed: int) -> float | None:
    """Train a CycleGAN on the pictures of a store.

    Args:
        settings: the section `style.cyclegan` of params.yaml.
        store: the pictures.
        outputs: where to write.
        seed: same seed, data and settings: same weights.

    Returns the seconds that it took; None if the same training made the networks that are there.

    Raises UserError for a training that diverges.
    """
    name = outputs.networks.name
    trained_by = _identity(settings, store.md5, seed)
    files.settle(outputs.networks)
    record = outputs.networks / RECORD
    drawn = outputs.curves is None or outputs.curves.exists()
    if drawn and record.exists() and files.read_json(record)["identity"] == trained_by:
        return None
    batches = UnpairedBatches(
        store.moments("a"),
        store.moments("b"),
        size=settings.batch_size,
        crop=settings.crop,
        steps=settings.steps,
        temporal=settings.temporal > 0,
        seed=seed,
    )
    model = compiled(settings, batches.shape, seed, steps=len(batches) * settings.epochs)
    checkpoints = Checkpoints(outputs.checkpoints, trained_by)
    history = History(patience=None)
    checkpoints.resume(model, history)
    if history:
        print(f"{name}: going on after epoch {len(history)}", file=sys.stderr)
    with curves.open_curves(outputs.curves) as live:
        for scores in history.scores:
            curves.draw(live, scores)
        if len(history) < settings.epochs:
            batches.set_epoch(len(history))
            # before the checkpoint and the samples, which so are of the averages
            averages = [AveragedWeights(swapped=len(history) > 0)] if settings.ema else []
            end = _EpochEnd(history, checkpoints, live, _shown(store), name)
            model.fit(
                batches,
                epochs=settings.epochs,
                initial_epoch=len(history),
                callbacks=[*averages, end],
                shuffle=False,  # the batches are, by the epoch
                verbose=0,
            )
            # at the end of `fit`, Keras takes what the optimizer holds for the averages
            checkpoints.resume(model, history)
    with files.replacing_folder(outputs.networks) as folder:
        for network in (model.a_to_b, model.b_to_a):
            network.save(folder / f"{network.name}.keras")
        files.write_text(folder / "history.csv", tables.text(history.table(), tables.HISTORY))
        description = {
            "identity": trained_by,
            "settings": settings.model_dump(mode="json"),
            "seed": seed,
            "data": store.md5,
            "versions": bundle.library_versions(),
        }
        files.write_json(folder / RECORD, description)
    checkpoints.delete()
    return history.seconds


def contact_sheet(model: CycleGANModel, a: Frames, b: Frames) -> Frames:
    """Pictures of both domains with their translations, and those translated back.

    Args:
        model: what translates.
        a: pictures of domain a, uint8 RGB (N, H, W, 3).
        b: pictures of domain b, of the same shape.

    Returns one picture, uint8 RGB (6 H, N W, 3). Its rows are: a, in b, and back; b, in a, and
    back.
    """
    rows = []
    for pictures, there, back in ((a, model.a_to_b, model.b_to_a), (b, model.b_to_a, model.a_to_b)):
        given = to_floats(pictures)
        made = np.asarray(there.predict_on_batch(given))
        rows += [given, made, np.asarray(back.predict_on_batch(made))]
    return to_bytes(np.concatenate([np.concatenate([*row], axis=1) for row in rows]))


def _identity(settings: CycleGan, data: str, seed: int) -> str:
    """One SHA-256 in hex over all that a training depends on."""
    folder = Path(__file__).parent
    sources = sorted([*folder.glob("*.py"), folder.parent / "flow.py", folder.parent / "losses.py"])
    code = {path.name: files.md5(path) for path in sources}
    versions = bundle.library_versions()
    parts: list[Any] = [settings.model_dump(mode="json"), data, seed, code, versions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _shown(store: Store) -> tuple[Frames, Frames]:
    """The validation pictures that are shown while a CycleGAN trains."""
    a, b = (store.runs(domain, "val").frames[:_SAMPLES, 0] for domain in DOMAINS)
    count = min(len(a), len(b))
    return a[:count], b[:count]


class _EpochEnd(keras.callbacks.Callback):
    """After each epoch: records its losses, saves a checkpoint, and shows what is made of some."""

    def __init__(
        self,
        history: History,
        checkpoints: Checkpoints,
        live: "Live | None",
        shown: tuple[Frames, Frames],
        name: str,
    ) -> None:
        super().__init__()
        self.history = history
        self.checkpoints = checkpoints
        self.live = live
        self.shown = shown
        self.name = name

    def on_epoch_begin(self, epoch: int, logs: Scores | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Scores | None = None) -> None:
        scores = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(scores["loss"]):
            raise UserError(
                f"training diverged in epoch {epoch + 1} (loss {scores['loss']}): "
                "lower style.cyclegan.learning_rate"
            )
        seconds = time.monotonic() - self.started
        self.history.add(scores, seconds)
        self.checkpoints.save(self.model, self.history)
        if self.live is not None:
            self.live.log_image("samples.png", contact_sheet(self.model, *self.shown))
        curves.draw(self.live, scores)
        print(
            f"{self.name}: epoch {epoch + 1}/{self.params['epochs']}: "
            + ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            + f", {seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )
