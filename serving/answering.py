"""From an upload or a clip to an answer, with one model for all requests."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import anyio
import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.reports.card import Card
from kinoflow.reports.records import ServiceSettings
from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import Frames
from serving import measures
from serving.answers import Answer, Guess, Milliseconds, Model, ModelCard
from serving.decoding import decode
from serving.refusals import Refusal
from serving.uploads import Upload, written


class Answering:
    """A bundle that answers requests. Its methods may be called by many threads.

    Args:
        bundle: the model.
        settings: those of the service.
        card: the model card in the Bento.
        bento: the version of the Bento.
        remember: is given every answer.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: ServiceSettings,
        card: Card,
        bento: str,
        remember: Callable[[Answer], None],
    ) -> None:
        self.remember = remember
        self.bundle = bundle
        self.settings = settings
        self.streams = 0  # jobs that are being decoded: they take no decoder from requests
        # Requests are decoded side by side but use the model one after the other: it takes every
        # core by itself, and Keras does not promise that two threads may call one model. It goes to
        # those that wait in the order of their arrival, as a lock of Python's does not.
        self.model_is_free = FairSemaphore()
        # as many as there are slots, so that a request with a slot never waits for a thread
        self.threads = anyio.CapacityLimiter(settings.max_concurrency)
        # the first use compiles the model
        bundle.predict(np.zeros((1, *bundle.clip.shape), np.uint8))
        import keras

        self.model = Model(
            candidate=bundle.description.name,
            bento=bento,
            device=keras.distribution.list_devices()[0],
        )
        self.card = ModelCard(
            **dict(card),
            bento=bento,
            device=self.model.device,
            keep_footage=settings.keep_footage,
        )

    @property
    def decoding(self) -> Bounds:
        """How much decoding one upload may take, and how many are decoded at a time."""
        bounds = Bounds(self.settings.timeout_s, self.settings.memory_mb, self.settings.decoders)
        return replace(bounds, concurrency=bounds.max_calls + self.streams)

    def video(self, upload: Upload) -> Answer:
        """The answer to a video. Raises Refusal as `decode` and `probabilities` do."""
        with written(upload) as path:
            clip, decoding = decode(path, self.bundle.clip, self.decoding, upload.deadline)
        return self.clip(clip, upload.deadline, decoding)

    def clip(self, clip: Frames, deadline: float, decoding: float = 0.0) -> Answer:
        """The answer to a clip.

        Args:
            clip: uint8 RGB (T, H, W, 3), as the bundle's clips.
            deadline: as for `probabilities`.
            decoding: how many seconds it took to decode the clip.

        Raises Refusal as `probabilities` does.
        """
        probabilities, inference = self.probabilities(clip, deadline)
        order = np.argsort(-probabilities, kind="stable")[: self.settings.top_k]
        labels = self.bundle.labels
        top = [Guess(label=labels[i], confidence=float(probabilities[i])) for i in order]
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
        self.remember(answer)
        measures.answered(answer)
        return answer

    def probabilities(self, clip: Frames, deadline: float | None) -> tuple[Probabilities, float]:
        """Probabilities (classes,) of a clip, and how many seconds the model took.

        Args:
            clip: uint8 RGB (T, H, W, 3), as the bundle's clips.
            deadline: until when to wait for the model, on the clock of time.monotonic(); None:
                without end.

        Raises Refusal (503) if the model is not free before the deadline.
        """
        came = time.monotonic()
        free = self.model_is_free.acquire(1, deadline)
        measures.waited("model", time.monotonic() - came)
        if not free:
            raise Refusal(503, "the service is busy, try again later: the model was never free")
        try:
            started = time.monotonic()
            probabilities = self.bundle.predict(clip[None])[0]
            seconds = time.monotonic() - started
            measures.inferred(seconds)
            return probabilities, seconds
        finally:
            self.model_is_free.release()
