"""Find near-duplicates: videos of different groups that show the same.

A copy is found even if it was trimmed, re-encoded or mirrored. Group names may be wrong, so this
stage compares what the clips show. Perceptual hashes find the pairs that could be copies, fast and
with many false alarms; the correlation of the pair's thumbnails decides.
"""

import numpy as np
import pandas as pd

from kinoflow import config
from kinoflow.config import Duplicates
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.data.fingerprints import Fingerprints, fingerprint, near, similarity
from kinoflow.system.terminal import progress
from kinoflow.workspace import Workspace, run


def find(table: pd.DataFrame, store: ClipStore, params: Duplicates) -> pd.DataFrame:
    """Pairs of near-duplicates of different groups among the readable videos of a catalog.

    Each frame of a video has a distance to the nearest frame of the other video, and each
    thumbnail a correlation with the nearest thumbnail. Two videos are near-duplicates if the median
    distance is at most `params.distance` bits and the median correlation at least
    `params.similarity`. Both are taken from the first video to the second and back, and the better
    one counts, so that a part of a video is found in the whole.

    Time grows with the square of the number of videos: about a minute for ten thousand.

    Args:
        table: the catalog.
        store: the clips of its readable videos.
        params: the section `duplicates` of params.yaml.

    Returns the columns of `tables.DUPLICATES`, sorted by `video` and `other`.
    """
    rows = table[table["readable"]]
    each = [fingerprint(store.read(video)) for video in rows["video"]]
    usable = [found is not None for found in each]
    videos, groups = rows.loc[usable, "video"].to_numpy(), rows.loc[usable, "group"].to_numpy()
    known = [found for found in each if found is not None]
    if not known:
        return tables.empty(tables.DUPLICATES)
    fingerprints = Fingerprints(*(np.stack(part) for part in zip(*known, strict=True)))
    # (T, N): what follows is fastest where the videos lie one after the other in memory
    plain = np.ascontiguousarray(fingerprints.plain.T)
    mirror = np.ascontiguousarray(fingerprints.mirrored.T)

    pairs = []
    for first in progress(range(len(videos) - 1), "duplicates"):
        for mirrored in (False, True):
            hashes = mirror if mirrored else plain
            close = first + 1 + near(plain[:, first], hashes[:, first + 1 :], params.distance)
            for other in close[groups[close] != groups[first]]:
                thumbnails = fingerprints.thumbnails[other]
                alike = similarity(
                    fingerprints.thumbnails[first],
                    thumbnails[:, :, ::-1] if mirrored else thumbnails,
                )
                if alike >= params.similarity:
                    names = (videos[first], groups[first], videos[other], groups[other])
                    pairs.append((*names, round(alike, 3), mirrored))
    found = pd.DataFrame(pairs, columns=list(tables.DUPLICATES.columns))
    best = found.sort_values("similarity", ascending=False, kind="stable")
    return best.drop_duplicates(["video", "other"]).sort_values(["video", "other"])


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    found = find(
        tables.read(workspace.catalog, tables.CATALOG),
        ClipStore(workspace.clips),
        params.duplicates,
    )
    tables.write(found, workspace.duplicates, tables.DUPLICATES)
    print(f"duplicates: {len(found)} pairs of videos of different groups show the same")


if __name__ == "__main__":
    run(main)
