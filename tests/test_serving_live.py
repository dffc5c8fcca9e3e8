"""GET /live of the packed Bento, over a real connection."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from serving.connections import HEADERS_S
from stages.package_check import served
from tests.test_service_live import picture

pytest_plugins = ["tests.bento_fixtures"]


@dataclass(frozen=True)
class Service:
    url: str
    stop: Callable[[], None]


@pytest.fixture(scope="module")
def service(bento: Path) -> Iterator[Service]:
    """The Bento, served for this file alone, since its last test stops it."""
    with ExitStack() as running:
        yield Service(running.enter_context(served(bento)), running.close)


def connected(service: Service, **options: Any) -> ClientConnection:
    url = f"{service.url.replace('http', 'ws')}/live"
    return connect(url, **{"proxy": None, "compression": None} | options)


def test_frames_are_answered_for_longer_than_headers_may_take(service: Service) -> None:
    with connected(service) as live:
        live.send('{"key": null}')
        ready = json.loads(live.recv())
        assert (ready["labels"], ready["window_seconds"]) == (["A", "B", "C"], 0.48)
        new = 0
        for step in range(30):
            live.send(json.dumps({"time": step * 0.04}))
            live.send(picture())
            said = json.loads(live.recv())
            new += said["new"]
        assert new > 3
        assert said["label"] in ready["labels"]
        time.sleep(HEADERS_S + 1)
        live.send(picture())
        assert json.loads(live.recv())["time"] > said["time"]
    numbers = httpx.get(f"{service.url}/metrics", trust_env=False).text
    assert "kinoflow_live_seconds_count" in numbers


def test_a_message_that_is_too_large_ends_the_connection_alone(service: Service) -> None:
    with connected(service) as live:
        live.send('{"key": null}')
        live.recv()
        with contextlib.suppress(ConnectionClosed):
            live.send(bytes(8_000_000))
        with pytest.raises(ConnectionClosed) as end:
            live.recv()
        assert end.value.rcvd is None or end.value.rcvd.code == 1009
    assert httpx.get(f"{service.url}/livez", trust_env=False).status_code == 200
    # what is compressed may be a bomb
    with connected(service, compression="deflate") as live:
        assert not live.protocol.extensions


def test_pages_of_other_sites_may_not_connect(service: Service) -> None:
    with pytest.raises(InvalidHandshake):
        connected(service, origin="http://evil.example")
    with connected(service, origin=service.url) as live:
        live.send("{}")
        assert json.loads(live.recv())["ready"]


def test_a_service_that_ends_says_that_it_will_be_back(service: Service) -> None:
    with connected(service) as live:
        live.send("{}")
        live.recv()
        service.stop()
        with pytest.raises(ConnectionClosed) as end:
            live.recv()
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1012
