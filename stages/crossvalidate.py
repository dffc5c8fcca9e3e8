"""Train one candidate on each fold, where split.method is group_kfold; only changed folds again."""

import argparse
import shutil

from kinoflow import config
from kinoflow.config import Run
from kinoflow.system import files
from kinoflow.workspace import Workspace, run


def crossvalidate(workspace: Workspace, settings: Run) -> int:
    """Train a candidate once per fold into work/folds/<candidate>/<fold>/; the number of folds.

    The clips that a fold tests on are not read. A fold is trained again only if its training or
    validation clips, the settings, the code or the versions of libraries have changed. A run that
    was killed goes on where it was.

    Raises UserError as `kinoflow.training.fit.fit` does, and for data that failed validation.
    """
    # here, since without folds this stage has to be quick
    from kinoflow.data import clips
    from kinoflow.reports.records import require_validated
    from kinoflow.system import locks
    from kinoflow.system.terminal import silenced_stderr

    require_validated(workspace.validation)
    with silenced_stderr():
        from kinoflow.training.fit import TrainingData
        from kinoflow.training.kept import KeptTrainings
        from kinoflow.training.lessons import Lesson

    folds = clips.fold_tables(workspace)
    folder = workspace.fold_models(settings.name)
    kept = KeptTrainings(workspace, "crossvalidate", settings, folder)
    with locks.held(workspace.lock(f"train-{settings.name}"), f"training {settings.name}"):
        kept.leave(map(str, folds))
        for fold, table in folds.items():
            data = TrainingData.of(workspace, table[table["split"] != "test"])
            lesson = Lesson.of(workspace, settings, fold)
            called = f"fold {fold} of {len(folds)}"
            kept.train(str(fold), data, lesson=lesson, called=called)
    return len(folds)


def _note(workspace: Workspace, settings: Run) -> None:
    """Write what the trained bundles are, for students that they may teach."""
    if settings.candidate.teacher:
        return
    folders = [path for path in workspace.fold_models(settings.name).iterdir() if path.is_dir()]
    md5s = {path.name: files.folder_md5(path) for path in sorted(folders)}
    files.write_json(workspace.trained_on_folds(settings.name), md5s)


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.crossvalidate", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    params = config.load(workspace.params)
    settings = params.resolve(name)
    if params.split.method == "group_kfold":
        folds = crossvalidate(workspace, settings)
        _note(workspace, settings)
        print(f"crossvalidate: {name} is trained on {folds} folds")
        return
    folder = workspace.fold_models(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _note(workspace, settings)
    print("crossvalidate: no folds, since split.method is not group_kfold")


if __name__ == "__main__":
    run(main)
