"""Ingest: what the stages catalog, extract and explore take together, before and now, in one run.

    python -m benchmarks.ingest [--clips 2000] [--before COMMIT] [--rounds 2]

Each stage runs as DVC runs it, as a program of its own in a work tree of its own. `before` is the
code of a commit, taken out of git. `nothing kept` is the code of now, but what the catalog's pass
keeps for the other two stages is deleted before they run.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import footage, machine
from benchmarks.repository import REPOSITORY
from kinoflow.system import files
from kinoflow.workspace import Workspace

BEFORE = "68b38ca"  # the last commit in which every stage decoded for itself
STAGES = ("catalog", "extract", "explore")


@dataclass(frozen=True)
class Taken:
    """The seconds that a stage took."""

    processor: float  # of the stage and its processes
    wall: float


@dataclass(frozen=True)
class Variant:
    """Code to measure."""

    code: Path  # the folder with its package `stages`
    params: Path
    keeping: bool = True  # whether the stages get what the catalog's pass kept


def distinct(videos: list[Path], folder: Path, count: int) -> None:
    """Fill a folder with `count` copies of `videos`, each with other bytes, in their class folders.

    A copy has its number in the padding of its header, or after its end if it has none. So it
    decodes to the same frames and has an MD5 of its own.
    """
    for number in range(count):
        source = videos[number % len(videos)]
        content = bytearray(source.read_bytes())
        label = source.parent.name
        name = f"{source.stem}_{number // len(videos):03d}{source.suffix}"
        path = folder / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = f"{number:08d}".encode()
        padding = content.find(b"JUNK", 0, content.find(b"movi")) + 8
        if padding < 8:
            content += mark
        else:
            content[padding : padding + len(mark)] = mark
        path.write_bytes(content)


def code_of(commit: str, folder: Path) -> Path:
    """The files of a commit of this repository, in `folder`."""
    archive = folder.with_suffix(".tar")
    subprocess.run(
        ["git", "archive", f"--output={archive}", commit], cwd=REPOSITORY.root, check=True
    )
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    archive.unlink()
    return folder


def ingest(variant: Variant, data: Path, root: Path) -> dict[str, Taken]:
    """Run the stages in the empty work tree `root`; return what each took."""
    workspace = Workspace(root)
    root.mkdir()
    shutil.copy(variant.params, workspace.params)
    workspace.data.symlink_to(data)
    taken = {}
    for stage in STAGES:
        if not variant.keeping:
            shutil.rmtree(workspace.scratch_clips.parent, ignore_errors=True)
        taken[stage] = _run(stage, variant.code, root)
    return taken


def _run(stage: str, code: Path, root: Path) -> Taken:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(code)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Taken(processor, time.perf_counter() - started)


def outputs(root: Path) -> dict[str, str]:
    """The MD5 of what the stages wrote, by what it is."""
    workspace = Workspace(root)
    return {
        "work/catalog.csv": files.md5(workspace.catalog),
        "work/clips": files.folder_md5(workspace.clips),
        "work/clips.csv": files.md5(workspace.clips_table),
        "reports/explore/per_class.csv": files.md5(workspace.exploration / "per_class.csv"),
        "reports/explore": files.folder_md5(workspace.exploration),
    }


def measure(
    variants: dict[str, Variant], data: Path, folder: Path, rounds: int
) -> tuple[dict[str, dict[str, Taken]], dict[str, dict[str, str]]]:
    """What each stage took by variant, in the round of least processor time; and the outputs."""
    best: dict[str, dict[str, Taken]] = {}
    written: dict[str, dict[str, str]] = {}
    for _ in range(rounds):
        for name, variant in variants.items():
            root = folder / "work tree"
            taken = ingest(variant, data, root)
            found = outputs(root)
            if written.setdefault(name, found) != found:
                raise RuntimeError(f"{name} writes other files when it runs again")
            if name not in best or _total(taken.values()) < _total(best[name].values()):
                best[name] = taken
            shutil.rmtree(root)
    return best, written


def _total(taken: Iterable[Taken]) -> float:
    return sum(each.processor for each in taken)


def report(clips: int = 2000, before: str = BEFORE, rounds: int = 2) -> str:
    """The comparison as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = footage.real() or footage.rendered(folder / "rendered" / "A", 60, 320, 240)
        what = "UCF-101" if footage.real() else "rendered"
        distinct(videos, folder / "data", clips)
        variants = {
            "before": Variant(code_of(before, folder / "code"), folder / "code" / "params.yaml"),
            "nothing kept": Variant(REPOSITORY.root, REPOSITORY.params, keeping=False),
            "now": Variant(REPOSITORY.root, REPOSITORY.params),
        }
        best, written = measure(variants, folder / "data", folder, rounds)
    rows = []
    for stage in (*STAGES, "together"):
        cells = []
        for taken in best.values():
            chosen = [*taken.values()] if stage == "together" else [taken[stage]]
            cells.append(f"{_total(chosen):.1f}")
            cells.append(f"{sum(each.wall for each in chosen):.1f}")
        rows.append(f"| {stage} | {' | '.join(cells)} |")
    totals = {name: _total(taken.values()) for name, taken in best.items()}
    same = [name for name, md5 in written["now"].items() if md5 == written["before"][name]]
    other = [name for name in written["now"] if name not in same]
    kept = "the same" if written["now"] == written["nothing kept"] else "NOT the same"
    changed = f" Others are {', '.join(other)}." if other else ""
    columns = " | ".join(f"{name}, processor s | wall s" for name in best)
    newline = "\n"
    return f"""{clips:,} {what} clips with different bytes, the round of least processor time of \
{rounds} for each; before is commit {before}. Now takes \
**{totals["now"] / totals["before"]:.2f}** of the processor seconds of before, and \
{totals["now"] / totals["nothing kept"]:.2f} of those with nothing kept. The files written are \
{kept} whether something is kept or not. The same as before are {", ".join(same)}.{changed}

| | {columns} |
|---|{"---:|" * 2 * len(best)}
{newline.join(rows)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(machine.name(), machine.versions(), sep="\n", end="\n\n")
    print(report(arguments.clips, arguments.before, arguments.rounds))
