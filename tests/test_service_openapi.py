"""GET /docs.json: the description of the service is whole, and what it answers is as described."""

import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from kinoflow.video import sample
from serving import routes
from serving.answering import Answering
from serving.working import Working
from tests.asgi import Client

pytest_plugins = ["tests.api_fixtures"]


@pytest.fixture
def described(ask: Client) -> dict[str, Any]:
    document: dict[str, Any] = ask("GET", "/docs.json").json()
    return document


def problems(described: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value by a schema of the description."""
    whole = {**schema, "components": described["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_it_is_valid_and_names_every_route(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()
    ours = {
        (route.path, method.lower())
        for route in routes.application().routes
        if isinstance(route, Route) and route.include_in_schema  # not the page
        for method in route.methods or ()
        if method != "HEAD"
    }
    named = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert named - ours == {
        ("/predict", "post"),
        *((path, "get") for path in ("/livez", "/readyz", "/metrics")),
    }
    assert ours - named == {("/docs.json", "get")}


def test_every_example_is_as_its_schema_says(described: dict[str, Any]) -> None:
    tried = 0
    for methods in described["paths"].values():
        for operation in methods.values():
            parts = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in [c for part in parts for c in part.get("content", {}).values()]:
                if "example" in content:
                    assert not problems(described, content["schema"], content["example"])
                    tried += 1
    for message in described["x-websockets"]["/live"].values():
        if isinstance(message, dict):
            assert not problems(described, message["schema"], message["example"])
            tried += 1
    assert tried > 40
    answer = described["paths"]["/predict"]["post"]["responses"]["200"]
    assert answer["content"]["application/json"]["example"]["probabilities"].keys() == set("ABC")


def test_answers_are_as_described(
    ask: Client,
    working: Working,
    answering: Answering,
    video: Path,
    described: dict[str, Any],
) -> None:
    working.start()
    clip = sample(video, answering.bundle.clip).tobytes()
    answer = ask("POST", "/predict_clip", content=clip)
    job = ask("POST", "/jobs", files={"video": video.read_bytes()})
    given = {"answer": answer.json()["id"], "label": "B"}
    asked = [
        ("/predict_clip", "post", answer),
        ("/predict_clip", "post", ask("POST", "/predict_clip", content=b"")),
        ("/model", "get", ask("GET", "/model")),
        ("/feedback", "post", ask("POST", "/feedback", json=given)),
        ("/feedback", "post", ask("POST", "/feedback", json={})),
        ("/explain", "post", ask("POST", "/explain?method=x")),
        ("/preview", "post", ask("POST", "/preview", files={"video": b"no video"})),
        ("/jobs", "post", job),
        ("/jobs", "get", ask("GET", "/jobs")),
        ("/jobs", "post", ask("POST", "/jobs?window=0")),
        ("/jobs/{id}", "get", ask("GET", "/jobs/unknown")),
        ("/jobs/{id}", "delete", ask("DELETE", "/jobs/unknown")),
    ]
    name, deadline = job.json()["id"], time.monotonic() + 30
    while ask("GET", f"/jobs/{name}").json()["state"] != "done" and time.monotonic() < deadline:
        time.sleep(0.05)
    asked += [
        ("/jobs/{id}", "get", ask("GET", f"/jobs/{name}")),
        ("/jobs/{id}", "delete", ask("DELETE", f"/jobs/{name}")),
    ]
    for path, method, response in asked:
        responses = described["paths"][path][method]["responses"]
        schema = responses[str(response.status_code)]["content"]["application/json"]["schema"]
        assert not problems(described, schema, response.json()), (path, method)
