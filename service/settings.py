"""Every deployment knob of the service: an environment variable `CEPSTRA_…` each.

`docs/settings.md` and `cepstra serve --help` list the same settings; tests hold them equal to this class.
"""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from service.logs import LogFormat
from service.networks import parse_networks
from service.state import STATE_DIR

MIB = 1024 * 1024
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


class Settings(BaseSettings):
    """What `cepstra serve` runs with; arguments given by name win over the environment."""

    # A variable that is empty is as one that is not set: Typer reads it so for the options of `cepstra serve`.
    model_config = SettingsConfigDict(env_prefix="CEPSTRA_", env_ignore_empty=True, extra="ignore", frozen=True)

    bundle: Path = Field(default=SHIPPED_BUNDLE, description="Directory of the model bundle that is served.")
    models_dir: Path | None = Field(
        default=None, description="Directory of further bundles, each in a directory that gives it its name."
    )
    model_idle_s: float = Field(
        default=600.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a model that nobody uses is dropped from memory; the default one stays.",
    )
    state_dir: Path = Field(
        default=STATE_DIR,
        description="Directory of everything that outlives the process: keys, jobs, which model is the default.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port on which `cepstra work` answers /metrics and /readyz; unset for none. "
        "`cepstra serve` answers them beside all else.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Serve without keys even where other machines reach the address, as long as no key was created.",
    )
    key_rate: int | None = Field(
        default=None, ge=1, description="Requests a minute of a key that has no rate of its own; unset is no limit."
    )
    allowed_origins: str | None = Field(
        default=None,
        description="Origins of web pages that may call the service, besides its own page, with commas: "
        "https://example.org; * for all.",
    )
    max_upload_bytes: int = Field(default=256 * MIB, ge=1, description="Largest audio file accepted, in bytes.")
    max_audio_s: float = Field(
        default=4 * 3600.0, gt=0, allow_inf_nan=False, description="Longest audio accepted once decoded, in seconds."
    )
    max_decoded_bytes: int = Field(
        default=8 * 1024 * MIB,
        ge=1,
        description="Most bytes that audio may decode to: four for each sample of each channel, at its own rate.",
    )
    max_channels: int = Field(default=8, ge=1, le=8, description="Most channels of the audio.")
    max_sample_rate_hz: int = Field(
        default=192_000,
        ge=8_000,
        le=192_000,
        description="Highest sample rate of the audio, in Hz; the lowest is 8000.",
    )
    max_fields: int = Field(default=64, ge=1, description="Most form fields beside the file.")
    max_field_bytes: int = Field(default=64 * 1024, ge=1, description="Most bytes of one form field.")
    header_s: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a client may take to send the headers of a request.",
    )
    body_s: float = Field(
        default=600.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a client may take to send the body of a request.",
    )
    body_stall_s: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds without a byte after which the body of a request is no longer waited for.",
    )
    decoder_memory_bytes: int = Field(
        default=128 * MIB,
        ge=32 * MIB,
        le=1024 * 1024 * MIB,
        description="Memory that decoding one upload may take, in bytes.",
    )
    decoder_cpu_s: int = Field(
        default=600, ge=1, le=1_000_000, description="Seconds of processor time that decoding one upload may take."
    )
    decoder_stall_s: float = Field(
        default=30.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a decoder that gives no samples is ended.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Transcriptions that run at the same time; long ones do not count once they have got through "
        "30 s. Unset for two on each processor, and at least 4.",
    )
    batch_rows: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Windows of audio that the network computes together at most, of whichever requests wait; "
        "1 computes them one by one.",
    )
    max_waiting: int = Field(
        default=64,
        ge=0,
        description="Requests that may wait for a worker, large ones still being sent among them; one more is answered "
        "429.",
    )
    max_per_key: int | None = Field(
        default=None,
        ge=1,
        description="Requests of one key that may be sent, wait and run at the same time, unless it has a limit of "
        "its own; unset for any.",
    )
    background_workers: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Durable jobs that run at the same time, behind everything else; 0 leaves them to `cepstra work`.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of the acoustic model; unset: as many as the machine has, or the container may use.",
    )
    runtime: RuntimeChoice = Field(
        default="auto",
        description="What computes the acoustic model: torch, torch-bf16, onnx, onnx-int8, or the fastest here of "
        "those that cost no accuracy.",
    )
    remember_s: float = Field(
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds for which a transcript is kept in memory, so that the same audio sent again "
        "is not transcribed again; 0 turns it off.",
    )
    heartbeat_s: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="Seconds between comments that keep a stream open."
    )
    max_sockets: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Live streams open at once, those that wait for their client to come back included.",
    )
    socket_idle_s: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds without a message after which a live socket is closed.",
    )
    socket_send_s: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that the client of a live socket may take to read a message.",
    )
    resume_s: float = Field(
        default=30.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds for which a live stream that lost its connection waits for its client; 0 turns it off.",
    )
    shutdown_s: int = Field(
        default=30, ge=0, description="Seconds that running requests get to finish once the server is told to stop."
    )
    drain_s: float = Field(
        default=1.0,
        ge=0,
        le=600,
        allow_inf_nan=False,
        description="Seconds between the signal to end and the end of listening; `/readyz` says 503 meanwhile.",
    )
    database_url: str | None = Field(
        default=None,
        description="PostgreSQL for jobs, as postgresql://user@host/name; unset: SQLite in the state directory.",
    )
    database_password_file: Path | None = Field(
        default=None, description="File of the password for CEPSTRA_DATABASE_URL, read anew for every connection."
    )
    job_lease_s: float = Field(
        default=30.0,
        ge=0.5,
        le=3600,
        allow_inf_nan=False,
        description="Seconds after which another worker takes over the job of one that has died.",
    )
    job_attempts: int = Field(default=5, ge=1, description="Attempts after which a job has failed.")
    max_jobs: int = Field(
        default=1000, ge=1, description="Unfinished jobs that there may be; one more is answered 429."
    )
    keep_jobs_s: float = Field(
        default=604800.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds for which a job and its transcript stay after its end.",
    )
    keep_audio_s: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Seconds for which a job's audio stays after its end."
    )
    webhook_secret_file: Path | None = Field(
        default=None,
        description="File of the secrets that sign webhooks; unset or empty makes one in the state directory.",
    )
    webhook_networks: str = Field(
        default="", description="Private networks that webhooks may reach, as 10.0.0.0/8,127.0.0.1/32; by default none."
    )
    webhook_attempts: int = Field(
        default=15,
        ge=1,
        le=30,
        description="Attempts to deliver a webhook, each after twice the pause of the one before.",
    )
    webhook_retry_s: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds between the first attempt to deliver a webhook and the second.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message that is logged."
    )
    log_format: LogFormat = Field(
        default="plain", description="Shape of the log: plain lines, or one JSON object a line."
    )
    traces: bool = Field(
        default=False, description="Send traces with OpenTelemetry (extra `otel`); its own variables say where to."
    )
    log_transcripts: bool = Field(default=False, description="Write every transcript into the log.")

    @property
    def origins(self) -> tuple[str, ...]:
        """`allowed_origins`, one by one."""
        return tuple(part.strip() for part in (self.allowed_origins or "").split(",") if part.strip())

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        for origin in (value or "").split(","):
            if origin.strip() not in ("", "*") and not _is_origin(origin.strip()):
                raise ValueError(f"'{origin.strip()}' is not an origin such as https://example.org:8443")
        return value

    @field_validator("webhook_networks")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        parse_networks(value)
        return value


def _is_origin(text: str) -> bool:
    try:
        return ORIGIN.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:  # of an address in brackets that is none
        return False
