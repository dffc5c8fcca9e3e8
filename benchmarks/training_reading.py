"""Whether training waits for batches: from the clip store with augmentation, and from memory.

    python -m benchmarks.training_reading lrcn [--rounds 5]

Both train the same compiled model, in turns, on the same number of clips.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.repository import REPOSITORY
from kinoflow import config
from kinoflow.data.clips import ClipSet, ClipStore
from kinoflow.system import terminal

CLIPS = 224  # whole batches of 16
EPOCHS = 3  # in each turn; the first one, in which Keras sets up its queues, is not counted


def measure(candidate: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of epochs, from the store and from memory."""
    import keras

    from kinoflow.training.fit import TrainingData, augmented_batches, compile_model

    class Timed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.perf_counter(), time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            wall, processor = self.begun
            if epoch:
                taken.append((time.perf_counter() - wall, time.process_time() - processor))

    run = config.load(REPOSITORY.params).resolve(candidate)
    with tempfile.TemporaryDirectory() as name:
        clips = _noise(Path(name), run.clip.shape)
        labels = ("a", "b", "c", "d", "e", "f")
        data = TrainingData(labels, clips, clips, md5="", val_recordings=len(clips))
        batches = augmented_batches(run, data)
        model = compile_model(run, len(labels), steps=1000)
        kept = [batches[number] for number in range(len(batches))]
        arrays = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
        size = run.training.batch_size
        found: dict[str, list[tuple[float, float]]] = {"store": [], "memory": []}
        for turn in range(rounds + 1):
            for source, taken in found.items():
                feed: dict[str, Any] = {"x": batches}
                if source == "memory":
                    feed = dict(zip(("x", "y", "sample_weight"), arrays, strict=True))
                    feed["batch_size"] = size
                model.fit(**feed, epochs=EPOCHS, callbacks=[Timed()], shuffle=False, verbose=0)
                if not turn:  # compiled just now
                    taken.clear()
    return found


def _noise(folder: Path, shape: tuple[int, ...]) -> ClipSet:
    rng = np.random.default_rng(0)
    videos = tuple(f"{number:03d}.avi" for number in range(CLIPS))
    for video in videos:
        np.save(ClipStore(folder).path(video), rng.integers(0, 256, shape, dtype=np.uint8))
    return ClipSet(folder, videos, np.arange(CLIPS) % 6)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_reading", description=__doc__
    )
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print every epoch's seconds")
    arguments = parser.parse_args()
    found = measure(arguments.candidate, arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    for source, taken in found.items():
        wall, processor = (statistics.median(each) for each in zip(*taken, strict=True))
        print(f"{arguments.candidate} from {source}: {wall:.3f} s, processor {processor:.3f} s")
    store, memory = (statistics.median(wall for wall, _ in each) for each in found.values())
    print(f"{arguments.candidate}: {memory / store:.3f} of the steps a second from memory")


if __name__ == "__main__":
    terminal.quiet()
    main()
