"""Works on jobs, one after the other, in a thread."""

import contextlib
import logging
import threading
import time

from kinoflow.bundle import Probabilities
from kinoflow.system.sandbox import Bounds, OutOfBoundsError
from kinoflow.video.frames import UnreadableVideo
from serving.answering import Answering
from serving.jobs import Claim, Job, Jobs
from serving.piped import Piped, Stopped
from serving.refusals import Refusal
from serving.timelines import document

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
        """End the thread; the job that runs begins again at the next start."""
        self._ending = True
        self._stop_current(self._current)
        self.wake()
        if self.started:
            self._thread.join(5)

    def get(self, name: str) -> Job:
        """The job with this id, and how far it is. Raises Refusal (404)."""
        job = self._jobs.get(name)
        with self._changing:
            if job.state == "running" and name == self._current:
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
                if not self._next():
                    self._something_to_do.wait(_SWEEP_S)
                    self._something_to_do.clear()
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
        piped = self._begin(job)
        try:
            result = self._timeline(job, piped)
        except Stopped:
            # nothing changes for a job that was cancelled
            self._jobs.put_back(job.id)
        except (UnreadableVideo, OutOfBoundsError) as problem:
            self._jobs.fail(job.id, f"the upload cannot be read as a video: {problem}")
        except Exception:  # noqa: BLE001
            _log.exception("a job failed")
            self._jobs.fail(job.id, "the service failed: its log says why")
        else:
            self._keep(job, result)
        finally:
            with self._changing:
                self._current, self._piped = "", None
            self._answering.streams = 0
        return True

    def _begin(self, job: Claim) -> Piped:
        self._answering.streams = 1
        memory, decoders = self._answering.settings.memory_mb, self._answering.decoding.max_calls
        bounds = Bounds(self._seconds, memory, decoders)
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
