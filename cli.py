"""The `cepstra` command. Nothing but wiring: each command imports what it needs when it runs."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from model.allocation import restart_with_kept_memory
from model.hot_words import DEFAULT_BOOST, LARGEST_BOOST, HotWords
from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from model.transcript import MOST_ALTERNATIVES
from service.backup_commands import backup, restore
from service.key_commands import keys_app
from service.model_commands import models_app
from service.state import STATE_DIR
from training.commands import average, calibrate, evaluate, pack, train
from training.corpus_commands import data_app
from training.neural_commands import lm_app
from training.pronunciation_commands import pronounce_app
from training.rejection_commands import tune_rejection

SEARCHING = ("serve", "work", "transcribe", "evaluate")  # commands whose time is mostly the model's

app = typer.Typer(
    name="cepstra",
    help="Speech recognition on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(data_app, name="data")
app.add_typer(lm_app, name="lm")
app.add_typer(pronounce_app, name="pronounce")
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.command()(train)
app.command()(evaluate)
app.command()(tune_rejection)
app.command()(calibrate)
app.command()(average)
app.command()(pack)
app.command()(backup)
app.command()(restore)


def _option(variable: str, help_: str, *, show_default: bool | str = True, min_: int | None = None) -> Any:
    """An option that is also the environment variable `CEPSTRA_<variable>`."""
    return typer.Option(envvar=f"CEPSTRA_{variable}", help=help_, show_default=show_default, min=min_)


# A test holds these options, their defaults and their help equal to `service.settings.Settings`.
@app.command()
def serve(
    bundle: Annotated[
        Path,
        _option(
            "BUNDLE", "Directory of the model bundle that is served.", show_default="bundles/cepstra-base beside cli.py"
        ),
    ] = SHIPPED_BUNDLE,
    models_dir: Annotated[
        Path | None,
        _option("MODELS_DIR", "Directory of further bundles, each in a directory that gives it its name."),
    ] = None,
    model_idle_s: Annotated[
        float,
        _option(
            "MODEL_IDLE_S",
            "Seconds after which a model that nobody uses is dropped from memory; the default one stays.",
        ),
    ] = 600.0,
    state_dir: Annotated[
        Path,
        _option(
            "STATE_DIR",
            "Directory of everything that outlives the process: keys, jobs, which model is the default.",
            show_default="~/.local/state/cepstra",
        ),
    ] = STATE_DIR,
    host: Annotated[str, _option("HOST", "Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, _option("PORT", "TCP port to listen on; 0 takes any free one.")] = 8000,
    metrics_port: Annotated[
        int | None,
        _option(
            "METRICS_PORT",
            "TCP port on which `cepstra work` answers /metrics and /readyz; unset for none. "
            "`cepstra serve` answers them beside all else.",
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool,
        _option(
            "ALLOW_ANONYMOUS",
            "Serve without keys even where other machines reach the address, as long as no key was created.",
        ),
    ] = False,
    key_rate: Annotated[
        int | None,
        _option("KEY_RATE", "Requests a minute of a key that has no rate of its own; unset is no limit."),
    ] = None,
    allowed_origins: Annotated[
        str | None,
        _option(
            "ALLOWED_ORIGINS",
            "Origins of web pages that may call the service, besides its own page, with commas: "
            "https://example.org; * for all.",
        ),
    ] = None,
    max_upload_bytes: Annotated[int, _option("MAX_UPLOAD_BYTES", "Largest audio file accepted, in bytes.")] = 256
    * 1024
    * 1024,
    max_audio_s: Annotated[float, _option("MAX_AUDIO_S", "Longest audio accepted once decoded, in seconds.")] = 4
    * 3600.0,
    max_decoded_bytes: Annotated[
        int,
        _option(
            "MAX_DECODED_BYTES",
            "Most bytes that audio may decode to: four for each sample of each channel, at its own rate.",
        ),
    ] = 8 * 1024 * 1024 * 1024,
    max_channels: Annotated[int, _option("MAX_CHANNELS", "Most channels of the audio.")] = 8,
    max_sample_rate_hz: Annotated[
        int, _option("MAX_SAMPLE_RATE_HZ", "Highest sample rate of the audio, in Hz; the lowest is 8000.")
    ] = 192_000,
    max_fields: Annotated[int, _option("MAX_FIELDS", "Most form fields beside the file.")] = 64,
    max_field_bytes: Annotated[int, _option("MAX_FIELD_BYTES", "Most bytes of one form field.")] = 64 * 1024,
    header_s: Annotated[
        float, _option("HEADER_S", "Seconds that a client may take to send the headers of a request.")
    ] = 10.0,
    body_s: Annotated[
        float, _option("BODY_S", "Seconds that a client may take to send the body of a request.")
    ] = 600.0,
    body_stall_s: Annotated[
        float,
        _option("BODY_STALL_S", "Seconds without a byte after which the body of a request is no longer waited for."),
    ] = 30.0,
    decoder_memory_bytes: Annotated[
        int, _option("DECODER_MEMORY_BYTES", "Memory that decoding one upload may take, in bytes.")
    ] = 128 * 1024 * 1024,
    decoder_cpu_s: Annotated[
        int, _option("DECODER_CPU_S", "Seconds of processor time that decoding one upload may take.")
    ] = 600,
    decoder_stall_s: Annotated[
        float, _option("DECODER_STALL_S", "Seconds after which a decoder that gives no samples is ended.")
    ] = 30.0,
    workers: Annotated[
        int,
        _option(
            "WORKERS",
            "Transcriptions that run at the same time; long ones do not count once they have got through 30 s.",
        ),
    ] = 16,
    batch_rows: Annotated[
        int,
        _option(
            "BATCH_ROWS",
            "Windows of audio that the network computes together at most, of whichever requests wait; "
            "1 computes them one by one.",
        ),
    ] = 8,
    max_waiting: Annotated[
        int, _option("MAX_WAITING", "Requests that may wait for a worker; one more is answered 429.")
    ] = 64,
    max_per_key: Annotated[
        int | None,
        _option(
            "MAX_PER_KEY",
            "Requests of one key that may run and wait at the same time, unless it has a limit of its own; "
            "unset for any.",
        ),
    ] = None,
    background_workers: Annotated[
        int,
        _option(
            "BACKGROUND_WORKERS",
            "Durable jobs that run at the same time, behind everything else; 0 leaves them to `cepstra work`.",
        ),
    ] = 2,
    threads: Annotated[
        int | None,
        _option(
            "THREADS", "CPU threads of the acoustic model; unset: as many as the machine has, or the container may use."
        ),
    ] = None,
    runtime: Annotated[
        RuntimeChoice,
        _option(
            "RUNTIME",
            "What computes the acoustic model: torch, torch-bf16, onnx, onnx-int8, or the fastest here of those that "
            "cost no accuracy.",
        ),
    ] = "auto",
    remember_s: Annotated[
        float,
        _option(
            "REMEMBER_S",
            "Seconds for which a transcript is kept in memory, so that the same audio sent again is not transcribed "
            "again; 0 turns it off.",
        ),
    ] = 600.0,
    heartbeat_s: Annotated[float, _option("HEARTBEAT_S", "Seconds between comments that keep a stream open.")] = 5.0,
    max_sockets: Annotated[
        int,
        _option(
            "MAX_SOCKETS",
            "Live streams open at once, those that wait for their client to come back included.",
        ),
    ] = 16,
    socket_idle_s: Annotated[
        float, _option("SOCKET_IDLE_S", "Seconds without a message after which a live socket is closed.")
    ] = 60.0,
    socket_send_s: Annotated[
        float, _option("SOCKET_SEND_S", "Seconds that the client of a live socket may take to read a message.")
    ] = 10.0,
    resume_s: Annotated[
        float,
        _option(
            "RESUME_S", "Seconds for which a live stream that lost its connection waits for its client; 0 turns it off."
        ),
    ] = 30.0,
    shutdown_s: Annotated[
        int,
        _option("SHUTDOWN_S", "Seconds that running requests get to finish once the server is told to stop."),
    ] = 30,
    drain_s: Annotated[
        float,
        _option(
            "DRAIN_S",
            "Seconds between the signal to end and the end of listening; `/readyz` says 503 meanwhile.",
        ),
    ] = 1.0,
    database_url: Annotated[
        str | None,
        _option(
            "DATABASE_URL",
            "PostgreSQL for jobs, as postgresql://user@host/name; unset: SQLite in the state directory.",
        ),
    ] = None,
    database_password_file: Annotated[
        Path | None,
        _option(
            "DATABASE_PASSWORD_FILE",
            "File of the password for CEPSTRA_DATABASE_URL, read anew for every connection.",
        ),
    ] = None,
    job_lease_s: Annotated[
        float, _option("JOB_LEASE_S", "Seconds after which another worker takes over the job of one that has died.")
    ] = 30.0,
    job_attempts: Annotated[int, _option("JOB_ATTEMPTS", "Attempts after which a job has failed.")] = 5,
    max_jobs: Annotated[
        int, _option("MAX_JOBS", "Unfinished jobs that there may be; one more is answered 429.")
    ] = 1000,
    keep_jobs_s: Annotated[
        float, _option("KEEP_JOBS_S", "Seconds for which a job and its transcript stay after its end.")
    ] = 604800.0,
    keep_audio_s: Annotated[
        float, _option("KEEP_AUDIO_S", "Seconds for which a job's audio stays after its end.")
    ] = 0.0,
    webhook_secret_file: Annotated[
        Path | None,
        _option(
            "WEBHOOK_SECRET_FILE", "File of the secrets that sign webhooks; unset makes one in the state directory."
        ),
    ] = None,
    webhook_networks: Annotated[
        str,
        _option(
            "WEBHOOK_NETWORKS", "Private networks that webhooks may reach, as 10.0.0.0/8,127.0.0.1/32; by default none."
        ),
    ] = "",
    webhook_attempts: Annotated[
        int, _option("WEBHOOK_ATTEMPTS", "Attempts to deliver a webhook, each after twice the pause of the one before.")
    ] = 15,
    webhook_retry_s: Annotated[
        float, _option("WEBHOOK_RETRY_S", "Seconds between the first attempt to deliver a webhook and the second.")
    ] = 5.0,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _option("LOG_LEVEL", "Least severe message that is logged.")
    ] = "info",
    log_format: Annotated[
        Literal["plain", "json"], _option("LOG_FORMAT", "Shape of the log: plain lines, or one JSON object a line.")
    ] = "plain",
    traces: Annotated[
        bool, _option("TRACES", "Send traces with OpenTelemetry (extra `otel`); its own variables say where to.")
    ] = False,
    log_transcripts: Annotated[bool, _option("LOG_TRANSCRIPTS", "Write every transcript into the log.")] = False,
) -> None:
    """Serve the HTTP API and the page at /; an option wins over its environment variable."""
    options = locals()
    from pydantic import ValidationError

    from features.errors import CepstraError
    from service.exposure import check_exposure
    from service.keys import KeyFile
    from service.settings import Settings

    try:
        settings = Settings(**options)
    except ValidationError as error:
        found = error.errors()[0]
        name = str(found["loc"][0])
        _fail(
            f"--{name.replace('_', '-')} (CEPSTRA_{name.upper()}) is {found['input']!r}: {found['msg'].lower()}",
            status=2,
        )
    if not settings.bundle.is_dir():
        _fail(f"no model bundle at {settings.bundle}; name one with --bundle or CEPSTRA_BUNDLE")
    try:
        check_exposure(settings, KeyFile(settings.state_dir))
    except CepstraError as error:
        _fail(str(error))

    from service.server import serve as run_server

    raise typer.Exit(run_server(settings))


@app.command()
def work() -> None:
    """Work on jobs without serving HTTP, beside servers with the same CEPSTRA_STATE_DIR and CEPSTRA_DATABASE_URL.

    Settings are those of `cepstra serve`, from the environment; CEPSTRA_BACKGROUND_WORKERS jobs run at once.
    With CEPSTRA_METRICS_PORT it answers /metrics, /healthz and /readyz there.
    """
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        found = error.errors()[0]
        _fail(f"CEPSTRA_{str(found['loc'][0]).upper()} is {found['input']!r}: {found['msg'].lower()}", status=2)
    if not settings.background_workers:
        _fail("CEPSTRA_BACKGROUND_WORKERS is 0: there is nothing to do", status=2)

    from service.work import work as run_worker

    raise typer.Exit(run_worker(settings))


_HotWords = Annotated[
    list[str] | None,
    typer.Option(help="A word or name to prefer, also if the lexicon lacks it; can be given several times."),
]
_HotWordBoost = Annotated[float, typer.Option(help=f"How much hot words are preferred, 0 to {LARGEST_BOOST:g}.")]


@app.command()
def transcribe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio files; - reads standard input.")],
    response_format: Annotated[
        Literal["text", "json", "verbose_json", "srt", "vtt"], typer.Option("--format", help="Shape of the output.")
    ] = "text",
    bundle: Annotated[
        Path, _option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    threads: Annotated[
        int | None, _option("THREADS", "CPU threads to use; unset leaves it to PyTorch.", min_=1)
    ] = None,
    runtime: Annotated[RuntimeChoice, _option("RUNTIME", "What computes the acoustic model.")] = "auto",
    hot_word: _HotWords = None,
    hot_word_boost: _HotWordBoost = DEFAULT_BOOST,
    format_text: Annotated[
        bool, typer.Option("--format-text", help="Sentence case, and numbers, dates and money in digits.")
    ] = False,
    alternatives: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_ALTERNATIVES, help="With verbose_json: what else may have been said, for each word."
        ),
    ] = 0,
) -> None:
    """Transcribe audio files: transcripts to standard output, all else to standard error.

    Several files are worked on at the same time, on all processors; their transcripts come in the order of the files.
    With several files, text gives one line for each, its name and a tab first; json and verbose_json give one object
    for each, on a line of its own, its name under "file"; srt and vtt take a single file.

    A file that cannot be transcribed is named on standard error, the others are done all the same, and the exit
    status is 1.
    """
    if len(files) > 1 and response_format in ("srt", "vtt"):
        _fail(f"--format {response_format} takes a single file; {len(files)} are given", status=2)

    if alternatives and response_format != "verbose_json":
        _fail(f"--alternatives goes with --format verbose_json; it is {response_format}", status=2)

    from features.errors import CepstraError
    from model.transcriber import Transcriber
    from service.files import transcribe_files

    try:
        hot_words = HotWords(tuple(hot_word), hot_word_boost) if hot_word else None
        transcriber = Transcriber.from_bundle(bundle, threads=threads, runtime=runtime)
    except CepstraError as error:
        _fail(str(error))
    well = transcribe_files(
        transcriber, files, response_format, hot_words, alternatives=alternatives, format_text=format_text
    )
    raise typer.Exit(0 if well else 1)


@app.command()
def listen(
    rate: Annotated[int, typer.Option("--rate", help="Sample rate, hertz: 8000 to 192000.")] = 16_000,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Hear a microphone instead of standard input; Ctrl-C ends it.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Which microphone: a part of its name, or its number.")
    ] = None,
    right_s: Annotated[
        float,
        typer.Option("--right-context", help="Seconds of audio after a word before it can be certain: 0 to 4."),
    ] = 1.0,
    hot_word: _HotWords = None,
    hot_word_boost: _HotWordBoost = DEFAULT_BOOST,
    bundle: Annotated[
        Path, _option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    threads: Annotated[
        int | None, _option("THREADS", "CPU threads to use; unset leaves it to PyTorch.", min_=1)
    ] = None,
) -> None:
    """Transcribe while somebody speaks: raw mono PCM, signed 16 bits, little-endian, on standard input.

    Each utterance is a line on standard output as soon as it is over; on a terminal, what is heard meanwhile is shown
    on standard error. For example: arecord -q -f S16_LE -r 16000 -c 1 | cepstra listen
    """
    import sys

    if device is not None and not microphone:
        _fail("--device names a microphone; it goes with --microphone", status=2)
    if not microphone and sys.stdin.isatty():
        _fail("nothing is piped in; pipe raw PCM16 audio to standard input, or use --microphone", status=2)

    from features.errors import CepstraError
    from model.streaming import StreamingConfig
    from model.transcriber import Transcriber
    from service.listen import listen as run_listener
    from service.listen import microphone_blocks, pipe_blocks

    try:
        config = StreamingConfig(right_s=right_s)
        transcriber = Transcriber.from_bundle(bundle, threads=threads, runtime="torch")
        hot_words = HotWords(tuple(hot_word), hot_word_boost) if hot_word else None
        session = transcriber.stream(sample_rate_hz=rate, config=config, hot_words=hot_words)
        blocks = microphone_blocks(rate, device) if microphone else pipe_blocks(sys.stdin.buffer)
        run_listener(session, blocks, out=sys.stdout, screen=sys.stderr)
    except CepstraError as error:
        _fail(str(error))


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The file to write; it ends in .onnx.")],
    bundle: Annotated[
        Path, _option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    int8: Annotated[bool, typer.Option("--int8", help="With weights of 8 bits.")] = False,
) -> None:
    """Write a bundle's acoustic model as ONNX: features and their lengths to log-probabilities, for any batch."""
    from features.errors import CepstraError

    try:
        from model.checkpoint import load_bundle
        from model.export import write_onnx

        size_bytes = write_onnx(load_bundle(bundle).acoustic_model, out, int8=int8)
    except (CepstraError, OSError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error}; this needs the extra: pip install 'cepstra[onnx]'")
    typer.echo(f"{out}: {size_bytes / 2**20:.1f} MiB")


def _fail(message: str, *, status: int = 1) -> NoReturn:
    typer.echo(f"cepstra: {message}", err=True)
    raise typer.Exit(status)


def main() -> None:
    """Entry point of the installed command."""
    if sys.argv[1:2] and sys.argv[1] in SEARCHING:
        restart_with_kept_memory()
    app()


if __name__ == "__main__":
    main()
