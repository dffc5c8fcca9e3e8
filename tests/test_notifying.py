"""Notifications, by blocks that a real Prefect server keeps, to a web server on this machine."""

import logging
import time
from pathlib import Path

import pytest
from prefect import flow

from flows import notifying
from flows.retrain import retrain
from kinoflow.config import Notify
from tests.webhooks import Webhook

pytest_plugins = ["tests.flows_fixtures"]

SUBJECT, TEXT = 'hold: <b>"Fall"</b>', "Recall of «سقوط» fell\nfrom 0.9 to {{body}}."


def test_each_block_is_sent_the_message_as_it_is(webhook: Webhook) -> None:
    both = Notify(blocks=("custom-webhook/custom", "slack-webhook/operations"))
    notifying.notify("hold", SUBJECT, TEXT, both)
    assert webhook.heard["/custom-token"] == {"subject": SUBJECT, "text": TEXT}
    slack = webhook.heard["/slack"]
    assert (slack["title"], slack["message"]) == (SUBJECT, TEXT)

    webhook.heard.clear()
    notifying.notify("hold", SUBJECT, TEXT, Notify(blocks=both.blocks, events=("failure",)))
    assert webhook.heard == {}


def test_blocks_that_fail_or_hang_are_warnings_and_the_run_goes_on(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifying, "_WITHIN", 4.0)
    blocks = (
        "custom-webhook/broken",
        "custom-webhook/hanging",
        "slack-webhook/broken",
        "secret/secret",
        "slack-webhook/absent",
        "pager",
        "custom-webhook/custom",
    )

    @flow
    def run() -> str:
        notifying.notify("failure", "failed", "train: no disk", Notify(blocks=blocks))
        return "went on"

    before = time.monotonic()
    with caplog.at_level(logging.WARNING, "prefect.flow_runs"):
        assert run() == "went on"
    assert time.monotonic() - before < 30
    assert webhook.heard["/custom-token"] == {"subject": "failed", "text": "train: no disk"}
    warnings = [r.getMessage() for r in caplog.records if r.name == "prefect.flow_runs"]
    said = [warning.removeprefix("notify.blocks: ") for warning in warnings]
    assert said == [
        "custom-webhook/broken did not send 'failed': it got status 500",
        "custom-webhook/hanging did not send 'failed': it has not ended within 4 seconds",
        "slack-webhook/broken did not send 'failed': its service did not accept the message",
        "secret/secret did not send 'failed': it is no notification block",
        "slack-webhook/absent did not send 'failed': Unable to find block document named absent "
        "for block type slack-webhook",
        "pager did not send 'failed': blocks are named type/name, such as slack-webhook/operations",
    ]
    assert "token" not in caplog.text


def test_a_retraining_that_fails_is_heard_of(webhook: Webhook, repo: Path) -> None:
    params = repo / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "blocks: []" in text
    params.write_text(text.replace("blocks: []", "blocks: [custom-webhook/custom]"), "utf-8")
    (repo / "train.py").write_text("raise SystemExit('error: no rate: set one')")
    webhook.heard.clear()
    assert retrain(return_state=True).is_failed()
    heard = webhook.heard["/custom-token"]
    assert heard["text"] == "train@lrcn: no rate: set one"
    assert heard["subject"].startswith("Retraining ")
    assert heard["subject"].endswith(": Failed")
