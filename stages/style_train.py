"""Train the CycleGAN of `style`: frame by frame, and, if it has a weight, with the temporal loss.

A killed run continues after its last whole epoch. Networks that the same training made are kept.
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
    seconds = {}
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
        for path in folder.iterdir():
            if path.name not in trainings(style):
                shutil.rmtree(path)
    if seconds:
        files.write_json(workspace.work / "style" / "timing.json", {"train_seconds": seconds})
    told = (f"{each} in {seconds[each]:.0f} s" if each in seconds else f"{each} kept" for each in
            trainings(style))  # fmt: skip
    print(f"style_train: {', '.join(told)}; networks in {folder}")


if __name__ == "__main__":
    run(main)
