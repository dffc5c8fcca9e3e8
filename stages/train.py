"""Train one candidate into a bundle; a killed run goes on where its last epoch ended."""

import argparse
from pathlib import Path

from kinoflow import clips, files, locks, paths
from kinoflow import params as parameters
from kinoflow.console import UserError, run, silenced_stderr


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("candidate", help="one of the candidates in params.yaml")
    name = parser.parse_args().candidate
    params = parameters.load()
    params.candidate(name)
    require_validated(paths.VALIDATION)
    with silenced_stderr():
        from kinoflow.training import train

    labels, sets = clips.load_sets(("train", "val"))
    curves = paths.training(name)
    with locks.held(paths.LOCKS / f"train-{name}", f"training {name}"):
        seconds = train(
            name,
            params,
            labels,
            sets,
            clips.fingerprint(),
            paths.bundle(name),
            curves,
            paths.CHECKPOINTS / name,
        )
        files.write_json(curves / "timing.json", {"train_seconds": round(seconds, 1)})
    print(f"train: {name} in {paths.bundle(name)}, {seconds:.0f} s of training")


if __name__ == "__main__":
    run(main)
