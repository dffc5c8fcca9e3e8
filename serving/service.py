"""The service: a video goes in, the model's answer comes out."""

import os

import anyio.to_thread
import bentoml
from starlette.responses import JSONResponse

from kinoflow.compress import forms
from kinoflow.style import fast
from kinoflow.system import lean, terminal
from serving import (
    handover,
    hosts,
    keys,
    measures,
    processors,
    refusals,
    routes,
    settings,
    state,
)
from serving.admission import AdmissionControl
from serving.answering import Answering
from serving.answers import Answer
from serving.explaining import Explaining
from serving.feedback import Feedback
from serving.hosts import KnownHosts
from serving.jobs import Jobs
from serving.keys import Keys, WithKey
from serving.live import Live
from serving.preview import Previews
from serving.privacy import PrivateAnswers
from serving.refusals import Refusal
from serving.restyling import Restyling
from serving.samples import Samples, Seen
from serving.uploads import Upload, UploadForm
from serving.working import Working

# BentoML's decorators want their values at import
_SETTINGS = settings.load()
ROUTES = routes.application(styled=settings.STYLE.is_file())
_KEYS = (
    Keys(path, _SETTINGS.requests_per_minute)
    if (path := keys.file(_SETTINGS.api_keys_file))
    else None
)
# the websocket asks for the key itself
ROUTES.state.keys = _KEYS


@bentoml.service(
    name="kinoflow",
    description="Says which action a video shows: POST it to /predict, in the field `video`.",
    # AdmissionControl enforces the deadline; this is a second bound, should that one fail
    traffic={"timeout": 2 * _SETTINGS.timeout_s},
)
@bentoml.asgi_app(ROUTES, path="/")
class Kinoflow:
    """The bundle packed beside this code, behind HTTP."""

    def __init__(self) -> None:
        """Load the model and use it once; BentoML answers /readyz only after that."""
        terminal.quiet()
        lean.start_sooner()
        batching = _SETTINGS.max_batch > 1
        processors.prepare(batching=batching)
        folder = state.folder(_SETTINGS.state)
        self.lock = state.take(folder)
        most_bytes = round(_SETTINGS.state_mb * 1e6)
        self.feedback = Feedback(folder, most_bytes)
        self.samples = Samples(folder, _SETTINGS.sample, round(_SETTINGS.sample_footage_mb * 1e6))
        share = vars(processors.share(batching=batching))
        self.answering = processors.behind(
            lambda: Answering(
                forms.load_any(settings.ROOT / "bundle", **share),
                _SETTINGS,
                settings.card(),
                bentoml.server_context.bento_version or "",
                self._remember,
            )
        )
        self.jobs = Jobs(
            folder,
            most=_SETTINGS.max_jobs,
            most_bytes=most_bytes,
            keep_s=3600 * _SETTINGS.job_hours,
        )
        self.working = Working(self.jobs, self.answering, _SETTINGS.job_timeout_s)
        self.explaining = Explaining(self.answering)
        self.previews = Previews(self.answering)
        self.live = Live(self.answering)
        parts = ("answering", "explaining", "feedback", "jobs", "live", "previews", "working")
        for name in parts:
            setattr(ROUTES.state, name, getattr(self, name))
        if settings.STYLE.is_file():
            ROUTES.state.restyling = Restyling(self.answering, fast.load(settings.STYLE))

    def _remember(self, answer: Answer, seen: Seen) -> None:
        if measures.COUNTING.get():
            self.feedback.answered(answer)
            self.samples.take(answer, seen)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Take up the jobs that an earlier service has accepted."""
        # a worker does so itself, once it has checked its answers
        if not handover.is_supervised():
            self.working.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Give the state back; what is being worked on is taken up at the next start."""
        self.working.stop()
        self.jobs.close()
        self.samples.close()
        self.feedback.close()
        os.close(self.lock)

    @bentoml.api(input_spec=UploadForm, output_spec=Answer)  # type: ignore[untyped-decorator]
    async def predict(self, video: Upload | Refusal) -> Answer | JSONResponse:
        """Say which action a video shows.

        The video may have any format that the decoder reads; its name and content type do not
        matter. An upload that is no video is answered with 400, one that is too large with 413,
        both with a sentence that says why.
        """
        try:
            # raised before a thread is asked for, so that a refusal never waits for one
            if isinstance(video, Refusal):
                raise video
            answering = self.answering
            return await anyio.to_thread.run_sync(answering.video, video, limiter=answering.threads)
        except Refusal as refusal:
            return refusals.answer(refusal)


# the decorator has made a service of the class; the middleware added first sees a request first
Kinoflow.add_asgi_middleware(PrivateAnswers)  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(KnownHosts, names=hosts.from_environment())  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(WithKey, keys=_KEYS)  # type: ignore[attr-defined]
Kinoflow.add_asgi_middleware(  # type: ignore[attr-defined]
    AdmissionControl,
    seconds=_SETTINGS.timeout_s,
    slots=_SETTINGS.max_concurrency,
    max_upload_mb=_SETTINGS.max_upload_mb,
    uploads_mb=_SETTINGS.uploads_mb,
)
