"""How a request is refused."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

from serving import measures

_TRY_AGAIN = {429, 503, 507}  # of HTTP: the same request may be answered later


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        text: why, in a sentence for its sender.
        reason: in a word or two, for /metrics; None: it follows from the status.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


def answer(refusal: Refusal) -> JSONResponse:
    """What a request that is refused is answered; it is counted."""
    measures.refused(refusal.status, refusal.reason)
    headers = {"Retry-After": "1"} if refusal.status in _TRY_AGAIN else {}
    headers |= refusal.headers
    return JSONResponse({"error": str(refusal)}, refusal.status, headers=headers)
