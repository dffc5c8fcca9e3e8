"""A client that a program has written from GET /docs.json talks to the service."""

import importlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kinoflow.workspace import Workspace
from tests.bento import Guarded

pytest_plugins = ["tests.bento_fixtures"]


@pytest.fixture
def video(project: Path) -> bytes:
    return next(Workspace(project).data.rglob("*.avi")).read_bytes()


@pytest.fixture
def package(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the generated package, which can be imported."""
    described = tmp_path / "docs.json"
    described.write_text(httpx.get(f"{guarded.server.url}/docs.json", trust_env=False).text)
    config = tmp_path / "config.json"
    # films are bytes
    as_bytes = {"video/mp4": "application/octet-stream"}
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": as_bytes}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", described),
            *("--config", config, "--meta", "none", "--output-path", tmp_path / "written_client"),
            "--fail-on-warning",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    return "written_client"


def test_it_does_all_that_the_service_does(guarded: Guarded, video: bytes, package: str) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    file, models, api = part("types").File, part("models"), f"{package}.api.default"

    def call(operation: str, *arguments: Any, key: str = guarded.key, **named: Any) -> Any:
        client = part("client").AuthenticatedClient(
            base_url=guarded.server.url, token=key, timeout=60, httpx_args={"trust_env": False}
        )
        function = importlib.import_module(f"{api}.{operation}").sync
        return function(*arguments, client=client, **named)

    def upload() -> Any:
        return file(payload=io.BytesIO(video), file_name="clip.avi")

    card = call("model")
    answer = call("predict", body=models.PredictBody(video=upload()))
    probabilities = answer.probabilities.additional_properties
    assert list(probabilities) == card.labels == ["A", "B", "C"]
    assert answer.label == max(probabilities, key=probabilities.__getitem__)
    assert sum(probabilities.values()) == pytest.approx(1)

    array = io.BytesIO()
    np.save(array, np.zeros((card.clip.frames, card.clip.height, card.clip.width, 3), np.uint8))
    black = call("predict_clip", body=file(payload=io.BytesIO(array.getvalue())))
    assert black.model.bento == card.bento

    kept = call("feedback", body=models.Given(answer=answer.id, label="B"))
    assert (kept.answer, kept.proposed) == (answer.id, "B")

    job = call("submit_job", body=models.SubmitJobBody(video=upload()), window=0.2)
    until = time.monotonic() + 60
    while (job := call("get_job", job.id)).state not in {"done", "failed"}:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert job.state == "done"
    assert job.result.labels == card.labels
    assert call("cancel_job", job.id).id == job.id

    film = call("preview", body=models.PreviewBody(video=upload()))
    assert film.payload.read()[4:8] == b"ftyp"

    refusal = call("model", key="wrong")
    assert isinstance(refusal, models.Refused)
    assert "key" in refusal.error
