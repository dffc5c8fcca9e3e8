"""Asks a service, before others may, the videos that its Bento holds with their answers."""

import asyncio
import json
import math
import time
from pathlib import Path

from kinoflow.reports.check import Check, CheckVideo
from kinoflow.reports.records import ServiceSettings
from serving import measures, settings
from serving.asgi import OWN, App, Message

# On another machine sums are rounded differently, as they are in batches of another size. Many GPUs
# compute convolutions with ten bits of each factor (TF32).
_TOLERANCE, _TOLERANCE_OF_GPU = 1e-4, 1e-2
# Measured: with or without VNNI, OpenVINO's int8 answers differed by up to 0.18. Then this is not
# the model that was evaluated, so no tolerance is the right one.
_HINTS = {
    "int8": ". Integers are rounded otherwise by processors with other instructions, such as "
    "those without VNNI: run the pipeline on such a one, or serve a form in float32"
}
_PATIENCE_S = 120.0  # for a machine that is too busy to answer a request in time
_TRY_AGAIN = {408, 429, 503, 504}
_BOUNDARY = b"kinoflow-check"


class CheckFailed(Exception):
    """The service does not answer as it did when it was packed; the text says in what."""


async def check(
    application: App, limits: ServiceSettings, folder: Path = settings.ROOT / "check"
) -> None:
    """Ask an application, which has started, the check videos, and compare its answers.

    So many are asked at once, in the end, that all that a request needs has been used before: the
    processes that decode, and the model with batches.

    Args:
        application: with all its middleware.
        limits: the settings of the service.
        folder: where check.json and the videos are.

    Raises CheckFailed for another answer, FileNotFoundError if there is nothing to ask.
    """
    expected = Check.read(folder / "check.json")
    at_once = min(limits.max_concurrency, limits.max_batch)
    token = measures.COUNTING.set(False)
    try:
        for video in expected.videos:
            await _compare(application, folder, video, expected)
        for video in expected.videos[:2]:
            await asyncio.gather(
                *[_compare(application, folder, video, expected) for _ in range(at_once)]
            )
    finally:
        measures.COUNTING.reset(token)


async def _compare(application: App, folder: Path, video: CheckVideo, check: Check) -> None:
    status, body = await _patiently(application, (folder / video.file).read_bytes())
    if status != 200:
        raise CheckFailed(f"its check video {video.file} is answered with {status}: {body[:200]}")
    answer, expected = json.loads(body), video.probabilities
    if list(answer["probabilities"]) != list(expected):
        raise CheckFailed("its labels are others than when it was packed")
    both = check.device, answer["model"]["device"]
    on_cpu = all(name.startswith("cpu") for name in both)
    tolerance = _TOLERANCE if on_cpu else _TOLERANCE_OF_GPU
    worst = max(abs(answer["probabilities"][label] - p) for label, p in expected.items())
    if not worst <= tolerance:  # true for NaN as well
        raise CheckFailed(
            f"it answers its check video {video.file} otherwise than when it was packed: a "
            f"probability is off by {worst:.2g}{_HINTS.get(check.precision or '', '')}"
        )
    # of two labels that are equally likely, either may come first
    if expected[answer["label"]] < max(expected.values()) - 2 * tolerance:
        raise CheckFailed(f"its label for its check video {video.file} is {answer['label']!r}")


async def _patiently(application: App, video: bytes) -> tuple[int, str]:
    until = time.monotonic() + _PATIENCE_S
    while True:
        status, body = await _ask(application, video)
        if status not in _TRY_AGAIN or time.monotonic() > until:
            return status, body
        await asyncio.sleep(0.5)


async def _ask(application: App, video: bytes) -> tuple[int, str]:
    """Send a video to POST /predict; return the status and the body of the answer."""
    disposition = b'Content-Disposition: form-data; name="video"; filename="check"'
    body = b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (_BOUNDARY, disposition, video, _BOUNDARY)
    headers = {
        b"host": b"localhost",
        b"content-type": b"multipart/form-data; boundary=" + _BOUNDARY,
        b"content-length": str(len(body)).encode(),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": list(headers.items()),
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
        "state": {},
        OWN: True,
    }
    to_come = [{"type": "http.request", "body": body, "more_body": False}]
    status, said = 0, b""

    async def receive() -> Message:
        if to_come:
            return to_come.pop()
        # like a client that waits for its answer
        await asyncio.sleep(math.inf)
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status, said
        status = message.get("status", status)
        said += message.get("body", b"")

    await application(scope, receive, send)
    return status, said.decode(errors="replace")
