"""Show the stages of a run in Prefect: a task run for each, with its own log, as DVC gets to it."""

import queue
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed

from flows import dvc
from kinoflow.system import documents
from kinoflow.workspace import Workspace

# what DVC says of a stage
_EVENTS = {
    "begun": re.compile(r"Running stage '(.+)':"),
    "unchanged": re.compile(r"Stage '(.+)' didn't change, skipping"),
    "restored": re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs"),
}
_BESIDE_OTHERS = re.compile(r"(\S+) +\| (.*)")


_End = Callable[[], State[Any]]


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def stage(name: str, heard: "queue.SimpleQueue[str | _End]") -> State[Any]:
    """Log what a stage of the pipeline prints, until it has ended.

    Args:
        name: the stage.
        heard: its lines and, last, what makes the state in which it ended. The server takes no
            state that is older than the start of the task run.
    """
    logger = get_run_logger()
    while isinstance(said := heard.get(), str):
        logger.info(said)
    return said()


class Ended(NamedTuple):
    """A stage that DVC is through with."""

    name: str
    outcome: str  # ran, unchanged, restored (from DVC's cache), failed or cancelled
    seconds: float = 0.0  # how long it ran


class _Running(NamedTuple):
    name: str
    heard: "queue.SimpleQueue[str | _End]"
    begun: float


@dataclass
class Stages:
    """The stages of one run of the pipeline, as its lines tell of them.

    Args:
        names: all stages.
        limit_s: seconds that one stage may take.
        on_end: called with each stage that has ended, except that unchanged ones wait for one that
            is not.
    """

    names: frozenset[str]
    limit_s: float
    on_end: Callable[[Ended], None] = lambda ended: None
    ended: dict[str, Ended] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)  # by the candidate before its lines
    _unchanged: list[str] = field(default_factory=list)  # not shown yet
    _shown: list[PrefectFuture[Any]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether any stage was not as it was before."""
        return bool(self._shown)

    def hear(self, line: str) -> None:
        """Take a line that the pipeline printed."""
        stream, text = self._stream(line)
        event, name = self._event(text)
        if event:
            # before and after candidates that run beside others, DVC runs alone
            for other in [*self._running]:
                if not stream or other in ("", stream):
                    self._finish(other)
        if event == "begun":
            self._show_unchanged()
            self._begin(stream, name)
        # what ran beside others, DVC looks at once more at the end
        elif event == "unchanged" and name not in self.ended:
            self._unchanged.append(name)
        elif event == "restored":
            self._show_unchanged()
            self._show(Ended(name, "restored"), "what it makes was in DVC's cache")
        elif stream and text == dvc.DONE:
            self._finish(stream)
        if stream in self._running:
            self._running[stream].heard.put(text)
        else:
            get_run_logger().info(line)

    def watch(self) -> None:
        """Raise StageFailed for a stage that takes longer than it may."""
        now = time.monotonic()
        for name, _, begun in self._running.values():
            if now - begun > self.limit_s:
                raise too_long(name, self.limit_s)

    def end(self, error: BaseException | None = None) -> None:
        """Close what is open, after the pipeline has ended.

        Args:
            error: what ended it, if it did not succeed.
        """
        failed = error.stage if isinstance(error, dvc.StageFailed) else None
        for stream, running in list(self._running.items()):
            if error is None:
                self._finish(stream)
            elif running.name == failed:
                self._finish(stream, "failed", partial(Failed, message=str(error)))
            else:
                self._finish(stream, "cancelled", partial(Cancelled, message="ended with the run"))
        if failed in self.names - self.ended.keys():
            assert failed is not None
            self._begin("", failed)
            self._finish("", "failed", partial(Failed, message=str(error)))
        if self.changed:
            self._show_unchanged()
        for future in self._shown:
            future.wait()

    def _stream(self, line: str) -> tuple[str, str]:
        """Whose line it is: a candidate's beside others, or "", and the line itself."""
        beside = _BESIDE_OTHERS.fullmatch(line)
        if beside is None or not {f"train@{beside[1]}", f"train_student@{beside[1]}"} & self.names:
            return "", line
        # a stage that runs alone may print such a line itself
        alone = "" in self._running and not self._event(beside[2])[0]
        return ("", line) if alone else (beside[1], beside[2])

    def _event(self, line: str) -> tuple[str, str]:
        """What DVC tells of a stage, and which; two empty texts for any other line."""
        for event, pattern in _EVENTS.items():
            if (found := pattern.fullmatch(line)) and found[1] in self.names:
                return event, found[1]
        return "", ""

    def _begin(self, stream: str, name: str) -> None:
        heard: queue.SimpleQueue[str | _End] = queue.SimpleQueue()
        self._running[stream] = _Running(name, heard, time.monotonic())
        self._shown.append(stage.submit(name, heard))

    def _finish(self, stream: str, outcome: str = "ran", state: _End = Completed) -> None:
        if running := self._running.pop(stream, None):
            running.heard.put(state)
            seconds = time.monotonic() - running.begun
            self._note(Ended(running.name, outcome, seconds))

    def _show_unchanged(self) -> None:
        for name in self._unchanged:
            self._show(Ended(name, "unchanged"), "nothing that it depends on has changed")
        self._unchanged.clear()

    def _show(self, ended: Ended, why: str) -> None:
        """Show a stage that did not have to run."""
        heard: queue.SimpleQueue[str | _End] = queue.SimpleQueue()
        heard.put(partial(Completed, name="Cached", message=why))
        self._shown.append(stage.submit(ended.name, heard))
        self._note(ended)

    def _note(self, ended: Ended) -> None:
        self.ended[ended.name] = ended
        self.on_end(ended)


@contextmanager
def shown(stages: Stages) -> Iterator[Stages]:
    """Show the stages while the pipeline runs in the block, however that ends."""
    try:
        yield stages
    except BaseException as error:
        stages.end(error)
        raise
    stages.end()


def too_long(name: str, limit_s: float) -> dvc.StageFailed:
    """What ends a stage that takes longer than `limit_s` seconds."""
    limit = f"the {limit_s:g} s that retrain.stage_timeout_s in params.yaml gives a stage"
    return dvc.StageFailed(name, f"took longer than {limit}, and was ended")


def within(name: str, limit_s: float) -> dvc.Watch:
    """Raises StageFailed when the stage `name` has taken longer than `limit_s` seconds from now."""
    deadline = time.monotonic() + limit_s

    def watch() -> None:
        if time.monotonic() > deadline:
            raise too_long(name, limit_s)

    return watch


def names(workspace: Workspace) -> frozenset[str]:
    """All stages of a work tree's dvc.yaml; those of candidates as `train@lrcn`."""
    found = set()
    for name, entry in documents.read_yaml(workspace.root / "dvc.yaml")["stages"].items():
        items = entry.get("foreach")
        if isinstance(items, str):  # such as ${candidates}
            value = documents.read_yaml(workspace.params)
            for key in items.strip("${}").split("."):
                value = value[key]
            items = value
        found |= {name} if items is None else {f"{name}@{item}" for item in items}
    return frozenset(found)
