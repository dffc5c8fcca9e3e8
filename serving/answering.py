"""From an upload or a clip to an answer, with one model for all requests."""

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.compress.forms import Form
from kinoflow.monitor import features
from kinoflow.monitor.features import Features
from kinoflow.monitor.inputs import Header
from kinoflow.reports.card import Card
from kinoflow.reports.records import ServiceSettings
from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import Frames
from serving import measures, processors
from serving.answers import Answer, Guess, Milliseconds, Model, ModelCard
from serving.batching import Batcher, Forward, NeverFreeError, OverfullError, best_views
from serving.courses import Courses
from serving.decoding import decode, decode_first
from serving.limits import Limits, UploadBounds
from serving.mixing import mixed
from serving.refusals import Refusal
from serving.samples import Seen
from serving.uploads import Upload, written


class Answering:
    """A bundle that answers requests. Its methods may be called by many threads.

    Args:
        bundle: the model.
        settings: those of the service.
        card: the model card in the Bento.
        bento: the version of the Bento.
        remember: is given every answer, and what it was given for.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: ServiceSettings,
        card: Card,
        bento: str,
        remember: Callable[[Answer, Seen], None],
    ) -> None:
        self.remember = remember
        batching = settings.max_batch > 1
        processors_here = processors.find(bundle, batching=batching)
        if processors_here.device.startswith("gpu"):
            bundle = mixed(bundle, settings.gpu_precision)
        self.bundle = bundle
        self.settings = settings
        # long videos that are being decoded for a timeline: they take no decoder from others
        self.streams = 0
        self._counting = threading.Lock()
        # for what uses the model otherwise than by `probabilities`: explanations, streaming models
        self.model_is_free = FairSemaphore()
        # as many as there are slots, so that a request with a slot never waits for a thread
        self.threads = anyio.CapacityLimiter(settings.max_concurrency)
        self._being_decoded = 0
        views = bundle.views(np.zeros(bundle.clip.shape, np.uint8))
        forward = _forward(bundle) if settings.sample else bundle.forward
        # a form answers batches of one size; asking loads or compiles the model as well
        least_views = bundle.details.batch if isinstance(bundle, Form) else 1
        most_clips = settings.max_batch if bundle.is_network else 0
        most_views = max(least_views, best_views(forward, views, most_clips))
        # of a program that has many: more would only keep requests waiting
        self.together = max(processors_here.lanes, most_views // len(views))
        self._batcher = Batcher(
            forward,
            lanes=processors_here.lanes,
            most_views=most_views,
            least_views=least_views,
            # those of jobs and live connections come without a slot, and those of a timeline or an
            # explanation several at a time
            most_waiting=settings.max_concurrency + settings.max_live + 1 + 2 * self.together,
            wait_s=settings.batch_wait_ms / 1000,
            expected=lambda: self._being_decoded,
        )
        self.model = Model(
            candidate=bundle.description.name, bento=bento, device=processors_here.device
        )
        self.card = ModelCard(
            **dict(card),
            bento=bento,
            device=self.model.device,
            keep_footage=settings.keep_footage,
        )
        self.courses = Courses(
            bundle,
            self.probabilities,
            seconds=card.clip_seconds,
            most=settings.timeline_windows,
            together=self.together,
            bounds=lambda: self.decoding,
            streaming=self.streaming,
        )

    @property
    def decoding(self) -> Bounds:
        """How much decoding one upload may take, and how many are decoded at a time."""
        settings = self.settings
        bounds = UploadBounds(
            settings.timeout_s,
            settings.memory_mb,
            settings.decoders,
            limits=Limits(settings.max_seconds, settings.max_frames, settings.max_megapixels),
        )
        return replace(bounds, concurrency=bounds.max_calls + self.streams)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Decode one more video within this block, beside those that requests decode."""
        with self._counting:
            self.streams += 1
        try:
            yield
        finally:
            with self._counting:
                self.streams -= 1

    def video(self, upload: Upload) -> Answer:
        """The answer to a video. Raises Refusal as `decode` and `probabilities` do."""
        with written(upload) as path:
            with self._on_its_way():
                clip, decoding, header = decode(
                    path, self.bundle.clip, self.decoding, upload.deadline
                )
            answer = self.clip(clip, upload.deadline, decoding, header, path)
            seconds = None if math.isnan(header.seconds) else header.seconds
            course = self.courses.of(path, seconds, upload.deadline)
        return answer.model_copy(update=vars(course))

    def check(self, path: Path, deadline: float) -> None:
        """Raise Refusal for a file that is no video or is beyond the limits, by its first frame."""
        decode_first(path, self.decoding, deadline)

    def clip(
        self,
        clip: Frames,
        deadline: float,
        decoding: float = 0.0,
        header: Header = Header(),  # noqa: B008 it is frozen
        video: Path | None = None,
    ) -> Answer:
        """The answer to a clip.

        Args:
            clip: uint8 RGB (T, H, W, 3), as the bundle's clips.
            deadline: as for `probabilities`.
            decoding: how many seconds it took to decode the clip.
            header: what the video's file says of itself.
            video: that file.

        Raises Refusal as `probabilities` does.
        """
        probabilities, found, inference = self._asked(clip, deadline)
        labels, top = self.bundle.labels, self.top(probabilities)
        answer = Answer(
            id=secrets.token_hex(16),
            label=top[0].label,
            confidence=top[0].confidence,
            top=top,
            probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
            milliseconds=Milliseconds(
                decode=round(1000 * decoding, 3), inference=round(1000 * inference, 3)
            ),
            model=self.model,
        )
        self.remember(answer, Seen(clip, found, header, video))
        measures.answered(answer)
        return answer

    def top(self, probabilities: Probabilities) -> list[Guess]:
        """The likeliest labels by probabilities (classes,), as many as the settings say."""
        order = np.argsort(-probabilities, kind="stable")[: self.settings.top_k]
        labels = self.bundle.labels
        return [Guess(label=labels[i], confidence=float(probabilities[i])) for i in order]

    @contextmanager
    def _on_its_way(self) -> Iterator[None]:
        """Have the model's next call wait a moment for what is decoded within this block."""
        with self._counting:
            self._being_decoded += 1
        try:
            yield
        finally:
            with self._counting:
                self._being_decoded -= 1

    def probabilities(self, clip: Frames, deadline: float | None) -> tuple[Probabilities, float]:
        """Probabilities (classes,) of a clip, and how many seconds the model took.

        Args:
            clip: uint8 RGB (T, H, W, 3), as the bundle's clips.
            deadline: until when to wait for the model, on the clock of time.monotonic(); None:
                without end.

        Raises Refusal (503) if the model is not free before the deadline.
        """
        probabilities, _, seconds = self._asked(clip, deadline)
        return probabilities, seconds

    def _asked(self, clip: Frames, deadline: float | None) -> tuple[Probabilities, Features, float]:
        """As `probabilities`, with the model's features (F,) of the clip, none without samples."""
        try:
            answers, waited, seconds = self._batcher(self.bundle.views(clip), deadline)
        except (NeverFreeError, OverfullError):
            raise Refusal(
                503, "the service is busy, try again later: the model was never free"
            ) from None
        measures.waited("model", waited)
        measures.inferred(seconds)
        classes = len(self.bundle.labels)
        # copied, so that they are summed in the order in which evaluation sums them
        averaged = answers[:, :classes].copy().mean(axis=0)
        found = answers[:, classes:].mean(axis=0)
        return self.bundle.calibrated(averaged[None])[0], found, seconds

    @contextmanager
    def alone(self, deadline: float | None) -> Iterator[None]:
        """Have the model for oneself within this block.

        Args:
            deadline: as for `probabilities`, which raises the same Refusal.
        """
        came = time.monotonic()
        free = self.model_is_free.acquire(1, deadline)
        measures.waited("model", time.monotonic() - came)
        if not free:
            raise Refusal(503, "the service is busy, try again later: the model was never free")
        try:
            yield
        finally:
            self.model_is_free.release()


def _forward(bundle: Bundle) -> Forward:
    """The compiled model with its features behind the probabilities, float32 (B, classes + F)."""
    both = features.forward(bundle)
    return lambda views: np.concatenate(both(views), axis=1)
