"""The OpenAPI description of all that the service answers, with examples: GET /docs.json."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import keys
from serving.answering import Answering
from serving.answers import Answer, Guess, ModelCard, Refused
from serving.explaining import methods
from serving.feedback import Given, Kept
from serving.jobs import Job, JobList
from serving.live import FrameTime, Hello, LiveAnswer
from serving.restyling import FRAMES, LONGEST, SECONDS

_REF = "#/components/schemas/{model}"
_WHY = {
    400: "The request is not as it should be, or its file is no video",
    401: "There is no key, or one that is not known",
    403: "A browser sent the request for a page of another site, or its key is not for that",
    404: "There is none with this id",
    408: "The upload was not complete before the deadline",
    413: "The upload is too large, or its video has too many seconds, frames or pixels",
    421: "The request is for a host name that the service was not given",
    429: "Too many are being answered, too many jobs wait, or too many requests come with a key",
    503: "Nothing was free before the deadline, or too many large uploads arrive at once",
    504: "Decoding did not end before the deadline",
    507: "The disk is full",
}
_UPLOAD = (400, 403, 408, 413, 421, 429, 503, 507)

Part = dict[str, Any]

_KEYS: Part = {
    "securitySchemes": {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this service"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
}


def document(answering: Answering, *, keyed: bool = False, styled: bool = False) -> Part:
    """The description, with examples in the labels of the model.

    Args:
        answering: the model.
        keyed: whether requests need keys.
        styled: whether the Bento holds a network that repaints videos.
    """
    card = answering.card
    examples = _Examples(card)
    ways = methods(answering.bundle)
    _, definitions = models_json_schema(
        [
            (model, "serialization")
            for model in (Answer, ModelCard, Kept, Job, JobList, LiveAnswer, Refused)
        ]
        + [(model, "validation") for model in (Given, Hello, FrameTime)],
        ref_template=_REF,
    )
    frames, height, width, channels = card.clip.shape
    video: Part = {
        "type": "object",
        "required": ["video"],
        "properties": {
            "video": {
                "type": "string",
                # what generators of clients know; the next is how OpenAPI 3.1 says the same
                "format": "binary",
                "contentMediaType": "application/octet-stream",
                "description": "A video of any format; its name and content type do not matter",
            }
        },
    }
    labelled = {
        **video,
        "properties": {
            **video["properties"],
            "label": {
                "type": "string",
                "description": "What to explain; if it is not given, the most probable label",
            },
        },
    }
    method = {
        "name": "method",
        "in": "query",
        "description": "How evidence is found; auto: as suits the architecture",
        "schema": {"type": "string", "enum": ["auto", *ways]},
        "example": "auto",
    }
    name = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The id of a job",
        "schema": {"type": "string"},
        "example": examples.job["id"],
    }
    window = {
        "name": "window",
        "in": "query",
        "description": "Seconds of a window; if it is not given, as many as the videos that the "
        "model was trained on have",
        "schema": {"type": "number", "minimum": 0.1, "maximum": 600},
        "example": 2.4,
    }
    array = (
        f"A clip, uint8 RGB ({frames}, {height}, {width}, {channels}): an .npy file, which is read "
        f"without pickle, or its {frames * height * width * channels} bytes alone, in C order"
    )
    paths: Part = {
        "/predict": {
            "post": _operation(
                "predict",
                "Say which action a video shows",
                _answers(200, "What the model sees", Answer, examples.answer, (*_UPLOAD, 504)),
                body=_body("multipart/form-data", video),
            )
        },
        "/predict_clip": {
            "post": _operation(
                "predict_clip",
                "Say which action a clip shows that is an array already",
                _answers(200, "What the model sees", Answer, examples.answer, _UPLOAD),
                body=_body(
                    "application/octet-stream",
                    {"type": "string", "format": "binary", "description": array},
                ),
            )
        },
        "/explain": {
            "post": _operation(
                "explain",
                "Show where and when in a video the model found evidence for its answer",
                _film(
                    "The clip beside the evidence, and below both the Shapley values of eighths of "
                    "time",
                    {
                        "X-Kinoflow-Label": ("What is explained, percent-encoded", card.labels[0]),
                        "X-Kinoflow-Method": ("How", ways[0]),
                    },
                ),
                body=_body("multipart/form-data", labelled),
                parameters=[method],
            )
        },
        "/preview": {
            "post": _operation(
                "preview",
                "Turn a video into one that browsers play, smaller and without sound",
                _film(
                    "At most 640 pixels wide, and as long as the time allows",
                    {
                        "X-Kinoflow-Seconds": ("How long it is", "6.600"),
                        "X-Kinoflow-Whole": ("Whether it is all of the video", "true"),
                    },
                ),
                body=_body("multipart/form-data", video),
            )
        },
        "/model": {
            "get": _operation(
                "model",
                "Say what the model is, how good it is, and where it comes from",
                _answers(200, "The model card", ModelCard, examples.card, (421,)),
            )
        },
        "/feedback": {
            "post": _operation(
                "feedback",
                "Say that an answer was wrong, and which label is right",
                _answers(201, "It is kept", Kept, examples.kept, (*_UPLOAD, 404)),
                body={
                    "required": True,
                    "content": {
                        "application/json": {"schema": _ref(Given), "example": examples.given},
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "required": ["answer", "label"],
                                "properties": {
                                    **definitions["$defs"]["Given"]["properties"],
                                    "video": {
                                        "type": "string",
                                        "format": "binary",
                                        "contentMediaType": "application/octet-stream",
                                        "description": "The video that was answered; only for a "
                                        "service that keeps footage, as its model card says",
                                    },
                                },
                            }
                        },
                    },
                },
            )
        },
        "/jobs": {
            "post": _operation(
                "submit_job",
                "Have a long video answered later, with a timeline",
                _answers(
                    202, "It is accepted, and not lost", Job, examples.accepted, (*_UPLOAD, 504)
                ),
                body=_body("multipart/form-data", video),
                parameters=[window],
            ),
            "get": _operation(
                "list_jobs",
                "List the newest jobs, at most 100, without their results",
                _answers(200, "The newest first", JobList, {"jobs": [examples.accepted]}, (421,)),
            ),
        },
        "/jobs/{id}": {
            "get": _operation(
                "get_job",
                "Say how far a job is, and its result",
                _answers(200, "The job", Job, examples.job, (404, 421)),
                parameters=[name],
            ),
            "delete": _operation(
                "cancel_job",
                "Cancel a job, or forget one that has ended",
                _answers(
                    200,
                    "The job; one that had ended is as it was before",
                    Job,
                    examples.cancelled,
                    (403, 404, 421, 507),
                ),
                parameters=[name],
            ),
        },
        "/livez": {"get": _plain("livez", "Whether the service runs")},
        "/readyz": {"get": _plain("readyz", "Whether the model is loaded")},
        "/metrics": {"get": _plain("metrics", "Numbers for Prometheus")},
    }
    if not card.keep_footage:
        # generators of clients stumble over two forms of one body, and only such a service has use
        # for the second
        del paths["/feedback"]["post"]["requestBody"]["content"]["multipart/form-data"]
    if styled:
        paths["/style"] = {
            "post": _operation(
                "style",
                "Repaint a short video in the style of the network in this Bento",
                _film(
                    f"At most {LONGEST} pixels long and 31 frames per second, without sound. A "
                    f"video may have {SECONDS:g} seconds and {FRAMES} frames",
                    {},
                ),
                body=_body("multipart/form-data", video),
            )
        }
    if keyed:
        _demand_keys(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kinoflow",
            "version": card.bento or "none",
            "description": "Says which action a video shows. A request that is refused gets "
            "`error`, a sentence that says why. The websocket /live is described under "
            "`x-websockets`, which OpenAPI has no other place for.",
        },
        "x-websockets": {
            "/live": {
                "summary": "Answer frames of a camera as they come",
                "description": "The first message of the client is a Hello. The service answers "
                'with {"ready": true, "labels": [..], "window_seconds": .., "bento": ..}, or with '
                "Refused, and closes. Then the client sends a JPEG file as a binary message and "
                "waits for a LiveAnswer or Refused, again and again. A FrameTime before a frame "
                "says when that is.",
                "hello": {"schema": _ref(Hello), "example": {"key": None}},
                "time": {"schema": _ref(FrameTime), "example": {"time": 1.28}},
                "answer": {"schema": _ref(LiveAnswer), "example": examples.live},
            }
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": definitions["$defs"]} | (_KEYS if keyed else {}),
    }


class _Examples:
    """Answers as they might be, in the labels of a model."""

    def __init__(self, card: ModelCard) -> None:
        rest = 0.1 / max(1, len(card.labels) - 1)
        likely = [0.9, *([rest] * (len(card.labels) - 1))]
        label, name = card.labels[0], "8c0f5e1d2b3a49678c0f5e1d2b3a4967"
        moment = {"start": 0.0, "end": 5.2, "label": label, "probabilities": likely}
        timeline = {
            "labels": [*card.labels],
            "window_seconds": 2.4,
            "seconds": 5.2,
            "segments": [{"start": 0.0, "end": 5.2, "label": label, "probability": 0.9}],
            "moments": [moment],
        }
        self.answer = Answer.model_validate(
            {
                "id": name,
                "label": label,
                "confidence": likely[0],
                "top": [{"label": label, "confidence": likely[0]}],
                "probabilities": dict(zip(card.labels, likely, strict=True)),
                "milliseconds": {"decode": 19.4, "inference": 28.5},
                "model": {
                    "candidate": card.candidate,
                    "bento": card.bento,
                    "device": card.device,
                },
                "seconds": 5.2,
                "timeline": timeline,
            }
        ).model_dump()
        self.live = LiveAnswer(
            time=3.2,
            label=label,
            probability=likely[0],
            top=[Guess(label=label, confidence=likely[0])],
            probabilities=likely,
            latency_ms=31.7,
            new=True,
        ).model_dump()
        self.card = card.model_dump(mode="json")
        self.given = Given(answer=name, label=card.labels[-1]).model_dump()
        self.kept = Kept(
            answer=name,
            given=label,
            proposed=card.labels[-1],
            bento=card.bento,
            time=1790000000.0,
            footage=False,
        ).model_dump()
        accepted = Job(id=name, state="queued", progress=0.0, created=1790000000.0)
        self.accepted = accepted.model_dump()
        self.cancelled = accepted.model_copy(
            update={"state": "cancelled", "finished": 1790000002.0}
        ).model_dump()
        self.job = Job.model_validate(
            self.accepted
            | {
                "state": "done",
                "progress": 1.0,
                "started": 1790000000.5,
                "finished": 1790000002.0,
                "bento": card.bento,
                "result": timeline,
            }
        ).model_dump()


def _operation(name: str, summary: str, responses: Part, **more: Any) -> Part:
    """`more`: the parameters, and the body of the request."""
    if "body" in more:
        more["requestBody"] = more.pop("body")
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _demand_keys(paths: Part) -> None:
    """Say for each operation which scope its key needs, and how it is refused without."""
    for path, operations in paths.items():
        for method, operation in operations.items():
            scope = keys.needs(method.upper(), path)
            if scope is not None:
                operation["security"] = [{"bearer": [scope]}, {"header": [scope]}]
                for status, refusal in _refusals((401, 403, 429)).items():
                    operation["responses"].setdefault(status, refusal)


def _plain(name: str, summary: str) -> Part:
    return _operation(
        name,
        summary,
        {"200": {"description": "Yes", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    )


def _body(content_type: str, schema: Part) -> Part:
    return {"required": True, "content": {content_type: {"schema": schema}}}


def _answers(
    status: int, what: str, model: type[BaseModel], example: Part, refused: tuple[int, ...]
) -> Part:
    """The responses of an operation: the answer, and refusals by their statuses."""
    answer = {"schema": _ref(model), "example": example}
    content = {"application/json": answer}
    return {str(status): {"description": what, "content": content}, **_refusals(refused)}


def _film(what: str, headers: dict[str, tuple[str, str]]) -> Part:
    """The responses of an operation that answers with a video; headers and their examples."""
    content = {"schema": {"type": "string", "format": "binary", "contentMediaType": "video/mp4"}}
    answer = {
        "description": f"{what}, as H.264 in MP4",
        "content": {"video/mp4": content},
        "headers": {
            name: {"description": about, "schema": {"type": "string"}, "example": example}
            for name, (about, example) in headers.items()
        },
    }
    return {"200": answer, **_refusals((*_UPLOAD, 504))}


def _refusals(statuses: tuple[int, ...]) -> Part:
    return {
        str(number): {
            "description": _WHY[number],
            "content": {
                "application/json": {
                    "schema": _ref(Refused),
                    "example": {"error": _WHY[number].lower()},
                }
            },
        }
        for number in sorted(statuses)
    }


def _ref(model: type[BaseModel]) -> Part:
    return {"$ref": _REF.format(model=model.__name__)}
