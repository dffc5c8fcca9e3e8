"""How a request is refused."""

from starlette.responses import JSONResponse

_TRY_AGAIN = {429, 503, 507}  # of HTTP: the same request may be answered later


class Refusal(Exception):
    """A request that is not answered: an HTTP status, and why, in a sentence for its sender."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer(refusal: Refusal) -> JSONResponse:
    """What a request that is refused is answered."""
    headers = {"Retry-After": "1"} if refusal.status in _TRY_AGAIN else None
    return JSONResponse({"error": str(refusal)}, refusal.status, headers=headers)
