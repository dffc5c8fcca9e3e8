"""Judge the CycleGAN of `style` on held-out recordings.

Where both domains are looks of the embedded films, the truth is known: the same frames in the other
look. Where it is not, what comes back from a round trip, and how a film flickers, still tell.
"""

import time
from fractions import Fraction
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kinoflow import config
from kinoflow.config import Params
from kinoflow.reports.metrics import bootstrap_interval
from kinoflow.style import pictures, settings
from kinoflow.style.pictures import to_bytes, to_floats
from kinoflow.style.settings import DomainName, Style
from kinoflow.system import files
from kinoflow.system.terminal import silenced_stderr
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run

if TYPE_CHECKING:
    from kinoflow.style.cyclegan.store import Runs, Store
    from kinoflow.style.cyclegan.translate import Translator
    from kinoflow.style.flow import Motion

_FILMS = 3  # recordings whose films are written
_ENLARGED = 4  # times
_RATE = Fraction(25)  # frames per second of these films
_TIMED = 64  # frames that are translated to measure how fast that is
IDENTITY, COLOURS = "identity", "colour_transfer"
_CAPTIONS = {"frames": "cyclegan", "temporal": "cyclegan with temporal loss"}


class Direction(NamedTuple):
    """A translation from one domain to the other."""

    source: DomainName
    target: DomainName

    @property
    def name(self) -> str:
        return f"{self.source}_to_{self.target}"

    @property
    def back(self) -> "Direction":
        return Direction(self.target, self.source)


DIRECTIONS = (Direction("a", "b"), Direction("b", "a"))
Networks = dict[str, dict[str, "Translator"]]  # by training, and by direction
Made = dict[str, Frames]  # by method: uint8 RGB (N, R, H, W, 3)


def translations(direction: Direction, store: "Store", networks: Networks, side: str) -> Made:
    """What each method makes of the runs of a domain on one side, the two baselines first."""
    from kinoflow.style.cyclegan import truth

    given = store.runs(direction.source, side).frames
    wanted = truth.colours_of(store.moments(direction.target).pairs[:, 1])
    flat = given.reshape(-1, *given.shape[2:])
    recoloured = [truth.recoloured(to_floats(frame), wanted) for frame in flat]
    made = {IDENTITY: given, COLOURS: to_bytes(np.stack(recoloured)).reshape(given.shape)}
    for training, pair in networks.items():
        made[training] = pair[direction.name].film(flat).reshape(given.shape)
    return made


def judged(
    made: Made, truths: "Runs | None", motions: "list[list[Motion]]", params: Params
) -> dict[str, dict[str, float]]:
    """The scores of each method: similarity and difference to the truth, and the warping error.

    Args:
        made: what the methods made.
        truths: what they should have made; None: unknown.
        motions: how the pixels of each run moved.
        params: say how intervals are made.
    """
    from kinoflow.style.cyclegan import truth
    from kinoflow.style.measures import warping_error

    scores: dict[str, dict[str, float]] = {}
    similar: dict[str, NDArray[np.float64]] = {}

    def interval(values: NDArray[np.float64]) -> tuple[float, float]:
        assert truths is not None
        resamples, groups = params.evaluation.bootstrap, np.array(truths.groups)
        return bootstrap_interval(values, groups, resamples, params.seed)  # type: ignore[arg-type]

    for method, films in made.items():
        floats = to_floats(films)
        errors = [warping_error(film, each) for film, each in zip(floats, motions, strict=True)]
        scores[method] = {"warping_error": _round(float(np.nanmean(errors)), 6)}
        if truths is None:
            continue
        true = to_floats(truths.frames)
        similar[method] = _each(truth.similarity, floats, true)
        low, high = interval(similar[method])
        scores[method] |= {
            "similarity": _round(similar[method].mean()),
            "low": _round(low),
            "high": _round(high),
            "difference": _round(_each(truth.difference, floats, true).mean()),
        }
    if truths is not None:
        better = max((IDENTITY, COLOURS), key=lambda name: similar[name].mean())
        for method in made.keys() - {IDENTITY, COLOURS}:
            ahead = similar[method] - similar[better]
            low, high = interval(ahead)
            scores[method] |= {
                "ahead": _round(ahead.mean()),
                "ahead_low": _round(low),
                "ahead_high": _round(high),
            }
    return scores


def motions_of(runs: "Runs", domain: settings.Domain, params: Params) -> "list[list[Motion]]":
    """How the pixels of each run moved: exactly for embedded films, estimated for others."""
    from kinoflow.style.flow import motion
    from stages.sources import truth_flow
    from stages.sources.synthetic import videos_of

    if domain.look is None:
        return [[motion(*pair) for pair in pairwise(run)] for run in runs.frames]
    films = {film.name: film for film in videos_of(params.dataset, params.seed)}
    length, (height, width) = runs.frames.shape[1], runs.frames.shape[2:4]
    found = []
    for source, start in zip(runs.sources, runs.starts, strict=True):
        exact = truth_flow.motions(films[source])[start : start + length - 1]
        found.append([_scaled(each, height, width) for each in exact])
    return found


def _scaled(motion: "Motion", height: int, width: int) -> "Motion":
    from kinoflow.style.flow import Motion

    rows, columns = motion.visible.shape
    backward = cv2.resize(motion.backward, (width, height), interpolation=cv2.INTER_AREA)
    visible = cv2.resize(motion.visible, (width, height), interpolation=cv2.INTER_AREA)
    factor = np.array([width / columns, height / rows], np.float32)
    # a pixel counts if all that it covers does
    return Motion(np.asarray(backward) * factor, (np.asarray(visible) > 0.999).astype(np.float32))


def round_trips(direction: Direction, networks: Networks, made: Made) -> dict[str, float]:
    """The mean difference (L1) of frames from what comes back of them, by training."""
    given = made[IDENTITY]
    found = {}
    for training, pair in networks.items():
        flat = made[training].reshape(-1, *given.shape[2:])
        back = pair[direction.back.name].film(flat).reshape(given.shape)
        apart = np.abs(back.astype(np.float32) - given.astype(np.float32)).mean() / 255
        found[training] = _round(float(apart))
    return found


def _each(measure, films: NDArray[np.float32], truths: NDArray[np.float32]) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """A measure of each run (N,): the mean over its frames."""
    return np.array(
        [
            np.mean([measure(frame, true) for frame, true in zip(film, run, strict=True)])
            for film, run in zip(films, truths, strict=True)
        ]
    )


def _round(value: float, digits: int = 4) -> float:
    return round(float(value), digits)


def evaluate(workspace: Workspace, params: Params, style: Style, side: str = "test") -> dict:
    """Write reports/style/cyclegan/: metrics.json, timing.json, samples.png and films.

    Returns what metrics.json holds.

    Raises UserError if the networks are missing.
    """
    from kinoflow.style.cyclegan import translate
    from kinoflow.style.cyclegan.store import Store

    store = Store(workspace.work / "style" / "frames")
    folder = workspace.style_models
    networks: Networks = {
        training.name: {
            direction.name: translate.load(training / f"{direction.name}.keras")
            for direction in DIRECTIONS
        }
        for training in sorted(folder.iterdir())
        if training.is_dir()
    }
    metrics: dict = {"paired": style.paired, "side": side}
    made = {}
    for direction in DIRECTIONS:
        runs = store.runs(direction.source, side)
        truths = store.runs(direction.target, side) if style.paired else None
        motions = motions_of(runs, style.domain(direction.source), params)
        made[direction] = translations(direction, store, networks, side)
        scores = judged(made[direction], truths, motions, params)
        for training, apart in round_trips(direction, networks, made[direction]).items():
            scores[training]["round_trip"] = apart
        metrics[direction.name] = {"recordings": len(set(runs.groups)), **scores}
    with files.replacing_folder(workspace.reports / "style" / "cyclegan") as out:
        files.write_json(out / "metrics.json", metrics)
        trained = files.read_json(workspace.work / "style" / "timing.json")
        files.write_json(out / "timing.json", {**_timed(networks, store, side), **trained})
        for direction, films in made.items():
            shown = _shown(direction, films, store, style, side)
            _sheet(out / f"{direction.name}.png", shown)
            _films(out, direction, shown, store.runs(direction.source, side).sources)
    return metrics


def _shown(direction: Direction, made: Made, store: "Store", style: Style, side: str) -> Made:
    """What people are shown: before, what each method made, and the truth if it is known."""
    captions = {IDENTITY: "before", COLOURS: "colour transfer", **_CAPTIONS}
    shown = {captions[method]: films for method, films in made.items()}
    if style.paired:
        shown["truth"] = store.runs(direction.target, side).frames
    return shown


def _sheet(path, shown: Made) -> None:  # type: ignore[no-untyped-def]
    """A picture of the middle frames of up to eight runs, a column each, a row for each method."""
    rows = [
        np.concatenate([run[len(run) // 2] for run in films[:8]], axis=1)
        for films in shown.values()
    ]
    sheet = np.concatenate(rows)
    pictures.write(path, to_floats(_enlarged(sheet, 2)))


def _films(out, direction: Direction, shown: Made, sources) -> None:  # type: ignore[no-untyped-def]
    """The films of the first runs: NAME.before.mp4, NAME.cyclegan.mp4 and so on."""
    from kinoflow.render import film

    for row, source in list(enumerate(sources))[:_FILMS]:
        stem = f"{PurePosixPath(source).stem}-{direction.name}"
        for caption, films in shown.items():
            with film.writing(out / f"{stem}.{caption}.mp4", _RATE) as target:
                for number, frame in enumerate(films[row]):
                    target.add(float(number / _RATE), _enlarged(frame, _ENLARGED))


def _enlarged(frame: Frames, times: int) -> Frames:
    large = cv2.resize(frame, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, dtype=np.uint8)


def _timed(networks: Networks, store: "Store", side: str) -> dict[str, float]:
    """Frames per second of a generator, without reading and writing."""
    frames = store.runs("a", side).frames
    flat = np.resize(frames, (_TIMED, *frames.shape[2:]))
    network = next(iter(networks.values()))["a_to_b"]
    network.film(flat[:16])
    started = time.monotonic()
    network.film(flat)
    return {"frames_per_second": round(_TIMED / (time.monotonic() - started), 1)}


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    style = settings.of(params.style, workspace.params)
    with silenced_stderr():
        import keras  # noqa: F401  so that its messages are dropped
    metrics = evaluate(workspace, params, style)
    for direction in DIRECTIONS:
        for method, scores in metrics[direction.name].items():
            if isinstance(scores, dict):
                told = ", ".join(f"{name} {value:g}" for name, value in scores.items())
                print(f"style_evaluate: {direction.name}, {method}: {told}")


if __name__ == "__main__":
    run(main)
