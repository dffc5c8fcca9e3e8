"""What the pages for people say is so: links lead somewhere, commands exist, code compiles."""

import ast
import functools
import importlib
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kinoflow import config
from tests.checkout import BIN, Checkout
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])

# commands that are run as they stand, in a fresh copy of the repository, with what they must print
RUN = {
    "make help": "make the environment",
    "kinoflow doctor": "keras",
    ".venv/bin/python -m flows.recipe": "ucf50_lrcn",
}

# programs whose commands are not run, and why; kinoflow's own are checked up to there: a target of
# make exists, a module and its options exist, a command of the program exists
NOT_RUN = {
    "make": "a target may train, serve for ever or install",
    "python": "a stage or a benchmark takes minutes",
    "kinoflow": "most need the outputs of `make repro`, a camera, or a video",
    "dvc": "reproduces the pipeline, or needs a remote",
    "prefect": "needs a server",
    "bentoml": "needs a Bento, or builds an image",
    "git": "changes the reader's repository",
    "openapi-python-client": "needs what the command before it has fetched",
    "install": "makes a folder of the system",
    "curl": "needs the service that the page has just started",
    "export": "sets a variable for the commands after it",
    ".": "activates the environment for the commands after it",
    "pip": "installs over the network",
    "uv": "installs over the network",
    "pre-commit": "installs a hook into the reader's repository",
    "apt": "installs a program of the system",
    "brew": "installs a program of the system",
    "docker": "is no part of kinoflow",
    "cp": "copies the reader's own files",
    "useradd": "changes the reader's system",
    "systemctl": "changes the reader's system",
    "journalctl": "follows the log of a unit for ever",
    "printf": "writes the reader's passwords",
    "chmod": "changes the reader's files",
    "dask": "needs a cluster",
    "taskset": "starts a worker of a cluster",
}

# what readers install themselves, in an environment of its own
THEIRS = {"fiftyone"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """What stands in the page's fenced blocks of that language."""
    # in a list they are indented
    fence = rf"^( *)```{language}\n(.*?)^\1```$"
    found = re.findall(fence, text_of(page), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's blocks of shell, variables before it left out."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]
            if words:
                yield words


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def fault(words: list[str]) -> str | None:
    """What is wrong with a command, in a few words; None if nothing is."""
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    if program not in NOT_RUN:
        return f"tests/test_docs.py does not know how to check {program}"
    if program == "make":
        return _fault_of_make(rest)
    if program == "python" and rest[:1] == ["-m"]:
        return _fault_of_module(rest[1], rest[2:])
    if program == "python" and rest[:1] == ["-c"]:
        return _fault_of_code(rest[1])
    if program == "python" and rest and not (ROOT / rest[0]).is_file():
        return f"there is no {rest[0]}"
    if program in {"kinoflow", "dvc", "prefect", "bentoml"}:
        # `dvc remote add`: what comes before the first argument that looks like no command
        names = re.match(r"(?:[a-z][a-z-]*\s)*", " ".join(rest) + " ")
        return _fault_of_help(program, (names[0].split() if names else [])[:2], rest)
    return None


def _fault_of_make(arguments: list[str]) -> str | None:
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    targets = {line.split()[0] for line in listed.splitlines()}
    makefile = text_of(ROOT / "Makefile")
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value and not re.search(rf"\$\({name}\b|^{name} \?=", makefile, re.MULTILINE):
            return f"the Makefile knows no {name}"
        if not value and name not in targets:
            return f"make has no target {name}"
    return None


def _fault_of_module(module: str, arguments: list[str]) -> str | None:
    top = module.partition(".")[0]
    if top not in {"kinoflow", "stages", "flows", "serving", "benchmarks"}:
        return None if find_spec(top) else f"there is no module {module}"
    path = ROOT.joinpath(*module.split("."))
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists() or '__name__ == "__main__"' not in (
        source := file.read_text(encoding="utf-8")
    ):
        return f"{module} cannot be run"
    # a module beside it may add options that several commands have
    for name in re.findall(r"(\w+)\.add_arguments\(", source):
        source += text_of(ROOT / top / f"{name}.py")
    for option in (word.partition("=")[0] for word in arguments if word.startswith("-")):
        if f'"{option}"' not in source:
            return f"{module} has no option {option}"
    return None


def _there(module: str) -> bool:
    try:
        return module in THEIRS or find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def _fault_of_code(code: str) -> str | None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if not _there(alias.name):
                    return f"there is no module {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            if not _there(node.module):
                return f"there is no module {node.module}"
            module = importlib.import_module(node.module)
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if not hasattr(module, alias.name) and not _there(inner):
                    return f"there is no {inner}"
    return None


@functools.cache
def _help(program: str, names: tuple[str, ...]) -> str | None:
    done = subprocess.run(
        [BIN / program, *names, "--help"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _fault_of_help(program: str, names: list[str], arguments: list[str]) -> str | None:
    # a second word may be a command of a command, or an argument
    for known in (names, names[:1]):
        if (told := _help(program, tuple(known))) is not None:
            break
    else:
        return f"{program} has no command {' '.join(names)}"
    options = [word.partition("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)]
    missing = [option for option in options if option not in told]
    return f"{program} {' '.join(known)} has no option {missing[0]}" if missing else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_of_the_repository(page: Path) -> None:
    kept = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        name = str(file.relative_to(ROOT))
        assert name in kept or any(one.startswith(f"{name}/") for one in kept), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_is_there(page: Path) -> None:
    assert [(" ".join(words), why) for words in commands(page) if (why := fault(words))] == []


@pytest.mark.parametrize(
    "command",
    [
        "make reprod",
        "make recipe WHICH=ucf50_lrcn",
        "python -m stages.catalogue",
        "python -m serving --allow-hosts a",
        "python -m kinoflow.models.registry",
        "python -c 'from kinoflow.models.parts import causal'",
        "python -c 'from kinoflow import sampel'",
        "kinoflow prediction some.avi",
        "kinoflow predict --best 3 some.avi",
        "dvc reproduce",
        "sudo rm -rf /",
    ],
)
def test_a_command_that_is_not_there_is_found_out(command: str) -> None:
    assert fault(shlex.split(command)) is not None


def test_quick_commands_print_what_they_promise(tmp_path: Path) -> None:
    documented = {" ".join(words) for page in PAGES for words in commands(page)}
    checkout = Checkout(tmp_path)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    for command, output in RUN.items():
        assert command in documented, f"no page names {command}: take it out of RUN"
        assert output in checkout.run(*shlex.split(command)).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_the_pages_compiles_and_imports_what_there_is(page: Path) -> None:
    assert [why for block in blocks(page, "python") if (why := _fault_of_code(block))] == []


def laid_over(below: Any, above: Any) -> Any:
    """Settings with others laid over them, section by section."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: laid_over(below.get(key), value) for key, value in above.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_of_the_pages_are_settings_of_params_yaml(page: Path) -> None:
    yaml = YAML(typ="safe")
    params = yaml.load(ROOT / "params.yaml")
    for block in blocks(page, "yaml"):
        settings = yaml.load(block)
        assert settings.keys() <= params.keys()
        config.checked(laid_over(params, settings), page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_named_in_the_pages_are_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # it tells of what once was
    folders = "benchmarks|docs|flows|kinoflow|recipes|serving|stages|tests"
    named = set(re.findall(rf"`((?:{folders})/[^`\s<>{{}}*]*)`", text_of(page)))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_page_on_security_names_what_holds_each_defence() -> None:
    named = re.findall(r"`(tests/[^`]*)`", text_of(ROOT / "docs" / "security.md"))
    assert len(set(named)) > 15


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) <= 120
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"(docs/{page.name})" in readme


def test_the_page_on_architecture_tells_what_every_stage_reads_and_makes() -> None:
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    rows = re.findall(r"^\| `(\w+)`", text_of(ROOT / "docs" / "architecture.md"), re.MULTILINE)
    assert sorted(rows) == sorted([*stages, "download"]), "a row of docs/architecture.md for each"


def test_the_drawings_of_the_architecture_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/drawings.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_drawing_shows_what_changed(tmp_path: Path) -> None:
    spec = spec_from_file_location("drawings", ROOT / "docs" / "drawings.py")
    assert spec is not None
    assert spec.loader is not None
    drawings = module_from_spec(spec)
    spec.loader.exec_module(drawings)
    # a longer way stands for a short one, unless there is a circle
    line = {("a", "b"), ("b", "c"), ("a", "c")}
    assert drawings.reduced(line) == {("a", "b"), ("b", "c")}
    assert drawings.reduced(line | {("c", "a")}) == line | {("c", "a")}
    before = drawings.pipeline()
    pipeline = text_of(ROOT / "dvc.yaml").replace(
        "stages:\n",
        "stages:\n  blur:\n    cmd: x\n    deps: [work/clips]\n    outs: [work/blurred]\n",
        1,
    )
    (tmp_path / "dvc.yaml").write_text(pipeline, encoding="utf-8")
    after = drawings.pipeline(tmp_path / "dvc.yaml")
    new = set(after.splitlines()) - set(before.splitlines())
    assert new == {'  blur["<b>blur</b><br/>work/blurred"]', "  extract --> blur"}
