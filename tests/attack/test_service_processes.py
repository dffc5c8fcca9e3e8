"""The processes of the service: which port they listen on, and what follows when one dies."""

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]

from tests.attack.raw_requests import connection, request, status, worker
from tests.bento import Server

pytest_plugins = ["tests.bento_fixtures"]

Count = Callable[[int, int], int]


def test_one_port_listens_and_it_is_that_of_the_service(server: Server) -> None:
    supervisor = worker(server).parent()
    assert supervisor is not None
    tree = [*supervisor.parents()[:2], supervisor, *supervisor.children(recursive=True)]
    listening = {
        (found.laddr.ip, found.laddr.port)
        for process in tree
        if process.pid > 1
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN or found.type == socket.SOCK_DGRAM
    }
    assert listening == {("127.0.0.1", urlsplit(server.url).port)}


def test_a_worker_that_dies_is_started_again(server: Server, video: bytes, count: Count) -> None:
    kills = count(1, 15)
    for _ in range(kills):
        killed = worker(server)
        with connection(server) as client:
            client.sendall(request(video))
            killed.kill()
        until = time.monotonic() + 120
        while status(server, request(video)) != 200:
            assert time.monotonic() < until, "no worker has taken its place"
            time.sleep(0.2)
        assert worker(server).pid != killed.pid
    assert not list(server.temporary.rglob("kinoflow-upload-*"))
    assert httpx.get(f"{server.url}/metrics", trust_env=False).is_success
    print(f"killed {kills} workers, and each was replaced")
