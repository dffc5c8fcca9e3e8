"""Bentos without TensorFlow: a form is served, by its runtime alone."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from websockets.sync.client import connect

from kinoflow import bentos
from kinoflow.compress.forms import Form
from kinoflow.data import tables
from kinoflow.reports.records import Choice
from kinoflow.system.supervisor import run_supervised
from kinoflow.timeline import timeline
from kinoflow.video import sample
from kinoflow.workspace import Workspace
from stages.package_choice import choose
from tests import slim
from tests.bento import SLIM, TOO_MUCH, package
from tests.conftest import ROOT, RunStage
from tests.media import moving_square, write_video
from tests.test_package import described
from tests.test_service_live import picture

pytest_plugins = ["tests.bento_fixtures"]

# a format, and the package that runs it
RUNTIMES = {"openvino": "openvino", "onnx": "onnxruntime"}
HEAVY = {"tensorflow", "keras", "h5py", "nncf", "onnx", "tf2onnx", "ml-dtypes", "openvino"}


@dataclass(frozen=True)
class Packed:
    workspace: Workspace
    form: Form
    said: str  # by the stage

    @property
    def answers(self) -> pd.DataFrame:
        return tables.read(self.workspace.choice_answers, tables.PREDICTIONS).set_index("video")


@pytest.fixture(scope="module", params=RUNTIMES)
def packed(
    request: pytest.FixtureRequest, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Packed:
    """A work tree whose stage package has packed a form."""
    folder = tmp_path_factory.mktemp(request.param) / "project"
    shutil.copytree(project, folder)
    form = slim.choose(Workspace(folder), "voting", request.param)
    done = package(folder)
    assert done.returncode == 0, done.stderr
    return Packed(Workspace(folder), form, done.stdout)


@dataclass(frozen=True)
class Server:
    url: str
    hook: Path

    def post(self, path: str, **request: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, trust_env=False, **request)

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}{path}", timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def server(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Bento, served as in a container, where nothing is installed but what it pins."""
    folder = tmp_path_factory.mktemp("slim")
    bentos.extract_bento(packed.workspace.bento, folder / "bento")
    text = (folder / "bento/env/python/requirements.txt").read_text(encoding="utf-8")
    pins = [line.partition("==")[0] for line in text.split()]
    environment = slim.only(pins, folder / "hook") | {"KINOFLOW_STATE": str(folder / "state")}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "serving.server", "--port", str(port)]
    with (
        (folder / "log").open("w") as log,
        run_supervised(
            command,
            cwd=folder / "bento/src",
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        deadline = time.monotonic() + 60
        while "initialized" not in (said := (folder / "log").read_text(encoding="utf-8")):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{port}", folder / "hook")


@pytest.fixture(scope="module")
def video(packed: Packed) -> Path:
    return packed.workspace.data / str(packed.answers.index[0])


def close(said: dict[str, float], expected: pd.Series) -> bool:
    return all(abs(p - expected[f"p_{label}"]) < 1e-5 for label, p in said.items())


# === What is packed ===


def test_the_bento_pins_the_runtime_and_neither_tensorflow_nor_converters(packed: Packed) -> None:
    description = described(packed.workspace.bento)
    text = description["image"]["python_requirements"]
    pins = dict(line.split("==") for line in text.split())
    runtime = RUNTIMES[packed.form.details.format]
    assert pins[runtime] == version(runtime)
    assert not pins.keys() & (HEAVY - {runtime} | TOO_MUCH)
    assert pins.keys() >= SLIM - {"tensorflow", "keras"}
    labels = description["labels"]
    assert (labels["candidate"], labels["precision"]) == ("voting", "float32")
    assert labels["format"] == packed.form.details.format


def test_the_bento_holds_the_form_and_what_runs_it(packed: Packed) -> None:
    folder, format_ = packed.form.folder, packed.form.details.format
    with tarfile.open(packed.workspace.bento) as archive:
        names = {*archive.getnames()}
        for path in folder.iterdir():
            held = archive.extractfile(f"./src/bundle/{path.name}")
            assert held is not None
            assert held.read() == path.read_bytes()
        readme = archive.extractfile("./README.md")
        assert readme is not None
        assert f"voting as {format_} float32, without TensorFlow" in readme.read().decode()
    assert f"./src/kinoflow/compress/runner/runtime_{format_}.py" in names
    assert sum("/runner/runtime_" in name for name in names) == 1
    assert "./src/bundle/model.keras" not in names
    assert f"holds voting as {format_} float32, without TensorFlow; 3 videos sent" in packed.said


def test_another_model_has_another_md5(packed: Packed, bento: Path) -> None:
    found = bentos.model_md5(packed.workspace.bento)
    assert found != bentos.model_md5(bento)
    assert len(bentos.model_files(packed.form.folder)) == (
        2 if packed.form.details.format == "openvino" else 1
    )


def test_a_champion_that_is_a_form_is_scored_by_the_code_in_its_bento(
    packed: Packed, tmp_path: Path
) -> None:
    bentos.extract_bento(packed.workspace.bento, tmp_path / "bento")
    source, videos = tmp_path / "bento/src", [*packed.answers.index]
    request = {
        "bundle": str(source / "bundle"),
        "clip": None,
        "store": "",
        "data": str(packed.workspace.data),
        "videos": videos,
        "timed": videos[:1],
    }
    (tmp_path / "request").write_text(json.dumps(request))
    program = ROOT / "stages/challenge_score.py"
    subprocess.run(
        [sys.executable, "-P", program, *(tmp_path / name for name in ("request", "p", "about"))],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        check=True,
    )
    expected = packed.answers[["p_A", "p_B", "p_C"]].to_numpy()
    np.testing.assert_allclose(np.load(tmp_path / "p"), expected, atol=1e-6)


# === What is served ===


def test_every_answer_is_what_the_form_answered_before(packed: Packed, server: Server) -> None:
    videos = [*packed.answers.index] * 4
    with ThreadPoolExecutor(4) as pool:

        def ask(name: str) -> httpx.Response:
            return server.post(
                "/predict", files={"video": (packed.workspace.data / name).open("rb")}
            )

        for name, answer in zip(videos, pool.map(ask, videos), strict=True):
            assert answer.status_code == 200, answer.text
            assert close(answer.json()["probabilities"], packed.answers.loc[name])
    clip = sample(packed.workspace.data / videos[0], packed.form.clip)
    answer = server.post("/predict_clip", content=clip.tobytes())
    assert close(answer.json()["probabilities"], packed.answers.loc[videos[0]])


def test_timelines_and_jobs_are_those_of_the_form(
    packed: Packed, server: Server, tmp_path: Path
) -> None:
    long = write_video(tmp_path / "long.avi", moving_square(50))
    expected = timeline(long, packed.form, 0.48)
    answer = server.post("/predict", files={"video": long.read_bytes()}).json()
    job = server.post("/jobs", files={"video": long.read_bytes()}).json()["id"]
    deadline = time.monotonic() + 30
    while (found := server.get(f"/jobs/{job}"))["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for made in (answer["timeline"], found["result"]):
        said = [moment["probabilities"] for moment in made["moments"]]
        assert np.abs(np.array(said) - expected.probabilities).max() < 1e-5


def test_live_frames_are_answered_for_windows(packed: Packed, server: Server) -> None:
    with connect(f"{server.url.replace('http', 'ws')}/live", proxy=None) as live:
        live.send('{"key": null}')
        assert json.loads(live.recv())["labels"] == ["A", "B", "C"]
        new = 0
        for step in range(30):
            live.send(json.dumps({"time": step * 0.04}))
            live.send(picture())
            said = json.loads(live.recv())
            new += said["new"]
    assert new > 3
    still = np.full((1, *packed.form.clip.shape), 90, np.uint8)
    (expected,) = packed.form.predict(still)
    # JPEG may round the grey by a step
    assert np.abs(np.array(said["probabilities"]) - expected).max() < 0.05


def test_explanations_come_by_occlusion_and_others_are_refused(server: Server, video: Path) -> None:
    def explain(method: str) -> httpx.Response:
        return server.post(f"/explain?method={method}", files={"video": video.read_bytes()})

    answer = explain("auto")
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Kinoflow-Method"] == "occlusion"
    assert answer.content[4:8] == b"ftyp"
    refused = explain("gradcam")
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "gradcam looks into the network, and this service has its answers alone: there are auto, "
        "occlusion",
    )
    assert explain("nonsense").json()["error"] == (
        "there is no such method: there are auto, occlusion"
    )
    operation = server.get("/docs.json")["paths"]["/explain"]["post"]
    assert operation["parameters"][0]["schema"]["enum"] == ["auto", "occlusion"]


def test_the_card_names_the_form_and_what_it_scores(packed: Packed, server: Server) -> None:
    card = server.get("/model")
    details = packed.form.details
    assert (card["form"], card["format"], card["precision"]) == (
        f"{details.format}-new",
        details.format,
        "float32",
    )
    right = (packed.answers["predicted"] == packed.answers["label"]).mean()
    assert card["form_test"]["accuracy"] == pytest.approx(right, abs=1e-6)
    # those of the bundle stay, and are called so
    assert card["test"]["accuracy"] == 0.75
    package_ = RUNTIMES[details.format]
    assert card["versions"][package_] == version(package_)
    assert card["style"] is None


def test_a_preview_and_the_page_come(server: Server, video: Path) -> None:
    assert server.post("/preview", files={"video": video.read_bytes()}).status_code == 200
    page = httpx.get(server.url, trust_env=False)
    assert (page.status_code, "<html" in page.text) == (200, True)
    assert httpx.get(f"{server.url}/page/model.js", trust_env=False).status_code == 200
    assert server.post("/style", files={"video": b"x"}).status_code == 404


def test_nobody_has_asked_for_tensorflow_or_for_more_than_is_pinned(server: Server) -> None:
    # the tests above have used all of the service, which imports what it uses when it uses it
    assert server.get("/model")["candidate"] == "voting"
    tops = {name.partition(".")[0] for name in slim.asked(server.hook)}
    assert not tops & {"tensorflow", "keras", "jax", "torch", "h5py", "pandas", "scipy"}


# === What is refused ===


ONCE = pytest.mark.parametrize("packed", ["onnx"], indirect=True)


def edited(packed: Packed, folder: Path) -> Workspace:
    shutil.copytree(packed.workspace.root, folder)
    return Workspace(folder)


@ONCE
def test_a_form_that_answers_otherwise_is_thrown_away(packed: Packed, tmp_path: Path) -> None:
    workspace = edited(packed, tmp_path / "project")
    table = pd.read_csv(workspace.choice_answers)
    table["p_B"] += 1e-4
    table.to_csv(workspace.choice_answers, index=False)
    done = package(workspace.root)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "off by 0.0001" in line
    assert not list(workspace.dist.iterdir())


@pytest.mark.parametrize(
    ("setting", "value", "hint"), [("style", "mosaic", "null"), ("gpu", True, "false")]
)
@ONCE
def test_settings_that_take_tensorflow_are_refused(
    packed: Packed, setting: str, value: object, hint: str, tmp_path: Path, run_stage: RunStage
) -> None:
    workspace = edited(packed, tmp_path / "project")
    yaml = YAML()
    params = yaml.load(workspace.params)
    params["serving"][setting] = value
    yaml.dump(params, workspace.params)
    done = run_stage(workspace.root, "package")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: serving.{setting} takes TensorFlow, and this Bento holds voting as "
        f"{packed.form.details.format} float32, without TensorFlow: set it to {hint}, or have the "
        "winner itself packaged with compress.enabled: false\n"
    )


@ONCE
def test_a_form_that_is_gone_is_named(packed: Packed, tmp_path: Path, run_stage: RunStage) -> None:
    workspace = edited(packed, tmp_path / "project")
    shutil.rmtree(workspace.forms)
    done = run_stage(workspace.root, "package")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "reports/choice.json chooses" in line
    assert "which holds no form" in line


@ONCE
def test_int8_that_another_processor_rounds_otherwise_is_not_served(
    packed: Packed, tmp_path: Path
) -> None:
    folder = tmp_path / "bento"
    bentos.extract_bento(packed.workspace.bento, folder)
    file = folder / "src/check/check.json"
    check = json.loads(file.read_text())
    assert check["precision"] == "float32"
    check["precision"] = "int8"
    check["videos"][0]["probabilities"]["A"] += 0.01
    file.write_text(json.dumps(check))
    done = subprocess.run(
        [sys.executable, "-m", "serving.server", "--port", "0"],
        cwd=folder / "src",
        env=slim.only([], tmp_path / "none") | {"PYTHONPATH": "", "KINOFLOW_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode
    assert "off by 0.01. Integers are rounded otherwise" in done.stdout + done.stderr


# === What is chosen ===


def test_without_a_form_the_winner_is_packaged(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "project")
    workspace = Workspace(tmp_path / "project")
    before = choose(workspace)
    assert (before.folder, before.answers) == (
        workspace.bundle("voting"),
        workspace.answers("voting"),
    )
    Choice(candidate="voting", reason="No form is as good").write(workspace.choice)
    assert choose(workspace) == before
    assert str(before) == "voting"
    # what names the Bento is the same, to the last byte
    done = package(workspace.root)
    assert done.returncode == 0, done.stderr
    assert workspace.bento.read_bytes() == Workspace(project).bento.read_bytes()
