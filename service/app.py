"""The service as one ASGI application.

request → RequestContext (id, headers, log) → BodyLimit (bytes, time) → Access (origin, key) → route
        → Scheduler (a worker thread) → Decoders (another process) → model → format
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from features.errors import CepstraError
from model.cancellation import CancelToken
from model.stages import Stage
from model.text_format import format_transcript
from model.transcript import Transcript
from model.turns import Rank
from service.access import Access
from service.decoding.decoders import Decoders
from service.errors import error_response, openai_error
from service.jobs.jobs import Jobs
from service.jobs.worker import Recognise
from service.key_ring import KeyRing
from service.keys import KeyFile
from service.live import Places
from service.live_stream import LiveStreams
from service.processors import default_workers
from service.recogniser import Progress, Recogniser, ServedModel
from service.request_context import RequestContext
from service.routes import admin, health, metrics, models, page, realtime, stream, transcriptions
from service.routes import jobs as job_routes
from service.scheduled import Job
from service.scheduler import Scheduler
from service.schemas import TranscriptionOptions
from service.settings import Settings
from service.state import free_bytes
from service.telemetry import Telemetry
from service.tracing import Tracing
from service.uploads import BodyLimit

TEND_S = 1.0


def create_app(settings: Settings, transcriber: Recogniser | None = None, decoders: Decoders | None = None) -> FastAPI:
    """The application.

    Args:
        settings: deployment settings.
        transcriber: a model to serve instead of loading `settings.bundle`.
        decoders: decoding processes to share instead of starting some.

    The application listens at once and loads the model in the background; `/readyz` tells when it is there.
    """
    app = FastAPI(
        title="Cepstra",
        version=_version(),
        description="Speech recognition on your own machine, with OpenAI's transcription API.",
        lifespan=_lifespan,
        # The interactive pages fetch their scripts from elsewhere; /openapi.json stays.
        docs_url=None,
        redoc_url=None,
        # To where? Behind a proxy that speaks TLS it would be an address without, and a form would be sent twice.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.served = ServedModel(settings, transcriber, decoders)
    app.state.scheduler = Scheduler(
        settings.workers or default_workers(),
        settings.max_waiting,
        background_workers=settings.background_workers,
        max_per_key=settings.max_per_key,
    )
    app.state.jobs = Jobs(settings, recognise_with(app.state.served, app.state.scheduler), f"Cepstra/{_version()}")
    app.state.draining = False

    app.state.places = Places(settings.max_sockets, settings.max_per_key)
    app.state.live_streams = LiveStreams(app.state.places, settings.resume_s)
    app.state.tracing = tracing = Tracing() if settings.traces else None
    app.state.telemetry = telemetry = watch(settings, app.state.served, app.state.scheduler, app.state.jobs, tracing)

    for noun in (transcriptions, realtime, stream, job_routes, models, admin, health, metrics, page):
        app.include_router(noun.router)
    app.router.default = _not_found
    answer_errors(app)
    # Outermost is what is added last. Access is inside of BodyLimit, which lets a client that is still sending read why
    # it was refused.
    app.add_middleware(Access, settings=settings, keys=KeyRing(KeyFile(settings.state_dir)))
    app.add_middleware(
        BodyLimit,
        max_file_bytes=settings.max_upload_bytes,
        body_s=settings.body_s,
        stall_s=settings.body_stall_s,
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=("x-request-id", "retry-after"),
        )
    app.add_middleware(RequestContext, telemetry=telemetry, tracing=tracing)
    return app


def watch(
    settings: Settings, served: ServedModel, scheduler: Scheduler, jobs: Jobs, tracing: Tracing | None = None
) -> Telemetry:
    """The numbers of this process: model, threads and jobs tell what they do."""
    telemetry = Telemetry(scheduler.load)

    def passed(stage: Stage, began_ns: int, ended_ns: int) -> None:
        telemetry.passed(stage, (ended_ns - began_ns) / 1e9)
        if tracing is not None:
            tracing.passed(stage, began_ns, ended_ns)

    served.on_stage = passed
    served.on_batch = telemetry.computed
    served.on_transcript = telemetry.transcribed
    telemetry.network_load = served.network_load
    telemetry.ready = lambda: served.is_ready
    telemetry.jobs_by_state = jobs.count_by_status
    telemetry.jobs_queue_age_s = jobs.queue_age_s
    telemetry.state_free_bytes = partial(free_bytes, settings.state_dir)
    return telemetry


def answer_errors(app: FastAPI) -> None:
    """Give every error of a route OpenAI's shape."""
    app.add_exception_handler(CepstraError, _answer_ours)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    served: ServedModel = app.state.served
    work: Jobs = app.state.jobs

    def load() -> None:
        served.load()
        if not served.failure:
            work.start_working()

    work.start()
    loading = asyncio.create_task(asyncio.to_thread(load))
    tending = asyncio.create_task(_tend(served))
    yield
    tending.cancel()
    await loading
    app.state.live_streams.close()
    await asyncio.to_thread(work.stop)
    await app.state.scheduler.close()
    await asyncio.to_thread(app.state.served.close)
    if app.state.tracing is not None:
        await asyncio.to_thread(app.state.tracing.close)


def recognise_with(served: ServedModel, scheduler: Scheduler) -> Recognise:
    """How jobs are transcribed: by the served model, as uploads are, but behind them all."""

    def recognise(audio: Path, options: TranscriptionOptions, progress: Progress, cancelled: CancelToken) -> Transcript:
        model = served.named(options.model)

        def work(running: Job[Transcript]) -> Transcript:
            def report(share: float) -> None:
                running.report(share)
                progress(share)

            hot_words = options.hot_words
            with audio.open("rb") as file:
                transcript = served.transcribe(
                    file, report, running.cancelled, hot_words, model, alternatives=options.alternatives
                )
            return format_transcript(transcript, hot_words) if options.formatting == "captions" else transcript

        running = scheduler.submit(work, priority=Rank.BACKGROUND)
        with cancelled.calling(running.abandon):
            return running.future.result()

    return recognise


async def _tend(served: ServedModel) -> None:
    while True:
        await asyncio.sleep(TEND_S)
        await asyncio.to_thread(served.tend)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """No route takes it; a WebSocket would be refused by Starlette without a word."""
    raise HTTPException(404)


async def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    return error_response(error)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own errors: no such route, wrong method, a form that cannot be parsed."""
    assert isinstance(error, HTTPException)
    message, code = str(error.detail), "invalid_form"
    if error.status_code == 404:
        method = request.scope.get("method", "GET")  # with which a WebSocket begins
        message, code = f"Unknown request URL: {method} {request.url.path}.", "unknown_url"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message, code = f"{request.method} is not allowed here; use {allowed}.", "method_not_allowed"
    return JSONResponse(openai_error(message, code=code), error.status_code, error.headers)


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own validation, which OpenAI answers with 400, not 422."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    names = [part for part in found["loc"] if isinstance(part, str)]  # others are places in a list
    param = names[-1].removesuffix("[]")
    return JSONResponse(openai_error(f"'{param}': {found['msg']}.", param=param, code="invalid_value"), 400)


def _version() -> str:
    try:
        return version("cepstra")
    except PackageNotFoundError:  # run from the source tree without installing it
        return "0"
