"""Works on jobs, one after the other, in a thread."""

import contextlib
import logging
import sqlite3
import threading
import time
from dataclasses import replace

from kinoflow.bundle import Probabilities
from kinoflow.system.sandbox import OutOfBoundsError
from kinoflow.video.frames import UnreadableVideo
from serving.answering import Answering
from serving.jobs import Claim, Job, JobList, Jobs
from serving.limits import TooMuchVideo
from serving.piped import Piped, Stopped
from serving.refusals import Refusal
from serving.timelines import document

_LOOK_S = 1.0  # how often to look for jobs that another process has accepted
_CANCEL_S = 0.5  # how often to look whether another process has cancelled the job that runs
_SWEEP_S = 60.0
_log = logging.getLogger("bentoml.kinoflow")


class Working:
    """The thread that works on jobs.

    Args:
        jobs: what to work on.
        answering: the model.
        seconds: how long a job may take.
    """

    def __init__(self, jobs: Jobs, answering: Answering, seconds: float) -> None:
        self._jobs = jobs
        self._answering = answering
        self._seconds = seconds
        self._something_to_do = threading.Event()
        self._ending = False
        # guards these three
        self._changing = threading.Lock()
        self._current = ""  # the id of the job that runs
        self._piped: Piped | None = None
        self._progress = 0.0
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    @property
    def started(self) -> bool:
        return self._thread.ident is not None

    def start(self) -> None:
        """Take up what waits, and then what comes."""
        self._thread.start()

    def wake(self) -> None:
        """Look for a new job now."""
        self._something_to_do.set()

    def stop(self) -> None:
        """End the thread; the job that runs begins again, at the next start or in the process that
        takes over."""
        self._ending = True
        self._stop_current(self._current)
        self.wake()
        if self.started:
            self._thread.join(5)

    def get(self, name: str) -> Job:
        """The job with this id, and how far it is. Raises Refusal (404)."""
        return self._with_progress(self._jobs.get(name))

    def newest(self, most: int) -> JobList:
        """The newest jobs, at most `most`, and how far they are."""
        return JobList(jobs=[self._with_progress(job) for job in self._jobs.newest(most)])

    def _with_progress(self, job: Job) -> Job:
        with self._changing:
            if job.state == "running" and job.id == self._current:
                job.progress = self._progress
        return job

    def cancel(self, name: str) -> Job:
        """Cancel a job, also while it runs; forget one that has ended. Raises Refusal (404)."""
        job = self._jobs.cancel(name)
        self._stop_current(name)
        return job

    def _stop_current(self, name: str) -> None:
        with self._changing:
            if name and name == self._current and self._piped:
                self._piped.stop()

    def _work(self) -> None:
        while not self._ending:
            try:
                # while a service changes its model, two processes accept jobs: one works on them
                with self._jobs.turn(lambda: self._ending) as mine:
                    if mine:
                        self._take_turn()
            except OSError:
                _log.exception("jobs cannot be worked on just now")
                time.sleep(1)

    def _take_turn(self) -> None:
        taken_up, swept = False, time.monotonic()
        while not self._ending:
            try:
                if not taken_up:
                    self._jobs.take_up()
                    taken_up = True
                if not self._next():
                    self._something_to_do.wait(_LOOK_S)
                    self._something_to_do.clear()
                if time.monotonic() > swept + _SWEEP_S:
                    swept = time.monotonic()
                    self._jobs.sweep()
            except Exception:  # noqa: BLE001
                # a full disk, most likely; whatever it is, other jobs must not wait for ever
                _log.exception("jobs cannot be worked on just now")
                time.sleep(1)

    def _next(self) -> bool:
        """Work on the next job. Returns whether there was one."""
        job = self._jobs.claim()
        if job is None:
            return False
        with self._answering.streaming():
            self._finish(job, self._begin(job))
        return True

    def _finish(self, job: Claim, piped: Piped) -> None:
        over = threading.Event()
        watching = threading.Thread(target=self._watch, args=(job.id, piped, over), daemon=True)
        watching.start()
        try:
            result = self._timeline(job, piped)
        except Stopped:
            # nothing changes for a job that was cancelled
            self._jobs.put_back(job.id)
        except TooMuchVideo as beyond:
            self._jobs.fail(job.id, str(beyond))
        except (UnreadableVideo, OutOfBoundsError) as problem:
            self._jobs.fail(job.id, f"the upload cannot be read as a video: {problem}")
        except Exception:  # noqa: BLE001
            _log.exception("a job failed")
            self._jobs.fail(job.id, "the service failed: its log says why")
        else:
            self._keep(job, result)
        finally:
            over.set()
            with self._changing:
                self._current, self._piped = "", None

    def _watch(self, name: str, piped: Piped, over: threading.Event) -> None:
        """Stop the job that runs if another process has cancelled it."""
        while not over.wait(_CANCEL_S):
            # busy, or closed: this process ends
            with contextlib.suppress(sqlite3.Error):
                if not self._jobs.is_running(name):
                    piped.stop()
                    return

    def _begin(self, job: Claim) -> Piped:
        bounds = replace(self._answering.decoding, seconds=self._seconds)
        clip = self._answering.bundle.clip
        piped = Piped(self._jobs.video(job.id), clip, job.seconds, bounds)
        with self._changing:
            self._current, self._piped, self._progress = job.id, piped, 0.0
        # cancelled, or told to end, since it was claimed
        if self._ending or self._jobs.get(job.id).state != "running":
            piped.stop()
        return piped

    def _timeline(self, job: Claim, piped: Piped) -> dict[str, object]:
        spans: list[tuple[float, float]] = []
        answers: list[Probabilities] = []
        with contextlib.closing(piped.windows()) as windows:  # type: ignore[type-var]
            for window in windows:
                answer, _ = self._answering.probabilities(window.clip, None)
                spans.append((window.start, window.end))
                answers.append(answer)
                if window.claimed:
                    self._progress = min(0.99, window.end / window.claimed)
        assert piped.end is not None
        return document(self._answering.bundle.labels, job.seconds, spans, answers, piped.end)

    def _keep(self, job: Claim, result: dict[str, object]) -> None:
        while True:
            try:
                self._jobs.finish(job.id, result, self._answering.model.bento)
                return
            except Refusal:
                # the disk is full; what was computed is not thrown away
                if self._ending:
                    return
                time.sleep(1)
