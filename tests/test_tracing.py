"""Requests are traced where something receives the traces."""

from typing import Any

import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serving import tracing


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("answer")


@pytest.mark.parametrize("exporter", ["otlp", None])
def test_only_where_something_receives_the_traces(exporter: str | None) -> None:
    received = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(received))
    traced: Any = OpenTelemetryMiddleware
    app = Starlette(
        routes=[Route("/", answer)], middleware=[Middleware(traced, tracer_provider=provider)]
    )
    with TestClient(tracing.only_for(app, exporter)) as client:
        assert client.get("/").text == "answer"
    assert bool(received.get_finished_spans()) == bool(exporter)
