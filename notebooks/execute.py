"""Run the notebooks of this folder, and write what they gave into them: `make notebook`.

Nothing that differs between two runs is kept: no times, no versions of tools, no file names of
temporary folders.
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent


def executed(path: Path) -> NotebookNode:
    """A notebook with the outputs that its cells give now; the file itself is left as it is.

    Raises nbclient.exceptions.CellExecutionError for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    # the settings of a user's IPython must not change what the notebook gives, nor be changed
    with tempfile.TemporaryDirectory() as home:
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=300,
            # on a busy machine the outputs of a cell may come long after its end
            iopub_timeout=60,
            raise_on_iopub_timeout=True,
            record_timing=False,
            coalesce_streams=True,
            # it warns that it talks over TCP, which does not leave this machine
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(env=os.environ | {"IPYTHONDIR": home, "JUPYTER_RUNTIME_DIR": home})
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    for path in sorted(HERE.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(f"{path.relative_to(HERE.parent)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
