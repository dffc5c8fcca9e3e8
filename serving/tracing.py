"""Traces of requests, by OpenTelemetry."""

from starlette.applications import Starlette

from serving.asgi import place

_BENTOML = "OpenTelemetryMiddleware"


def only_for(app: Starlette, exporter: str | None) -> Starlette:
    """Leave tracing out if nothing receives the traces, and return the application.

    It makes a span of every part of a request and of its answer, also where none is kept: about a
    tenth of the processor time that the service takes beside decoding and the model.

    Args:
        app: the application.
        exporter: `tracing.exporter_type` of BentoML's configuration; None or empty: nothing
            receives the traces.
    """
    if not exporter:
        del app.user_middleware[place(app, _BENTOML)]
    return app
