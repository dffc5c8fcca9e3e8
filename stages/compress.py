"""Make smaller and faster forms of models, and score them beside the originals."""

import shutil

from kinoflow import config
from kinoflow.compress import settings
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    wanted = settings.of(params.compress, workspace.params)
    if wanted.enabled:
        if params.training.refit:
            raise UserError(
                "compress.enabled and training.refit exclude each other: no clips are left to "
                "judge forms of a model by that was trained on all of them"
            )
        # here, since the stage has to be quick where compress.enabled is off
        from stages.compress_candidates import compress

        compress(workspace, params, wanted).write(workspace)
        return
    for folder in (
        workspace.forms,
        workspace.all_form_answers,
        workspace.form_records,
        workspace.compression,
    ):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    print("compress: compress.enabled is off")


if __name__ == "__main__":
    run(main)
