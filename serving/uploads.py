"""From the request to a video file on disk, with every mistake answered in a sentence."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path

import bentoml
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from serving.settings import SETTINGS


class Refusal(Exception):
    """The request cannot be answered. Its text says why, in words for whoever sent it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status  # of HTTP


class Upload(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML comes without types
    """A multipart form with one video file."""

    # The form is read below rather than by BentoML, which holds a whole upload in memory,
    # without limit, makes the sender's file name part of a path, and fetches the URL that
    # somebody writes where a file should be.
    video: Path

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> "Upload":
        """The upload still open, in place of `video`, or the Refusal.

        A Refusal is not raised, since BentoML would log it as a crash of the service.
        """
        try:
            return cls.model_construct(video=await _file(request))
        except Refusal as refusal:
            return cls.model_construct(video=refusal)


@contextmanager
def on_disk(upload: UploadFile | Refusal) -> Iterator[Path]:
    """The path of the uploaded file, which is deleted afterwards.

    Raises Refusal if that is what came in place of an upload.
    """
    if isinstance(upload, Refusal):
        raise upload
    with tempfile.TemporaryDirectory(prefix="kinoflow-upload-") as folder:
        # Never by the name it came with, nor its ending: the decoder goes by the content, but a
        # playlist that ends in .m3u8 would make it read other files of this machine.
        path = Path(folder) / "video"
        with path.open("wb") as file, upload.file:
            shutil.copyfileobj(upload.file, file)
        yield path


async def _file(request: Request) -> UploadFile:
    try:
        form = await _Bounded(request.scope, request.receive).form(max_files=1)
    except (HTTPException, ClientDisconnect):
        form = None
    video = form and form.get("video")
    if not isinstance(video, UploadFile):
        raise Refusal(
            400,
            "send one video file in the multipart field video, for example: "
            f"curl -F video=@clip.avi {request.url.replace(query='')}",
        )
    return video


class _Bounded(Request):
    """A request that is refused once its body turns out larger than the limit."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self._check(int(self.headers.get("content-length", 0)))
        received = 0
        async for chunk in super().stream():
            received += len(chunk)
            self._check(received)
            yield chunk

    def _check(self, size: int) -> None:
        if size > SETTINGS.max_upload_mb * 1e6:
            raise Refusal(
                413, f"the upload is larger than {SETTINGS.max_upload_mb:g} MB, the limit here"
            )
