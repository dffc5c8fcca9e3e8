"""A copy of the repository, in which a test runs what a user runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import ROOT, params_text

BIN = Path(sys.executable).parent


class Checkout:
    """A copy of the repository with small settings, driven as a user drives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "KINOFLOW_REAL_DATA"},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "PREFECT_HOME": str(folder / ".prefect"),
        }
        listed = self.run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout
        for name in listed.splitlines():
            if (ROOT / name).is_file() and name not in {"dvc.lock", "data.dvc"}:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "params.yaml").write_text(params_text(), encoding="utf-8")
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "copy")

    def run(
        self, *command: str, cwd: Path | None = None, fails: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    def set(self, **values: object) -> None:
        """Set params by path, with __ for the dots."""
        path, yaml = self.folder / "params.yaml", YAML()
        params = yaml.load(path)
        for name, value in values.items():
            *above, last = name.split("__")
            section = params
            for key in above:
                section = section[key]
            section[last] = value
        yaml.dump(params, path)

    def repro(self, *targets: str, bring: bool = True) -> list[str]:
        """Bring the data, unless they are known to be there, run dvc repro; the stages that ran."""
        if bring:
            self.run("python", "-m", "stages.download")
        self.output = self.run("dvc", "repro", *targets).stdout
        return re.findall(r"Running stage '(.+)'", self.output)

    def read(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())
