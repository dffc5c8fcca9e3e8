"""A service with keys under what others have run as code, fetched, or taken for a path."""

import contextlib
import io
import json
import os
import pickle
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.bento import Guarded

pytest_plugins = ["tests.bento_fixtures"]


def test_without_a_key_only_what_tells_nothing_is_answered(guarded: Guarded) -> None:
    for headers in ({}, {"X-API-Key": "kinoflow_" + secrets.token_urlsafe(32)}):
        for method, path in [*guarded.operations, ("GET", "/"), ("GET", "/docs.json")]:
            url = guarded.server.url + path.replace("{id}", "1")
            answer = httpx.request(method, url, headers=headers, trust_env=False)
            if path in {"/livez", "/readyz", "/", "/docs.json"}:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, path
                assert answer.json().keys() == {"error"}


def test_live_takes_its_key_in_its_first_message(guarded: Guarded) -> None:
    def first(hello: dict[str, Any], **headers: str) -> dict[str, Any]:
        url = f"{guarded.server.url.replace('http', 'ws')}/live"
        with connect(url, proxy=None, additional_headers=headers) as live:
            live.send(json.dumps(hello))
            said: dict[str, Any] = json.loads(live.recv())
            if "error" in said:
                with pytest.raises(ConnectionClosed) as end:
                    live.recv()
                assert end.value.rcvd is not None
                assert end.value.rcvd.code == 1008
            return said

    assert first({"key": guarded.key})["ready"]
    for wrong in (None, "wrong"):
        assert "key" in first({"key": wrong})["error"]
    assert "key" in first({"key": None}, Authorization="Bearer wrong")["error"]


def test_no_pickle_is_loaded_anywhere(guarded: Guarded, tmp_path: Path) -> None:
    trap = tmp_path / "was loaded"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trap),)

    raw = pickle.dumps(Evil())
    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    text = raw.decode("latin-1")
    given = json.dumps({"answer": text, "label": text, "video": text}).encode()
    sent: list[dict[str, Any]] = [
        {"content": raw, "headers": {"Content-Type": kind}}
        for kind in (
            "application/octet-stream",
            "application/vnd.bentoml+pickle",
            "application/json",
        )
    ]
    sent += [
        {"content": file.getvalue(), "headers": {"Content-Type": "application/octet-stream"}},
        {"content": given, "headers": {"Content-Type": "application/json"}},
        {
            "files": {"video": ("clip.pkl", raw, "application/vnd.bentoml+pickle")},
            "data": {"answer": text, "label": text},
        },
        {"files": {"video": ("clip.npy", file.getvalue(), "application/x-npy")}},
        {
            "headers": {
                "Bentoml-Payload-Meta": text.encode("latin-1").hex(),
                "Payload-Container": "x",
            }
        },
    ]
    for method, path in guarded.operations:
        for request in sent:
            guarded.send(method, path, **request)
    assert not trap.exists()
    # it would have been noticed
    pickle.loads(raw)  # noqa: S301
    assert trap.exists()


@contextlib.contextmanager
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address on this machine, and what was asked for there."""
    seen: list[bytes] = []

    def answer(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client:
                    seen.append(client.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/clip.mp4", seen
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_no_address_is_fetched(guarded: Guarded) -> None:
    with listener() as (url, seen):
        lists = {
            "clip.m3u8": f"#EXTM3U\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
            "clip.ffconcat": f"ffconcat version 1.0\nfile {url}\n",
            "clip.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\na=control:{url}\n",
            "clip.url": url,
            url: "RIFF",
        }
        for method, path in guarded.operations:
            if method != "POST":
                continue
            for field in ({"video": url}, {"url": url}, {"video": f"file://{__file__}"}):
                guarded.send(method, path, json=field)
                guarded.send(method, path, data=field)
                guarded.send(method, path, params=field, files={"other": b""})
            for name, content in lists.items():
                guarded.send(method, path, files={"video": (name, content.encode())})
        assert not seen
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url, trust_env=False, timeout=5)
        assert seen  # it would have been noticed


def test_names_and_keys_stay_out_of_paths_and_of_the_log(guarded: Guarded, video: bytes) -> None:
    secret = f"secret{secrets.token_hex(8)}"
    wrong = f"kinoflow_{secret}"
    for name in (f"../../{secret}.avi", f"/tmp/{secret}.avi", f"{secret}\\..\\x.avi", secret * 20):
        for method, path in guarded.operations:
            if method == "POST":
                fields = {"answer": secret, "label": secret}
                guarded.send(method, path, files={"video": (name, video)}, data=fields)
        answer = guarded.send("POST", "/predict", files={"video": (name, video)})
        assert answer.status_code == 200
        assert secret not in answer.text
    for headers in ({"X-API-Key": wrong}, {"Authorization": f"Bearer {wrong}"}):
        url = f"{guarded.server.url}/model"
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 401
    log = guarded.log()
    assert "/predict" in log
    assert secret not in log
    assert guarded.key not in log
    everything = [str(path) for path in guarded.server.temporary.rglob("*")]
    assert len(everything) > 100
    assert not [path for path in everything if secret in path]
    assert not [*Path("/tmp").glob(f"*{secret}*")]
