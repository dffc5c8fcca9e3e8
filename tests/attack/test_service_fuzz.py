"""The service under bodies of every kind with mistakes in them: all endpoints, and /live."""

import base64
import io
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from tests.attack.raw_requests import BOUNDARY, connection, is_alive, request, status, worker
from tests.attack.video_mutations import mutated
from tests.bento import SERVING, Server
from tests.children import decoders
from tests.test_service_live import picture

pytest_plugins = [
    "tests.bento_fixtures",
    "tests.attack.video_mutations",
]

Count = Callable[[int, int], int]
Attack = tuple[str, bytes]  # its kind, and what is sent

PUT_OFF = {503, 504, 507}  # nothing was free, or there was no time or room
MOST_GROWTH_MB = 60  # of the worker, whose allocators keep some of what they once had


def post(target: bytes, content_type: bytes, body: bytes) -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\n"
    return (head + b"Content-Length: %d\r\n\r\n") % (target, content_type, len(body)) + body


def frame(content: bytes, opcode: int, chance: random.Random) -> bytes:
    """A frame of a websocket, as a client sends it (RFC 6455)."""
    mask, size = chance.randbytes(4), len(content)
    head = bytes([0x80 | opcode, 0x80 | (size if size < 126 else 126 if size < 2**16 else 127)])
    if size >= 126:
        head += size.to_bytes(2 if size < 2**16 else 8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(content))


@dataclass(frozen=True)
class Bodies:
    """Endless attacks, which are the same for the same number."""

    videos: list[bytes]

    def attack(self, number: int) -> Attack:
        chance = random.Random(number)
        kinds = [
            *[self.video] * 6,
            *(self.form, self.head, self.array, self.feedback, self.websocket, self.frames),
        ]
        make = kinds[number % len(kinds)]
        return make.__name__, make(chance)

    def _video(self, chance: random.Random) -> bytes:
        return mutated(chance.choice(self.videos), chance.choice(self.videos), chance)

    def video(self, chance: random.Random) -> bytes:
        """A whole form with a video that has mistakes."""
        targets = (b"/predict", b"/predict", b"/preview", b"/explain?method=occlusion", b"/jobs")
        return request(self._video(chance), target=chance.choice(targets))

    def form(self, chance: random.Random) -> bytes:
        """A form that has mistakes."""
        fields = {b"answer": b"0" * 32, b"label": b"A", b"video": chance.choice(self.videos)[:300]}
        parts = [
            b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (BOUNDARY, name, b'; filename="x"' * (name == b"video"), value)
            for name, value in fields.items()
        ]
        whole = b"".join([*parts, b"--%s--\r\n" % BOUNDARY])
        kind = b"multipart/form-data; boundary=" + BOUNDARY
        targets = (b"/predict", b"/explain", b"/preview", b"/jobs", b"/feedback")
        return post(chance.choice(targets), kind, mutated(whole, whole[::-1], chance))

    def head(self, chance: random.Random) -> bytes:
        """Headers that have mistakes."""
        paths = b"/ /predict /model /jobs/1 /metrics /docs.json /page/x /live /feedback".split()
        head = b"%s %s?window=1&method=auto HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost"
        head %= chance.choice((b"GET", b"POST", b"DELETE", b"OPTIONS")), chance.choice(paths)
        head += b"\r\nAuthorization: Bearer x\r\nRange: bytes=0-9\r\nAccept: */*\r\nCookie: a=b"
        head += b"\r\nContent-Length: 4\r\nConnection: close"
        return mutated(head, head[::-1], chance) + b"\r\n\r\nbody"

    def array(self, chance: random.Random) -> bytes:
        """An .npy file, or bytes alone, that have mistakes."""
        file = io.BytesIO()
        dtype = chance.choice(("uint8", "uint8", "float64", "S3", "complex64"))
        np.save(file, np.zeros((4, 16, 16, 3), dtype))
        content = chance.choice((file.getvalue(), bytes(4 * 16 * 16 * 3)))
        body = mutated(content, file.getvalue()[::-1], chance)
        return post(b"/predict_clip", b"application/octet-stream", body)

    def feedback(self, chance: random.Random) -> bytes:
        """JSON that has mistakes."""
        odd: tuple[Any, ...] = (None, 1e308, -1, [[]], {"a": {}}, "\ud800", "x" * 300, True)
        given = {"answer": chance.choice((*odd, "0" * 32)), "label": chance.choice((*odd, "A"))}
        text = json.dumps(given).encode()
        deep = chance.choice((text, text, b"[" * 30_000, b'{"answer":' * 5000, b"1" * 10_000))
        return post(b"/feedback", b"application/json", mutated(deep, text[::-1], chance))

    def websocket(self, chance: random.Random) -> bytes:
        """Bytes that have mistakes, on a websocket."""
        talk = b"".join(
            [
                frame(b'{"key": null}', 1, chance),
                frame(b'{"time": 1.5}', 1, chance),
                frame(picture(), 2, chance),
                frame(b"\x03\xe8", 8, chance),
            ]
        )
        return self._handshake(chance) + mutated(talk, talk[::-1], chance)

    def frames(self, chance: random.Random) -> bytes:
        """Whole messages on a websocket that have mistakes."""
        texts = (b'{"key": null}', b'{"key": null, "every": 0.1}', b'{"time": 1e5}', b"{}", b"null")
        sent = [frame(chance.choice(texts[:2]), 1, chance)]
        for _ in range(chance.randrange(6)):
            text = chance.choice(texts)
            sent += [
                frame(chance.choice((text, mutated(text, text[::-1], chance))), 1, chance),
                frame(mutated(picture(), picture()[::-1], chance), 2, chance),
            ]
        return self._handshake(chance) + b"".join([*sent, frame(b"", 8, chance)])

    def _handshake(self, chance: random.Random) -> bytes:
        return (
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
        ) % base64.b64encode(chance.randbytes(16))


def answered(server: Server, sent: bytes) -> int:
    """The status of what is answered; on a websocket also what it says last, if that is 1011."""
    if b"Upgrade: websocket" not in sent:
        return status(server, sent, 20)
    said = b""
    with connection(server, 3) as client, suppress(ConnectionError, TimeoutError):
        client.sendall(sent)
        while piece := client.recv(65536):
            said += piece
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
    # the service has failed
    return 500 if b"\x03\xf3" in said[-130:] else int(found[1]) if found else 0


def settled(server: Server) -> Iterator[str]:
    """What is left of the work, until nothing is or a minute has passed."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        left = [
            path.name
            for pattern in ("kinoflow-upload-*", "uploads/*")
            for path in server.temporary.rglob(pattern)
        ]
        if not left:
            return
        yield ", ".join(left)
        time.sleep(0.2)


def megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def test_bodies_of_every_kind_are_answered_or_refused(
    server: Server, originals: list[bytes], video: bytes, count: Count
) -> None:
    (log,) = server.temporary.glob("kinoflow-check-*/log")
    before = log.stat().st_size
    bodies, process = Bodies([video, *originals]), worker(server)
    files = {*map(str, server.temporary.rglob("*"))}
    seen: Counter[tuple[str, int]] = Counter()
    memory, rounds = [], count(1, 5)
    with ThreadPoolExecutor(SERVING["max_concurrency"]) as pool:
        for part in range(rounds):
            size = count(84, 500)
            attacks = [bodies.attack(number) for number in range(part * size, (part + 1) * size)]
            codes = pool.map(lambda attack: answered(server, attack[1]), attacks)
            for (kind, _), code in zip(attacks, codes, strict=True):
                seen[kind, code] += 1
                assert code < 500 or code in PUT_OFF, kind
            for _ in settled(server):
                pass
            memory.append(megabytes(process))
    for kind in sorted({kind for kind, _ in seen}):
        print(f"{kind}: { {code: seen[k, code] for k, code in sorted(seen) if k == kind} }")
    print(f"the worker has {', '.join(f'{each:.0f}' for each in memory)} MB")
    assert len({kind for kind, _ in seen}) == 7
    assert seen["websocket", 101]
    assert seen["video", 200]
    assert memory[-1] - memory[0] < MOST_GROWTH_MB

    assert not [*settled(server)][-1:], "uploads are left"
    new = {*map(str, server.temporary.rglob("*"))} - files
    assert not [name for name in new if not re.search(r"sqlite|metrics|\.db$|__pycache__", name)]
    assert worker(server) == process
    # those that wait for the next video, and no more of them than may work at the same time
    idle = decoders(process.pid)
    assert len(idle) <= (os.cpu_count() or 1) + SERVING["max_concurrency"]
    assert not any(each.cpu_percent(0.2) > 50 for each in idle)
    said = log.read_bytes()[before:].decode()
    assert "Traceback" not in said
    assert is_alive(server)
    assert status(server, request(video)) == 200
