"""Turn a request into a video file on disk, or into a refusal that says what is wrong with it."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bentoml
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from serving import admission
from serving.admission import Admission
from serving.refusals import Refusal
from serving.state import room

_SHORT = 4_000_000  # bytes of a body that is received although it will not be read

PREFIX = "kinoflow-upload-"  # of the temporary folders that uploads are written to


@dataclass(frozen=True)
class Upload:
    """A complete upload."""

    file: UploadFile
    deadline: float  # when it must be answered, on the clock of time.monotonic()


class UploadForm(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML comes without types
    """A multipart form with one video file."""

    # `from_http_request` reads the form instead of BentoML. BentoML would hold a whole upload in
    # memory without a limit, make the sender's file name part of a path, and fetch a URL that is
    # sent where a file should be.
    video: Path

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> "UploadForm":
        """The form, whose `video` is an `Upload` or a Refusal instead of a path.

        A Refusal is not raised, since BentoML would log it as a crash of the service.
        """
        try:
            return cls.model_construct(video=await received(request))
        except Refusal as refusal:
            return cls.model_construct(video=refusal)


@contextmanager
def written(upload: Upload) -> Iterator[Path]:
    """Write the upload to a file; yield its path, and delete it after the block.

    Raises Refusal (507) if the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        # Neither the sender's file name nor its suffix is used: the decoder goes by the content,
        # but a playlist called .m3u8 would make it read other files of this machine.
        path = Path(folder) / "video"
        with room(), path.open("wb") as file, upload.file.file as content:
            shutil.copyfileobj(content, file)
        yield path


async def body(request: Request, most: int) -> bytes:
    """The body of a request, as bytes in memory.

    Args:
        request: whose body it is.
        most: bytes that it may have.

    Raises Refusal: 400 for a body that ends early, 408 for one that comes too slowly, 413 for one
    that is too large, 503 if other uploads hold the upload budget.
    """
    admitted = admission.of(request.scope)
    with _in_time():
        async with admitted.uploading():
            try:
                return await _LimitedRequest(request, admitted, most).body()
            except ClientDisconnect:
                raise Refusal(400, "the body ended early: send it again") from None


async def received(request: Request) -> Upload:
    """The video in the multipart form of a request, which takes a slot.

    Raises Refusal as `form` does, and 400 for a form without a video, 429 if no slot is free.
    """
    return (await received_with_fields(request))[0]


async def received_with_fields(request: Request) -> tuple[Upload, dict[str, str]]:
    """As `received`, and the form's other fields."""
    admitted = admission.of(request.scope)
    await _check_slot(request, admitted)
    content = await form(request)
    file = _video_file(request, content)
    # only now, so that a client that sends slowly takes no slot from others
    admitted.take_slot()
    fields = {name: value for name, value in (content or {}).items() if isinstance(value, str)}
    return Upload(file, admitted.deadline), fields


async def _check_slot(request: Request, admitted: Admission) -> None:
    """Raise Refusal (429) if no slot is free: under overload, forms are not worth reading.

    A short body is received all the same. The connection would have to be closed otherwise, and a
    client that is still sending might not see the answer.
    """
    try:
        admitted.check_slot()
    except Refusal:
        with _in_time():
            async with admitted.uploading():
                if int(request.headers.get("content-length", _SHORT)) < _SHORT:
                    async for _ in _LimitedRequest(request, admitted).stream():
                        pass
        raise


async def form(request: Request) -> FormData | None:
    """The multipart form in a request, with at most one file; None if there is none.

    Raises Refusal: 408 for one that comes too slowly, 413 for one that is too large, 503 if other
    uploads hold the upload budget, 507 if the disk is full.
    """
    admitted = admission.of(request.scope)
    with _in_time(), room():
        async with admitted.uploading():
            return await _form(request, admitted)


async def _form(request: Request, admitted: Admission) -> FormData | None:
    try:
        return await _LimitedRequest(request, admitted).form(max_files=1)
    # the last two come from malformed forms, such as one with an unknown charset
    except (HTTPException, ClientDisconnect, ValueError, LookupError):
        return None


def _video_file(request: Request, content: FormData | None) -> UploadFile:
    video = content and content.get("video")
    if not isinstance(video, UploadFile):
        raise Refusal(
            400,
            "send one video file in the multipart field video, for example: "
            f"curl -F video=@clip.avi {request.url.replace(query='')}",
        )
    return video


class _LimitedRequest(Request):
    """A request that is refused as soon as its body exceeds a limit or the upload budget.

    Args:
        request: what is read.
        admitted: holds the limit on every upload, and the budget.
        most: bytes that this body may have; None: as many as every upload.
    """

    def __init__(self, request: Request, admitted: Admission, most: int | None = None) -> None:
        super().__init__(request.scope, request.receive)
        self._admitted = admitted
        self._most = most

    async def stream(self) -> AsyncGenerator[bytes, None]:
        self._check(int(self.headers.get("content-length", 0)))
        received = 0
        async for chunk in super().stream():
            received += len(chunk)
            self._check(received)
            self._admitted.reserve(len(chunk))
            yield chunk

    def _check(self, size: int) -> None:
        self._admitted.check_size(size)
        if self._most is not None and size > self._most:
            raise Refusal(413, f"the body is larger than {self._most} bytes, the most it may be")


@contextmanager
def _in_time() -> Iterator[None]:
    """Raise Refusal (408) at a timeout."""
    try:
        yield
    except TimeoutError:
        raise Refusal(
            408, "the upload takes too long: send it at once, or a shorter video"
        ) from None
