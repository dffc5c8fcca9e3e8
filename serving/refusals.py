"""How a request is refused."""


class Refusal(Exception):
    """A request that is not answered: an HTTP status, and why, in a sentence for its sender."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
