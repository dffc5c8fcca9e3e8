"""Monitoring as a Prefect flow: does the service see what its model was tested on?

`python -m flows.monitor` looks once. It compares the service's latest answers with those to
held-out clips, which lie in the Bento, writes a page, and raises an alarm if they differ by more
than chance or if too many answers were marked as wrong.
"""

import base64
import math
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from flows import server
from flows.alarms import raise_alarm
from kinoflow import bentos, config
from kinoflow.config import Params
from kinoflow.monitor import comparing, expectations, feedback, reference, samples
from kinoflow.monitor.answers import HeldOut, Served
from kinoflow.monitor.statistics import novelty
from kinoflow.reports import monitor_page, monitoring
from kinoflow.reports.monitor_page import Example
from kinoflow.reports.monitoring import Errors, Look, Past
from kinoflow.system import files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.sandbox import OutOfBoundsError, run_sandboxed
from kinoflow.video.decoder import sample
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec, Frames
from kinoflow.workspace import Workspace, run

_STATE = "KINOFLOW_STATE"  # names the service's state folder, as it does for the service
_EXAMPLES = 6
_EXAMPLE = ClipSpec(6, 84, 112)  # frames of an example


@dataclass(frozen=True)
class Collected:
    """What there is to compare."""

    bento: str | None
    answers: Served | None
    kept: Served | None  # all of that version
    held_out: HeldOut | None
    labels: tuple[str, ...] = ()
    word: str = ""  # why there is nothing to compare


@task(cache_policy=NO_CACHE)
def collect(workspace: Workspace, settings: Params) -> Collected:
    """Read the service's latest answers, and the held-out ones in the Bento that gave them."""
    found = _collected(workspace, settings)
    get_run_logger().info(
        found.word or f"{len(found.answers or ())} answers of version {found.bento}"
    )
    return found


@task(cache_policy=NO_CACHE)
def compare(found: Collected, settings: Params, before: list[Past]) -> Look:
    """Compare them, and check the log with Great Expectations."""
    answers, held_out = found.answers, found.held_out
    look = Look(time=time.time(), bento=found.bento, word=found.word)
    if answers is not None and len(answers):
        look = look.model_copy(
            update={
                "answers": len(answers),
                "begin": float(answers.time[0]),
                "end": float(answers.time[-1]),
                "last": str(answers.id[-1]),
                "expectations": tuple(expectations.check(answers, found.labels)),
            }
        )
    if not found.word and answers is not None and held_out is not None:
        compared = comparing.compare(
            held_out,
            answers,
            false_alarms=settings.monitor.false_alarms,
            draws=settings.monitor.permutations,
            others=1,  # the rate of errors
            seed=settings.seed,
        )
        look = look.model_copy(
            update={
                "clips": len(held_out),
                "recordings": len(np.unique(held_out.recording)),
                "comparisons": tuple(compared),
                "changed": tuple(each.name for each in compared if each.changed),
            }
        )
    look = look.model_copy(update=_errors(found, settings))
    return look.model_copy(update={"since": monitoring.since(look, before)})


@task(cache_policy=NO_CACHE)
def publish(
    workspace: Workspace, settings: Params, found: Collected, look: Look, before: list[Past]
) -> None:
    """Write the page, the report and the history, and publish artifacts."""
    folder = workspace.monitoring
    html = monitor_page.render(
        look,
        found.held_out,
        found.answers,
        found.kept,
        _examples(_state(workspace, settings), found, settings),
        before,
        false_alarms=settings.monitor.false_alarms,
        footage=settings.serving.sample_footage_mb > 0,
    )
    files.write_text(folder / monitoring.PAGE, html)
    look.write(folder / monitoring.REPORT)
    past = Past(**look.model_dump(include=set(Past.model_fields)))
    monitoring.write_history(folder, [*before, past])
    create_markdown_artifact(
        key="monitor-summary",
        markdown=_summary(look, folder / monitoring.PAGE),
        description="What the service sees, compared with what its model was tested on.",
    )
    if look.comparisons:
        create_table_artifact(
            key="monitor-comparisons",
            table=[_row(each) for each in look.comparisons],
            description="All comparisons of this look.",
        )
        if picture := monitor_page.overview(look):
            create_image_artifact(
                key="monitor-picture",
                image_url=f"data:image/svg+xml;base64,{base64.b64encode(picture).decode('ascii')}",
                description="Each statistic as a multiple of what chance alone stays below in 95% "
                "of looks.",
            )


@flow(name="monitor")
def monitor() -> None:
    """Look at what the service saw, and raise an alarm if that has changed.

    It runs in the working folder, and has no parameters on purpose, as retrain.
    """
    workspace = Workspace()
    settings = config.load(workspace.params)
    with locks.held(workspace.lock("monitor"), "monitoring"):
        before = monitoring.history(workspace.monitoring)
        found = collect(workspace, settings)
        look = compare(found, settings, before)
        publish(workspace, settings, found, look, before)
    log = get_run_logger()
    if look.last is not None and before and before[-1].last == look.last:
        log.info("no answers since the look before: it has raised the alarms that there were")
        return
    if look.changed:
        raise_alarm("drift", look.sentence, settings)
    if look.too_many_errors:
        raise_alarm("feedback", look.error_sentence, settings)
    if not (look.word or look.changed or look.too_many_errors):
        log.info("the service sees what its model was tested on")


def _state(workspace: Workspace, settings: Params) -> Path:
    """The service's state folder, as the service itself finds it."""
    return workspace.root / (os.environ.get(_STATE) or settings.serving.state)


def _collected(workspace: Workspace, settings: Params) -> Collected:
    path = _state(workspace, settings) / samples.FILE
    version = samples.newest_bento(path)
    if version is None:
        why = "serving.sample is 0" if not settings.serving.sample else f"{path} has no answers yet"
        return Collected(None, None, None, None, word=f"{why}, so that nothing is known")
    kept = samples.read(path, version, max(settings.serving.sample, settings.monitor.answers))
    answers = kept[-settings.monitor.answers :]
    partly = partial(Collected, version, answers, kept)
    bento = _bento(workspace, version)
    if bento is None:
        return partly(
            None,
            word=f"{workspace.dist}/ has no Bento of version {version}, which gave the latest "
            "answers",
        )
    held_out, labels = reference.read_from(bento)
    if held_out is None:
        return partly(
            None,
            labels,
            f"{bento.name} was packed without answers to held-out clips: package the model again",
        )
    recordings, least = len(np.unique(held_out.recording)), comparing.LEAST_RECORDINGS
    if recordings < least:
        return partly(
            held_out,
            labels,
            f"its model has clips of {recordings} recordings that it was not trained on, and "
            f"{least} are the least",
        )
    if len(answers) < comparing.LEAST_ANSWERS:
        return partly(
            held_out,
            labels,
            f"version {version} has given {len(answers)} answers so far, and "
            f"{comparing.LEAST_ANSWERS} are the least",
        )
    return partly(held_out, labels)


def _bento(workspace: Workspace, version: str) -> Path | None:
    """The .bento file of a version; the champion and the newest are looked at first."""
    likely = [bentos.Source(None, workspace.champion).find] if workspace.dist.exists() else []
    paths = []
    for find in likely:
        try:
            paths.append(find())
        except UserError:
            continue
    paths += sorted(workspace.dist.glob("[!.]*.bento"))
    for path in dict.fromkeys(paths):
        try:
            if bentos.version(path) == version:
                return path
        except UserError:
            continue
    return None


def _errors(found: Collected, settings: Params) -> dict[str, object]:
    if found.bento is None:
        return {}
    workspace, section = Workspace(), settings.monitor
    tests = len(comparing.RESPECTS) + 1
    rate = feedback.error_rate(
        _state(workspace, settings),
        section.answers,
        found.bento,
        # of all tests of a look, this is one
        confidence=1 - comparing.level(section.false_alarms) / tests,
    )
    if rate is None:
        return {}
    errors = Errors(
        answers=rate.answers,
        wrong=rate.wrong,
        low=rate.low,
        high=rate.high,
        limit=section.max_error,
    )
    return {"errors": errors, "too_many_errors": rate.exceeds(section.max_error)}


def _examples(state: Path, found: Collected, settings: Params) -> list[Example]:
    """Frames of the most unusual answers whose videos are kept."""
    answers, held_out = found.answers, found.held_out
    if answers is None or held_out is None or not len(held_out):
        return []
    kept = np.flatnonzero(answers.footage != "")
    if held_out.features.shape[1] and held_out.features.shape[1] == answers.features.shape[1]:
        distance = novelty(held_out.features, answers.features[kept])
        kept = kept[np.argsort(-distance, kind="stable")]
    examples = []
    for row in kept:
        frames = _frames(state / samples.FOOTAGE / str(answers.footage[row]), settings)
        if frames is not None:
            examples.append(
                Example(
                    label=str(answers.label[row]),
                    confidence=float(answers.confidence[row]),
                    time=float(answers.time[row]),
                    frames=tuple(frames),
                )
            )
        if len(examples) == _EXAMPLES:
            break
    return examples


def _frames(video: Path, settings: Params) -> Frames | None:
    """Some frames of a video that somebody has sent; None if it is gone or cannot be read."""
    try:
        # absolute: the other process may have been started from another working folder
        frames: Frames = run_sandboxed(
            partial(sample, spec=_EXAMPLE), video.absolute(), settings.compute.pool.bounds
        )
    except (UnreadableVideo, OutOfBoundsError):
        return None
    return frames


def _summary(look: Look, page: Path) -> str:
    lines = ["# What the service sees", ""]
    if look.word:
        lines.append(f"Nothing was compared: {look.word}.")
    elif look.changed:
        lines += [look.sentence, "", "| changed | since |", "|---|---|"]
        lines += [
            f"| {monitoring.NAMES[name][0]} | {monitoring.when(look.since[name])} |"
            for name in look.changed
        ]
    else:
        lines.append("The service sees what its model was tested on.")
    if look.errors is not None:
        lines += ["", look.error_sentence]
    failed = [each for each in look.expectations if not each.met]
    if failed:
        lines += ["", "The log does not meet what is expected of it:", ""]
        lines += [
            f"- {each.column}: {each.meaning} ({each.failing} answers do not)" for each in failed
        ]
    return "\n".join([*lines, "", f"The page: `{page.resolve()}`", ""])


def _row(comparison: comparing.Comparison) -> dict[str, object]:
    def shown(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else round(value, 4)

    return {
        "respect": monitoring.NAMES[comparison.name][0],
        "verdict": comparison.word or ("changed" if comparison.changed else "as before"),
        "before": shown(comparison.before),
        "now": shown(comparison.now),
        "stability index": shown(comparison.psi),
        "statistic": shown(comparison.value),
        "95% by chance": shown(comparison.by_chance),
        "p": shown(comparison.p),
        "p corrected": shown(comparison.adjusted),
    }


def main(workspace: Workspace) -> None:
    if not server.is_known():
        sys.exit(server.run_beside("flows.monitor"))
    monitor()
    look = Look.read(workspace.monitoring / monitoring.REPORT)
    found = look.sentence or (look.word and f"Nothing was compared: {look.word}.")
    print(found or "The service sees what its model was tested on.")
    if look.errors is not None:
        print(look.error_sentence)
    print(f"The page: {workspace.monitoring / monitoring.PAGE}")


if __name__ == "__main__":
    run(main)
