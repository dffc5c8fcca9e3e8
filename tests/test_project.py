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
from setuptools import find_packages

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


def test_an_installation_holds_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    there = find_packages(str(ROOT), exclude=["tests*", "benchmarks*"])
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(there)


def test_every_model_is_described_and_offered() -> None:
    from kinoflow.models import MODELS

    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name in MODELS:
        assert f"| `{name}` |" in page
        assert f"model: {name}" in params + page


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


def test_what_the_page_on_security_names_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|kinoflow|serving)/[^`]*)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
