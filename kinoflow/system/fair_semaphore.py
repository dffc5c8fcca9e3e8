"""A semaphore that admits waiting threads in the order of their arrival."""

import threading
import time
from collections import deque


class FairSemaphore:
    """Limits how many threads do something at the same time, first come first served.

    Each call gives the limit, since callers may have different limits.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._holders = 0

    def acquire(self, limit: int, deadline: float | None = None) -> bool:
        """Wait until it is this thread's turn and fewer than `limit` threads hold the semaphore.

        Args:
            limit: how many threads may hold it, this one included.
            deadline: until when to wait, in seconds of `time.monotonic()`; None: without end.

        Returns whether it was acquired; after the deadline, always False.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                acquired = self._changed.wait_for(
                    lambda: self._queue[0] is ticket and self._holders < limit,
                    None if deadline is None else deadline - time.monotonic(),
                )
                if not acquired or (deadline is not None and time.monotonic() >= deadline):
                    return False
                self._holders += 1
                return True
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def release(self) -> None:
        """Let the next thread in."""
        with self._changed:
            self._holders -= 1
            self._changed.notify_all()
