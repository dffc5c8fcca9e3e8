"""How much repainted films flicker, how well they keep to style and content, and how fast it is.

    python -m benchmarks.style --weights FILE [--style strokes] [--network FILE] [--size 160x120]

It repaints films of the embedded data, whose motion is known exactly, and real clips of the folder
that KINOFLOW_REAL_DATA names: each frame by itself, with the temporal loss, and by a network of
`kinoflow style train` for the same style. `make style` measures CycleGAN; its figures are taken
over from reports/style. What is painted is kept in --folder, so that a run that was stopped goes
on. It writes benchmarks/style.md.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks import style_films, style_page
from benchmarks.style_cyclegan import Measured
from benchmarks.style_films import Film, Painted, Way
from benchmarks.style_page import Row
from benchmarks.styles import STYLES
from kinoflow.style import fast
from kinoflow.system import errors, files
from kinoflow.video.spec import Frames

if TYPE_CHECKING:
    from kinoflow.style.features import Features
    from kinoflow.style.optimise import Style

PAGE = Path(__file__).parent / "style.md"
STRENGTHS = (0.25, 0.5, 0.75)  # at which the knob is measured
_CROPS = 24  # of the style, which sets of frames are compared with
_TOGETHER = 4  # frames that the network repaints in one call, as in the service


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style", description=__doc__)
    parser.add_argument("--weights", required=True, help="of SqueezeNet: a file")
    parser.add_argument("--style", choices=STYLES, default="strokes")
    parser.add_argument("--network", type=Path, help="of `kinoflow style train` for that style")
    parser.add_argument("--trained", type=float, default=0.0, help="seconds that it trained for")
    parser.add_argument("--note", default="", help="a paragraph for the page")
    parser.add_argument("--size", default="160x120", help="of the films, in pixels")
    parser.add_argument("--frames", type=int, default=12, help="of each film")
    parser.add_argument("--cyclegan", type=Path, default=Path("reports/style/cyclegan"))
    parser.add_argument("--folder", type=Path, default=Path("work/style_benchmark"))
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))

    rows, knob = measure(arguments, width, height)
    settings = {
        "style": arguments.style,
        "size": arguments.size,
        "frames": arguments.frames,
        "trained": arguments.trained,
        "note": arguments.note,
    }
    if arguments.network is not None:
        settings["recipe"] = fast.read_about(arguments.network).recipe.model_dump()
    found = {"settings": settings, "rows": [vars(row) for row in rows], "knob": knob}
    files.write_json(arguments.folder / "measured.json", found)
    there = (arguments.cyclegan / "metrics.json").exists()
    cyclegan = Measured(arguments.cyclegan) if there else None
    files.write_text(PAGE, style_page.page(rows, knob, settings, cyclegan))
    print(PAGE.read_text(encoding="utf-8"))


def measure(
    arguments: argparse.Namespace, width: int, height: int
) -> tuple[list[Row], dict[float, tuple[float, float]]]:
    """A row for each film and way, and the distances to style and content at each strength."""
    from kinoflow.style.features import Features
    from kinoflow.style.optimise import Style

    features = Features(weights=arguments.weights)
    picture = STYLES[arguments.style](1, 256).astype(np.float32) / np.float32(255)
    style = Style(features, [picture], longest=max(width, height))
    ways = _ways(style, arguments.network)
    films = [
        *style_films.rendered(arguments.frames, width, height),
        *style_films.real(arguments.frames, width, height),
    ]
    folder = arguments.folder / f"{arguments.style}-{arguments.size}-{arguments.frames}"
    pieces = crops(style.pictures[0], min(height, width) // 2)
    rows = []
    for film in films:
        for way, repaint in ways.items():
            painted = repaint.kept(folder / f"{film.name}.{way}.npz", film.frames)
            rows.append(row(features, style, pieces, film, way, painted))
            print(rows[-1], flush=True)
    return rows, _knob(style, films[0], folder)


def row(
    features: "Features",
    style: "Style",
    pieces: NDArray[np.float32],
    film: Film,
    way: str,
    painted: Painted,
) -> Row:
    """Measure what one way made of one film."""
    from kinoflow.style import measures

    originals = film.frames.astype(np.float32) / np.float32(255)
    side = pieces.shape[1]
    parts = np.concatenate([crops(each, side, 2) for each in painted.pictures])
    return Row(
        film=film.name,
        exact=film.exact,
        way=way,
        warping=measures.warping_error(painted.pictures, film.motions),
        style=measures.style_distance(features, painted.pictures, style.grams),
        content=measures.content_distance(features, painted.pictures, originals),
        kernel=measures.kernel_distance(
            measures.embeddings(features, parts), measures.embeddings(features, pieces)
        ),
        seconds=painted.seconds / len(film.frames),
        processor=painted.processor / len(film.frames),
    )


def crops(picture: NDArray[np.float32], side: int, count: int = _CROPS) -> NDArray[np.float32]:
    """Square pieces of a picture (H, W, 3) from random places, (count, side, side, 3)."""
    rng = np.random.default_rng(count)
    height, width = picture.shape[:2]
    rows = rng.integers(0, height - side + 1, count)
    columns = rng.integers(0, width - side + 1, count)
    return np.stack(
        [picture[y : y + side, x : x + side] for y, x in zip(rows, columns, strict=True)]
    )


def _ways(style: "Style", network: Path | None) -> Mapping[str, Way]:
    """How a film is repainted, by name; "original" leaves it as it is."""
    from kinoflow.style.optimise import Options, Painter
    from kinoflow.style.pictures import to_bytes, to_floats
    from kinoflow.style.video import Continuity

    def optimised(options: Options) -> Way:
        painter = Painter(style, options)  # what it compiles serves all films

        def paint(frames: Frames) -> list[Frames]:
            continuity = Continuity(painter)
            return [continuity.paint(frame) for frame in frames]

        return Way(paint)

    ways: dict[str, Way] = {
        "original": Way(list, timed=False),
        "frames": optimised(Options(consistency=0.0)),
        "temporal": optimised(Options()),
    }
    if network is not None:
        repaint = fast.load(network)
        # a second size, that of the films, compiles it for all
        repaint(np.zeros((_TOGETHER, 48, 64, 3), np.float32))

        def at_once(frames: Frames) -> list[Frames]:
            parts = np.split(frames, range(_TOGETHER, len(frames), _TOGETHER))
            return [each for part in parts for each in to_bytes(repaint(to_floats(part)))]

        # a film takes it some hundredths of a second
        ways["fast"] = Way(at_once, least=1.0)
    return ways


def _knob(style: "Style", film: Film, folder: Path) -> dict[float, tuple[float, float]]:
    """The distances to style and to content of one frame, painted at several strengths."""
    from kinoflow.style import measures
    from kinoflow.style.optimise import Options, stylise
    from kinoflow.style.pictures import to_bytes

    found = {}
    for strength in STRENGTHS:
        options = replace(Options(), strength=strength)

        def paint(frames: Frames, options: Options = options) -> list[Frames]:
            return [
                to_bytes(stylise(frames[0].astype(np.float32) / np.float32(255), style, options))
            ]

        path = folder / f"strength-{strength}.npz"
        pictures = Way(paint, timed=False).kept(path, film.frames[:1]).pictures
        frame = film.frames[:1].astype(np.float32) / np.float32(255)
        found[strength] = (
            measures.style_distance(style.features, pictures, style.grams),
            measures.content_distance(style.features, pictures, frame),
        )
    return found


if __name__ == "__main__":
    errors.run(main)
