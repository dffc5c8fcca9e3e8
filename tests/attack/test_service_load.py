"""The service under more than it can do: slow clients, a full disk, too many requests."""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from benchmarks.serving_load import closed_loop, fixed_rate, upload
from tests.attack.raw_requests import connection, is_alive, request, status, worker
from tests.bento import SERVING, Server
from tests.children import decoders

pytest_plugins = ["tests.bento_fixtures"]

Count = Callable[[int, int], int]


@contextmanager
def open_files(wanted: int) -> Iterator[None]:
    """Allow this process so many open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < wanted:
        pytest.skip(f"the system allows {before[1]} open files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("part", ["headers", "body"])
def test_slow_clients_keep_nobody_else_out(
    server: Server, video: bytes, count: Count, part: str
) -> None:
    whole = request(video)
    begun = whole[: 40 if part == "headers" else 600]
    with ExitStack() as held, open_files(8000):
        clients = [held.enter_context(connection(server)) for _ in range(count(1200, 3000))]
        slowest = 0.0
        for client in clients:
            try:
                client.sendall(begun)
            except ConnectionError:
                continue  # it has had to make room
        for _ in range(5):
            started = time.monotonic()
            # the first waits for all that came before it to be read as far as it goes
            assert is_alive(server, 60)
            assert status(server, whole, 60) == 200
            slowest = max(slowest, time.monotonic() - started)
    print(
        f"{len(clients)} clients that stop in the {part}: an answer takes {slowest:.2f} s at most"
    )


def test_a_client_that_keeps_the_service_waiting_is_let_go(server: Server, video: bytes) -> None:
    begun = {
        "a byte of headers at a time": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nG",
        "a byte of a body at a time": request(video)[:-30],
        "reads nothing": b"GET /docs.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400,
    }
    with ExitStack() as held:
        clients = {name: held.enter_context(socket.socket()) for name in begun}
        for name, client in clients.items():
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = urlsplit(server.url)
            client.connect((address.hostname, address.port))
            client.settimeout(0.1)
            with suppress(TimeoutError):
                client.sendall(begun[name])
        started, ended = time.monotonic(), dict.fromkeys(begun, 0.0)
        while not all(ended.values()) and time.monotonic() < started + 90:
            for name, client in clients.items():
                if ended[name]:
                    continue
                try:
                    client.send(b"G")
                except TimeoutError:
                    pass
                except ConnectionError:
                    ended[name] = time.monotonic() - started
            time.sleep(0.5)
    print(f"let go after so many seconds: {ended}")
    assert all(ended.values())
    assert is_alive(server)


def test_a_full_disk_is_told_as_such(server: Server, video: bytes) -> None:
    # a limit on the size of files, since a full disk cannot be had here
    limits = worker(server).rlimit(psutil.RLIMIT_FSIZE)
    worker(server).rlimit(psutil.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        assert status(server, request(video + bytes(600_000))) == 507
    finally:
        worker(server).rlimit(psutil.RLIMIT_FSIZE, limits)
    assert status(server, request(video)) == 200


def test_more_than_can_be_answered_at_once_are_put_off(server: Server, video: bytes) -> None:
    most, sent = SERVING["max_concurrency"], request(video)
    with ThreadPoolExecutor(most) as pool:
        assert {*pool.map(lambda _: status(server, sent), range(most))} == {200}
        try:
            suspend(server)
            waiting = [pool.submit(status, server, sent) for _ in range(most)]
            until = time.monotonic() + 10
            while (answer := ask(server, video)).is_success and time.monotonic() < until:
                suspend(server)  # those before it may not have been noticed yet
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == "1"
            assert is_alive(server)
        finally:
            for decoder in decoders(worker(server).pid):
                decoder.resume()
        assert {future.result() for future in waiting} == {200}


def test_overload_and_clients_that_vanish_leave_the_service_as_it_was(
    server: Server, video: bytes, count: Count
) -> None:
    seconds, sent = count(4, 600), upload(video)
    full = asyncio.run(
        closed_loop(server.url, [sent], clients=SERVING["max_concurrency"], seconds=2)
    )
    capacity = sum(reply.status == 200 for reply in full) / 2
    memory = []
    ended = threading.Event()

    def vanish() -> None:
        while not ended.wait(0.05):
            for part in (40, len(sent) // 2, len(sent)):
                with suppress(OSError), connection(server) as client:
                    client.sendall(sent[:part])

    with ThreadPoolExecutor(1) as pool:
        vanishing = pool.submit(vanish)
        replies = []
        for _ in range(10):
            replies += asyncio.run(
                fixed_rate(server.url, [sent], per_second=3 * capacity, seconds=seconds / 10)
            )
            memory.append(worker(server).memory_full_info().uss / 1e6)
        ended.set()
        vanishing.result()
    refused = [reply for reply in replies if reply.status == 429]
    answered = [reply.seconds for reply in replies if reply.status == 200]
    print(
        f"{len(replies)} requests in {seconds} s: {len(answered)} answered, the slowest in "
        f"{max(answered):.2f} s, {len(refused)} refused; MB of memory: "
        + ", ".join(f"{each:.0f}" for each in memory)
    )
    assert {reply.status for reply in replies} == {200, 429}
    assert all(reply.retry_after > 0 for reply in refused)
    assert is_alive(server)
    until = time.monotonic() + 30
    while left := [*server.temporary.rglob("kinoflow-upload-*")]:
        assert time.monotonic() < until, left
        time.sleep(0.1)
    # in a short run, caches are still being filled
    assert memory[-1] < memory[0] * 1.05 + count(50, 0)


def suspend(server: Server) -> None:
    for decoder in decoders(worker(server).pid):
        with suppress(psutil.NoSuchProcess):
            decoder.suspend()


def ask(server: Server, video: bytes) -> httpx.Response:
    return server.predict(files={"video": ("clip.avi", video)})
