"""The service's routes in this process, without BentoML: over an untrained model."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Probabilities
from kinoflow.reports.records import ServiceSettings
from kinoflow.video import Frames
from kinoflow.workspace import Workspace
from serving import routes
from serving.admission import AdmissionControl
from serving.answering import Answering
from serving.explaining import Explaining
from serving.feedback import Feedback
from serving.jobs import Jobs
from serving.live import Live
from serving.preview import Previews
from serving.working import Working
from stages.package_card import card
from tests.asgi import Client
from tests.bento import SERVING, make_project

SETTINGS = ServiceSettings.model_validate(
    {name: value for name, value in SERVING.items() if name != "check_videos"} | {"decoders": 0}
)


@pytest.fixture(scope="session")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A work tree as selection leaves it."""
    folder = tmp_path_factory.mktemp("work-tree")
    make_project(folder)
    return Workspace(folder)


@pytest.fixture(scope="session")
def feedback(tmp_path_factory: pytest.TempPathFactory) -> Feedback:
    return Feedback(tmp_path_factory.mktemp("feedback"), 1_000_000)


@pytest.fixture(scope="session")
def answering(work_tree: Workspace, feedback: Feedback) -> Answering:
    folder = work_tree.bundle("voting")
    made = card(work_tree, "voting", folder)
    return Answering(
        bundle.load(folder), SETTINGS, made, "0123", lambda answer, _: feedback.answered(answer)
    )


@pytest.fixture(scope="session")
def video(work_tree: Workspace) -> Path:
    return next(work_tree.data.rglob("*.avi"))


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path, most=3, most_bytes=1_000_000, keep_s=3600)


@pytest.fixture
def working(jobs: Jobs, answering: Answering) -> Iterator[Working]:
    """What works on `jobs`, from when a test starts it to its end."""
    working = Working(jobs, answering, 60)
    yield working
    working.stop()


@contextmanager
def never_free(answering: Answering) -> Iterator[Callable[[], None]]:
    """Have others use the model all the time, until what is yielded is called or the block ends."""
    batcher, ended = answering._batcher, threading.Event()
    forward = batcher._forward

    def slowly(views: Frames) -> Probabilities:
        ended.wait(60)
        return forward(views)

    clip = np.zeros(answering.bundle.clip.shape, np.uint8)
    others = [
        threading.Thread(target=answering.probabilities, args=(clip, None))
        for _ in range(batcher._lanes)
    ]
    batcher._forward = slowly
    try:
        for each in others:
            each.start()
        # each lane has one
        while batcher._clips < len(others) or batcher.waiting:
            time.sleep(0.01)
        yield ended.set
    finally:
        ended.set()
        for each in others:
            each.join()
        batcher._forward = forward


@pytest.fixture
def ask(answering: Answering, feedback: Feedback, jobs: Jobs, working: Working) -> Client:
    application = routes.application()
    parts = {
        "answering": answering,
        "explaining": Explaining(answering),
        "feedback": feedback,
        "jobs": jobs,
        "live": Live(answering),
        "previews": Previews(answering),
        "working": working,
    }
    for name, part in parts.items():
        setattr(application.state, name, part)
    return Client(
        AdmissionControl(
            application,
            seconds=SETTINGS.timeout_s,
            slots=SETTINGS.max_concurrency,
            max_upload_mb=SETTINGS.max_upload_mb,
            uploads_mb=SETTINGS.uploads_mb,
        )
    )
