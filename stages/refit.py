"""Train the winner once more, on train and val together, where training.refit is on."""

import shutil

from kinoflow import config
from kinoflow.config import Params
from kinoflow.reports.records import Refit, Winner
from kinoflow.system import files
from kinoflow.workspace import Workspace, run


def refit(workspace: Workspace, params: Params, winner: str) -> Refit:
    """Train the winner into work/refit/<winner>/, and write what it answers to work/refit.csv.

    It is trained for as many epochs as were best when it was trained with validation clips, and
    keeps its temperature from then, since no clips are left to fit one to. It is scored on the
    test side. With folds there is no such side: then work/refit.csv holds its answers to the
    validation clips, although it was trained on them. They say nothing about its accuracy; the
    stage `package` needs them to see that the Bento answers the same.

    Raises UserError as `kinoflow.training.fit.fit` does.
    """
    # here, since the stage has to be quick where training.refit is off
    from kinoflow import bundle
    from kinoflow.data import clips, tables
    from kinoflow.reports import scoring
    from kinoflow.reports.predictions import prediction_table
    from kinoflow.system import locks
    from kinoflow.system.terminal import silenced_stderr

    with silenced_stderr():
        from kinoflow.training import fit
        from kinoflow.training.kept import KeptTrainings
        from kinoflow.training.lessons import Lesson

    before = bundle.load(workspace.bundle(winner)).description
    epochs = int(before.metrics["epoch"])
    table = clips.split_table(workspace)
    trained_on = table[table["split"] != "test"]
    data = fit.TrainingData.of(workspace, trained_on.assign(split="train"))
    settings = params.resolve(winner)
    kept = KeptTrainings(workspace, "refit", settings, workspace.refit)
    with locks.held(workspace.lock(f"train-{winner}"), f"training {winner}"):
        kept.leave([winner])
        again = fit.Refit(epochs, before.temperature)
        lesson = Lesson.of(workspace, settings)
        model = kept.train(winner, data, again, lesson, called="train and val together")

    name = "test" if len(trained_on) < len(table) else "val"
    labels, sides = scoring.load_sides(workspace, (name,), table)
    side = sides[name]
    answers = scoring.answer(model, side, name)
    answered = prediction_table(side.clips, answers.calibrated, labels)
    tables.write(answered, workspace.refit_answers, tables.PREDICTIONS)
    scored = name == "test"
    return Refit(
        refit=True,
        candidate=winner,
        epochs=epochs,
        trained_on=model.description.trained_on,
        clips=len(trained_on),
        test=scoring.score(side, answers, params.evaluation, params.seed) if scored else None,
    )


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    if params.training.refit:
        record = refit(workspace, params, Winner.read(workspace.winner).winner)
        record.write(workspace.refit_record)
        scored = f"; test accuracy {record.test.accuracy:.3f}" if record.test else ""
        print(f"refit: {record.candidate}, {record.epochs} epochs on {record.clips} clips{scored}")
        return
    shutil.rmtree(workspace.refit, ignore_errors=True)
    workspace.refit.mkdir(parents=True)
    files.write_text(workspace.refit_answers, "video,label,predicted\n")
    Refit(refit=False).write(workspace.refit_record)
    print("refit: training.refit is off")


if __name__ == "__main__":
    run(main)
