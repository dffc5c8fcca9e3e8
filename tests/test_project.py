"""The project as such: what its files say of each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from kinoflow.models import registry
from stages import dependencies
from tests import slow
from tests.conftest import ROOT

# the first versions without the holes known in November 2026, and one of those
MENDED = {
    # what the project names itself
    "av": ("18.1", "wheels of older ones hold an older FFmpeg"),
    "bentoml": ("1.4.39", "CVE-2026-44345"),
    "dask": ("2026.1.1", "CVE-2026-23528"),
    "keras": ("3.15.1", "its release notes; before 3.13.2 CVE-2026-1462"),
    "opencv-python-headless": ("5.0", "wheels of older ones hold FFmpeg 5.1"),
    "prefect": ("3.8.8", "before 3.6.14 CVE-2026-7723"),
    "pydantic": ("2.4", "CVE-2024-3772"),
    "pytest": ("9.0.3", "CVE-2025-71176"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "setuptools": ("78.1.1", "CVE-2025-47273"),
    "starlette": ("1.3.1", "CVE-2026-54283"),
    "uv": ("0.11.28", "its release notes; before 0.9.5 CVE-2025-62518"),
    # what comes with it
    "aiohttp": ("3.13.3", "CVE-2025-69223"),
    "cryptography": ("46.0.5", "CVE-2026-26007"),
    "h11": ("0.16", "CVE-2025-43859"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "pillow": ("12.1.1", "CVE-2026-25990"),
    "python-multipart": ("0.0.22", "CVE-2026-24486"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "tornado": ("6.5.3", "CVE-2025-67724"),
    "urllib3": ("2.6.3", "CVE-2026-21441"),
    "werkzeug": ("3.1.6", "CVE-2026-27199"),
}


def required() -> list[Requirement]:
    """What pyproject.toml asks for, with and without extras, and to build."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = file["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    lists.append(file["build-system"]["requires"])
    return [Requirement(text) for texts in lists for text in texts if "kinoflow" not in text]


def pinned() -> dict[str, list[Version]]:
    """The versions in requirements.lock; some packages have one for each Python."""
    pins: dict[str, list[Version]] = {}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)(?:\[.*\])?==([^ ;]+)", lock, re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


def test_a_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    kept = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    packages = ("kinoflow/", "stages/", "flows/", "serving/")
    names = [name for name in kept if name.startswith(packages) and (ROOT / name).exists()]
    for name in [*names, "pyproject.toml", "README.md", "LICENSE"]:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline"],
        cwd=tmp_path / "source", env=os.environ | {"VIRTUAL_ENV": sys.prefix}, check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "source" / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        told = archive.read(metadata).decode()
    assert held == set(names)
    assert "License-Expression: MIT" in told
    assert "Author: the kinoflow contributors" in told


def test_the_lists_of_slow_tests_name_what_is_there() -> None:
    tests = ROOT / "tests"
    for pattern in slow.FILES:
        assert [*tests.glob(pattern)], pattern
    for file, names in slow.TESTS.items():
        code = (tests / file).read_text(encoding="utf-8")
        assert [name for name in names if f"def {name}(" not in code] == [], file


def test_hooks_of_commits_call_programs_of_the_environment() -> None:
    config = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")
    programs = set()
    for repository in config["repos"]:
        assert repository["repo"] == "local", "a hook from elsewhere is fetched when committing"
        programs |= {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert programs >= {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports"}
    for program in programs:
        assert (Path(sys.executable).parent / Path(program).name).exists(), program


def test_hosted_checks_run_what_a_developer_runs() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "ci.yml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert sorted(commands) == ["make audit", "make check", "make test"]


def test_the_contract_between_stages_names_all_of_them() -> None:
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        contract
        for contract in file["tool"]["importlinter"]["contracts"]
        if contract["type"] == "independence"
    )
    names = ["challenge", "download", "style_domains", "style_gallery"]
    for pipeline in dependencies.PIPELINES:
        names += YAML(typ="safe").load(ROOT / pipeline)["stages"]
    found = {f"stages.{dependencies.module(name)}" for name in names}
    assert contract["modules"] == sorted(found)


def test_every_model_is_described_and_offered() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name in registry.MODULES:
        assert f"| `{name}` |" in page, f"docs/models.md has no row for {name}"
        assert f"model: {name}" in params + page, f"docs/models.md has no candidate for {name}"


def test_no_version_with_known_holes_is_allowed_or_pinned() -> None:
    for wanted in required():
        first, why = MENDED.get(canonicalize_name(wanted.name), ("0", ""))
        floors = [Version(s.version) for s in wanted.specifier if s.operator in (">=", "==")]
        allowed = max(floors, default=Version("0"))
        assert allowed >= Version(first), f"{wanted} allows what has {why}"
    pins = pinned()
    for name, (first, why) in MENDED.items():
        assert pins[name], name
        for version in pins[name]:
            assert version >= Version(first), f"{name} {version} has {why}"


def test_the_lock_holds_what_is_asked_for_each_with_hashes() -> None:
    pins = pinned()
    for wanted in required():
        name = canonicalize_name(wanted.name)
        if name != "gcsfs":  # an extra that the lock leaves out
            assert all(wanted.specifier.contains(version) for version in pins[name]), wanted
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_installing_takes_no_other_file_for_uv(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (version,) = pinned()["uv"]
    stem = f"uv-{version}"
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("uv.py", "raise SystemExit('of somebody else')")
        info = f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n"
        wheel.writestr(f"{stem}.dist-info/METADATA", info)
        kind = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{stem}.dist-info/WHEEL", kind)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    # this Python, yet what it installs goes elsewhere
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    installed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_TARGET": str(tmp_path)}
    ran = subprocess.run(
        ["make", "install"],
        cwd=tmp_path,
        env=os.environ | installed | {"MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ran.stderr
    assert not (tmp_path / "uv.py").exists()
