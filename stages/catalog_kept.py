"""What the catalog's pass over the videos keeps for the stages `extract` and `explore`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.config import Explore, Params
from kinoflow.data import exploration
from kinoflow.data.clips import ClipStore
from kinoflow.data.extraction import missing_clips
from kinoflow.data.scratch import Scratch, clip_key, pairs_key
from kinoflow.video.decoder import Wanted, index_rule
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.workspace import Workspace


@dataclass(frozen=True)
class Kept:
    """Frames to keep of one video."""

    wanted: Wanted
    scratch: Scratch
    key: Callable[[str], str]  # of the entry, by the MD5 of the video
    size: int  # bytes, at most

    def keep(self, md5: str, frames: Frames | None) -> None:
        """Write the frames of the video with this MD5, if there are any."""
        # the key is made where the video was decoded, since it holds the decoder's version
        if frames is not None:
            self.scratch.keep(self.key(md5), frames)


@dataclass(frozen=True)
class Keeping:
    """What later stages will want of new videos, by the present params.yaml.

    Args:
        clips: where clips are kept.
        spec: what a clip is.
        store: the clip store; what it holds already is not kept.
        pairs: where pairs of frames are kept, between which optical flow is measured.
        explore: how many of them.
        seed: decides which videos `explore` draws.
    """

    clips: Scratch
    spec: ClipSpec
    store: ClipStore
    pairs: Scratch
    explore: Explore
    seed: int

    @classmethod
    def of(cls, workspace: Workspace, params: Params) -> "Keeping":
        """What the stages of a work tree will want."""
        clips, pairs = Scratch(workspace.scratch_clips), Scratch(workspace.scratch_pairs)
        store = ClipStore(workspace.clips)
        return cls(clips, params.clip, store, pairs, params.explore, params.seed)

    def clear(self) -> None:
        """Delete what an earlier pass kept."""
        self.clips.clear()
        self.pairs.clear()

    def plan(self, table: pd.DataFrame, new: Collection[str]) -> dict[str, tuple[Kept, ...]]:
        """What to keep of each video, by its MD5, as far as there is room on the disk.

        Args:
            table: `video`, `label`, `group` and `md5` of each video.
            new: the MD5 of each video that will be decoded.
        """
        # whether a new video can be read is not known yet: most can
        table = table.assign(readable=True)
        missing = {*missing_clips(table, self.store, self.spec)["md5"]} & {*new}
        drawn = exploration.draw_videos(table, self.explore.videos_per_class, self.seed)
        explored = {*drawn["md5"]} & missing
        plan: dict[str, tuple[Kept, ...]] = {}
        room = self.clips.room()
        for md5 in new:
            wanted = [*self._clip(md5 in missing), *self._pairs(md5 in explored)]
            room -= sum(each.size for each in wanted)
            if room < 0:
                break
            plan[md5] = tuple(wanted)
        return plan

    def _clip(self, wanted: bool) -> list[Kept]:
        rule = index_rule(self.spec)
        if not wanted or rule is None:
            return []
        spec, size = self.spec, int(np.prod(self.spec.shape))
        scratch = Scratch(self.clips.folder.absolute())
        return [Kept(Wanted(rule, spec), scratch, partial(clip_key, spec=spec), size)]

    def _pairs(self, wanted: bool) -> list[Kept]:
        if not wanted:
            return []
        pairs = self.explore.pairs_per_video
        rule = partial(exploration.pair_indices, pairs=pairs)
        frames = Wanted(rule, exploration.pair_spec)
        scratch, key = Scratch(self.pairs.folder.absolute()), partial(pairs_key, pairs=pairs)
        return [Kept(frames, scratch, key, pairs * exploration.PAIR_BYTES)]


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file: if they differ, its content may differ."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
