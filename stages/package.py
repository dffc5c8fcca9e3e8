"""Pack the winner as a Bento, start what was packed, and have it repeat evaluation's answers."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kinoflow
from kinoflow import config
from kinoflow.config import Params, Serving
from kinoflow.data import tables
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised
from kinoflow.workspace import Workspace, run

# what the service imports: a change elsewhere in the library makes no other Bento
_LIBRARY = (*("__init__", "bundle", "config", "models", "system", "video", "workspace"),)
_ENTRYPOINT = """\
#!/bin/sh
# In the place of BentoML's, which starts `bentoml serve`: that has a second port, which obeys
# everybody on this machine. `serve` and options start the server, anything else is run itself.
set -e
case "${1:-serve}" in
  serve) shift $(( $# > 0 )) ;;
  -*) ;;
  *) exec "$@" ;;
esac
cd "$BENTO_PATH/src"
exec python -m serving.server --host 0.0.0.0 --port "${PORT:-3000}" "$@"
"""
_SETTINGS = {
    *("top_k", "max_upload_mb", "timeout_s", "max_concurrency", "memory_mb", "decoders"),
}

# the answers are float32, and evaluation computed them in larger batches
_TOLERANCE = 1e-5
_START_S = 180.0  # seconds, as the next
_ANSWER_S = 600.0

# the oldest date that every archive format can hold
_DATE = "1980-01-01T00:00:00+00:00"
_SECONDS = 315532800


def require_grouped(validation: Path) -> None:
    """Raise UserError if what was trained on is a random split, as the validation stage noted."""
    if files.read_json(validation).get("split") == "random":
        raise UserError(
            "the split is random, so its scores say little about other recordings: such a model "
            "is not packaged; set split.method to stratified_group or official and run again"
        )


def assemble(bundle: Path, serving: Serving, folder: Path) -> None:
    """Lay out in `folder` all that a Bento is built from; the same inputs give the same bytes."""
    code = Path(kinoflow.__file__).parent
    _copy(bundle, folder / "bundle")
    _copy(code.parent / "serving", folder / "serving")
    for name in _LIBRARY:
        source = code / name if (code / name).is_dir() else code / f"{name}.py"
        _copy(source, folder / "kinoflow" / source.name)
    files.write_json(folder / "serving.json", serving.model_dump(include=_SETTINGS))
    bentofile = {
        "service": "serving.service:Kinoflow",
        # BentoML's own version makes part of the Bento, so it belongs to what names it
        "labels": {"candidate": bundle.name, "bentoml": importlib.metadata.version("bentoml")},
        "python": {"packages": requirements(serving.gpu), "lock_packages": False},
        "docker": {"python_version": ".".join(map(str, sys.version_info[:2]))},
    }
    files.write_json(folder / "bentofile.yaml", bentofile)  # all JSON is YAML


def requirements(gpu: bool) -> list[str]:
    """What the service needs and what that needs in turn, pinned as installed here.

    BentoML could lock the same over the network, but to what is newest by then. It adds its
    own pin, so that is left out. The CUDA libraries that `gpu` asks for need not be installed
    here; those that are not stay without a pin.
    """
    tensorflow = "tensorflow[and-cuda]" if gpu else "tensorflow"
    wanted = [
        tensorflow,
        "keras",
        "numpy",
        "opencv-python-headless",
        "av",
        "cloudpickle",
        "bentoml",
    ]
    pins: dict[str, str] = {}
    visited = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        pins[name] = f"{name}=={package.version}"
        wanted += [text for text in package.requires or () if _applies(text, extras)]
    pins.pop("bentoml")
    pins["tensorflow"] = pins["tensorflow"].replace("tensorflow", tensorflow)
    return sorted(pins.values())


def build(context: Path, version: str, home: Path) -> Path:
    """Build a Bento from what was assembled, offline, in a BENTOML_HOME of its own.

    Returns its folder. Raises UserError with BentoML's last words if it refuses.
    """
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, str(context)]
    built = subprocess.run(
        command,
        env={**os.environ, "BENTOML_HOME": str(home)},
        cwd=context.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise UserError(f"bentoml build: {_tail(built.stdout + built.stderr)}")
    return home / "bentos" / "kinoflow" / version


def export(built: Path, target: Path) -> None:
    """Write a built Bento as a .bento file, as `bentoml export` does but without any dates.

    What a container made of it starts is the server of this repository.
    """
    (built / "env" / "docker" / "entrypoint.sh").write_text(_ENTRYPOINT, encoding="utf-8")
    description = built / "bento.yaml"
    text = description.read_text(encoding="utf-8")
    description.write_text(
        re.sub(r"^creation_time: .*", f"creation_time: '{_DATE}'", text, flags=re.MULTILINE),
        encoding="utf-8",
    )
    # trained weights hardly shrink, however long one tries
    with tarfile.open(target, "w:xz", preset=1) as archive:
        for path in sorted(built.rglob("*")):
            name = f"./{path.relative_to(built).as_posix()}"
            archive.add(path, name, recursive=False, filter=_anonymous)


def check(bento: Path, answers: pd.DataFrame, data: Path, count: int) -> float:
    """Start a .bento file and send it `count` of the videos that were evaluated.

    `answers` is predictions.csv; the videos, below `data`, are spread evenly over it. Returns
    the largest difference between two probabilities. Raises UserError if one is above 1e-5,
    or if the Bento does not start or does not answer.
    """
    rows = np.unique(np.linspace(0, len(answers) - 1, count).round().astype(int))
    worst = 0.0
    with served(bento) as url:
        for _, row in answers.iloc[rows].iterrows():
            answer = pd.Series(_ask(url, data / row["video"])).add_prefix("p_")
            # not aligned by label: a class that only one of them knows must not go unseen
            if list(answer.index) != [name for name in row.index if name.startswith("p_")]:
                raise UserError("the model knows other classes than were evaluated: evaluate it")
            difference = float((answer - row[answer.index].astype(float)).abs().max(skipna=False))
            if not difference <= _TOLERANCE:  # so that NaN is seen as well
                raise UserError(
                    f"the Bento answers {row['video']} otherwise than evaluation did: a "
                    f"probability is off by {difference:.2g}, so it was thrown away; run the "
                    "stages evaluate and package again"
                )
            worst = max(worst, difference)
    return worst


@contextlib.contextmanager
def served(bento: Path) -> Iterator[str]:
    """Serve a .bento file on this machine alone; yield the URL once it is ready.

    Raises UserError with its last words if it does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving", "--bento", str(bento), "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="kinoflow-check-") as folder:
        log = Path(folder) / "log"
        with (
            log.open("w") as output,
            run_supervised(command, stdout=output, stderr=subprocess.STDOUT) as server,
        ):
            _wait_until_ready(url, server, log)
            yield url


def _wait_until_ready(url: str, server: "subprocess.Popen[str]", log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < deadline:
        # a server that is still loading takes the connection and is silent
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=1, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise UserError(f"the Bento does not start; it said last: {_tail(_text(log))}")


def _ask(url: str, video: Path) -> dict[str, float]:
    import httpx

    with video.open("rb") as file:
        # trust_env: no proxy stands between this machine and itself
        answer = httpx.post(
            f"{url}/predict",
            files={"video": (video.name, file)},
            timeout=_ANSWER_S,
            trust_env=False,
        )
    if not answer.is_success:
        raise UserError(f"the Bento refuses {video} with {answer.status_code}: {answer.text}")
    probabilities: dict[str, float] = answer.json()["probabilities"]
    return probabilities


def _applies(requirement: str, extras: frozenset[str]) -> bool:
    marker = Requirement(requirement).marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "__main__.py"))
    else:
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = _SECONDS
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(text: str) -> str:
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-4:])


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with locks.held(workspace.lock("dist"), "packaging"):
        _package(workspace, params)


def _package(workspace: Workspace, params: Params) -> None:
    winner: str = files.read_json(workspace.winner)["winner"]
    answers = tables.read(workspace.report(winner) / "predictions.csv", tables.PREDICTIONS)
    # if the check fails, an older Bento must not stand here as if it were the winner's
    files.sweep(workspace.dist)
    for old in workspace.dist.glob("*.bento"):
        old.unlink()
    require_grouped(workspace.validation)
    with tempfile.TemporaryDirectory(prefix="kinoflow-package-") as temporary:
        context, home = Path(temporary) / "context", Path(temporary) / "home"
        assemble(workspace.bundle(winner), params.serving, context)
        version = files.folder_md5(context)[:12]
        target = workspace.dist / f"kinoflow-{version}.bento"
        with files.replacing(target) as partial:
            export(build(context, version, home), partial)
            worst = check(partial, answers, workspace.data, params.serving.check_videos)
    print(
        f"package: {target} ({target.stat().st_size / 1e6:.1f} MB) holds {winner}; "
        f"{min(params.serving.check_videos, len(answers))} test videos sent to it were answered "
        f"as in evaluation, give or take {worst:.1g}"
    )


if __name__ == "__main__":
    run(main)
