"""Train one candidate into a bundle; a killed run goes on where its last epoch ended."""

import argparse
from pathlib import Path

from kinoflow import config
from kinoflow.data import clips
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import silenced_stderr
from kinoflow.workspace import Workspace, run


def require_validated(path: Path) -> None:
    """Raise UserError unless the validation stage let the data pass."""
    if not path.exists():
        raise UserError("the data was not validated: run `python -m stages.validate` first")
    verdict = files.read_json(path)
    if not verdict["passed"]:
        reasons = "; ".join(
            f"{failure['table']}.{failure['column']}: not so that {failure['meaning']}"
            for failure in verdict["failures"]
        )
        raise UserError(f"the data failed validation ({reasons}): mend it, then train")


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    params = config.load(workspace.params)
    params.candidate(name)
    require_validated(workspace.validation)
    with silenced_stderr():
        from kinoflow.training.fit import train

    labels, sets = clips.load_sets(workspace, ("train", "val"))
    curves = workspace.training(name)
    with locks.held(workspace.lock(f"train-{name}"), f"training {name}"):
        seconds = train(
            name,
            params,
            labels,
            sets,
            clips.data_md5(workspace),
            workspace.bundle(name),
            curves,
            workspace.checkpoints(name),
        )
        files.write_json(curves / "timing.json", {"train_seconds": round(seconds, 1)})
    print(f"train: {name} in {workspace.bundle(name)}, {seconds:.0f} s of training")


if __name__ == "__main__":
    run(main)
