import ast
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from kinoflow import bentos, config
from kinoflow.data import seen
from kinoflow.reports.records import Verdict
from kinoflow.system import files
from kinoflow.system.imports import imported, source
from kinoflow.workspace import Workspace
from stages.package_assemble import assemble, requirements
from stages.package_build import build, export
from stages.package_card import card
from stages.package_code import ENTRY_POINTS
from stages.package_reference import make
from tests.bento import SLIM, TOO_MUCH, package
from tests.conftest import ROOT, RunStage

pytest_plugins = ["tests.bento_fixtures"]


def described(bento: Path) -> dict[str, Any]:
    """The bento.yaml within a .bento file."""
    with tarfile.open(bento) as archive:
        found = archive.extractfile("./bento.yaml")
        assert found is not None
        description: dict[str, Any] = YAML(typ="safe").load(io.BytesIO(found.read()))
        return description


def test_the_bento_pins_the_slim_set_and_nothing_else(bento: Path) -> None:
    image = described(bento)["image"]
    pins = dict(line.split("==") for line in image["python_requirements"].split())
    assert pins.keys() >= SLIM
    assert not pins.keys() & TOO_MUCH
    assert all(version(name) == pinned for name, pinned in pins.items())
    assert image["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def listed(extra: str = "") -> dict[str, Requirement]:
    """What pyproject.toml asks for, or what an extra of it adds, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {requirement.name: requirement for requirement in map(Requirement, texts)}


def test_what_a_bento_and_the_library_both_install_has_the_same_floor() -> None:
    base, extra = listed(), listed("serving")
    both = base.keys() & extra.keys()
    assert {name: extra[name] for name in both} == {name: base[name] for name in both}


def test_the_extra_serving_names_every_package_that_the_service_imports() -> None:
    # imported by functions that the service never calls: reading params.yaml, running on a
    # cluster, progress bars, explanations on other backends or by SHAP
    not_called = {"ruamel", "dask", "distributed", "rich", "jax", "torch", "shap"}
    tops = set()
    for module in imported(ENTRY_POINTS, ("kinoflow", "serving")):
        for node in ast.walk(ast.parse(source(module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                tops.add(node.module.partition(".")[0])
    foreign = tops - sys.stdlib_module_names - {"kinoflow", "serving"}
    assert foreign > not_called
    packages = packages_distributions()
    missing = {
        top for top in foreign - not_called if not {*packages[top]} & listed("serving").keys()
    }
    assert missing == set()


def test_a_gpu_brings_the_cuda_libraries() -> None:
    assert f"tensorflow[and-cuda]=={version('tensorflow')}" in requirements(gpu=True)


def context(project: Path, folder: Path) -> None:
    """Lay out in `folder` what the Bento of the project is built from."""
    workspace = Workspace(project)
    bundle = workspace.bundle("voting")
    settings = config.load(workspace.params).serving
    held_out = make(workspace, bundle)
    assemble(bundle, settings, card(workspace, "voting", bundle), held_out, folder)
    seen.write(workspace, folder / "bundle")


def test_the_same_inputs_give_the_same_bytes(project: Path, bento: Path, tmp_path: Path) -> None:
    context(project, tmp_path / "context")
    name = files.folder_md5(tmp_path / "context")[:12]
    assert bentos.version(bento) == name
    export(build(tmp_path / "context", name, tmp_path / "home"), tmp_path / "again.bento")
    assert (tmp_path / "again.bento").read_bytes() == bento.read_bytes()


def test_a_container_is_made_of_what_was_packed(bento: Path, tmp_path: Path) -> None:
    # what `bentoml containerize` hands to Docker, which is not needed for that
    code = """
import shutil, sys, bentoml
from bentoml._internal.container import construct_containerfile
with construct_containerfile(bentoml.import_bento(sys.argv[1])) as (folder, _):
    shutil.copytree(folder, sys.argv[2])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, bento, tmp_path / "made"],
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "made"
    lines = (made / "env" / "docker" / "Dockerfile").read_text().splitlines()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"FROM python:{python}-slim AS base-container" in lines
    assert "EXPOSE 3000" in lines
    # docs/serving.md names the user who has to own a folder of state
    assert "ARG BENTO_USER_UID=1034" in lines
    assert lines.index("USER bentoml") < lines.index(
        'ENTRYPOINT [ "/home/bentoml/bento/env/docker/entrypoint.sh" ]'
    )
    assert any("pip install -r $BENTO_PATH/env/python/requirements.txt" in line for line in lines)
    installed = set((made / "env" / "python" / "requirements.txt").read_text().split())
    assert installed == {*requirements(gpu=False), f"bentoml=={version('bentoml')}"}
    # not BentoML's own, which starts `bentoml serve`
    assert "exec python -m serving.server" in (made / "env/docker/entrypoint.sh").read_text()


def test_the_bento_holds_what_the_service_imports_and_no_other_code(bento: Path) -> None:
    with tarfile.open(bento) as archive:
        held = {
            Path(name).relative_to("src").as_posix()
            for name in archive.getnames()
            if name.endswith(".py") and "/src/" in f"/{name}"
        }
    modules = imported(ENTRY_POINTS, ("kinoflow", "serving"))
    assert held == {source(module).relative_to(ROOT).as_posix() for module in modules}
    # the decoders are started by name: `python -m kinoflow.system.sandbox_child`
    assert "kinoflow/system/sandbox_child.py" in held
    # and these are started by users, by DVC, or not at all
    assert not held & {"serving/__main__.py", "kinoflow/system/supervisor.py"}
    assert not {path.split("/")[1] for path in held} & {"training", "data"}


def test_the_service_finds_all_of_the_library_that_it_needs(project: Path, tmp_path: Path) -> None:
    context(project, tmp_path / "context")
    # an installation of this repository would step in for what is missing
    code = (
        "import sys; sys.path.insert(0, '.'); "
        "import serving.service, serving.server, serving.worker, kinoflow.models.layers; "
        "print(*(sys.modules[n].__file__ for n in sys.modules if n.startswith('kinoflow')))"
    )
    used = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "context",
        capture_output=True,
        text=True,
        check=True,
    )
    found = [Path(file) for file in used.stdout.split()]
    assert found
    strangers = [file for file in found if not file.is_relative_to(tmp_path / "context")]
    assert strangers == []


def test_a_bento_that_answers_otherwise_is_thrown_away(
    project: Path, bento: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "project")
    path = Workspace(tmp_path / "project").answers("voting")
    table = pd.read_csv(path)
    last = table["video"].iloc[-1]
    table["p_B"] += 1e-3 * (table["video"] == last)
    table.to_csv(path, index=False)
    done = package(tmp_path / "project")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert last in line
    assert "off by 0.001" in line
    assert not list((tmp_path / "project" / Workspace().dist).iterdir())


def test_what_was_trained_on_a_random_split_is_refused(
    project: Path, tmp_path: Path, run_stage: RunStage
) -> None:
    shutil.copytree(project, tmp_path / "project")
    older = Workspace(tmp_path / "project").bento
    older.parent.mkdir(exist_ok=True)
    older.touch()
    validation = Workspace(tmp_path / "project").validation
    Verdict(passed=True, split="random").write(validation)
    done = run_stage(tmp_path / "project", "package")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the split is random")
    assert not list(older.parent.iterdir())


@pytest.mark.parametrize("wrong", ["no model", "no answers"])
def test_what_is_missing_is_named(
    project: Path, tmp_path: Path, wrong: str, run_stage: RunStage
) -> None:
    shutil.copytree(project, tmp_path / "project")
    model, answers = Workspace().bundle("voting"), Workspace().answers("voting")
    missing = model if wrong == "no model" else answers
    shutil.rmtree(tmp_path / "project" / (model if wrong == "no model" else answers.parent))
    done = run_stage(tmp_path / "project", "package")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(missing) in done.stderr
