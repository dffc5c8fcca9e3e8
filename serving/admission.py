"""Admission control: each request has a deadline, a share of the upload budget, and a slot.

BentoML's own limits do not suffice: they count requests that are still being uploaded, and stop
counting a request at its timeout although it still runs.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.asgi import App, Message, Receive, Send
from serving.refusals import Refusal

_KEY = "kinoflow.admission"


class AdmissionControl:
    """ASGI middleware that gives each request an `Admission`, and releases it at the request's end.

    Args:
        app: the application.
        seconds: from the arrival of a request's headers to its answer.
        slots: how many requests are answered at a time, once they are uploaded.
        max_upload_mb: how large one upload may be, in MB.
        uploads_mb: the upload budget: what all uploads together may hold, in MB; at least
            `max_upload_mb`.
    """

    def __init__(
        self, app: App, *, seconds: float, slots: int, max_upload_mb: float, uploads_mb: float
    ) -> None:
        self.app = app
        self.seconds = seconds
        self.max_upload_mb = max_upload_mb
        self.free_slots = slots
        self.free_bytes = round(max(uploads_mb, max_upload_mb) * 1e6)
        # the requests that are being uploaded, the oldest first
        self.uploading: dict[Admission, asyncio.Timeout] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        admission = scope[_KEY] = Admission(self)
        try:
            await self.app(scope, receive, send)
        finally:
            admission.release()


class Admission:
    """What one request holds. Only `deadline` may be read outside the event loop's thread."""

    def __init__(self, control: AdmissionControl) -> None:
        self.deadline = time.monotonic() + control.seconds
        self._control = control
        self._has_slot = False
        self._bytes = 0

    @asynccontextmanager
    async def uploading(self) -> AsyncIterator[None]:
        """Receive the upload within this block.

        Raises TimeoutError at the deadline, or earlier if other uploads need the budget.
        """
        left = max(0.0, self.deadline - time.monotonic())
        async with asyncio.timeout(left) as timeout:
            self._control.uploading[self] = timeout
            try:
                yield
            finally:
                del self._control.uploading[self]

    def check_size(self, size: int) -> None:
        """Raise Refusal (413) if an upload of `size` bytes is larger than one may be."""
        limit = self._control.max_upload_mb
        if size > limit * 1e6:
            raise Refusal(413, f"the upload is larger than {limit:g} MB, the limit here")

    def reserve(self, size: int) -> None:
        """Take `size` more bytes of the upload budget.

        If too few are free, other uploads are ended, the oldest first. Raises Refusal (503) if that
        is not enough, because complete uploads hold the rest.
        """
        for other, timeout in self._control.uploading.items():
            if size <= self._control.free_bytes:
                break
            if other is not self and other._bytes:
                other.release()
                if not timeout.expired():
                    timeout.reschedule(0)
        if size > self._control.free_bytes:
            raise Refusal(503, "too many large videos are on their way just now: try again later")
        self._control.free_bytes -= size
        self._bytes += size

    def check_slot(self) -> None:
        """Raise Refusal (429) if no slot is free."""
        if not self._control.free_slots:
            raise Refusal(429, "too many videos are being answered just now: try again in a second")

    def take_slot(self) -> None:
        """Take one of the slots. Raises Refusal (429) if none is free."""
        self.check_slot()
        self._control.free_slots -= 1
        self._has_slot = True

    def release(self) -> None:
        """Give back all that is held."""
        self._control.free_slots += self._has_slot
        self._control.free_bytes += self._bytes
        self._has_slot, self._bytes = False, 0


def of(scope: Message) -> Admission:
    """The admission of the request with this ASGI scope."""
    admission: Admission = scope[_KEY]
    return admission
