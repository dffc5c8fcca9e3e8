"""The clips of benchmarks/restyle.py: real ones, rendered ones in several looks, and repainted."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import accuracy, footage
from benchmarks.styles import STYLES
from kinoflow.config import Params
from kinoflow.data import catalog, tables
from kinoflow.data.clips import ClipStore, describe
from kinoflow.data.extraction import extract_clip
from kinoflow.system import terminal
from stages.restyle import restyle
from stages.sources import looks, synthetic
from stages.sources.synthetic import CLASSES, FPS, SyntheticVideo
from stages.split import divide_with_folds

LOOKS = ("plain", "pencil", "night")  # the first is the one that is trained on
_TRAINED, _VALIDATED = 0.4, 0.1  # shares of the rendered recordings; the others are tested on


@dataclass(frozen=True)
class Material:
    """The clips of one half of the study.

    Args:
        folder: everything about them. It holds a store of clips for each look, and those of the
            first look in other styles.
        looks: names of the stores.
        splits: by name, the tables `video`, `label`, `group` and `split`.
    """

    folder: Path
    looks: tuple[str, ...]
    splits: Mapping[str, pd.DataFrame]

    @property
    def restyled(self) -> Path:
        return self.folder / "restyled"

    def store(self, look: str) -> Path:
        return self.folder / look


def real(folder: Path, videos: Path, params: Params) -> Material:
    """Real clips, divided so that each recording is tested on once.

    Args:
        folder: where clips are kept.
        videos: a folder for each class.
        params: how clips are sampled and divided.
    """
    material = folder / "real"
    table = accuracy.videos(videos)
    accuracy.extract(table, videos, params, material / "filmed")
    _, folds = divide_with_folds(table, params.split, params.seed, videos)
    splits = {
        f"fold {fold}": rows.drop(columns=["fold", "group"]).merge(table, on="video")
        for fold, rows in folds.groupby("fold")
    }
    return Material(material, ("filmed",), splits)


def rendered(folder: Path, params: Params, repeats: int) -> Material:
    """Rendered clips: some recordings to train on in one look, others to test on in all looks.

    Args:
        folder: where clips are kept.
        params: how many recordings are rendered, and how clips are sampled.
        repeats: how often the same division is trained on, with other seeds.
    """
    material = folder / "rendered"
    wanted = params.dataset.synthetic
    rows = []
    videos = [
        each
        for each in synthetic.videos_of(params.dataset, params.seed)
        # one clip tells nearly as much of a recording that is tested on as two
        if side_of(each.group / wanted.groups) != "test" or each.clip == 1
    ]
    for video in terminal.progress(videos, "render"):
        side = side_of(video.group / wanted.groups)
        _sample(video, LOOKS if side == "test" else LOOKS[:1], material, params)
        label, group = CLASSES[video.label][0], catalog.group_of(video.name)
        rows.append({"video": video.name, "label": label, "group": group, "split": side})
    table = pd.DataFrame(rows)
    return Material(material, LOOKS, {f"seed {number}": table for number in range(1, repeats + 1)})


def side_of(place: float) -> str:
    """The side of a rendered recording that comes at this share of all recordings of a class."""
    if place <= _TRAINED:
        return "train"
    return "val" if place <= _TRAINED + _VALIDATED else "test"


def _sample(video: SyntheticVideo, wanted: tuple[str, ...], material: Path, params: Params) -> None:
    targets = {look: ClipStore(material / look).path(video.name) for look in wanted}
    if all(target.exists() for target in targets.values()):
        return
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "film.avi"
        for look, frames in looks.render(video, wanted).items():
            footage.write(path, frames, FPS)
            extract_clip(path, params.clip, targets[look])


# === Styles ===


def networks(folder: Path, weights: str, material: Material, steps: int) -> dict[str, Path]:
    """A network for each style drawn by code, trained on the training clips of `material`.

    Args:
        folder: where they are kept.
        weights: of SqueezeNet, by which style and content are measured: a file.
        material: what to train on.
        steps: of each training.
    """
    paths = {name: folder / f"{name}.keras" for name in STYLES}
    if all(path.exists() for path in paths.values()):
        return paths
    from kinoflow.style import fast_training
    from kinoflow.style.fast import Recipe
    from kinoflow.style.features import Features
    from kinoflow.style.optimise import Style

    features = Features(weights=weights)
    split = next(iter(material.splits.values()))
    _, sets = accuracy.clip_sets(split, material.store(material.looks[0]))
    recipe = Recipe(size=64, steps=steps, batch=2, filters=12, blocks=2)
    for name, path in paths.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = STYLES[name](1, 256).astype(np.float32) / np.float32(255)
            # strokes have to be small beside what a frame of 64 pixels shows
            style = Style(features, [picture], longest=128)
            fast_training.train(path, style, [f"{name}.png"], sets["train"], "", recipe)
    return paths


def repaint(material: Material, networks: dict[str, Path], params: Params) -> None:
    """Repaint the clips that are trained on in some split, by each network."""
    if material.restyled.exists():
        return
    splits = pd.concat(material.splits.values())
    videos = sorted(set(splits.loc[splits["split"] == "train", "video"]))
    store = ClipStore(material.store(material.looks[0]))
    records = pd.DataFrame({"video": videos, "md5": "", "spec": describe(params.clip)})
    tables.write(records, store.records_path, tables.CLIPS)
    restyle(store, material.restyled, networks)
