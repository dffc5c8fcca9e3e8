"""A Bento without TensorFlow beside the one with it: its size, its start, its memory, its speed.

    python -m benchmarks.slim CANDIDATE ... [--rounds 5] [--seconds 10]

Run it in a work tree with trained candidates. It exports each candidate, packs it as it is and as
forms, installs what each Bento pins into an environment of its own (from the package index, by uv),
and starts and asks the Bentos in turn. It writes benchmarks/slim.md.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks.serve import Service, load, started
from benchmarks.serving_load import upload
from benchmarks.slim_page import CLIENTS, TENSORFLOW, Packed, Start, page
from kinoflow import bundle, config
from kinoflow.compress import clips, exporting
from kinoflow.data import tables
from kinoflow.reports.records import ServiceSettings
from kinoflow.system import errors, files, terminal
from kinoflow.workspace import Workspace
from stages.package_assemble import assemble
from stages.package_build import build
from stages.package_card import card
from stages.package_reference import make

PAGE = Path(__file__).parent / "slim.md"
# what is packed of a candidate, by its name on the page; the first is its bundle
FORMS = {TENSORFLOW: None, "OpenVINO": "openvino", "ONNX Runtime": "onnx"}
VIDEOS = 60
_START_S = 180.0
_WARM_S = 3.0


def pack(workspace: Workspace, name: str, form: str | None, folder: Path) -> Path:
    """Pack a candidate, or a form of it; returns the folder of the Bento."""
    source = workspace.bundle(name)
    if form is not None:
        shown = clips.held_out(workspace, bundle.load(source).description)
        source = exporting.export(source, folder / "form", form, shown).folder
    settings = config.load(workspace.params).serving
    about, held_out = card(workspace, name, source), make(workspace, source)
    assemble(source, settings, about, held_out, folder / "context")
    made = build(folder / "context", "benchmark", folder / "home")
    # no timelines, which are many answers
    file = made / "src" / "serving.json"
    ServiceSettings.read(file).model_copy(
        update={"max_concurrency": CLIENTS[-1], "timeline_windows": 1}
    ).write(file)
    return made


def install(bento: Path, folder: Path) -> Path:
    """An environment with what a Bento pins, and nothing else; returns its Python."""
    uv = [sys.executable, "-m", "uv"]
    python = folder / "bin" / "python"
    pins = bento / "env" / "python" / "requirements.txt"
    subprocess.run([*uv, "venv", "-q", "-p", sys.executable, str(folder)], check=True)
    command = [*uv, "pip", "install", "-q", "-p", str(python), "-r", str(pins)]
    # as pip does: else the first start would compile, and the next would not
    subprocess.run([*command, "--compile-bytecode"], check=True)
    return python


def sizes(python: Path) -> dict[str, float]:
    """Megabytes of what is installed, by the names in its site-packages."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    return {
        entry.name: sum(path.lstat().st_size for path in [entry, *entry.rglob("*")]) / 1e6
        for entry in packages.iterdir()
    }


# === Starts ===


def worker_mb(process: psutil.Process) -> float:
    """Memory that the worker holds, shares of what it holds with others included."""
    return sum(
        child.memory_full_info().pss / 1e6
        for child in process.children(recursive=True)
        if "serving.worker" in child.cmdline()
    )


def start(packed: Packed, video: bytes, folder: Path) -> Start:
    """Start a Bento as its container does, and wait for its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(folder),
        "BENTOML_HOME": str(folder / "home"),
        "KINOFLOW_STATE": str(folder / "state"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    environment.pop("PYTHONPATH", None)
    begun = time.monotonic()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(packed.python), "-m", "serving.server", "--port", str(port)],
            cwd=packed.bento / "src",
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        # one client for both: to make one takes a moment
        with httpx.Client(trust_env=False, timeout=_START_S) as client:
            _wait(client, url, process, folder / "log")
            ready = time.monotonic() - begun
            running = psutil.Process(process.pid)
            tree = [running, *running.children(recursive=True)]
            # its own, and those of its processes that have ended
            processor = sum(sum(each.cpu_times()[:4]) for each in tree)
            client.post(f"{url}/predict", files={"video": video}).raise_for_status()
            answer = time.monotonic() - begun
        return Start(ready, answer, processor, worker_mb(running))
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait(client: httpx.Client, url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if client.get(f"{url}/readyz").is_success:
                return
        time.sleep(0.01)
    raise errors.UserError(f"it does not start: {log.read_text(errors='replace')[-500:]}")


# === Answers ===


@contextlib.contextmanager
def running(bentos: Sequence[Packed], folder: Path) -> Iterator[list[Service]]:
    """All Bentos, served at the same time."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                started(
                    packed.name,
                    [str(packed.python), "-m", "serving.server"],
                    packed.bento / "src",
                    folder / packed.name.replace(" ", "-"),
                    {"KINOFLOW_STATE": str(folder / packed.name.replace(" ", "-") / "state")},
                )
            )
            for packed in bentos
        ]


def ask(
    bentos: Sequence[Packed], videos: list[Path], seconds: float, rounds: int, folder: Path
) -> None:
    """Have the Bentos answer, in turn, and note what they answer and how quickly."""
    requests = [upload(video.read_bytes()) for video in videos]
    with running(bentos, folder) as services:
        for packed, service in zip(bentos, services, strict=True):
            for video in videos:
                answer = httpx.post(
                    f"{service.url}/predict",
                    files={"video": video.read_bytes()},
                    timeout=_START_S,
                    trust_env=False,
                ).json()
                packed.probabilities.append([*answer["probabilities"].values()])
            load(service, requests, 4, _WARM_S)
        for _ in range(rounds):
            for clients in CLIENTS:
                for packed, service in zip(bentos, services, strict=True):
                    done = load(service, requests, clients, seconds)
                    packed.loads.setdefault(clients, []).append(done)
                    told = f"{packed.name}, {clients} clients: {done.per_second:.1f} answers/s"
                    print(told, file=sys.stderr, flush=True)
        for packed, service in zip(bentos, services, strict=True):
            packed.memory_mb = worker_mb(service.process)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slim", description=__doc__)
    parser.add_argument("candidates", nargs="+", metavar="CANDIDATE")
    parser.add_argument("--work-tree", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    arguments = parser.parse_args()
    terminal.quiet()
    workspace = Workspace(arguments.work_tree.absolute())
    test = tables.read(workspace.split, tables.SPLIT).query("split == 'test'")["video"]
    chosen = np.unique(np.linspace(0, len(test) - 1, VIDEOS).astype(int))
    videos = [workspace.data / video for video in test.iloc[chosen]]
    with tempfile.TemporaryDirectory(prefix="kinoflow-benchmark-") as temporary:
        folder = Path(temporary)
        pythons: dict[str, Path] = {}
        candidates: dict[str, list[Packed]] = {}
        for name in arguments.candidates:
            bentos = candidates[name] = []
            for title, form in FORMS.items():
                bento = pack(workspace, name, form, folder / f"{name}-{form}")
                if title not in pythons:
                    pythons[title] = install(bento, folder / f"python-{form}")
                bentos.append(Packed(title, bento, pythons[title]))
            for number in range(arguments.rounds):
                for packed in bentos:
                    done = start(packed, videos[0].read_bytes(), folder / "start")
                    packed.starts.append(done)
                    print(
                        f"{name}, {number + 1}, {packed.name}: {done}", file=sys.stderr, flush=True
                    )
            ask(bentos, videos, arguments.seconds, arguments.rounds, folder / f"{name}-services")
        text = page(
            {name: sizes(python) for name, python in pythons.items()},
            candidates,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
        )
    files.write_text(PAGE, text)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    errors.run(main)
