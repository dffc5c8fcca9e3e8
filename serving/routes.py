"""The service's answers beside POST /predict, which BentoML's own routes could not give."""

import functools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO
from urllib.parse import quote

import anyio.to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from kinoflow.system.documents import describe
from serving import admission, clips, handover, openapi, pages, uploads
from serving.answering import Answering
from serving.explaining import Explaining
from serving.feedback import Feedback, Given
from serving.jobs import Jobs
from serving.live import live
from serving.preview import Previews
from serving.refusals import Refusal, answer
from serving.restyling import Restyling
from serving.working import Working

_MOST_JSON = 65_536  # bytes
_PIECE = 262_144  # bytes of a file that are sent at once
_LISTED = 100  # jobs
# seconds of a window of a job, at least and at most
_LEAST_WINDOW_S, _MOST_WINDOW_S = 0.1, 600.0

Endpoint = Callable[[Request], Awaitable[Response]]


def refusing(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with each Refusal as an answer."""

    @functools.wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return answer(refusal)

    return answered


@refusing
async def predict_clip(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    shape = answering.bundle.clip.shape
    body = await uploads.body(request, math.prod(shape) + clips.MOST_HEADER)
    clip = clips.read(body, shape)
    admitted = admission.of(request.scope)
    admitted.take_slot()
    answered = await anyio.to_thread.run_sync(
        answering.clip, clip, admitted.deadline, limiter=answering.threads
    )
    return JSONResponse(answered.model_dump())


@refusing
async def model(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    restyling: Restyling | None = getattr(request.app.state, "restyling", None)
    update = {"not_served": handover.refused(), "style": restyling and restyling.name}
    card = answering.card.model_copy(update=update)
    return JSONResponse(card.model_dump(mode="json"))


@refusing
async def feedback(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    store: Feedback = request.app.state.feedback
    given, video = await _given(request)
    if video is not None and not answering.settings.keep_footage:
        raise Refusal(400, "this service keeps no footage: send the feedback without the video")
    admission.of(request.scope).take_slot()
    kept = await anyio.to_thread.run_sync(
        store.keep, given, video.file if video else None, limiter=answering.threads
    )
    return JSONResponse(kept.model_dump(), 201)


@refusing
async def submit(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    jobs: Jobs = request.app.state.jobs
    working: Working = request.app.state.working
    seconds = _seconds(request, answering)
    # before the upload, which may take long
    await anyio.to_thread.run_sync(jobs.check_room)
    upload = await uploads.received(request)
    check = functools.partial(answering.check, deadline=upload.deadline)
    with upload.file.file as video:
        job = await anyio.to_thread.run_sync(
            jobs.accept, video, seconds, check, limiter=answering.threads
        )
    working.wake()
    return JSONResponse(job.model_dump(), 202, headers={"Location": f"/jobs/{job.id}"})


def _seconds(request: Request, answering: Answering) -> float:
    """How long a window of a job is."""
    given = request.query_params.get("window")
    if given is None:
        return answering.courses.window
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not _LEAST_WINDOW_S <= seconds <= _MOST_WINDOW_S:
        raise Refusal(
            400, f"window must be a number from {_LEAST_WINDOW_S:g} to {_MOST_WINDOW_S:g} seconds"
        )
    return seconds


@refusing
async def job(request: Request) -> Response:
    working: Working = request.app.state.working
    act = working.cancel if request.method == "DELETE" else working.get
    found = await anyio.to_thread.run_sync(act, request.path_params["id"])
    return JSONResponse(found.model_dump())


@refusing
async def jobs(request: Request) -> Response:
    working: Working = request.app.state.working
    found = await anyio.to_thread.run_sync(working.newest, _LISTED)
    return JSONResponse(found.model_dump())


@refusing
async def explain(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    explaining: Explaining = request.app.state.explaining
    upload, fields = await uploads.received_with_fields(request)
    made = await anyio.to_thread.run_sync(
        explaining.video,
        upload,
        # a form of a page sends an empty field where nothing is chosen
        fields.get("label") or None,
        request.query_params.get("method") or None,
        limiter=answering.threads,
    )
    headers = {"X-Kinoflow-Label": quote(made.label, safe=""), "X-Kinoflow-Method": made.method}
    return Response(made.film, media_type="video/mp4", headers=headers)


@refusing
async def preview(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    previews: Previews = request.app.state.previews
    upload = await uploads.received(request)
    made = await anyio.to_thread.run_sync(previews.video, upload, limiter=answering.threads)
    headers = {
        "Content-Length": str(made.size),
        "X-Kinoflow-Seconds": f"{made.made.seconds:.3f}",
        "X-Kinoflow-Whole": str(made.made.whole).lower(),
    }
    return StreamingResponse(_pieces(made.file), media_type="video/mp4", headers=headers)


@refusing
async def style(request: Request) -> Response:
    answering: Answering = request.app.state.answering
    restyling: Restyling = request.app.state.restyling
    upload = await uploads.received(request)
    made = await anyio.to_thread.run_sync(restyling.video, upload, limiter=answering.threads)
    headers = {"Content-Length": str(made.size)}
    return StreamingResponse(_pieces(made.file), media_type="video/mp4", headers=headers)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await anyio.to_thread.run_sync(file.read, _PIECE):
            yield piece


async def description(request: Request) -> Response:
    state = request.app.state
    keyed = getattr(state, "keys", None) is not None
    styled = getattr(state, "restyling", None) is not None
    return JSONResponse(openapi.document(state.answering, keyed=keyed, styled=styled))


async def _given(request: Request) -> tuple[Given, UploadFile | None]:
    """The feedback in a request, JSON or a form, and the video in the form."""
    video: UploadFile | str | None = None
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        fields = dict(await uploads.form(request) or {})
        video = fields.pop("video", None)
        check = functools.partial(Given.model_validate, fields)
    else:
        body = await uploads.body(request, _MOST_JSON)
        check = functools.partial(Given.model_validate_json, body)
    if isinstance(video, str):
        raise Refusal(400, "the field video must be a file")
    try:
        return check(), video
    except ValidationError as error:
        raise Refusal(
            400,
            'send {"answer": the id of an answer, "label": the label that is right}; '
            f"{describe(error, Given)}",
        ) from None


def application(*, styled: bool = False) -> Starlette:
    """The routes.

    Before the first request, `state` must hold `answering`, `explaining`, `feedback`, `jobs`,
    `live`, `previews` and `working`.

    Args:
        styled: whether there is POST /style; then `state` must hold `restyling` as well.
    """
    return Starlette(
        routes=[
            Route("/predict_clip", predict_clip, methods=["POST"]),
            Route("/model", model),
            Route("/feedback", feedback, methods=["POST"]),
            # instead of BentoML's, which knows /predict alone
            Route("/docs.json", description),
            Route("/explain", explain, methods=["POST"]),
            Route("/preview", preview, methods=["POST"]),
            *([Route("/style", style, methods=["POST"])] if styled else []),
            Route("/jobs", submit, methods=["POST"]),
            Route("/jobs", jobs),
            Route("/jobs/{id}", job, methods=["GET", "DELETE"]),
            WebSocketRoute("/live", live),
            # the one at / instead of BentoML's
            *pages.routes(),
        ]
    )
