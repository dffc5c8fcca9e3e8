"""What predicts over HTTP gives what the library gives: a causal network and another."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.testclient import TestClient

from kinoflow import bundle
from kinoflow import live as library
from kinoflow.reports.card import Card
from kinoflow.timeline import timeline
from kinoflow.video import ClipSpec, sample
from kinoflow.video.live import timed
from serving import routes
from serving.admission import AdmissionControl
from serving.answering import Answering
from serving.live import Live
from serving.uploads import Upload
from tests.api_fixtures import SETTINGS
from tests.asgi import Client
from tests.media import moving_square, write_video
from tests.networks import CLIP, save_bundle, small_model
from tests.test_service_live import begin, packets

WINDOW = 0.48


@pytest.fixture(scope="module", params=["movinet", "r2plus1d"])
def answering(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Answering:
    """One that answers by a small network, two views of each clip, mirrored too."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    taken = ClipSpec(4, CLIP.height, CLIP.width)
    save_bundle(folder, small_model(request.param, taken=taken), taken, 2, flip=True)
    made = bundle.load(folder)
    card = Card(
        candidate=request.param,
        labels=made.labels,
        clip=made.clip,
        clip_seconds=WINDOW,
        temperature=1.0,
        trained_on=("train",),
        seed=0,
        data="",
        versions={},
    )
    return Answering(made, SETTINGS, card, "0123", lambda *_: None)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "long.avi", moving_square(60))


def close(said: Any, expected: Any) -> bool:
    return bool(np.abs(np.array(said) - np.array(expected)).max() < 1e-5)


def test_every_endpoint_that_predicts_agrees_with_the_library(
    answering: Answering, video: Path
) -> None:
    application: Starlette = routes.application()
    application.state.answering, application.state.live = answering, Live(answering)
    ask = Client(AdmissionControl(application, seconds=60, slots=4, max_upload_mb=1, uploads_mb=4))
    clip = sample(video, answering.bundle.clip)
    (expected,) = answering.bundle.predict(clip[None])

    # /predict_clip
    said = ask("POST", "/predict_clip", content=clip.tobytes()).json()
    assert close([*said["probabilities"].values()], expected)
    assert (said["seconds"], said["timeline"], said["hint"]) == (None, None, None)

    # /predict, with a timeline
    upload = Upload(UploadFile(BytesIO(video.read_bytes())), time.monotonic() + 60)
    answer = answering.video(upload).model_dump()
    assert close([*answer["probabilities"].values()], expected)
    course = timeline(video, answering.bundle, WINDOW)
    assert answer["timeline"]["segments"]
    moments = answer["timeline"]["moments"]
    assert close([moment["probabilities"] for moment in moments], course.probabilities)
    assert [moment["label"] for moment in moments] == [course.labels[k] for k in course.shown]

    # /live
    following = library.Answering(answering.bundle, WINDOW)
    smooth = library.Smoothing(WINDOW / 2)
    with TestClient(application) as client:
        for _ in range(2):  # the second client has the first one's network
            following = library.Answering(answering.bundle, WINDOW, reader=following.reader)
            smooth = library.Smoothing(WINDOW / 2)
            with client.websocket_connect("/live") as socket:
                begin(socket)
                for (shown, frame), jpeg in zip(timed(video), packets(video), strict=True):
                    smoothed = smooth(following.add(shown, frame))
                    socket.send_json({"time": shown})
                    socket.send_bytes(jpeg)
                    said = socket.receive_json()
                    assert said["new"] == bool(smoothed)
                    if smoothed:
                        assert close(said["probabilities"], smoothed[-1].probabilities)
            assert smooth.label is not None
            assert said["label"] == answering.bundle.labels[smooth.label]
