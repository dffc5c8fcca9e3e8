"""Starts workers, starts them again, and lets a worker of another Bento take over."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

from kinoflow.bentos import Identity, Source, identify
from kinoflow.system import files, terminal
from kinoflow.system.errors import UserError
from serving import handover
from serving.releases import Release, Unpacking, setting

DRAIN_EXTRA_S = 15.0  # how much longer than a request a worker waits for its clients

_RESTART_AFTER_S = 1.0
_LOOK_EVERY_S = 1.0
_READY_WITHIN_S = 600.0  # a GPU may have to compile much
_GRACE_S = 10.0  # between asking a worker to end and killing it
_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """A process that answers requests, or prepares to.

    Args:
        release: the Bento that it runs.
        folder: for its temporary files, which is made here and deleted after its end.
        handed_down: descriptors that it inherits; the first is the listening socket.
    """

    def __init__(self, release: Release, folder: Path, handed_down: Sequence[int]) -> None:
        folder.mkdir()
        self.release = release
        self.folder = folder
        self.ready = False
        self.problem = ""  # why it is not ready, as it says itself
        self.end_by = time.monotonic() + _READY_WITHIN_S
        self._said = b""
        self.status, writing = os.pipe()
        os.set_blocking(self.status, False)
        environment = {**os.environ, handover.STATUS: str(writing), "TMPDIR": str(folder)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving.worker", str(handed_down[0])],
                cwd=release.folder / "src",
                env=environment,
                pass_fds=(*handed_down, writing),
            )
        except OSError:
            os.close(self.status)
            raise
        finally:
            os.close(writing)
        self.pid = self._process.pid

    def listen(self) -> None:
        """Read what it has said."""
        try:
            while part := os.read(self.status, 4096):
                self._said += part
        except BlockingIOError:
            pass
        for line in self._said.decode(errors="replace").splitlines():
            if line == handover.READY and not self.ready:
                self.ready, self.end_by = True, float("inf")
            elif line.startswith(handover.FAILED):
                self.problem = line.removeprefix(handover.FAILED)

    def drain(self) -> None:
        """Have it finish what it has, and end."""
        self._signal(signal.SIGUSR1)
        within = float(setting(self.release, "timeout_s")) + DRAIN_EXTRA_S + 2 * _GRACE_S
        self.end_by = time.monotonic() + within

    def end(self) -> None:
        """Have it end soon."""
        self._signal(signal.SIGTERM)
        self.end_by = min(self.end_by, time.monotonic() + 2 * _GRACE_S)

    def kill_if_late(self) -> None:
        if time.monotonic() > self.end_by:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # it is not gone, even if it has ended: nobody has waited for it yet
        os.kill(self.pid, number)

    def bury(self, code: int) -> None:
        """Clean up after its end."""
        self.listen()
        os.close(self.status)
        self._process.returncode = code  # or it would be waited for once more
        shutil.rmtree(self.folder, ignore_errors=True)


class Supervisor:
    """Keeps a worker answering, and changes to another Bento without a pause.

    Args:
        release: the first Bento to serve.
        folder: for temporary files.
        handed_down: descriptors for the workers; the first is the listening socket.
        source: says which Bento is to be served, from now on; None: the first one, for ever.
    """

    def __init__(
        self, release: Release, folder: Path, handed_down: Sequence[int], source: Source | None
    ) -> None:
        self._release = release
        self._folder = folder
        self._handed_down = handed_down
        self._source = source
        self._workers: dict[int, Worker] = {}
        self._serving: Worker | None = None  # it answers requests, or is to
        self._next: Worker | None = None  # of another Bento, not ready yet
        self._unpacking: Unpacking | None = None
        self._start_at = 0.0
        self._look_at = 0.0
        self._seen: Identity | None = None  # of the file that is to be served
        self._refused: Identity | None = None  # of a file that cannot be
        self._problem = ""  # why no file can be found
        self._failure = 0  # exit code, once no worker can start
        self._stopping = False
        self._count = 1
        self._changes = SimpleNamespace()
        self._notice = folder / "refused"

    def run(self) -> int:
        """Serve until SIGTERM or Ctrl-C; return an exit code, which is not 0 if nothing can be
        served."""
        import prometheus_client as prometheus

        changes = prometheus.Counter("kinoflow_model_changes", "Changes of the model", ["result"])
        self._changes = SimpleNamespace(
            done=changes.labels("done"), failed=changes.labels("failed")
        )
        os.environ[handover.REFUSED] = str(self._notice)
        signals = self._signal_pipe()
        while True:
            if not self._stopping:
                self._act()
            if (self._stopping or self._failure) and not self._workers:
                return 0 if self._stopping else self._failure
            waiting = [signals, *(worker.status for worker in self._workers.values())]
            ready, _, _ = select.select(waiting, [], [], _LOOK_EVERY_S / 2)
            if signals in ready and set(os.read(signals, 64)).intersection(_STOPPING):
                self._stopping = True
                for worker in self._workers.values():
                    worker.end()
            for worker in self._workers.values():
                worker.listen()
                worker.kill_if_late()
            self._reap()

    def _signal_pipe(self) -> int:
        """The reading end of a pipe to which signals are written."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGCHLD):
            # only signals that have a handler are written to the pipe
            signal.signal(number, lambda *_: None)
        return reading

    # === Workers ===

    def _act(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._serving is None and not self._failure and now >= self._start_at:
            self._start_at = now + _RESTART_AFTER_S
            try:
                self._serving = self._start(self._release)
            except OSError as problem:
                self._say(f"no worker can be started just now: {problem}", sys.stderr)
        if self._next and self._next.ready:
            self._change()
        if self._source and not self._failure and now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            self._look(self._source)
        if self._unpacking and self._unpacking.ended:
            self._unpacked(self._unpacking)

    def _start(self, release: Release) -> Worker:
        worker = Worker(release, self._new_folder("worker"), self._handed_down)
        self._workers[worker.pid] = worker
        return worker

    def _new_folder(self, kind: str) -> Path:
        self._count += 1
        return self._folder / f"{kind}-{self._count}"

    def _reap(self) -> None:
        # As the first process of a container, this one also becomes the parent of a killed worker's
        # children, and waits for those too.
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if worker := self._workers.pop(pid, None):
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, code: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        worker.bury(code)
        mark_process_dead(worker.pid)
        if worker is self._next:
            self._next = None
            self._refuse(
                worker.release,
                worker.problem or f"its worker ended with code {code} before it was ready",
            )
        elif worker is self._serving:
            self._serving = None
            if code > 0 and not worker.ready:
                # it was not killed: the next one would fail in the same way
                self._failure = handover.STARTUP_FAILURE
            elif not self._stopping:
                self._say(f"the worker ended with code {code}: another is started", sys.stderr)
                self._start_at = time.monotonic() + _RESTART_AFTER_S
        self._forget(worker.release)

    def _forget(self, release: Release) -> None:
        """Delete an extracted Bento that nobody uses."""
        used = [self._release, *(worker.release for worker in self._workers.values())]
        if release.file and release not in used:
            shutil.rmtree(release.folder, ignore_errors=True)

    # === Another Bento ===

    def _look(self, source: Source) -> None:
        """Begin to change to the Bento that is to be served now, if it is another."""
        try:
            bento = source.find()
            found = identify(bento)
        except (UserError, OSError) as problem:
            if str(problem) != self._problem:
                self._problem = str(problem)
                self._tell_refusal(self._problem)
            return
        self._problem = ""
        if found != self._seen:
            # perhaps it is still being written
            self._seen = found
            return
        coming = self._unpacking or (self._next and self._next.release)
        if coming and found != coming.identity:
            self._give_up()
        elif coming or found == self._refused:
            return
        elif found == self._release.identity:
            self._refused = None
            self._notice.unlink(missing_ok=True)
        elif len(self._workers) < 2:
            # not while a worker finishes what it has: two models take enough memory
            self._unpacking = Unpacking(bento, found, self._new_folder("bento"))

    def _give_up(self) -> None:
        """Stop preparing a Bento that is not the one to be served any more."""
        if self._next:
            self._next.end()
            self._next = None
        if self._unpacking and self._unpacking.ended:
            shutil.rmtree(self._unpacking.folder, ignore_errors=True)
            self._unpacking = None

    def _unpacked(self, unpacking: Unpacking) -> None:
        self._unpacking = None
        if unpacking.release is None:
            shutil.rmtree(unpacking.folder, ignore_errors=True)
            self._refuse(
                Release(unpacking.folder, unpacking.bento, unpacking.identity), unpacking.problem
            )
            return
        self._say(f"{unpacking.release.name} is started beside {self._release.name}")
        try:
            self._next = self._start(unpacking.release)
        except OSError as problem:
            self._refuse(unpacking.release, str(problem))
            self._forget(unpacking.release)

    def _change(self) -> None:
        """Let the next worker take over."""
        assert self._next is not None
        before, self._serving, self._next = self._serving, self._next, None
        former, self._release = self._release, self._serving.release
        self._failure = 0
        self._refused = None
        self._notice.unlink(missing_ok=True)
        self._changes.done.inc()
        self._say(f"{self._release.name} is served instead of {former.name}")
        if before is None:
            self._forget(former)
        elif before.ready:
            before.drain()
        else:
            before.end()

    def _refuse(self, release: Release, problem: str) -> None:
        if self._stopping:
            return
        self._refused = release.identity
        self._changes.failed.inc()
        assert release.file is not None
        self._tell_refusal(f"{release.file.name} is not served: {problem}")

    def _tell_refusal(self, problem: str) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to end
            files.write_text(self._notice, problem)
        self._say(f"{problem}; {self._release.name} stays", sys.stderr)

    def _say(self, text: str, stream: TextIO | None = None) -> None:
        print(terminal.printable(text), file=stream or sys.stdout, flush=True)
