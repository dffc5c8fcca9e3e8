"""Repaint all clips in the styles that training shows them in, where augment.restyle is on."""

import sys
from pathlib import Path

import numpy as np

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data.clips import ClipStore
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import progress, silenced_stderr
from kinoflow.video.spec import Frames
from kinoflow.workspace import Workspace, run


def networks(workspace: Workspace, params: Params) -> dict[str, Path]:
    """The networks that candidates have clips restyled by, by name.

    Raises UserError for a network that does not exist.
    """
    settings = [params.resolve(name).augment for name in params.candidates]
    names = sorted({style for each in settings if each.restyle for style in each.styles})
    found = {name: workspace.style_network(name) for name in names}
    for path in found.values():
        if not path.is_file():
            raise UserError(f"augment.styles: there is no {path}: `kinoflow style train` makes it")
    return found


def restyle(clips: ClipStore, restyled: Path, wanted: dict[str, Path]) -> int:
    """Write the clips of a store in other styles: `restyled`/<style>/<video>.npy.

    With folds each clip is trained on at some time, so all are repainted, those of the test side
    as well. No clip has a part in how another one looks: the networks are given.

    Args:
        clips: the store.
        restyled: the folder to write.
        wanted: the networks by the names of their styles.

    Returns how many clips there are now.
    """
    # here, since the stage has to be quick where nothing is restyled
    with silenced_stderr():
        from kinoflow.style import fast
        from kinoflow.style.pictures import to_bytes, to_floats

    videos = list(clips.records()["video"])
    with files.replacing_folder(restyled) as partial:
        for name, path in wanted.items():
            network = fast.load(path)
            files.write_text(partial / f"{name}.md5", f"{files.md5(path)}\n")

            def repainted(shown: Frames, network: fast.FastStyle = network) -> Frames:
                painted = to_bytes(network(to_floats(shown)))
                return np.maximum(painted, 1)  # a black frame would be taken for padding

            for video in progress(videos, f"clips in the style {name}"):
                clip = clips.read(video)
                result = np.zeros_like(clip)
                shown = clip.reshape(len(clip), -1).max(axis=1) > 0
                result[shown] = repainted(clip[shown])
                target = ClipStore(partial / name).path(video)
                target.parent.mkdir(parents=True, exist_ok=True)
                np.save(target, result)
    return len(videos) * len(wanted)


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    if wanted := networks(workspace, params):
        count = restyle(ClipStore(workspace.clips), workspace.restyled, wanted)
        print(f"restyle: {count} clips in {len(wanted)} styles", file=sys.stderr)
        return
    with files.replacing_folder(workspace.restyled):
        pass
    print("restyle: augment.restyle is off", file=sys.stderr)


if __name__ == "__main__":
    run(main)
