"""The notebook runs as it stands, and shows what its code gives now."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.execute import HERE, executed
from tests.conftest import ROOT

NOTEBOOKS = sorted(HERE.glob("*.ipynb"))
# scores of what was trained here may differ a little on another kind of processor
TOLERANCE = 0.15


def cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: NotebookNode) -> Iterator[str | float]:
    """What stands below a cell: words, numbers, and the kinds of its pictures."""
    for output in cell.outputs:
        if output.output_type != "stream":
            yield from sorted(output.data)
            continue
        # on a busy machine tools complain on stderr, such as of messages that come late
        for word in output.text.split() if output.name == "stdout" else ():
            yield float(word) if re.fullmatch(r"\d+\.\d+", word) else word


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_its_cells_give(path: Path) -> None:
    assert path.stat().st_size < 300_000
    kept, now = nbformat.read(path, as_version=4), executed(path)
    assert [cell.execution_count for cell in cells(kept)] == [*range(1, len(cells(kept)) + 1)]
    for before, after in zip(cells(kept), cells(now), strict=True):
        assert [*shown(before)] == pytest.approx([*shown(after)], abs=TOLERANCE), (
            f"{path.relative_to(ROOT)} shows what other code gave: run `make notebook`"
        )
