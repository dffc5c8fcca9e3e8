"""Windows of a video, decoded in a process of its own while the model answers for them.

The process writes them into a pipe, and waits while the pipe is full. So no more of a long video is
in memory, or on the disk, than the window that is being answered.
"""

import contextlib
import os
import select
import signal
import struct
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from kinoflow.system.sandbox import Bounds, run_sandboxed
from kinoflow.system.sandbox_process import SandboxProcess
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import ClipSpec
from serving import timelines
from serving.limits import limited
from serving.timelines import End, Window
from serving.uploads import PREFIX

_HEAD = struct.Struct("<ddd")  # start, end, claimed
_LOOK_S = 0.1  # how often to look whether the process has ended


class Stopped(Exception):
    """Decoding was stopped before its end."""


class Piped:
    """The windows of a video. `stop` may be called from another thread.

    Args:
        path: the video.
        clip: the form of the clips.
        seconds: how long a window is.
        bounds: on decoding. Its time includes that in which the process waits for the model.
        deadline: when it must have ended, on the clock of time.monotonic(); None: never.
    """

    def __init__(
        self,
        path: Path,
        clip: ClipSpec,
        seconds: float,
        bounds: Bounds,
        deadline: float | None = None,
    ) -> None:
        self._path = path
        self._clip = clip
        self._seconds = seconds
        self._bounds = bounds
        self._deadline = deadline
        self._stopped = threading.Event()
        self._folder: Path | None = None
        self._failure: BaseException | None = None
        self.end: End | None = None  # of the video, once all windows have come

    def stop(self) -> None:
        """End decoding now."""
        self._stopped.set()
        self._kill()

    def windows(self) -> Iterator[Window]:
        """Yield the windows.

        Raises Stopped after `stop`, UnreadableVideo for a file that is no video, and
        OutOfBoundsError for one that exceeds the bounds.
        """
        # swept at the start of a worker, should this one be killed
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
            self._folder = Path(folder)
            os.mkfifo(self._folder / "pipe", 0o600)
            # without waiting for a writer
            pipe = os.open(self._folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
            thread = threading.Thread(target=self._decode, args=(self._folder,), daemon=True)
            try:
                thread.start()
                yield from self._read(pipe, thread)
            finally:
                os.close(pipe)
                self._stopped.set()
                self._kill()

    def _decode(self, folder: Path) -> None:
        send = partial(_send, folder=folder, clip=self._clip, seconds=self._seconds)
        try:
            self.end = run_sandboxed(
                limited(send, self._bounds), self._path, self._bounds, deadline=self._deadline
            )
        except BaseException as failure:  # noqa: BLE001 for the thread that reads
            self._failure = failure

    def _read(self, pipe: int, thread: threading.Thread) -> Iterator[Window]:
        size = _HEAD.size + int(np.prod(self._clip.shape))
        held = bytearray()
        while not self._stopped.is_set():
            # asked first: what a process wrote before its end is in the pipe
            ended = not thread.is_alive()
            readable, _, _ = select.select([pipe], [], [], 0 if ended else _LOOK_S)
            piece = b""
            if readable:
                with contextlib.suppress(BlockingIOError):
                    piece = os.read(pipe, size - len(held))
            held += piece
            if len(held) == size:
                start, end, claimed = _HEAD.unpack_from(held)
                clip = np.frombuffer(bytes(held[_HEAD.size :]), np.uint8)
                held.clear()
                yield Window(start, end, claimed, clip.reshape(self._clip.shape))
            elif not piece:
                if ended:
                    break
                if readable:
                    # the writer has closed the pipe, and is about to end
                    thread.join(_LOOK_S)
        if self._stopped.is_set():
            raise Stopped
        if self._failure is not None:
            raise self._failure

    def _kill(self) -> None:
        """Kill the process that decodes, if there is one."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError, ValueError):
            pid = int((self._folder / "pid").read_text(encoding="ascii"))
            for process in [*SandboxProcess.living]:
                # Nothing is sent once the process was waited for, so it hits no other. With this
                # signal, the sandbox takes the time for up and does not try again.
                if process.process.pid == pid:
                    process.process.send_signal(signal.SIGALRM)


def _send(path: Path, *, folder: Path, clip: ClipSpec, seconds: float) -> End:
    """Write the windows of a video into the pipe in `folder`; runs in a sandbox process."""
    try:
        mark = os.open(folder / "pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # a second try, whose windows would follow those of the first
        raise UnreadableVideo("it crashes the process that reads it") from None
    os.write(mark, str(os.getpid()).encode("ascii"))
    os.close(mark)
    try:
        # fails if nobody reads any more, instead of waiting
        pipe = os.open(folder / "pipe", os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(pipe, True)
        with os.fdopen(pipe, "wb") as file:
            windows = timelines.windows(path, clip, seconds)
            while True:
                try:
                    window = next(windows)
                except StopIteration as stop:
                    end: End = stop.value
                    return end
                file.write(_HEAD.pack(window.start, window.end, window.claimed))
                file.write(window.clip.tobytes())
                file.flush()
    finally:
        # this process may be given other work next, and must not be killed then
        (folder / "pid").unlink(missing_ok=True)
