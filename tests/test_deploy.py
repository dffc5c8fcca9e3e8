"""What runs kinoflow for months: prefect.yaml, and the files of deploy/, checked by their tools."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from ruamel.yaml import YAML

from flows.deployments import deployments
from kinoflow.config import Params
from kinoflow.workspace import Workspace
from tests.conftest import ROOT

pytest_plugins = ["tests.flows_fixtures"]

UNITS = sorted((ROOT / "deploy").glob("*.service"))
COMPOSE = ROOT / "deploy" / "compose.yaml"
PASSWORDS = {"KINOFLOW_PASSWORD": "a", "KINOFLOW_DATABASE_PASSWORD": "b"}


def test_prefect_yaml_deploys_what_make_schedule_serves(
    client: SyncPrefectClient, prefect_server: dict[str, str], defaults: Params
) -> None:
    client.create_work_pool(WorkPoolCreate(name="kinoflow", type="process"))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | prefect_server, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    made = {d.entrypoint: d for d in client.read_deployments() if d.work_pool_name == "kinoflow"}
    try:
        served = deployments(defaults, Workspace(ROOT))
        assert {d.name for d in made.values()} == {d.name for d in served}
        assert {str(d.entrypoint) for d in made.values()} == {str(d.entrypoint) for d in served}
        for one in served:
            other = made[one.entrypoint]
            assert [each.schedule for each in other.schedules] == [
                each.schedule for each in one.schedules or []
            ]
            assert other.global_concurrency_limit
            assert other.global_concurrency_limit.limit == 1
    finally:
        for each in made.values():
            client.delete_deployment(each.id)
        client.delete_work_pool("kinoflow")


def test_units_are_valid() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", *UNITS], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_what_a_user_runs(unit: Path) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE))
    make, option, target, *variables = settings["ExecStart"].split()
    assert (make, option) == ("/usr/bin/make", "--no-print-directory")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert all(f"$({name.partition('=')[0]})" in makefile for name in variables)
    # what they write lies in the folder that they run in
    assert settings["ReadWritePaths"] == settings["WorkingDirectory"]


def compose() -> list[str]:
    """The command of Docker Compose."""
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]):
            asked = subprocess.run([*program, "version"], check=False, capture_output=True)
            if asked.returncode == 0:
                return program
    pytest.skip("Docker Compose is not installed")


def test_the_compose_file_is_valid_and_demands_its_passwords() -> None:
    command = [*compose(), "--project-directory", ".", "--file", str(COMPOSE)]
    command += ["--profile", "cluster", "config"]

    def run(passwords: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | passwords, check=False,
            capture_output=True, text=True,
        )  # fmt: skip

    done = run(PASSWORDS)
    assert done.returncode == 0, done.stderr
    services = YAML(typ="safe").load(done.stdout)["services"]
    assert {*services} == {"database", "server", "schedule", "serve", "scheduler", "worker"}
    for name in PASSWORDS:
        refused = run(PASSWORDS | {name: ""})
        assert refused.returncode != 0
        assert "set it in .env" in refused.stderr


def test_the_compose_file_runs_what_there_is() -> None:
    services = YAML(typ="safe").load(COMPOSE)["services"]
    for name, service in services.items():
        # from wherever Docker is set up to take images from
        assert re.fullmatch(r"[a-z]+(:\d+)?", service["image"])
        words = service.get("command", "").split()
        if words[:2] == ["python", "-m"]:
            assert find_spec(words[2]), name
    build = services["server"]["build"]
    assert (ROOT / build["dockerfile"]).exists()
    # only the server's and the service's pages can be reached, the former from this machine alone
    assert {name: each["ports"] for name, each in services.items() if "ports" in each} == {
        "server": ["127.0.0.1:4200:4200"],
        "serve": ["3000:3000"],
    }
