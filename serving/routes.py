"""The service's answers beside POST /predict, which BentoML's own routes could not give."""

import functools
import math
from collections.abc import Awaitable, Callable

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving import admission, clips, uploads
from serving.answering import Answering
from serving.refusals import Refusal, answer

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
    return JSONResponse(answering.card.model_dump(mode="json"))


def application() -> Starlette:
    """The routes. Before the first request, `state.answering` must be set."""
    return Starlette(
        routes=[
            Route("/predict_clip", predict_clip, methods=["POST"]),
            Route("/model", model),
        ]
    )
