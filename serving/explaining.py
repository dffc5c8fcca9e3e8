"""Explanations of answers to requests, as films."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from kinoflow.bundle import Bundle, Probabilities
from kinoflow.config import METHODS, Method
from kinoflow.explain import film
from kinoflow.explain.footage import footage
from kinoflow.explain.methods import Explainer
from kinoflow.explain.methods import methods as of_bundle
from kinoflow.system.errors import UserError
from kinoflow.system.fair_semaphore import FairSemaphore
from kinoflow.video.spec import Frames
from serving.answering import Answering
from serving.decoding import sandboxed
from serving.refusals import Refusal
from serving.uploads import PREFIX, Upload, written


def methods(bundle: Bundle) -> tuple[Method, ...]:
    """The methods that there are for a bundle or a form in a Bento, none of which holds SHAP."""
    return tuple(method for method in of_bundle(bundle) if method != "shap")


@dataclass(frozen=True)
class Explained:
    """A film of an explanation."""

    film: bytes  # H.264 in MP4
    label: str  # what is explained
    method: Method


class Explaining:
    """Explains the answers of a bundle, one at a time, while requests use the model as well.

    Args:
        answering: the model.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        # one at a time: each holds many variants of its clip, and opened networks are large
        self._free = FairSemaphore()
        self._threads = ThreadPoolExecutor(answering.together, "explanation")
        self._explainers: dict[Method | None, Explainer] = {}
        self._deadline = 0.0  # of the explanation that is being made

    def video(self, upload: Upload, label: str | None, method: str | None) -> Explained:
        """Explain the answer to a video.

        Args:
            upload: the video.
            label: what to explain; None: the most probable label.
            method: how; None or auto: as suits the architecture.

        Raises Refusal: 400 for a label or method that there is not, or a method that the model
        does not allow; 503 if other explanations or requests took all the time, 504 if the time was
        not enough; and as `serving.decoding.sandboxed` does.
        """
        labels = self._answering.bundle.labels
        if label is not None and label not in labels:
            raise Refusal(400, "the model has no such label: GET /model lists its labels")
        named = self._named(method)
        spec = self._answering.bundle.clip
        with written(upload) as path:
            seen, _ = sandboxed(
                partial(footage, spec=spec), path, self._answering.decoding, upload.deadline
            )
        if not self._free.acquire(1, upload.deadline):
            raise Refusal(503, "other explanations took all the time: try again later")
        try:
            self._deadline = upload.deadline
            wanted = None if label is None else labels.index(label)
            explanation = self._explainer(named).explain(seen.clip, wanted)
            self._check_time()
            drawn = film.film(seen.frames, explanation)
        finally:
            self._free.release()
        return Explained(
            _written(drawn, seen.seconds), labels[explanation.label], explanation.method
        )

    def _named(self, method: str | None) -> Method | None:
        """The method of that name; None for the one that suits. Raises Refusal (400)."""
        there = methods(self._answering.bundle)
        named = next((each for each in there if each == method), None)
        if named is None and method not in (None, "auto"):
            problem = "there is no such method"
            if method in METHODS and not self._answering.bundle.is_network:
                problem = f"{method} looks into the network, and this service has its answers alone"
            raise Refusal(400, f"{problem}: there are auto, {', '.join(there)}")
        return named

    def _explainer(self, method: Method | None) -> Explainer:
        if method not in self._explainers:
            try:
                # opening a network calls its layers
                with self._turn():
                    self._explainers[method] = Explainer(
                        self._answering.bundle, method, answers=self._answers, turn=self._turn
                    )
            except UserError as error:
                raise Refusal(400, str(error)) from None
        return self._explainers[method]

    def _answers(self, clips: Frames) -> Probabilities:
        return np.stack([*self._threads.map(self._answer, clips)])

    def _answer(self, clip: Frames) -> Probabilities:
        self._check_time()
        return self._answering.probabilities(clip, self._deadline)[0]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._check_time()
        with self._answering.alone(self._deadline):
            yield

    def _check_time(self) -> None:
        if time.monotonic() >= self._deadline:
            quicker = "gradients" in methods(self._answering.bundle)
            hint = "try the method gradients" if quicker else "try again later"
            raise Refusal(504, f"the explanation was not done in time: {hint}")


def _written(frames: Frames, seconds: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder) / "film.mp4"
        film.write_film(path, frames, film.rate(len(frames), seconds))
        return path.read_bytes()
