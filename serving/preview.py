"""An upload as a video that browsers play: smaller, as H.264 in MP4, without sound."""

from dataclasses import dataclass
from functools import partial
from typing import IO

from kinoflow.render.preview import Made, make
from kinoflow.system.fair_semaphore import FairSemaphore
from serving.answering import Answering
from serving.decoding import sandboxed
from serving.refusals import Refusal
from serving.uploads import Upload, written

_FINISH_S = 2.0  # for writing the file's end, and for sending it


@dataclass(frozen=True)
class Preview:
    """A video for a browser."""

    file: IO[bytes]  # to read and to close; it has no name any more
    size: int  # bytes
    made: Made


class Previews:
    """Makes previews, one at a time.

    Args:
        answering: says how much decoding may take.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._free = FairSemaphore()

    def video(self, upload: Upload) -> Preview:
        """The preview of a video, or of as much of it as can be made before the deadline.

        Raises Refusal: 503 if other previews took all the time, and as `serving.decoding.sandboxed`
        does.
        """
        settings = self._answering.settings
        until = upload.deadline - min(_FINISH_S, settings.timeout_s / 4)
        with written(upload) as path:
            if not self._free.acquire(1, until):
                raise Refusal(503, "other previews took all the time: try again later")
            try:
                # beside those that are decoded for answers: it takes much longer
                with self._answering.streaming():
                    out = path.parent / "preview.mp4"
                    most = round(1e6 * settings.max_upload_mb)
                    write = partial(make, out=out, until=until, most=most)
                    made, _ = sandboxed(write, path, self._answering.decoding, upload.deadline)
            finally:
                self._free.release()
            # its name goes with the folder, so that nothing is left of it after a kill
            return Preview(out.open("rb"), out.stat().st_size, made)
