"""How fast the service answers, and how it behaves when it is asked for more than it can do.

    python -m benchmarks.serve --bento FILE [--bundle FOLDER] [--seconds 20] [--rounds 3]
        [--overload 600]

Three services run on this machine at the same time, and are put under load in turn, round after
round: the Bento; the same with `max_batch: 1`, where one clip after the other goes through the
model; and the service that people write first (benchmarks/serving_plain.py), on Keras: for a Bento
with a form, which has no Keras model, `--bundle` names the bundle that it was made from. The
clients run on this machine too, and take about half a millisecond of processor time for an answer.
Videos get one answer, without a timeline.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from benchmarks import footage, machine
from benchmarks.repository import REPOSITORY
from benchmarks.serving_load import Reply, closed_loop, fixed_rate, upload
from kinoflow.reports.records import ServiceSettings
from kinoflow.system import errors
from kinoflow.system.supervisor import run_supervised

CLIENTS = (1, 4, 16, 64)
VIDEOS = 60
KINOFLOW, ALONE, PLAIN = "kinoflow", "without batching", "FastAPI + OpenCV + predict"
_START_S = 180.0
_WARM_S = 3.0


@dataclass
class Service:
    """A service that runs, and what was measured of it."""

    name: str
    url: str
    process: psutil.Process
    files: Path  # where it writes temporary files
    rounds: dict[int, list["Load"]] = field(default_factory=dict)  # by the number of clients

    def tree(self) -> list[psutil.Process]:
        """Its processes."""
        return [self.process, *self.process.children(recursive=True)]

    def processor_s(self) -> float:
        """Processor seconds of all its processes that live."""
        return sum(
            sum(times[:2])
            for process in self.tree()
            if (times := _quietly(process.cpu_times)) is not None
        )

    def memory_mb(self) -> float:
        """Memory that its processes hold alone, and their shares of what they hold together."""
        return sum((_quietly(each.memory_full_info) or _NOTHING).pss for each in self.tree()) / 1e6


@dataclass(frozen=True)
class Load:
    """What a service did under load."""

    replies: list[Reply]
    seconds: float
    processor_s: float

    @property
    def answered(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status == 200]

    @property
    def per_second(self) -> float:
        return len(self.answered) / self.seconds

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor told to try again later."""
        return sum(reply.status not in (200, 429) for reply in self.replies)

    def latency_ms(self, part: float) -> float:
        """The latency that this part of the answers did not exceed."""
        return 1000 * _quantile([reply.seconds for reply in self.answered], part)

    @property
    def overhead_ms(self) -> float:
        """Median of the latency beyond decoding and inference."""
        return statistics.median(
            1000 * reply.seconds - sum(reply.body["milliseconds"].values())
            for reply in self.answered
        )


class _Nothing:
    pss = 0


_NOTHING = _Nothing()


def _quietly(measure: Any) -> Any:
    """What psutil measures; None of a process that has ended."""
    try:
        return measure()
    except psutil.Error:
        return None


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


@contextlib.contextmanager
def running(bento: Path, folder: Path, bundle: Path | None = None) -> Iterator[list[Service]]:
    """The three services, ready and warm; the last one with a bundle, by default the Bento's."""
    with contextlib.ExitStack() as stack:
        services = []
        for name, changed in ((KINOFLOW, {}), (ALONE, {"max_batch": 1})):
            place = folder / name.replace(" ", "-")
            with tarfile.open(bento) as archive:
                archive.extractall(place / "bento", filter="data")
            settings = place / "bento" / "src" / "serving.json"
            ServiceSettings.read(settings).model_copy(
                # no timelines, which are many answers
                update={"max_concurrency": CLIENTS[-1], "timeline_windows": 1, **changed}
            ).write(settings)
            command = [sys.executable, "-m", "serving.server"]
            environment = {"KINOFLOW_STATE": str(place / "state")}
            services.append(
                stack.enter_context(
                    started(name, command, place / "bento" / "src", place, environment)
                )
            )
        command = [sys.executable, "-m", "uvicorn", "--log-level", "warning"]
        command.append("benchmarks.serving_plain:app")
        bundle = bundle or folder / "kinoflow" / "bento" / "src" / "bundle"
        services.append(
            stack.enter_context(
                started(PLAIN, command, REPOSITORY.root, folder / "plain", {"BUNDLE": str(bundle)})
            )
        )
        yield services


@contextlib.contextmanager
def started(
    name: str, command: list[str], cwd: Path, files: Path, environment: dict[str, str]
) -> Iterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, temporary = f"http://127.0.0.1:{port}", files / "tmp"
    temporary.mkdir(parents=True)
    variables = {
        **os.environ,
        "TMPDIR": str(temporary),
        "BENTOML_HOME": str(files / "home"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
    }
    variables.pop("PYTHONPATH", None)
    with (
        (files / "log").open("w") as log,
        run_supervised(
            [*command, "--port", str(port)],
            cwd=cwd,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise errors.UserError(f"{name} does not start: {files / 'log'} says why")
            time.sleep(0.2)
        yield Service(name, url, psutil.Process(process.pid), temporary)


def load(service: Service, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Put a service under the load of clients in a closed loop."""
    before, begun = service.processor_s(), time.monotonic()
    replies = asyncio.run(closed_loop(service.url, requests, clients=clients, seconds=seconds))
    return Load(replies, time.monotonic() - begun, service.processor_s() - before)


def rate(service: Service, requests: Sequence[bytes], per_second: float, seconds: float) -> Load:
    """Put a service under the load of requests that arrive at a fixed rate."""
    before, begun = service.processor_s(), time.monotonic()
    replies = asyncio.run(fixed_rate(service.url, requests, per_second=per_second, seconds=seconds))
    return Load(replies, time.monotonic() - begun, service.processor_s() - before)


def compare(services: list[Service], requests: Sequence[bytes], seconds: float, rounds: int) -> str:
    """Measure the services in turn, and return the tables."""
    for service in services:
        load(service, requests, 4, _WARM_S)
    for number in range(rounds):
        for clients in CLIENTS:
            for service in services:
                done = load(service, requests, clients, seconds)
                service.rounds.setdefault(clients, []).append(done)
                print(
                    f"round {number + 1}, {clients} clients, {service.name}: "
                    f"{done.per_second:.1f} answers/s",
                    file=sys.stderr,
                )
    lines = [
        "| clients | service | answers/s | of kinoflow's | p50 ms | p95 ms | processor ms/answer | "
        "refused | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for clients in CLIENTS:
        ours = services[0].rounds[clients]
        for service in services:
            loads = service.rounds[clients]
            ratio = statistics.median(
                theirs.per_second / own.per_second for theirs, own in zip(loads, ours, strict=True)
            )
            lines.append(
                f"| {clients} | {service.name} | {_median(loads, 'per_second'):.1f} | {ratio:.2f} "
                f"| {statistics.median(one.latency_ms(0.5) for one in loads):.0f} "
                f"| {statistics.median(one.latency_ms(0.95) for one in loads):.0f} "
                f"| {1000 * sum(one.processor_s for one in loads) / _answers(loads):.0f} "
                f"| {sum(len(one.replies) - len(one.answered) - one.failed for one in loads)} "
                f"| {sum(one.failed for one in loads)} |"
            )
    one, sixteen = services[0].rounds[1], services[0].rounds[16]
    gain = statistics.median(
        many.per_second / few.per_second for many, few in zip(sixteen, one, strict=True)
    )
    lines += [
        "",
        f"One client: {statistics.median(done.overhead_ms for done in one):.1f} ms beyond decoding "
        f"and inference, at the median. 16 clients get {gain:.2f} times the answers of one.",
    ]
    return "\n".join(lines)


def _median(loads: list[Load], name: str) -> float:
    return statistics.median(getattr(one, name) for one in loads)


def _answers(loads: list[Load]) -> int:
    return sum(len(one.answered) for one in loads)


def arrivals(services: list[Service], requests: Sequence[bytes], seconds: float) -> str:
    """Measure requests that arrive at random, at 70% of what kinoflow can answer."""
    per_second = 0.7 * _median(services[0].rounds[16], "per_second")
    lines = [
        f"Requests arrive at random, {per_second:.1f} a second on average:",
        "",
        "| service | p50 ms | p95 ms | refused | failed |",
        "|---|---|---|---|---|",
    ]
    for service in services:
        done = rate(service, requests, per_second, seconds)
        refused = len(done.replies) - len(done.answered) - done.failed
        lines.append(
            f"| {service.name} | {done.latency_ms(0.5):.0f} | {done.latency_ms(0.95):.0f} "
            f"| {refused} | {done.failed} |"
        )
    return "\n".join(lines)


def overload(service: Service, requests: Sequence[bytes], seconds: float) -> str:
    """Ask for three times what the service can do, and tell how it bears that."""
    normal = load(service, requests, CLIENTS[-1], min(30.0, seconds))
    memory: list[float] = []
    halves: list[Load] = []
    piece = seconds / 10
    for number in range(10):
        halves.append(rate(service, requests, 3 * normal.per_second, piece))
        memory.append(service.memory_mb())
        print(
            f"overload {number + 1}/10: {halves[-1].per_second:.1f} answers/s, {memory[-1]:.0f} MB",
            file=sys.stderr,
        )
    replies = [reply for done in halves for reply in done.replies]
    whole = Load(replies, sum(done.seconds for done in halves), 0)
    refused = [reply for reply in replies if reply.status == 429]
    statuses = dict(sorted(Counter(reply.status for reply in replies).items()))
    left = [path.name for path in service.files.rglob("kinoflow-upload-*")]
    return "\n".join(
        [
            f"With as many clients as it has slots ({CLIENTS[-1]}) it answers "
            f"{normal.per_second:.1f} a second, p50 {normal.latency_ms(0.5):.0f} ms, "
            f"p95 {normal.latency_ms(0.95):.0f} ms. Then {3 * normal.per_second:.0f} requests a "
            f"second arrive for {seconds:.0f} s:",
            "",
            f"- replies by status: {statuses}; neither answered nor refused: {whole.failed}",
            f"- answered: {whole.per_second:.1f} a second, p50 {whole.latency_ms(0.5):.0f} ms, "
            f"p95 {whole.latency_ms(0.95):.0f} ms, that is "
            f"{whole.latency_ms(0.5) / normal.latency_ms(0.5):.2f} and "
            f"{whole.latency_ms(0.95) / normal.latency_ms(0.95):.2f} times as long",
            f"- refused: p50 {1000 * _quantile([one.seconds for one in refused], 0.5):.0f} ms, "
            f"p95 {1000 * _quantile([one.seconds for one in refused], 0.95):.0f} ms; "
            f"{sum(one.retry_after > 0 for one in refused)} of {len(refused)} with Retry-After",
            f"- memory after each tenth: {', '.join(f'{one:.0f}' for one in memory)} MB",
            f"- uploads left on the disk: {len(left)}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--bento", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="for the plain service; default: the Bento's")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overload", type=float, default=600.0, help="seconds; 0: none")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kinoflow-benchmark-"))
    try:
        videos = footage.real() or footage.rendered(folder / "videos", VIDEOS, 160, 120)
        step = max(1, len(videos) // VIDEOS)
        requests = [upload(video.read_bytes()) for video in videos[::step][:VIDEOS]]
        size = statistics.mean(map(len, requests)) / 1e3
        with running(arguments.bento, folder, arguments.bundle) as services:
            print(f"{machine.name()}\n\n{len(requests)} videos of {size:.0f} kB on average\n")
            print(compare(services, requests, arguments.seconds, arguments.rounds), flush=True)
            print(f"\n{arrivals(services, requests, arguments.seconds)}", flush=True)
            if arguments.overload:
                print(f"\n{overload(services[0], requests, arguments.overload)}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    errors.run(main)
