"""Draw the import graph and the pipeline into architecture.md: `make drawings`.

Both are Mermaid diagrams, read from the code and from dvc.yaml. They stand between comments of
architecture.md; the rest of the page is written by hand. `--check` writes nothing, and exits with
1 where the page is out of date.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from kinoflow.system.imports import import_graph

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_name("architecture.md")
PACKAGES = ("benchmarks", "flows", "kinoflow", "serving", "stages")

Edges = set[tuple[str, str]]


def imports() -> str:
    """Which sub-package imports which, as a Mermaid diagram."""
    graph = import_graph(PACKAGES)
    edges = {
        (_room(importer), _room(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    edges = reduced({(a, b) for a, b in edges if a != b and b != "kinoflow"})
    rooms = sorted({_room(module) for module in graph.modules} - {"kinoflow"})
    library = [room for room in rooms if room.startswith("kinoflow.")]
    lines = ["flowchart TD"]
    lines += [f'  {room}["{room}"]' for room in rooms if room not in library]
    lines += ["  subgraph kinoflow"]
    lines += [f'    {_key(room)}["{room.removeprefix("kinoflow.")}"]' for room in library]
    lines += ["  end"]
    lines += [f"  {_key(a)} --> {_key(b)}" for a, b in sorted(edges)]
    return "\n".join(lines)


def pipeline(file: Path = ROOT / "dvc.yaml") -> str:
    """The stages of dvc.yaml and what they hand on, as a Mermaid diagram."""
    stages = {"download": {"outs": ["data"]}}
    each = {"download": ""}  # what a stage is run for, such as "${candidates}"
    for name, stage in YAML(typ="safe").load(file)["stages"].items():
        stages[name] = stage.get("do", stage)
        each[name] = stage.get("foreach", "")
    made = {name: [*_paths(stage, "outs", "metrics")] for name, stage in stages.items()}
    used = {name: [*_paths(stage, "deps")] for name, stage in stages.items()}
    edges = reduced(
        {
            (maker, user)
            for maker, outs in made.items()
            for user, deps in used.items()
            if maker != user
            and any(
                _overlap(_of(out, each[maker]), _of(dep, each[user]))
                for out in outs
                for dep in deps
            )
        }
    )
    lines = ["flowchart TD"]
    for name, outs in made.items():
        lines.append(f'  {name}["<b>{name}</b><br/>{"<br/>".join(_shown(outs))}"]')
    lines += [f"  {a} --> {b}" for a, b in sorted(edges)]
    return "\n".join(lines)


def reduced(edges: Edges) -> Edges:
    """The arrows of a graph without those that a longer way stands for.

    A graph with a circle is given back as it is, so that the circle shows.
    """
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [*after.get(start, ())]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += after.get(node, ())
        return found

    ways = {node: reachable(node) for edge in edges for node in edge}
    if any(node in ways[node] for node in ways):
        return edges
    return {(a, b) for a, b in edges if not any(b in ways[other] for other in after[a] - {b})}


def drawn(page: str) -> str:
    """The page with both diagrams as they are now.

    Raises ValueError for a page without their places.
    """
    for name, diagram in (("imports", imports()), ("pipeline", pipeline())):
        place = re.compile(f"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        parts = place.split(page)
        if len(parts) != 4:  # before, the comments that begin and end the place, and after
            raise ValueError(f"the page has not one place for the drawing of the {name}")
        page = f"{parts[0]}{parts[1]}```mermaid\n{diagram}\n```\n{parts[2]}{parts[3]}"
    return page


def _room(module: str) -> str:
    """The package that a module is drawn in: kinoflow's sub-packages, others whole."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "kinoflow" else parts[0]


def _key(room: str) -> str:
    # a name of its own in the diagram, where `kinoflow` is the frame around its rooms
    return room.replace(".", "_")


def _paths(stage: dict[str, Any], *sections: str) -> Iterable[str]:
    for section in sections:
        for entry in stage.get(section, []):
            yield entry if isinstance(entry, str) else next(iter(entry))


def _of(path: str, items: str) -> str:
    """The path of a stage that is run for each of these items: students are no candidates here."""
    return re.sub(r"\$\{\w+\}", lambda _: items, path)


def _overlap(out: str, dep: str) -> bool:
    return all(x == y for x, y in zip(out.split("/"), dep.split("/"), strict=False))


def _shown(outs: list[str]) -> list[str]:
    named = [re.sub(r"\$\{(item\.)?\w+\}", "CANDIDATE", out) for out in outs]
    shown = []
    for path in named:
        folder = path.rpartition("/")[0]
        beside = [other for other in named if other.rpartition("/")[0] == folder]
        shown.append(f"{folder}/" if len(beside) > 2 and folder != "reports" else path)
    return [*dict.fromkeys(shown)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed
    page = PAGE.read_text(encoding="utf-8")
    new = drawn(page)
    if new != page and check:
        sys.exit("docs/architecture.md is out of date: run `make drawings`")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
