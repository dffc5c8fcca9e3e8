"""Train one candidate into a bundle; a killed run continues after its last whole epoch."""

import argparse

from kinoflow import config
from kinoflow.reports.records import TrainingTime, require_validated
from kinoflow.system import files, locks
from kinoflow.system.terminal import silenced_stderr
from kinoflow.workspace import Workspace, run


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    settings = config.load(workspace.params).resolve(name)
    require_validated(workspace.validation)
    with silenced_stderr():
        from kinoflow.training.fit import Outputs, TrainingData, fit
        from kinoflow.training.lessons import Lesson

    data = TrainingData.of(workspace)
    outputs = Outputs.of(workspace, name)
    lesson = Lesson.of(workspace, settings)
    with locks.held(workspace.lock(f"train-{name}"), f"training {name}"):
        seconds = fit(settings, data, outputs, lesson=lesson)
        TrainingTime(train_seconds=round(seconds, 1)).write(
            workspace.training(name) / "timing.json"
        )
    if lesson is None:  # it may teach others
        files.write_json(workspace.trained(name), {"bundle": files.folder_md5(outputs.bundle)})
    print(f"train: {name} in {outputs.bundle}, {seconds:.0f} s of training")


if __name__ == "__main__":
    run(main)
