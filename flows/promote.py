"""Let the newest model replace the champion, if it has proved to be no worse.

`python -m flows.promote` decides once. Options bring an earlier champion back, print who was
champion, and answer for a person that a model waits for. docs/operations.md explains all of it.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import State, flow, get_client, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import DeploymentStatus
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import FailedRun, ObjectNotFound, PrefectException
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Failed

from flows import dvc, promotion, server
from flows.notifying import notify
from flows.promotion import Office
from kinoflow import config
from kinoflow.config import Params
from kinoflow.reports.decision import Decision
from kinoflow.system import terminal
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

DEPLOYMENT = "promote/scheduled"

_KEY = "hold"  # of the suspension: a run suspends once
# seconds for which a run stays suspended after the time that a person had; the run that was planned
# for that moment ends it
_EXTRA_S = 3600
_HOW = "`python -m flows.promote --approve` has it served, `--reject` does not"


class Answer(RunInput):
    """What a person answers."""

    promote: bool = True


@flow(name="promote")
def promote() -> State[None] | None:
    """Decide whether the newest model becomes champion.

    It has no parameters on purpose: a user who may start it on a server must not be able to choose
    another folder or model. Under the deployment `promote/scheduled`, a decision that is up to a
    person suspends the run: resumed in Prefect's page, it promotes or rejects. As a run without a
    deployment, or within another flow, it ends and says how to decide.
    """
    workspace = Workspace()
    log = get_run_logger()
    try:
        office = Office(workspace, config.load(workspace.params), log.info)
        made = _decided(office)
        if made.verdict == "hold":
            _wait_for_a_person(office, made)
    except (dvc.StageFailed, UserError) as failure:
        return Failed(message=str(failure))
    return None


def after_retraining(workspace: Workspace, params: Params) -> None:
    """Have the newest model promoted: the last step of a retraining.

    The decision is made here, and nobody else is needed for it: a process that should serve the
    deployment `promote/scheduled` may have been killed. Only a decision that waits for a person is
    handed over to that deployment, since a retraining that waits would keep the next from starting.

    Args:
        workspace: the work tree, which has to be the working folder.
        params: its params.yaml.

    Raises UserError, with what the run of the flow `promote` failed of.
    """
    log = get_run_logger()
    office = Office(workspace, params, log.info)
    if not workspace.bento.exists():
        log.warning("there is no %s, so nothing can be promoted", workspace.bento)
        return
    if office.is_up_to_date():
        log.info("the newest model is the champion already")
        return
    state: State[Any] = promote(return_state=True)
    if not state.is_completed():
        raise UserError(f"promote: {state.message}")
    waits = office.pending()
    if waits and not _is_suspended(waits.run) and is_served():
        started = run_deployment(DEPLOYMENT, timeout=0, as_subflow=False)
        log.info("the run %s waits for a person", started.name)  # type: ignore[union-attr]


def _decided(office: Office) -> Decision:
    """Decide, or settle what this run was suspended for; tell people of anything new."""
    before = office.last()
    own = runtime.flow_run.id
    if before is not None and before.verdict == "hold" and before.run == own:
        # returns the answer, since this run was resumed; suspends it again if it only began anew
        answer = _suspended(before)
        made = office.settle(promote=answer.promote)
    else:
        made = office.propose(own if _can_wait() else None)
    tell(office, before, made)
    return made


def tell(office: Office, before: Decision | None, made: Decision) -> None:
    """Publish a decision as an artifact and a notification, unless it was told before.

    Args:
        office: where it was made.
        before: the decision before it.
        made: the decision.
    """
    get_run_logger().info("%s: %s", made.verdict, made.reason)
    page = office.workspace.page.resolve()
    create_markdown_artifact(
        key="promote-decision", markdown=_about(made, str(page)), description=made.verdict
    )
    if before is not None and before.run and before.run != made.run:
        _release(before.run)
    if made == before:
        return
    text = f"{made.reason}.\nThe page over everything: {page}"
    if made.verdict == "hold":
        text += f"\nWithout an answer until {made.until} it is rejected. {_HOW}."
        notify("hold", "A new model waits for a decision", text, office.params.notify)
    elif made.verdict in ("promote", "first"):
        notify("promotion", f"{made.challenger} is served now", text, office.params.notify)


def _wait_for_a_person(office: Office, made: Decision) -> None:
    """Suspend this run until a person has decided; where that cannot be, say how to decide."""
    own = runtime.flow_run.id
    if not _can_wait() or (made.run != own and _is_suspended(made.run)):
        get_run_logger().warning("a person decides until %s: %s", made.until, _HOW)
        return
    if made.run != own:
        made = office.wait_in(own)
    answer = _suspended(made)
    tell(office, made, office.settle(promote=answer.promote))


def _suspended(made: Decision) -> Answer:
    """Suspend this run, or return a person's answer if it was suspended before.

    The run's process ends meanwhile, so a restart of the machine changes nothing. Another run is
    planned for the end of the time, which then rejects the model.
    """
    until = datetime.strptime(f"{made.until} +0000", f"{promotion.TIME} %z")
    run_deployment(
        DEPLOYMENT,
        scheduled_time=until,
        timeout=0,
        as_subflow=False,
        idempotency_key=f"end of hold {runtime.flow_run.id}",
    )
    seconds = (until - datetime.now(until.tzinfo)).total_seconds()
    asked = Answer.with_initial_data(
        description=f"{_about(made, str(Workspace().page.resolve()))}\n\nHave it served?",
        promote=True,
    )
    return suspend_flow_run(asked, timeout=int(max(0, seconds)) + _EXTRA_S, key=_KEY)


def _about(made: Decision, page: str) -> str:
    """A decision as Markdown."""
    lines = [f"# {made.verdict}: {_escaped(made.challenger or '')}", ""]
    lines += [f"- {_escaped(reason)}" for reason in made.reasons]
    if made.verdict == "hold":
        lines += ["", f"A person decides until {made.until}: resume this run, or {_HOW}."]
    if found := made.evidence:
        lines += ["", "| | newest model | champion |", "|---|---:|---:|"]
        both = found.challenger, found.champion
        for name, values in (
            ("accuracy on the same clips", [each.accuracy for each in both]),
            ("calibration error", [each.ece for each in both]),
            ("milliseconds a clip", [each.latency_ms for each in both]),
            ("megabytes", [each.size_mb for each in both]),
        ):
            cells = ["–" if value is None else f"{value:.3f}" for value in values]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    # browsers follow no link from a server's page to a file, so the path is there to copy
    return "\n".join([*lines, "", f"The page over everything: `{page}`"])


def _escaped(text: str) -> str:
    """Text as Markdown shows it literally, whatever labels hold."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+!|&~" else sign for sign in line)


# === The server ===


def is_served() -> bool:
    """Whether a process waits for runs of the deployment."""
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            return False
    return found.status == DeploymentStatus.READY


def _can_wait() -> bool:
    """Whether this run can be suspended: it is the deployment's own, not a part of another run."""
    context = FlowRunContext.get()
    # prefect.runtime.deployment.id would be that of the run around this one
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def _is_suspended(flow_run: str | None) -> bool:
    if flow_run is None:
        return False
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run)).state
        except ObjectNotFound:
            return False
    return state is not None and state.is_paused()


def _release(flow_run: str) -> None:
    """Let a run that is suspended for what was decided end; it finds nothing left to do."""
    with (
        contextlib.suppress(PrefectException, httpx.HTTPError),
        get_client(sync_client=True) as client,
    ):
        client.resume_flow_run(UUID(flow_run), run_input={"promote": False})


# === The command ===


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.promote", description=__doc__)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--approve", action="store_true", help="have the model that waits served")
    one.add_argument("--reject", action="store_true", help="do not, and keep the champion")
    one.add_argument(
        "--rollback",
        nargs="?",
        const="",
        metavar="VERSION",
        help="bring an earlier champion back; without a version, the one before the present one",
    )
    one.add_argument("--history", action="store_true", help="who was champion when, and why")
    return parser


def _answer(office: Office, *, promote: bool) -> Decision:
    """Settle a hold by the command, and let the run end that waits for it."""
    waits = office.pending()
    made = office.settle(promote=promote)
    if waits and waits.run and server.is_known():
        _release(waits.run)
    if promote:
        notify("promotion", f"{made.challenger} is served now", made.reason, office.params.notify)
    return made


def _decide_once(workspace: Workspace) -> None:
    if not server.is_known():
        sys.exit(server.run_beside("flows.promote"))
    state: Any = promote(return_state=True)
    try:
        state.result()
    except FailedRun as failure:
        raise UserError(str(failure)) from None


def main(workspace: Workspace, arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    if not (asked.approve or asked.reject or asked.history or asked.rollback is not None):
        _decide_once(workspace)
        return
    office = Office(workspace, config.load(workspace.params), _print)
    if asked.history:
        print(promotion.history(office.champions.entries()))
    elif asked.rollback is not None:
        crowning = office.roll_back(asked.rollback or None)
        print(f"{crowning.name} is the champion again")
    else:
        made = _answer(office, promote=asked.approve)
        print(terminal.printable(f"{made.verdict}: {made.reason}"))


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main)
