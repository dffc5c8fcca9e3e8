"""The service's routes in this process, without BentoML: over an untrained model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinoflow import bundle
from kinoflow.reports.records import ServiceSettings
from kinoflow.workspace import Workspace
from serving import routes
from serving.admission import AdmissionControl
from serving.answering import Answering
from serving.feedback import Feedback
from serving.jobs import Jobs
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
    return Answering(bundle.load(folder), SETTINGS, made, "0123", feedback.answered)


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


@pytest.fixture
def ask(answering: Answering, feedback: Feedback, jobs: Jobs, working: Working) -> Client:
    application = routes.application()
    parts = {"answering": answering, "feedback": feedback, "jobs": jobs, "working": working}
    for name, part in parts.items():
        setattr(application.state, name, part)
    return Client(
        AdmissionControl(
            application,
            seconds=SETTINGS.timeout_s,
            slots=SETTINGS.max_concurrency,
            max_upload_mb=SETTINGS.max_upload_mb,
        )
    )
