"""Train the CycleGAN of `style`: frame by frame, and, if it has a weight, with the temporal loss.

A killed run continues after its last whole epoch. Networks that the same training made are kept,
and so are the seconds that it took.
"""

import shutil

from kinoflow import config
from kinoflow.style import settings
from kinoflow.style.settings import Style
from kinoflow.system import files, locks
from kinoflow.system.terminal import silenced_stderr
from kinoflow.workspace import Workspace, run

FRAMES, TEMPORAL = "frames", "temporal"


def trainings(style: Style) -> dict[str, float]:
    """The weight of the temporal loss in each training, by the training's name."""
    weight = style.cyclegan.temporal
    return {FRAMES: 0.0} | ({TEMPORAL: weight} if weight else {})


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    style = settings.of(params.style, workspace.params)
    with silenced_stderr():
        from kinoflow.style.cyclegan.store import Store
        from kinoflow.style.cyclegan.training import Outputs, train

    store = Store(workspace.work / "style" / "frames")
    timing = workspace.work / "style" / "timing.json"
    before = files.read_json(timing)["train_seconds"] if timing.exists() else {}
    seconds = {name: before[name] for name in trainings(style) if name in before}
    told = []
    with locks.held(workspace.lock("train-style"), "training the CycleGAN"):
        folder = workspace.style_models
        for name, weight in trainings(style).items():
            outputs = Outputs(
                folder / name,
                workspace.work / "style" / "curves" / name,
                workspace.checkpoints(f"style-{name}"),
            )
            own = style.cyclegan.model_copy(update={"temporal": weight})
            taken = train(own, store, outputs, params.seed)
            if taken is not None:
                seconds[name] = round(taken, 1)
            told.append(f"{name} kept" if taken is None else f"{name} in {taken:.0f} s")
            # now, since the next one may be killed, and this one is kept then
            files.write_json(timing, {"train_seconds": seconds})
        for path in folder.iterdir():
            if path.name not in trainings(style):
                shutil.rmtree(path)
    print(f"style_train: {', '.join(told)}; networks in {folder}")


if __name__ == "__main__":
    run(main)
