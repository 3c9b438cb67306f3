"""`cepstra serve` and `cepstra work`: wiring only, with imports where a command needs them."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from service.command_options import fail, option
from service.state import STATE_DIR


# A test holds these options, their defaults and their help equal to `service.settings.Settings`.
def serve(
    bundle: Annotated[
        Path,
        option(
            "BUNDLE", "Directory of the model bundle that is served.", show_default="bundles/cepstra-base beside cli.py"
        ),
    ] = SHIPPED_BUNDLE,
    models_dir: Annotated[
        Path | None,
        option("MODELS_DIR", "Directory of further bundles, each in a directory that gives it its name."),
    ] = None,
    model_idle_s: Annotated[
        float,
        option(
            "MODEL_IDLE_S",
            "Seconds after which a model that nobody uses is dropped from memory; the default one stays.",
        ),
    ] = 600.0,
    state_dir: Annotated[
        Path,
        option(
            "STATE_DIR",
            "Directory of everything that outlives the process: keys, jobs, which model is the default.",
            show_default="~/.local/state/cepstra",
        ),
    ] = STATE_DIR,
    host: Annotated[str, option("HOST", "Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, option("PORT", "TCP port to listen on; 0 takes any free one.")] = 8000,
    metrics_port: Annotated[
        int | None,
        option(
            "METRICS_PORT",
            "TCP port on which `cepstra work` answers /metrics and /readyz; unset for none. "
            "`cepstra serve` answers them beside all else.",
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool,
        option(
            "ALLOW_ANONYMOUS",
            "Serve without keys even where other machines reach the address, as long as no key was created.",
        ),
    ] = False,
    key_rate: Annotated[
        int | None,
        option("KEY_RATE", "Requests a minute of a key that has no rate of its own; unset is no limit."),
    ] = None,
    allowed_origins: Annotated[
        str | None,
        option(
            "ALLOWED_ORIGINS",
            "Origins of web pages that may call the service, besides its own page, with commas: "
            "https://example.org; * for all.",
        ),
    ] = None,
    max_upload_bytes: Annotated[int, option("MAX_UPLOAD_BYTES", "Largest audio file accepted, in bytes.")] = 256
    * 1024
    * 1024,
    max_audio_s: Annotated[float, option("MAX_AUDIO_S", "Longest audio accepted once decoded, in seconds.")] = 4
    * 3600.0,
    max_decoded_bytes: Annotated[
        int,
        option(
            "MAX_DECODED_BYTES",
            "Most bytes that audio may decode to: four for each sample of each channel, at its own rate.",
        ),
    ] = 8 * 1024 * 1024 * 1024,
    max_channels: Annotated[int, option("MAX_CHANNELS", "Most channels of the audio.")] = 8,
    max_sample_rate_hz: Annotated[
        int, option("MAX_SAMPLE_RATE_HZ", "Highest sample rate of the audio, in Hz; the lowest is 8000.")
    ] = 192_000,
    max_fields: Annotated[int, option("MAX_FIELDS", "Most form fields beside the file.")] = 64,
    max_field_bytes: Annotated[int, option("MAX_FIELD_BYTES", "Most bytes of one form field.")] = 64 * 1024,
    header_s: Annotated[
        float, option("HEADER_S", "Seconds that a client may take to send the headers of a request.")
    ] = 10.0,
    body_s: Annotated[float, option("BODY_S", "Seconds that a client may take to send the body of a request.")] = 600.0,
    body_stall_s: Annotated[
        float,
        option("BODY_STALL_S", "Seconds without a byte after which the body of a request is no longer waited for."),
    ] = 30.0,
    decoder_memory_bytes: Annotated[
        int, option("DECODER_MEMORY_BYTES", "Memory that decoding one upload may take, in bytes.")
    ] = 128 * 1024 * 1024,
    decoder_cpu_s: Annotated[
        int, option("DECODER_CPU_S", "Seconds of processor time that decoding one upload may take.")
    ] = 600,
    decoder_stall_s: Annotated[
        float, option("DECODER_STALL_S", "Seconds after which a decoder that gives no samples is ended.")
    ] = 30.0,
    workers: Annotated[
        int | None,
        option(
            "WORKERS",
            "Transcriptions that run at the same time; long ones do not count once they have got through "
            "30 s. Unset for two on each processor, and at least 4.",
        ),
    ] = None,
    batch_rows: Annotated[
        int,
        option(
            "BATCH_ROWS",
            "Windows of audio that the network computes together at most, of whichever requests wait; "
            "1 computes them one by one.",
        ),
    ] = 8,
    max_waiting: Annotated[
        int,
        option(
            "MAX_WAITING",
            "Requests that may wait for a worker, large ones still being sent among them; one more is answered 429.",
        ),
    ] = 64,
    max_per_key: Annotated[
        int | None,
        option(
            "MAX_PER_KEY",
            "Requests of one key that may be sent, wait and run at the same time, unless it has a limit of its own; "
            "unset for any.",
        ),
    ] = None,
    background_workers: Annotated[
        int,
        option(
            "BACKGROUND_WORKERS",
            "Durable jobs that run at the same time, behind everything else; 0 leaves them to `cepstra work`.",
        ),
    ] = 2,
    threads: Annotated[
        int | None,
        option(
            "THREADS", "CPU threads of the acoustic model; unset: as many as the machine has, or the container may use."
        ),
    ] = None,
    runtime: Annotated[
        RuntimeChoice,
        option(
            "RUNTIME",
            "What computes the acoustic model: torch, torch-bf16, onnx, onnx-int8, or the fastest here of those that "
            "cost no accuracy.",
        ),
    ] = "auto",
    remember_s: Annotated[
        float,
        option(
            "REMEMBER_S",
            "Seconds for which a transcript is kept in memory, so that the same audio sent again is not transcribed "
            "again; 0 turns it off.",
        ),
    ] = 600.0,
    heartbeat_s: Annotated[float, option("HEARTBEAT_S", "Seconds between comments that keep a stream open.")] = 5.0,
    max_sockets: Annotated[
        int,
        option(
            "MAX_SOCKETS",
            "Live streams open at once, those that wait for their client to come back included.",
        ),
    ] = 16,
    socket_idle_s: Annotated[
        float, option("SOCKET_IDLE_S", "Seconds without a message after which a live socket is closed.")
    ] = 60.0,
    socket_send_s: Annotated[
        float, option("SOCKET_SEND_S", "Seconds that the client of a live socket may take to read a message.")
    ] = 10.0,
    resume_s: Annotated[
        float,
        option(
            "RESUME_S", "Seconds for which a live stream that lost its connection waits for its client; 0 turns it off."
        ),
    ] = 30.0,
    shutdown_s: Annotated[
        int,
        option("SHUTDOWN_S", "Seconds that running requests get to finish once the server is told to stop."),
    ] = 30,
    drain_s: Annotated[
        float,
        option(
            "DRAIN_S",
            "Seconds between the signal to end and the end of listening; `/readyz` says 503 meanwhile.",
        ),
    ] = 1.0,
    database_url: Annotated[
        str | None,
        option(
            "DATABASE_URL",
            "PostgreSQL for jobs, as postgresql://user@host/name; unset: SQLite in the state directory.",
        ),
    ] = None,
    database_password_file: Annotated[
        Path | None,
        option(
            "DATABASE_PASSWORD_FILE",
            "File of the password for CEPSTRA_DATABASE_URL, read anew for every connection.",
        ),
    ] = None,
    job_lease_s: Annotated[
        float, option("JOB_LEASE_S", "Seconds after which another worker takes over the job of one that has died.")
    ] = 30.0,
    job_attempts: Annotated[int, option("JOB_ATTEMPTS", "Attempts after which a job has failed.")] = 5,
    max_jobs: Annotated[int, option("MAX_JOBS", "Unfinished jobs that there may be; one more is answered 429.")] = 1000,
    keep_jobs_s: Annotated[
        float, option("KEEP_JOBS_S", "Seconds for which a job and its transcript stay after its end.")
    ] = 604800.0,
    keep_audio_s: Annotated[
        float, option("KEEP_AUDIO_S", "Seconds for which a job's audio stays after its end.")
    ] = 0.0,
    webhook_secret_file: Annotated[
        Path | None,
        option(
            "WEBHOOK_SECRET_FILE",
            "File of the secrets that sign webhooks; unset or empty makes one in the state directory.",
        ),
    ] = None,
    webhook_networks: Annotated[
        str,
        option(
            "WEBHOOK_NETWORKS", "Private networks that webhooks may reach, as 10.0.0.0/8,127.0.0.1/32; by default none."
        ),
    ] = "",
    webhook_attempts: Annotated[
        int, option("WEBHOOK_ATTEMPTS", "Attempts to deliver a webhook, each after twice the pause of the one before.")
    ] = 15,
    webhook_retry_s: Annotated[
        float, option("WEBHOOK_RETRY_S", "Seconds between the first attempt to deliver a webhook and the second.")
    ] = 5.0,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], option("LOG_LEVEL", "Least severe message that is logged.")
    ] = "info",
    log_format: Annotated[
        Literal["plain", "json"], option("LOG_FORMAT", "Shape of the log: plain lines, or one JSON object a line.")
    ] = "plain",
    traces: Annotated[
        bool, option("TRACES", "Send traces with OpenTelemetry (extra `otel`); its own variables say where to.")
    ] = False,
    log_transcripts: Annotated[bool, option("LOG_TRANSCRIPTS", "Write every transcript into the log.")] = False,
) -> None:
    """Serve the HTTP API and the page at /; an option wins over its environment variable."""
    options = locals()
    from pydantic import ValidationError

    from features.errors import CepstraError
    from service.exposure import check_exposure
    from service.keys import KeyFile
    from service.ports import check_port
    from service.registry import CONFIG_FILE
    from service.settings import Settings
    from service.validation import reason_of

    try:
        settings = Settings(**options)
    except ValidationError as error:
        found = error.errors()[0]
        name = str(found["loc"][0])
        fail(
            f"--{name.replace('_', '-')} (CEPSTRA_{name.upper()}) is {found['input']!r}: {reason_of(found)}",
            status=2,
        )
    if not os.path.isfile(settings.bundle / CONFIG_FILE):  # which says no also where it may not look
        fail(f"no model bundle at {settings.bundle}; name one with --bundle or CEPSTRA_BUNDLE")
    try:
        check_exposure(settings, KeyFile(settings.state_dir))
        check_port(settings.host, settings.port)
    except CepstraError as error:
        fail(str(error))

    from service.server import serve as run_server

    raise typer.Exit(run_server(settings))


def work() -> None:
    """Work on jobs without serving HTTP, beside servers with the same CEPSTRA_STATE_DIR and CEPSTRA_DATABASE_URL.

    Settings are those of `cepstra serve`, from the environment; CEPSTRA_BACKGROUND_WORKERS jobs run at once.
    With CEPSTRA_METRICS_PORT it answers /metrics, /healthz and /readyz there.
    """
    from pydantic import ValidationError

    from service.settings import Settings
    from service.validation import reason_of

    try:
        settings = Settings()
    except ValidationError as error:
        found = error.errors()[0]
        fail(f"CEPSTRA_{str(found['loc'][0]).upper()} is {found['input']!r}: {reason_of(found)}", status=2)
    if not settings.background_workers:
        fail("CEPSTRA_BACKGROUND_WORKERS is 0: there is nothing to do", status=2)

    from service.work import work as run_worker

    raise typer.Exit(run_worker(settings))
