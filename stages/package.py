"""Pack the winner as a Bento, start what was packed, and have it repeat evaluation's answers."""

import tempfile
from pathlib import Path

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import seen, tables
from kinoflow.reports.records import Verdict, Winner, packaged
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run
from stages.package_assemble import assemble
from stages.package_build import build, export
from stages.package_card import card
from stages.package_check import check
from stages.package_reference import make


def require_grouped(validation: Path) -> None:
    """Raise UserError if the verdict of the stage validate is on a random split."""
    if Verdict.read(validation).split == "random":
        raise UserError(
            "the split is random, so its scores say little about other recordings: such a model "
            "is not packaged; set split.method to stratified_group or official and run again"
        )


def package(workspace: Workspace, params: Params) -> None:
    """Make dist/kinoflow.bento of the winner; Bentos beside it, such as champions, stay.

    Raises UserError for a model that was trained on a random split, and for a Bento that does not
    answer test videos as evaluation did.
    """
    winner = Winner.read(workspace.winner).winner
    bundle = packaged(workspace, winner)
    refit = bundle != workspace.bundle(winner)
    recorded = workspace.refit_answers if refit else workspace.answers(winner)
    answers = tables.read(recorded, tables.PREDICTIONS)
    # first, so that no older Bento is taken for this winner's if the check fails
    files.sweep(workspace.dist)
    workspace.bento.unlink(missing_ok=True)
    require_grouped(workspace.validation)
    with tempfile.TemporaryDirectory(prefix="kinoflow-package-") as temporary:
        context, home = Path(temporary) / "context", Path(temporary) / "home"
        about = card(workspace, winner, bundle)
        style = params.serving.style and workspace.style_network(params.serving.style)
        assemble(bundle, params.serving, about, make(workspace, bundle), context, style or None)
        seen.write(workspace, context / "bundle")
        version = files.folder_md5(context)[:12]
        target = workspace.bento
        with files.replacing(target) as partial:
            export(build(context, version, home), partial)
            worst = check(partial, answers, workspace.data, count=params.serving.check_videos)
    print(
        f"package: {target} ({target.stat().st_size / 1e6:.1f} MB, {version}) holds {winner}"
        f"{', trained once more on train and val' if refit else ''}; "
        f"{min(params.serving.check_videos, len(answers))} videos sent to it were answered "
        f"as in evaluation, within {worst:.1g}"
    )


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with locks.held(workspace.lock("dist"), "packaging"):
        package(workspace, params)


if __name__ == "__main__":
    run(main)
