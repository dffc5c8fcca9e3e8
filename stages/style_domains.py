"""List the videos and pictures of both domains of `style`, and which side each is on.

It is no stage of style/dvc.yaml, since they may lie where DVC does not look. `make style` runs it
before the stages. What it writes changes whenever they do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import catalog, tables
from kinoflow.data.tables import SIDES
from kinoflow.style import settings
from kinoflow.style.cyclegan.store import SOURCES
from kinoflow.style.settings import DOMAINS, DomainName, Style
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run
from stages.sources import synthetic
from stages.sources.layout import is_video

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def domains(workspace: Workspace, params: Params, style: Style) -> pd.DataFrame:
    """The table `SOURCES`: what both domains are made of, and on which side.

    All of one recording is on one side, and so it is in both domains if it is in both. Where both
    are looks of the embedded films, no recording is trained on in both.

    Raises UserError for a domain with too little in it, and for a column that the catalog has not.
    """
    known: dict[str, str] = {}  # the sides that the stage `split` has given to recordings
    parts = []
    for name in DOMAINS:
        domain = style.domain(name)
        if domain.look is not None:
            part = _films(params, domain.look)
        elif domain.folder is not None:
            part = _files(workspace.root / domain.folder.expanduser(), name)
        else:
            assert domain.where is not None
            part = _filtered(workspace, domain.where, name)
            known |= dict(zip(part["group"], part["split"], strict=True))
        parts.append(part.assign(domain=name))
    table = pd.concat(parts, ignore_index=True)
    sides = _sides({each: set(part["group"]) for each, part in table.groupby("domain")},
                   known, style, params.seed)  # fmt: skip
    table["split"] = table["group"].map(sides)
    if style.paired:
        table = _unpaired(table, params.seed)
    _check(table)
    order = [{side: place for place, side in enumerate(SIDES)}[side] for side in table["split"]]
    return (
        table.assign(order=order)
        .sort_values(["domain", "order", "group", "source"], kind="stable")
        .drop(columns="order")
        .reset_index(drop=True)[[*SOURCES.columns]]
    )


def _films(params: Params, look: str) -> pd.DataFrame:
    """One embedded film of each recording, in a look."""
    films = [film for film in synthetic.videos_of(params.dataset, params.seed) if film.clip == 1]
    return pd.DataFrame(
        {
            "group": [catalog.group_of(film.name) for film in films],
            "source": [film.name for film in films],
            "fingerprint": [f"{look}-{astuple(film)}" for film in films],
        }
    )


def _files(folder: Path, name: DomainName) -> pd.DataFrame:
    """The videos and pictures below a folder.

    What lies in a folder below it is one recording, unless names as in UCF-101 say otherwise. A
    file directly in it is a recording of its own.
    """
    if not folder.is_dir():
        raise UserError(f"style.{name}.folder {folder} is no folder")
    rows = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or not path.is_file() or not (is_video(path.name) or is_picture(path)):
            continue
        group = catalog.group_of(inside.as_posix())
        if group == inside.as_posix():
            group = inside.parent.as_posix() if len(inside.parts) > 1 else inside.stem
        stat = path.stat()
        rows.append((group, str(path), f"{stat.st_size}-{stat.st_mtime_ns}"))
    if not rows:
        raise UserError(f"style.{name}.folder {folder} holds no videos and no pictures")
    return pd.DataFrame(rows, columns=["group", "source", "fingerprint"])


def _filtered(
    workspace: Workspace, where: Mapping[str, str | tuple[str, ...]], name: DomainName
) -> pd.DataFrame:
    """The videos of the catalog that a filter lets through, with their sides of the split."""
    table = tables.read(workspace.catalog, tables.CATALOG)
    kept = table["readable"].copy()
    for column, wanted in where.items():
        if column not in table:
            raise UserError(
                f"style.{name}.where: the catalog has no column {column!r}; there are "
                + ", ".join(tables.CATALOG.columns)
            )
        patterns = (wanted,) if isinstance(wanted, str) else wanted
        kept &= np.array([_is_like(str(cell), patterns) for cell in table[column]])
    split = tables.read(workspace.split, tables.SPLIT)
    found = table.loc[kept, ["video", "md5"]].merge(split, on="video")
    if found.empty:
        raise UserError(f"style.{name}.where lets no video of the catalog through")
    return pd.DataFrame(
        {
            "group": found["group"],
            "source": [str(workspace.data / video) for video in found["video"]],
            "fingerprint": found["md5"],
            "split": found["split"],
        }
    )


def _is_like(cell: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(cell, pattern) for pattern in patterns)


def _sides(
    groups: Mapping[object, set[str]], known: Mapping[str, str], style: Style, seed: int
) -> dict[str, str]:
    """The side of each recording; those with a known side keep it.

    Recordings of both domains and of either alone are divided each by themselves, so that both
    domains have some on every side.
    """
    a, b = groups["a"], groups["b"]
    sides = dict(known)
    for number, part in enumerate((a & b, a - b, b - a)):
        names = sorted(part - known.keys())
        rng = np.random.default_rng((seed, number))
        rng.shuffle(names)
        val, test = (
            max(1, round(fraction * len(names))) if names else 0
            for fraction in (style.val, style.test)
        )
        for place, name in enumerate(names):
            sides[name] = "test" if place < test else "val" if place < test + val else "train"
    return sides


def _unpaired(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table without every second recording of the training side, others in each domain."""
    training = table["split"] == "train"
    names = np.array(sorted(set(table.loc[training, "group"])), dtype=object)
    np.random.default_rng((seed, 3)).shuffle(names)
    of_a = table["group"].isin(set(names[::2]))
    return table[~training | (of_a == (table["domain"] == "a"))]


def _check(table: pd.DataFrame) -> None:
    for name in DOMAINS:
        sides = table.loc[table["domain"] == name, "split"]
        for side in SIDES:
            if not (sides == side).any():
                raise UserError(
                    f"style.{name}: no recording is on the side {side}; a domain takes at least "
                    f"three, and has {table.loc[table['domain'] == name, 'group'].nunique()}"
                )


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, judged by the suffix of its name."""
    return path.suffix.lower() in PICTURES


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    style = settings.of(params.style, workspace.params)
    table = domains(workspace, params, style)
    tables.write(table, workspace.work / "style" / "sources.csv", SOURCES)
    print("style_domains: " + "; ".join(_told(table, name) for name in DOMAINS))


def _told(table: pd.DataFrame, name: str) -> str:
    counts: Iterable[tuple[str, int]] = (
        (side, int(((table["domain"] == name) & (table["split"] == side)).sum())) for side in SIDES
    )
    return f"{name} " + ", ".join(f"{count} {side}" for side, count in counts)


if __name__ == "__main__":
    run(main)
