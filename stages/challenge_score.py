"""Have one Bento's model classify clips, by its own code: a program that `challenge` starts.

Older Bentos have older code, so that their models answer here as they do when they are served.
What this program imports is therefore what every Bento holds: `kinoflow` is that of the Bento, and
no other module of this repository is there. It is started as a file, with the Bento's code on the
path.

Arguments: a JSON file with the request, a NumPy file for the probabilities (N, classes), and a JSON
file for the labels and the latency.
"""

import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kinoflow.video import sample

try:
    from kinoflow.compress.forms import load_any as load
except ImportError:
    # in Bentos that were packed before there were forms
    from kinoflow.bundle import load  # type: ignore[assignment]


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = load(Path(request["bundle"]))
    stored = dataclasses.asdict(model.clip) == request["clip"]

    def clip(video: str) -> Any:
        """uint8 (1, T, H, W, 3)."""
        if stored:
            return np.load(Path(request["store"]) / f"{video}.npy")[None]
        return sample(Path(request["data"]) / video, model.clip)[None]

    answers = [model.predict(clip(video))[0] for video in request["videos"]]
    shape = (len(answers), len(model.labels))
    taken = []
    # the first pays for compilation
    for video in [*request["timed"][:1], *request["timed"]]:
        one = clip(video)
        start = time.perf_counter()
        model.predict(one)
        taken.append(time.perf_counter() - start)
    with Path(sys.argv[2]).open("wb") as file:
        np.save(file, np.array(answers, np.float32).reshape(shape))
    found = {
        "labels": list(model.labels),
        "latency_ms": statistics.median(taken[1:]) * 1000,
        "stored": stored,
    }
    Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
