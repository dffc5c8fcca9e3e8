"""Checkpoints: a killed training resumes from one, and ends as if it had not been killed.

A checkpoint is written after each epoch, whole or not at all:

    best.weights.h5            the model's and the optimizer's weights after the best epoch
    last/model.weights.h5      the model's and the optimizer's weights after the last epoch
    last/record.json           the scores so far, and the states of the random layers
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from kinoflow.config import Run
from kinoflow.system import files
from kinoflow.training.history import History

# the packages of kinoflow whose code decides what is learned
_CODE = ("data", "models", "training", "video")


def code_md5(root: Path = Path(__file__).parent.parent) -> str:
    """One MD5 over the code that decides what is learned; `root` is the package's folder."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(path for name in _CODE for path in (root / name).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {files.md5(path)}\n".encode())
    return digest.hexdigest()


def identity(
    run: Run,
    *,
    data: str,
    code: str,
    weights: str | None,
    styles: Sequence[str],
    versions: Mapping[str, str],
    refit: object = None,
    lesson: object = None,
) -> str:
    """One SHA-256 in hex over all that a training depends on.

    A training resumes only from a checkpoint with the same identity.

    Args:
        run: the settings.
        data: a hash of the clips, their labels and sides of the split.
        code: a hash of the code of the model and of training.
        weights: a hash of the file of the model's first weights; None if there is no file.
        styles: hashes of the networks that restyle clips.
        versions: the versions of the libraries by name.
        refit: how the training differs from an ordinary one, as JSON can hold it; None if it does
            not.
        lesson: hashes of who teaches it, and of the footage for that, as JSON can hold them; None
            without a teacher.
    """
    parts = [
        code,
        run.candidate.model_dump(),
        weights,
        [*styles],
        run.training.model_dump(exclude={"refit"}),  # of candidates, no training depends on it
        run.augment.model_dump(),
        vars(run.clip),
        run.seed,
        data,
        versions,
        refit,
        *([lesson] if lesson else []),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Checkpoints:
    """The checkpoint of one training, in a folder.

    Args:
        folder: where the checkpoint is kept; made at the first `save`.
        identity: of the training. A checkpoint with another identity is deleted, not resumed.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.identity = identity
        self._folder = folder
        self._best = folder / "best.weights.h5"
        self._last = folder / "last"

    def save(self, model: keras.Model, history: History) -> None:
        """Keep a compiled model as it is after the latest epoch of `history`."""
        # the best weights first: a training that is killed before `last` is written repeats the
        # epoch and writes them again
        if history.improved:
            with files.replacing(self._best) as partial:
                model.save_weights(partial)
        with files.replacing_folder(self._last) as partial:
            weights = partial / "model.weights.h5"
            if history.improved:
                shutil.copyfile(self._best, weights)  # far quicker than saving once more
            else:
                model.save_weights(weights)
            record = {
                "identity": self.identity,
                "history": history.scores,
                "best_epoch": history.best_epoch,
                "seconds": history.seconds,
                "random": [keras.ops.convert_to_numpy(v).tolist() for v in _random_states(model)],
            }
            files.write_json(partial / "record.json", record)

    def resume(self, model: keras.Model, history: History) -> None:
        """Bring a compiled model and an empty history to where an earlier training was killed.

        Leaves both as they are if there is no checkpoint with this identity.
        """
        files.settle(self._last)
        path = self._last / "record.json"
        record = files.read_json(path) if path.exists() else {}
        if record.get("identity") != self.identity:
            self.delete()
            return
        # the optimizer has no variables to load into before it is built
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._last / "model.weights.h5")
        for variable, value in zip(_random_states(model), record["random"], strict=True):
            variable.assign(value)
        history.scores = record["history"]
        history.best_epoch = record["best_epoch"]
        history.seconds = record["seconds"]

    def load_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch so far into a model."""
        model.load_weights(self._best)

    def delete(self) -> None:
        """Delete the checkpoint, if there is one."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random layers, which Keras leaves out of saved weights."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
