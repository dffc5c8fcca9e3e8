"""Videos in a Bento, with the answers that its model gives: a service checks itself by them."""

from kinoflow.reports.records import Document, Record


class CheckVideo(Record):
    """A video and its answer."""

    file: str  # its name, beside this document
    probabilities: dict[str, float]  # of every label, in the model's order


class Check(Document):
    """check/check.json in a Bento."""

    stage = "package"

    device: str  # where the model ran: cpu:0
    precision: str | None = None  # of a form; None: the model is a bundle
    videos: tuple[CheckVideo, ...]
