"""From the request to a video file on disk, with every mistake answered in a sentence."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bentoml
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from kinoflow.system.errors import no_space
from serving import visits
from serving.settings import SETTINGS
from serving.visits import Refusal


@dataclass(frozen=True)
class Received:
    """An upload that is there, and by when it must be answered, as time.monotonic() counts."""

    file: UploadFile
    deadline: float


class Upload(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML comes without types
    """A multipart form with one video file."""

    # The form is read below rather than by BentoML, which holds a whole upload in memory,
    # without limit, makes the sender's file name part of a path, and fetches the URL that
    # somebody writes where a file should be.
    video: Path

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> "Upload":
        """What was `Received`, in place of `video`, or the Refusal.

        A Refusal is not raised, since BentoML would log it as a crash of the service.
        """
        visit = visits.of(request.scope)
        try:
            with _room_on_disk():
                async with visit.arriving():
                    file = await _file(request, visit)
            # a client that is slow to send keeps nobody else from being answered
            visit.take_turn()
        except TimeoutError:
            return cls.model_construct(
                video=Refusal(408, "the upload takes too long: send it at once, or a shorter video")
            )
        except Refusal as refusal:
            return cls.model_construct(video=refusal)
        return cls.model_construct(video=Received(file, visit.deadline))


@contextmanager
def on_disk(upload: UploadFile) -> Iterator[Path]:
    """The path of the uploaded file, which is deleted afterwards.

    Raises Refusal if the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="kinoflow-upload-") as folder:
        # Never by the name it came with, nor its ending: the decoder goes by the content, but a
        # playlist that ends in .m3u8 would make it read other files of this machine.
        path = Path(folder) / "video"
        with _room_on_disk(), path.open("wb") as file, upload.file:
            shutil.copyfileobj(upload.file, file)
        yield path


@contextmanager
def _room_on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not no_space(error):
            raise
        raise Refusal(507, "there is no room for the upload just now: try again later") from None


async def _file(request: Request, visit: visits.Visit) -> UploadFile:
    try:
        form = await _Bounded(request, visit).form(max_files=1)
    # the last two are for what no codec or form allows, such as a charset called undefined
    except (HTTPException, ClientDisconnect, ValueError, LookupError):
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

    def __init__(self, request: Request, visit: visits.Visit) -> None:
        super().__init__(request.scope, request.receive)
        self._visit = visit

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self._check(int(self.headers.get("content-length", 0)))
        received = 0
        async for chunk in super().stream():
            received += len(chunk)
            self._check(received)
            self._visit.grow(len(chunk))
            yield chunk

    def _check(self, size: int) -> None:
        if size > SETTINGS.max_upload_mb * 1e6:
            raise Refusal(
                413, f"the upload is larger than {SETTINGS.max_upload_mb:g} MB, the limit here"
            )
