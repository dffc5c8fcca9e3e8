"""What the service measures of itself, for GET /metrics."""

from contextvars import ContextVar
from functools import cache
from types import SimpleNamespace
from typing import Literal

from serving.answers import Answer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PARTS = tuple(part / 20 for part in range(1, 21))
_REASONS = {
    400: "bad request",
    404: "unknown",
    408: "slow upload",
    413: "too large",
    429: "no slot",
    503: "busy",
    504: "slow decoding",
    507: "full disk",
}

# false while the service answers its own check videos, which are nobody's requests
COUNTING: ContextVar[bool] = ContextVar("COUNTING", default=True)

Wait = Literal["decoder", "model"]


@cache
def _measures() -> SimpleNamespace:
    # not at import: the library chooses then where it counts, by a variable of the environment
    import prometheus_client as prometheus

    return SimpleNamespace(
        answers=prometheus.Counter("kinoflow_answers", "Answers by their label", ["label"]),
        confidence=prometheus.Histogram(
            "kinoflow_confidence", "Probability of the label of an answer", buckets=_PARTS
        ),
        decode=prometheus.Histogram(
            "kinoflow_decode_seconds", "Decoding a video, without waiting", buckets=_SECONDS
        ),
        inference=prometheus.Histogram(
            "kinoflow_inference_seconds", "The model, without waiting", buckets=_SECONDS
        ),
        queue=prometheus.Histogram(
            "kinoflow_queue_seconds",
            "Waiting for a decoder or for the model",
            ["waits_for"],
            buckets=_SECONDS,
        ),
        refusals=prometheus.Counter(
            "kinoflow_refusals", "Requests refused by their reason", ["reason"]
        ),
        live=prometheus.Histogram(
            "kinoflow_live_seconds",
            "From the arrival of a live frame to its answer",
            buckets=_SECONDS,
        ),
        samples=prometheus.Counter(
            "kinoflow_samples", "Answers by whether they are kept for monitoring", ["outcome"]
        ),
        jobs=prometheus.Counter("kinoflow_jobs", "Jobs by how they ended", ["state"]),
    )


def answered(answer: Answer) -> None:
    """Count an answer to a request."""
    if COUNTING.get():
        _measures().answers.labels(answer.label).inc()
        _measures().confidence.observe(answer.confidence)


def decoded(seconds: float) -> None:
    """Count a video that was decoded."""
    if COUNTING.get():
        _measures().decode.observe(seconds)


def inferred(seconds: float) -> None:
    """Count a use of the model."""
    if COUNTING.get():
        _measures().inference.observe(seconds)


def followed(seconds: float) -> None:
    """Count a live frame, and how long its answer took from its arrival."""
    _measures().live.observe(seconds)


def waited(what: Wait, seconds: float) -> None:
    """Count the wait of a request, or of a window of a job."""
    if COUNTING.get():
        _measures().queue.labels(what).observe(max(0.0, seconds))


def refused(status: int, reason: str | None = None) -> None:
    """Count a refusal; the reason follows from the status if it is not given."""
    if COUNTING.get():
        _measures().refusals.labels(reason or _REASONS.get(status, "other")).inc()


def sampled(outcome: Literal["kept", "left out"], count: int = 1) -> None:
    """Count answers that are kept for monitoring, or left out because too many came."""
    _measures().samples.labels(outcome).inc(count)


def ended(state: str) -> None:
    """Count a job that ended."""
    _measures().jobs.labels(state).inc()
