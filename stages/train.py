"""Train one candidate into a bundle; a killed run continues after its last whole epoch."""

import argparse
from pathlib import Path

from kinoflow import config
from kinoflow.data import clips
from kinoflow.reports.records import TrainingTime, Verdict
from kinoflow.system import locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.workspace import Workspace, run


def require_validated(path: Path) -> None:
    """Raise UserError unless the validation stage let the data pass."""
    if not path.exists():
        raise UserError("the data was not validated: run `python -m stages.validate` first")
    verdict = Verdict.read(path)
    if not verdict.passed:
        reasons = "; ".join(
            f"{failure.table}.{failure.column}: expected that {failure.meaning}"
            for failure in verdict.failures
        )
        raise UserError(f"the data failed validation ({reasons}): mend it, then train")


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    settings = config.load(workspace.params).resolve(name)
    require_validated(workspace.validation)
    with silenced_stderr():
        from kinoflow.training.fit import Outputs, TrainingData, fit

    labels, sets = clips.load_sets(workspace, ("train", "val"))
    split = clips.split_table(workspace)
    data = TrainingData(
        labels,
        sets["train"],
        sets["val"],
        clips.data_md5(workspace),
        val_recordings=split.loc[split["split"] == "val", "group"].nunique(),
    )
    outputs = Outputs.of(workspace, name)
    with locks.held(workspace.lock(f"train-{name}"), f"training {name}"):
        seconds = fit(settings, data, outputs)
        TrainingTime(train_seconds=round(seconds, 1)).write(outputs.curves / "timing.json")
    print(f"train: {name} in {outputs.bundle}, {seconds:.0f} s of training")


if __name__ == "__main__":
    run(main)
