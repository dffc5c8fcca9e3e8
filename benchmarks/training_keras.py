"""Train one architecture for some steps, by whichever checkout's kinoflow comes first on the path.

`benchmarks.training` runs this file in processes of its own, and gives it a `Job` as JSON.
"""

import dataclasses
import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ("a", "b", "c", "d", "e", "f")


@dataclasses.dataclass(frozen=True)
class Job:
    """What to train, and for how long."""

    candidate: dict[str, Any]  # as under `candidates` in params.yaml
    common: dict[str, dict[str, Any]]  # the sections `clip` and `training` of params.yaml
    seconds: float = 0  # train at least this long, after the first step
    steps: int = 0  # and at least so many steps, without the first
    weights: str = (
        ""  # the .npz file into which to write weights and answers; then nothing is trained
    )


def main() -> None:
    # An editable installation finds what the checkout does not have, such as a module that came
    # later.
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not getattr(finder, "__module__", "").startswith("__editable__")
    ]
    job = Job(**json.loads(sys.argv[1]))
    model, clips = compiled(job)
    if job.weights:
        np.savez(job.weights, clips=clips, **randomised(model, clips))
        return
    print(json.dumps(trained(model, clips, job)))


def compiled(job: Job) -> tuple[Any, Any]:
    """The model, compiled as in training, and a batch of clips of noise for it."""
    import kinoflow

    root = Path(str(kinoflow.__file__)).parent.parent
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(root / "params.yaml")
    for section, common in job.common.items():
        # a section of an older checkout lacks keys that came later
        values[section] = {key: common.get(key, own) for key, own in values[section].items()}
    values["candidates"] = {"measured": job.candidate}
    shape = (
        values["training"]["batch_size"],
        job.candidate["frames"],
        values["clip"]["height"],
        values["clip"]["width"],
        3,
    )
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    steps = 1000  # a schedule needs a number
    try:
        config = importlib.import_module("kinoflow.config")
    except ModuleNotFoundError:
        return _compiled_before_the_house(values, steps), clips
    fit: Any = importlib.import_module("kinoflow.training.fit")
    run = config.Params.model_validate(values).resolve("measured")
    return fit.compile_model(run, len(LABELS), steps), clips


def _compiled_before_the_house(values: dict[str, Any], steps: int) -> Any:
    """The model of a checkout as old as 68b38ca, whose library was one flat folder."""
    import keras

    training: Any = importlib.import_module("kinoflow.training")
    params = importlib.import_module("kinoflow.params").Params.model_validate(values)
    own = params.training_of("measured")
    model = training._built("measured", params, len(LABELS), own.precision)
    model.compile(
        optimizer=training._optimizer(own, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=own.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def labelled(batch: int) -> tuple[Any, Any]:
    """One-hot labels float32 (B, classes), and weights of clips float32 (B,)."""
    targets = np.eye(len(LABELS), dtype=np.float32)[np.arange(batch) % len(LABELS)]
    return targets, targets @ np.linspace(0.5, 1.5, len(LABELS), dtype=np.float32)


class Clock:
    """Wall and processor seconds of each step; the first one is taken from the clock's making."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self.begin()

    def begin(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def end(self) -> None:
        wall, processor = self._begun
        self.steps.append((time.perf_counter() - wall, time.process_time() - processor))

    def enough(self, job: Any) -> bool:
        """Whether a job's seconds have passed and its steps are taken."""
        later = self.steps[1:]
        return len(later) >= job.steps and sum(wall for wall, _ in later) >= job.seconds

    def result(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        megabytes = peak / (2**20 if sys.platform == "darwin" else 2**10)
        return {"first": self.steps[0], "steps": self.steps[1:], "megabytes": megabytes}


def trained(model: Any, clips: Any, job: Job) -> dict[str, Any]:
    """Fit the model to the same batch again and again: how long steps take, and peak memory."""
    import keras

    class Repeated(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> Any:
            return clips, *labelled(len(clips))

    class Timed(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch:
                clock.begin()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            clock.end()
            self.model.stop_training = clock.enough(job)

    clock = Clock()
    model.fit(Repeated(), callbacks=[Timed()], shuffle=False, verbose=0)
    return clock.result()


def randomised(model: Any, clips: Any) -> dict[str, Any]:
    """Give all weights of a model random values: these, and its answers to clips.

    The names of weights are those that `benchmarks.training_torch` expects.
    """
    import keras

    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value + rng.normal(0, 0.1, value.shape).astype(np.float32))
    kept = {
        f"{name}.{part}": keras.ops.convert_to_numpy(weight)
        for name, weights in _named(model).items()
        for part, weight in weights.items()
    }
    sizes = sum(value.size for value in kept.values())
    assert sizes == sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    return kept | {"answers": model.predict(clips, batch_size=len(clips), verbose=0)}


def _named(model: Any) -> dict[str, dict[str, Any]]:
    """The weights of each layer; convolutions and shortcuts are numbered from the input on."""
    import keras

    named: dict[str, dict[str, Any]] = {}
    normalising = [layer for layer in model.layers if hasattr(layer, "gamma")]
    convolutions = shortcuts = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.LSTM):
            cell = layer.cell
            named["recurrence"] = {
                "kernel": cell.kernel,
                "state": cell.recurrent_kernel,
                "bias": cell.bias,
            }
        elif isinstance(layer, keras.layers.Dense):
            named["head"] = {"kernel": layer.kernel, "bias": layer.bias}
        elif hasattr(layer, "kernel"):
            if all(side == 1 for side in layer.kernel.shape[:-2]):
                name, shortcuts = f"shortcut{shortcuts}", shortcuts + 1
            else:
                name, convolutions = f"convolution{convolutions}", convolutions + 1
            named[name] = {"kernel": layer.kernel}
            if getattr(layer, "bias", None) is not None:
                named[name]["bias"] = layer.bias
            for each in normalising:
                if each.input is layer.output:
                    named[name] |= {"scale": each.gamma, "offset": each.beta}
    return named


if __name__ == "__main__":
    main()
