"""A semaphore that admits waiting threads in the order of their arrival."""

import threading
import time
from collections import deque


class FairSemaphore:
    """Limits how many threads do something at the same time, first come first served.

    Each call gives the limit, since callers may have different limits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._holders = 0

    def acquire(self, limit: int, deadline: float | None = None) -> bool:
        """Wait until it is this thread's turn and fewer than `limit` threads hold the semaphore.

        Args:
            limit: how many threads may hold it, this one included.
            deadline: until when to wait, in seconds of `time.monotonic()`; None: without end.

        Returns whether it was acquired; after the deadline, always False.
        """
        ticket = _Ticket(limit)
        with self._lock:
            self._queue.append(ticket)
            self._admit()
        admitted = False
        try:
            ticket.admitted.wait(None if deadline is None else max(0, deadline - time.monotonic()))
            admitted = deadline is None or time.monotonic() < deadline
        finally:
            # after any exception, Ctrl-C included
            if not admitted:
                self._give_up(ticket)
        return admitted

    def release(self) -> None:
        """Let the next thread in."""
        with self._lock:
            self._holders -= 1
            self._admit()

    def _admit(self) -> None:
        # The one thread whose turn it is wakes up. If all did, many would take their time from it.
        while self._queue and self._holders < self._queue[0].limit:
            self._holders += 1
            self._queue.popleft().admitted.set()

    def _give_up(self, ticket: "_Ticket") -> None:
        with self._lock:
            if ticket.admitted.is_set():
                self._holders -= 1
            else:
                self._queue.remove(ticket)
            self._admit()


class _Ticket:
    """One thread's place in the queue."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.admitted = threading.Event()
