"""Write a video as H.264 in MP4, frame by frame at any times, with the sound of another one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter

from kinoflow.video import h264
from kinoflow.video.clock import Clock
from kinoflow.video.frames import decode_frames, open_video, to_rgb
from kinoflow.video.spec import Frames

_X264 = {"preset": "veryfast", "crf": "21"}
_UNIT = Fraction(1, 90000)  # seconds: what frame rates in use are multiples of
_COPIED = ("aac", "mp3", "opus", "flac")  # sound that browsers play from an MP4 file as it is
_BEFORE = 0.05  # seconds of sound before the first picture that are kept
_BT709, _BT709_TAG = Colorspace.ITU709, 1


class Film:
    """A video that is being written.

    Args:
        out: the file.
        rate: frames per second, about.
        options: of x264.
    """

    def __init__(
        self, out: OutputContainer, rate: Fraction, options: Mapping[str, str] = _X264
    ) -> None:
        self.bytes = 0  # that are written, without the container's
        self._out = out
        self._rate = rate
        self._options = dict(options)
        self._stream: av.VideoStream | None = None
        self._last = -1
        self._converter = VideoReformatter()

    def add(self, time: float, picture: Frames) -> None:
        """Write a frame.

        Args:
            time: when it begins, in seconds since the first; later than the frame before.
            picture: uint8 RGB (H, W, 3). The first one's size is that of the video, less a row or
                column where that is odd.
        """
        if self._stream is None:
            self.open(picture.shape[1], picture.shape[0])
        stream = cast(av.VideoStream, self._stream)
        width, height = stream.width, stream.height
        if not (0 <= picture.shape[1] - width <= 1 and 0 <= picture.shape[0] - height <= 1):
            picture = np.asarray(cv2.resize(picture, (width, height)), dtype=np.uint8)
        even = np.ascontiguousarray(picture[:height, :width])
        frame = self._converter.reformat(
            av.VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            dst_colorspace=_BT709,
            threads=1,
        )
        frame.time_base = _UNIT
        frame.pts = self._last = max(round(time / _UNIT), self._last + 1)
        packets = stream.encode(frame)
        self.bytes += sum(packet.size for packet in packets)
        self._out.mux(packets)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._out.mux(self._stream.encode())

    def open(self, width: int, height: int, aspect: Fraction | None = None) -> None:
        """Begin the video; `add` does so if you do not.

        Args:
            width: in pixels.
            height: in pixels.
            aspect: the ratio of a pixel's width to its height; None: unknown, or 1.
        """
        stream = h264.add_stream(self._out, self._rate, self._options)
        # a picture one pixel wide has two columns, both of them the same
        stream.width, stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        context = stream.codec_context
        context.time_base = _UNIT
        if aspect:
            context.sample_aspect_ratio = aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709_TAG
        self._stream = stream


@contextmanager
def writing(
    path: Path, rate: Fraction = Fraction(25), options: Mapping[str, str] = _X264
) -> Iterator[Film]:
    """A film to add frames to; the file is there at the end of the block, whole or not at all.

    Args:
        path: the file, .mp4.
        rate: frames per second, about; frames are shown at their own times.
        options: of x264.
    """
    with h264.creating(path) as out:
        film = Film(out, rate, options)
        yield film
        film.finish()


def redraw(source: Path, path: Path, draw: Callable[[float, Frames], Frames | None]) -> str:
    """Write a video again with something drawn into its frames, and keep its sound.

    Frames keep their times, so that a variable frame rate stays one. What the container says about
    rotation is carried out. Sound that no browser plays from MP4 becomes AAC, mono or stereo; other
    sound is copied bit by bit.

    Args:
        source: the video.
        path: the file to write, .mp4.
        draw: changes a frame, uint8 RGB (H, W, 3), given its time in seconds since the first one;
            or returns what to show in its place, of any size that is the same for all.

    Returns why the sound ends before the pictures, or "".

    Raises UnreadableVideo for a source that is missing, is no video or gives no frame.
    """
    with open_video(source) as video, h264.creating(path) as out:
        clock, converter = Clock(video), VideoReformatter()
        film = Film(out, Fraction(video.average_rate or 25))
        sound: _Sound | None = None
        with open_video(source) as again:
            for frame in decode_frames(video):
                time = clock(frame)
                picture = to_rgb(frame, converter)
                drawn = draw(time, picture)
                picture = picture if drawn is None else drawn
                if sound is None:
                    # all streams have to be there before anything is written
                    film.open(picture.shape[1], picture.shape[0], aspect(video, frame))
                    sound = _Sound(again, out, clock.first or 0.0)
                sound.copy_until(time)
                film.add(time, picture)
            film.finish()
            if sound is not None:
                sound.copy_until(clock.end)
                sound.finish()
    return "" if sound is None else sound.problem


def aspect(video: av.VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """The ratio of a pixel's width to its height, after rotation; None if not known."""
    # the container's where it says one, as players take it
    aspect = video.sample_aspect_ratio
    return 1 / aspect if aspect and frame.rotation % 180 else aspect


class _Sound:
    """The sound of one file on its way into another.

    Args:
        video: a stream of the first file, opened for this alone.
        out: the second file, nothing of which is written yet.
        first: when the pictures begin, on the clock of the first file, in seconds.
    """

    def __init__(self, video: av.VideoStream, out: OutputContainer, first: float) -> None:
        self.problem = ""
        self._out, self._first = out, first
        self._encoder: Any = None
        self._target: Any = None
        container = cast(InputContainer, video.container)
        self._packets: Iterator[av.Packet] = iter(())
        self._held: av.Packet | None = None
        if not container.streams.audio:
            return
        source = container.streams.audio[0]
        # the codec context can be None, although its type says otherwise
        if cast(object, source.codec_context) is None:
            self.problem = "the codec of its sound is unknown"
            return
        try:
            # of the format: the name of a decoder can be another, mp3float for mp3
            if source.codec_context.codec.canonical_name in _COPIED:
                self._target = out.add_stream_from_template(source)
            else:
                self._encoder = out.add_stream("aac", rate=source.codec_context.sample_rate)
                # the layout of a file can be unknown to encoders
                one = source.codec_context.channels == 1
                self._encoder.codec_context.layout = "mono" if one else "stereo"
        except (av.FFmpegError, ValueError) as error:
            self.problem = f"its sound cannot be written to MP4: {error}"
            return
        self._packets = container.demux(source)

    def copy_until(self, time: float) -> None:
        """Write the sound up to this many seconds after the first picture."""
        while (packet := self._held or self._next()) is not None:
            self._held = None
            if packet.pts is None:
                continue
            begins = float(packet.pts * (packet.time_base or 0)) - self._first
            if begins >= time:
                self._held = packet
                return
            # decoders of sound need the packet before, which they do not play
            if begins >= -_BEFORE:
                self._write(packet, packet.pts)

    def _next(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except av.FFmpegError:
            self.problem = "its sound is damaged, and ends where it cannot be read"
            self._packets = iter(())
            return None

    def _write(self, packet: av.Packet, stamp: int) -> None:
        if self._encoder is None:
            # sound is decoded in the order in which it is heard
            packet.pts = packet.dts = stamp - round(self._first / float(packet.time_base or 1))
            packet.stream = self._target
            self._out.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in cast(list[av.AudioFrame], frames):
            if frame.pts is not None:
                # encoders cut sound anew, at samples: AVI counts packets of a thousand samples
                unit = Fraction(1, frame.sample_rate)
                begins = float(frame.pts * (frame.time_base or 0)) - self._first
                frame.pts, frame.time_base = round(begins / unit), unit
            self._out.mux(self._encoder.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._encoder is not None:
            self._out.mux(self._encoder.encode())
