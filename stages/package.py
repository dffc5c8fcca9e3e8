"""Pack the winner as a Bento, start what was packed, and have it repeat evaluation's answers.

Where a form of the winner was chosen, that is packed, and repeats its own answers.
"""

import tempfile
from pathlib import Path

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import seen, tables
from kinoflow.reports.records import Verdict
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run
from stages.package_assemble import assemble
from stages.package_build import build, export
from stages.package_card import accuracy, card
from stages.package_check import check
from stages.package_choice import choose, form_details, require_servable
from stages.package_reference import make


def require_grouped(validation: Path) -> None:
    """Raise UserError if the verdict of the stage validate is on a random split."""
    if Verdict.read(validation).split == "random":
        raise UserError(
            "the split is random, so its scores say little about other recordings: such a model "
            "is not packaged; set split.method to stratified_group or official and run again"
        )


def package(workspace: Workspace, params: Params) -> None:
    """Make dist/kinoflow.bento of what was chosen; Bentos beside it, such as champions, stay.

    That is the winner, or the form of it that reports/choice.json names.

    Raises UserError for a model that was trained on a random split, for settings that a form cannot
    serve, and for a Bento that does not answer test videos as evaluation did.
    """
    chosen = choose(workspace)
    answers = tables.read(chosen.answers, tables.PREDICTIONS)
    # first, so that no older Bento is taken for this one's if the check fails
    files.sweep(workspace.dist)
    workspace.bento.unlink(missing_ok=True)
    require_grouped(workspace.validation)
    require_servable(chosen, params.serving)
    with tempfile.TemporaryDirectory(prefix="kinoflow-package-") as temporary:
        context, home = Path(temporary) / "context", Path(temporary) / "home"
        form_test = accuracy(workspace, answers, params) if form_details(chosen.folder) else None
        about = card(workspace, chosen.candidate, chosen.folder, form_test)
        style = params.serving.style and workspace.style_network(params.serving.style)
        held_out = make(workspace, chosen.folder)
        assemble(chosen.folder, params.serving, about, held_out, context, style or None)
        seen.write(workspace, context / "bundle")
        version = files.folder_md5(context)[:12]
        target = workspace.bento
        with files.replacing(target) as partial:
            export(build(context, version, home), partial)
            worst = check(partial, answers, workspace.data, count=params.serving.check_videos)
    print(
        f"package: {target} ({target.stat().st_size / 1e6:.1f} MB, {version}) holds {chosen}; "
        f"{min(params.serving.check_videos, len(answers))} videos sent to it were answered "
        f"as in evaluation, within {worst:.1g}"
    )


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with locks.held(workspace.lock("dist"), "packaging"):
        package(workspace, params)


if __name__ == "__main__":
    run(main)
