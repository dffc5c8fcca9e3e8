"""Promotion as a flow, against a real Prefect server: what people see, and how they answer."""

import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import State
from prefect import flow as prefect_flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.deployments import run_deployment

from flows import promote as flow
from kinoflow import bentos
from kinoflow.reports.decision import Decision
from kinoflow.workspace import Workspace
from tests.promotions import BETTER, UNCLEAR, make_tree, params_of, retrained, served
from tests.running import PATIENCE, listening, read_until
from tests.webhooks import Webhook

pytest_plugins = ["tests.flows_fixtures"]

SERVES = """
from flows.promote import promote

if __name__ == "__main__":
    promote.serve(name="scheduled")
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree with a champion, as the working folder."""
    workspace = make_tree(tmp_path / "repo", notify={"blocks": ["custom-webhook/custom"]})
    monkeypatch.chdir(workspace.root)
    retrained(workspace, "aaaa1")
    Workspace().dist.mkdir(exist_ok=True)
    bentos.crown(workspace.champion, bentos.keep(workspace.bento))
    return workspace.root


def promote() -> State[Any]:
    return flow.promote(return_state=True)


def about(client: SyncPrefectClient) -> str:
    filter = ArtifactFilter(key=ArtifactFilterKey(any_=["promote-decision"]))
    newest, *_ = client.read_artifacts(artifact_filter=filter, sort=ArtifactSort.CREATED_DESC)
    return str(newest.data)


def test_the_decision_is_an_artifact_and_options_answer_a_hold(
    repo: Path, client: SyncPrefectClient, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    retrained(Workspace(), "bbbb2", **BETTER)
    assert promote().is_completed()
    assert webhook.heard["/custom-token"]["subject"] == "bbbb2 is served now"
    text = about(client)
    assert text.startswith("# promote: bbbb2")
    assert "it is better" in text
    assert "| accuracy on the same clips | 0.800 | 0.800 |" in text

    # the newest model is champion: nothing to decide, and nothing to ask a server
    with listening("prefect.flow_runs") as messages:
        retraining()
    assert "the newest model is the champion already" in messages

    # without a deployment nothing can wait for a person
    retrained(Workspace(), "cccc3", lost_labels=("<b>Fall", "a|b"), **UNCLEAR)
    with listening("prefect.flow_runs") as messages:
        assert promote().is_completed()
    assert any("python -m flows.promote --approve" in message for message in messages)
    assert "\\<b\\>Fall, a\\|b" in about(client)
    assert served(Workspace()) == "bbbb2"
    heard = webhook.heard["/custom-token"]
    assert heard["subject"] == "A new model waits for a decision"
    assert "--approve" in heard["text"]
    flow.main(Workspace(), ["--approve"])
    assert served(Workspace()) == "cccc3"
    flow.main(Workspace(), ["--rollback"])
    assert served(Workspace()) == "bbbb2"
    capsys.readouterr()
    flow.main(Workspace(), ["--history"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[::2]] == ["bbbb2", "cccc3", "bbbb2", "aaaa1"]
    assert "a person promoted it" in lines[3]


def test_a_comparison_that_fails_fails_the_run_with_its_message(
    repo: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    retrained(Workspace(), "bbbb2", **BETTER)
    (repo / "stages" / "challenge.py").write_text("raise SystemExit('error: no such model')")
    process = start("flows.promote")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert output.splitlines()[-1] == "error: challenge: no such model"
    assert "Traceback" not in output
    assert served(Workspace()) == "aaaa1"


def test_a_hold_outlives_the_process_and_is_answered_in_prefect(
    repo: Path, start: Callable[..., subprocess.Popen[str]], client: SyncPrefectClient
) -> None:
    (repo / "serves.py").write_text(SERVES)
    process = start("serves")
    read_until(process, "being served")
    # the server learns after a while that somebody serves the deployment
    deadline = time.monotonic() + PATIENCE
    while not flow.is_served():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # it may have been killed: a model that needs no person is promoted without it
    process.send_signal(signal.SIGSTOP)
    retrained(Workspace(), "bbbb2", **BETTER)
    retraining()
    assert served(Workspace()) == "bbbb2"
    process.send_signal(signal.SIGCONT)

    retrained(Workspace(), "cccc3", **UNCLEAR)
    with listening("prefect.flow_runs") as messages:
        retraining()
    (started,) = [words.split()[2] for words in messages if words.endswith("waits for a person")]
    (run,) = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[started]))
    )
    until(client, run.id, "Suspended")
    waits = Decision.read(Workspace().decision)
    assert waits.run == str(run.id)
    # a run that ends the time is planned
    (ends,) = [
        other
        for other in client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
        if other.expected_start_time
    ]
    told = datetime.strptime(f"{waits.until} +0000", "%Y-%m-%d %H:%M:%S UTC %z")
    assert ends.expected_start_time
    assert abs(ends.expected_start_time.timestamp() - told.timestamp()) < 2

    # neither the next retraining nor another run waits beside the first
    with listening("prefect.flow_runs") as messages:
        retraining()
    assert not [words for words in messages if words.endswith("waits for a person")]
    second = run_deployment(flow.DEPLOYMENT, timeout=0, as_subflow=False)
    assert isinstance(second, FlowRun)
    until(client, second.id, "Completed")
    assert Decision.read(Workspace().decision) == waits
    # the machine is restarted
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start("serves")
    read_until(process, "being served")
    assert served(Workspace()) == "bbbb2"
    client.resume_flow_run(run.id, run_input={"promote": True})
    until(client, run.id, "Completed")
    assert served(Workspace()) == "cccc3"
    assert Decision.read(Workspace().decision).person


@prefect_flow
def retraining() -> None:
    flow.after_retraining(Workspace(), params_of(Workspace()))


def until(client: SyncPrefectClient, run: UUID, name: str) -> None:
    """Wait until a run is in the state of that name."""
    deadline = time.monotonic() + PATIENCE
    while True:
        state = client.read_flow_run(run).state
        if state and state.name == name:
            return
        assert time.monotonic() < deadline, state
        assert not (state and state.is_final()), state
        time.sleep(0.2)
