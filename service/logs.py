"""What is logged, and in which shape: lines for people, or one JSON object a line for machines.

Every line names the request that it belongs to, also from the threads that work for it. No line holds a word of a
transcript or a name that a client chose for a file, unless `CEPSTRA_LOG_TRANSCRIPTS` asks for it.
"""

import json
import logging
import time
from contextvars import ContextVar
from typing import Any, Literal

LogFormat = Literal["plain", "json"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What a record has by itself; all else was given to it as `extra` and becomes a field of its own.
_KNOWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, message, request_id, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in fields.items() if value is not None}, default=str)


class PlainFormatter(logging.Formatter):
    """A record as a line for people; the request's id comes first where there is one and the message lacks it."""

    def __init__(self) -> None:
        super().__init__(PLAIN)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """The line without a traceback."""
        identity = request_id.get()
        if identity and identity not in record.message:
            record.message = f"{identity} {record.message}"
        return super().formatMessage(record)


def logging_config(level: str, log_format: LogFormat) -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything to standard error."""
    formatter = JsonFormatter if log_format == "json" else PlainFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }
