"""GET /live, a websocket: the frames of a camera go in, rolling answers come out.

docs/serving.md, "Live", has the messages.
"""

import asyncio
import contextlib
import logging
import queue
import time
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import av
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from kinoflow import live as library
from kinoflow.bundle import Probabilities
from kinoflow.system.documents import describe
from kinoflow.system.sandbox import Bounds, LateError, OutOfBoundsError, run_sandboxed
from kinoflow.video.frames import UnreadableVideo
from kinoflow.video.spec import Frames
from serving import jpegs, measures
from serving.answering import Answering
from serving.answers import Guess, Said
from serving.refusals import Refusal

MOST_MESSAGE = 5_000_000  # bytes; uvicorn closes a connection that sends a larger one
_MOST_TEXT = 4096  # characters
_HELLO_S = 10.0  # for the first message
_IDLE_S = 60.0  # without a frame
_READING_S = 30.0  # for the client to read an answer
_WAITING = 16  # connections that have not sent their first message
_FRAME_S = 5.0  # for decoding a frame
_MOST_GAP_S = 60.0  # between the times of two frames

# of websockets (RFC 6455)
_REFUSED, _FAILED, _TRY_LATER = 1008, 1011, 1013

Sent = TypeVar("Sent", bound=BaseModel)

_log = logging.getLogger("bentoml.kinoflow")


class Hello(BaseModel):
    """The first message of a client."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = None
    every: Annotated[int, Field(ge=1, le=10_000)] | None = (
        None  # of a window's frames, between two answers
    )


class FrameTime(BaseModel):
    """The message before a frame of a recorded source."""

    model_config = ConfigDict(extra="forbid")

    time: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]  # seconds


class LiveAnswer(Said):
    """What the model sees by the time of a frame."""

    time: float
    """Of the frame, in seconds: as the client gave it, or since the first frame."""
    label: str | None
    """To show; it does not flicker. Null until a window is full."""
    probability: float
    """Of that label; 0 while there is none."""
    top: list[Guess]
    """The likeliest first."""
    probabilities: list[float] | None
    """In the order of the labels, averaged over half a window."""
    latency_ms: float
    """From the arrival of the frame to this answer."""
    new: bool
    """Whether this frame brought a new answer."""


class Live:
    """All live connections.

    Args:
        answering: the model.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._most = answering.settings.max_live
        self._threads = anyio.CapacityLimiter(self._most)
        self._open = 0
        self._connected = 0
        # those of causal models, which take seconds to make
        self._readers: queue.SimpleQueue[library.Reader] = queue.SimpleQueue()
        self._keep(Session(answering, None, None))

    async def serve(self, websocket: WebSocket) -> None:
        """Answer one client until it goes."""
        if self._open >= self._most + _WAITING:
            measures.refused(503, "too many live")
            refusal = JSONResponse({"error": "too many are connected: try again later"}, 503)
            await websocket.send_denial_response(refusal)
            return
        self._open += 1
        try:
            await websocket.accept()
            await self._converse(websocket)
        except (WebSocketDisconnect, TimeoutError):
            pass  # it is gone, or does not read
        finally:
            self._open -= 1

    async def _converse(self, websocket: WebSocket) -> None:
        try:
            hello = await _hello(websocket)
            keys = getattr(websocket.app.state, "keys", None)
            if keys is not None:
                keys.check(hello.key, "predict")
            if self._connected >= self._most:
                raise Refusal(503, f"{self._most} are connected already: try again later")
        except Refusal as refusal:
            measures.refused(refusal.status, refusal.reason)
            code = _TRY_LATER if refusal.status == 503 else _REFUSED
            await _close(websocket, code, str(refusal))
            return
        self._connected += 1
        session: Session | None = None
        try:
            session = await self._in_thread(self._begin, hello.every)
            await _send(websocket, self._ready())
            await self._answer_frames(websocket, session)
        except Refusal as refusal:
            await _close(websocket, _TRY_LATER, str(refusal))
        except (WebSocketDisconnect, TimeoutError):
            raise
        except Exception:  # noqa: BLE001 whatever it is, the client is told
            _log.exception("a live connection failed")
            await _close(websocket, _FAILED, "the service failed: its log says why")
        finally:
            self._connected -= 1
            if session is not None:
                self._keep(session)

    def _keep(self, session: "Session") -> None:
        if session.reader is not None:
            self._readers.put(session.reader)

    def _ready(self) -> dict[str, Any]:
        return {
            "ready": True,
            "labels": [*self._answering.bundle.labels],
            "window_seconds": self._answering.courses.window,
            "bento": self._answering.model.bento,
        }

    def _begin(self, every: int | None) -> "Session":
        reader: library.Reader | None = None
        with contextlib.suppress(queue.Empty):
            reader = self._readers.get_nowait()
        return Session(self._answering, every, reader)

    async def _answer_frames(self, websocket: WebSocket, session: "Session") -> None:
        given: float | None = None
        idle = asyncio.get_running_loop().time() + _IDLE_S
        while True:
            try:
                async with asyncio.timeout_at(idle):
                    text, data = await _received(websocket)
            except TimeoutError:
                await _close(websocket, _REFUSED, f"no frame came for {_IDLE_S:g} seconds")
                return
            arrived = time.monotonic()
            try:
                if data is None:
                    given = _parsed(FrameTime, text).time
                    continue
                idle = asyncio.get_running_loop().time() + _IDLE_S
                shown, given = given, None
                answer = await self._in_thread(session.frame, data, shown, arrived)
            except Refusal as refusal:
                measures.refused(refusal.status, refusal.reason)
                await _send(websocket, {"error": str(refusal)})
                continue
            latency = time.monotonic() - arrived
            answer.latency_ms = round(1000 * latency, 3)
            await _send(websocket, answer.model_dump())
            measures.followed(latency)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)


class Session:
    """The frames of one client, which come one after the other.

    Args:
        answering: the model.
        every: how many of a window's frames there are from one answer to the next; None: a quarter.
        reader: that of a client before, for causal models.

    Raises Refusal (503) if the model is never free to begin.
    """

    def __init__(
        self, answering: Answering, every: int | None, reader: library.Reader | None
    ) -> None:
        self._answering = answering
        self._deadline = time.monotonic() + answering.settings.timeout_s
        window = answering.courses.window
        with answering.alone(self._deadline):
            self._following = library.Answering(
                answering.bundle,
                window,
                every=every,
                reader=reader,
                answers=self._ask,
                turn=self._turn,
            )
            self.reader = self._following.reader
            if self.reader is not None and reader is None:
                # the first use compiles it
                height, width = answering.bundle.clip.height, answering.bundle.clip.width
                self.reader.read(np.zeros((height, width, 3), np.uint8))
                self.reader.forget()
        self._smooth = library.Smoothing(window / 2)
        self._first = 0.0  # what the first frame's time is counted from
        self._last: float | None = None  # the time of the last frame
        self._arrived = 0.0  # when that came
        self._answer: library.Answer | None = None

    def frame(self, data: bytes, given: float | None, arrived: float) -> LiveAnswer:
        """What is to be shown with a frame; its latency is not known yet.

        Args:
            data: a JPEG file.
            given: the frame's time in seconds, by the client; None: the time of its arrival counts.
            arrived: when it arrived, on the clock of time.monotonic().

        Raises Refusal for a frame that cannot be taken, or not in time.
        """
        self._deadline = arrived + self._answering.settings.timeout_s
        pixels = self._decoded(data)
        shown = self._time(given, arrived)
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last, self._arrived = shown, arrived
        try:
            answers = self._smooth(self._following.add(shown - self._first, picture))
        except UnreadableVideo as problem:
            raise _unreadable(problem) from None
        if answers:
            self._answer = answers[-1]
        return self._said(shown, new=bool(answers))

    def _said(self, shown: float, *, new: bool) -> LiveAnswer:
        label = self._smooth.label
        likely = None if self._answer is None else self._answer.probabilities
        return LiveAnswer(
            time=round(shown, 6),
            label=None if label is None else self._answering.bundle.labels[label],
            probability=self._smooth.probability,
            top=[] if likely is None else self._answering.top(likely),
            probabilities=None if likely is None else likely.tolist(),
            latency_ms=0.0,
            new=new,
        )

    def _time(self, given: float | None, arrived: float) -> float:
        if self._last is None:
            self._first = given or 0.0
            return self._first
        shown = self._last + arrived - self._arrived if given is None else given
        if not 0 <= shown - self._last <= _MOST_GAP_S:
            raise Refusal(
                400,
                "the time of a frame may not lie before that of the last one, nor more than "
                f"{_MOST_GAP_S:g} seconds after it: connect again for another source",
            )
        return shown

    def _decoded(self, data: bytes) -> Frames:
        """The picture in a JPEG file, decoded in a process of its own."""
        settings = self._answering.settings
        most = settings.max_megapixels * 1e6
        try:
            jpegs.check(data, most)
            read = partial(jpegs.picture, spec=self._answering.bundle.clip, most_pixels=most)
            decoders = self._answering.decoding.max_calls
            bounds = Bounds(min(_FRAME_S, settings.timeout_s), settings.memory_mb, decoders)
            return run_sandboxed(read, data, bounds, deadline=self._deadline)
        except LateError as late:
            raise Refusal(503, f"the service is busy: {late}") from None
        except (jpegs.BadPicture, UnreadableVideo, OutOfBoundsError) as problem:
            raise _unreadable(problem) from None

    def _ask(self, clips: Frames) -> Probabilities:
        return np.stack([self._answering.probabilities(clip, self._deadline)[0] for clip in clips])

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._answering.alone(self._deadline):
            begun = time.monotonic()
            yield
            measures.inferred(time.monotonic() - begun)


def _unreadable(problem: Exception) -> Refusal:
    return Refusal(400, f"the frame is left out: {problem}", reason="unreadable")


async def _hello(websocket: WebSocket) -> Hello:
    """The first message. Raises Refusal for another one, or if none comes."""
    try:
        async with asyncio.timeout(_HELLO_S):
            text, data = await _received(websocket)
    except TimeoutError:
        raise Refusal(408, f"no message came for {_HELLO_S:g} seconds") from None
    if data is not None:
        raise Refusal(400, 'the first message must be {"key": the key or null}')
    return _parsed(Hello, text)


def _parsed(model: type[Sent], text: str) -> Sent:
    if len(text) > _MOST_TEXT:
        raise Refusal(400, f"a message of text may have {_MOST_TEXT} characters")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise Refusal(400, f"the message is not understood: {describe(error, model)}") from None


async def _received(websocket: WebSocket) -> tuple[str, bytes | None]:
    """The next message: its text, or its bytes."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    data: bytes | None = message.get("bytes")
    return message.get("text") or "", data


async def _send(websocket: WebSocket, message: dict[str, Any]) -> None:
    """Send a message. Raises TimeoutError for a client that does not read."""
    async with asyncio.timeout(_READING_S):
        await websocket.send_json(message)


async def _close(websocket: WebSocket, code: int, error: str) -> None:
    await _send(websocket, {"error": error})
    await websocket.close(code)


async def live(websocket: WebSocket) -> None:
    """The endpoint; `state` of the application holds `live`, and `keys` if keys are demanded."""
    connections: Live = websocket.app.state.live
    await connections.serve(websocket)
