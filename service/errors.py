"""Errors of the service's room, and the one table that turns any of our errors into HTTP.

    ServiceError                    below `features.errors.CepstraError`
    ├── InvalidRequestError         a form field that is missing, unknown, or asks for what cannot be done
    ├── UnsupportedMediaTypeError   the body is not a multipart form
    ├── UploadTooLargeError         more bytes than the limit
    ├── SlowClientError             the body does not come in time
    ├── UnknownModelError           `model` names nothing that is served
    ├── NotReadyError               the model is still loading, or could not be loaded
    ├── UndecodableAudioError       the decoder died of the upload, or needed too much time or memory
    ├── DecoderUnavailableError     no decoder can be started
    ├── QueueFullError              too many requests are waiting
    ├── StorageFullError            there is no room for an upload
    ├── AuthenticationError         no key, or one that is unknown, revoked or expired
    ├── ForbiddenError              the key may not do this
    ├── OriginError                 a web page of elsewhere asks, or one whose name was pointed here
    ├── PromotionError              a model cannot be made the default
    ├── RateLimitError              the key comes more often than it may
    ├── SocketError                 a live socket ends
    │   ├── SocketLimitError        as many are open as may be
    │   ├── IdleSocketError         nothing was sent for too long
    │   ├── SlowReaderError         the client does not read what it is told
    │   ├── MessageTooLargeError    one message with too many bytes
    │   ├── UnknownSessionError     there is nothing to come back to
    │   └── SessionTakenError       another connection has come back to it
    ├── ClientGoneError             the client hung up; nobody reads this answer
    ├── JobNotFoundError            no such job, or not this key's
    ├── JobNotFinishedError         it has no result, or not yet
    ├── IdempotencyKeyReusedError   the same key with another request
    └── JobsUnavailableError        the jobs' database or disk cannot be used now
        └── NewerDatabaseError      nor later: a newer Cepstra has made it
    KeyFileError, ExposedError, PortError, BackupError
                                    below `CepstraError` too; they end the start or a command, no request causes them

Every error answer has OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
"""

import logging
from dataclasses import dataclass

from starlette.responses import JSONResponse

from features.errors import (
    AudioError,
    AudioParameterError,
    AudioTooLargeError,
    AudioTooLongError,
    CepstraError,
    CorruptAudioError,
    EmptyAudioError,
    NonFiniteAudioError,
    UnsupportedAudioError,
)
from model.errors import AlternativesError, HotWordError

logger = logging.getLogger("cepstra.service")

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

CLOSE_NORMAL = 1000  # of a WebSocket
CLOSE_ERROR = 4000  # plus the HTTP status of the error


class ServiceError(CepstraError):
    """Root of the service's errors.

    Attributes:
        param: the form field that is to blame, where there is one.
        code: a word for machines, where it says more than the error's row in the table.
        retry_after_s: whole seconds after which trying again makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


class InvalidRequestError(ServiceError):
    """A form field that is missing, unknown, out of range, or asks for what the model cannot do."""


class UnsupportedMediaTypeError(ServiceError):
    """The body is not a multipart form."""


class UploadTooLargeError(ServiceError):
    """The body or the file in it has more bytes than the limit."""


class SlowClientError(ServiceError):
    """The body of the request does not come in time."""


class UnknownModelError(ServiceError):
    """`model` names nothing that is served here."""


class NotReadyError(ServiceError):
    """The model is still loading, or could not be loaded."""


class UndecodableAudioError(ServiceError):
    """The process that decodes the upload died of it, or needed more memory or time than it may have."""


class DecoderUnavailableError(ServiceError):
    """No process that decodes can be started; not the upload's fault."""


class QueueFullError(ServiceError):
    """As many requests are waiting as may wait."""


class StorageFullError(ServiceError):
    """The disk on which uploads wait has no room left."""


class AuthenticationError(ServiceError):
    """A key is needed and none came, or one that is unknown, revoked or expired."""


class ForbiddenError(ServiceError):
    """The key is good, but not for this."""


class OriginError(ServiceError):
    """A web page of elsewhere asks, or one whose name was pointed at this machine."""


class RateLimitError(ServiceError):
    """The key comes more often than it may."""


class PromotionError(ServiceError):
    """A model cannot be made the default: it cannot be loaded, or there is none to go back to."""


class SocketError(ServiceError):
    """A live socket ends, and why."""


class SocketLimitError(SocketError):
    """As many live streams are open as may be."""


class IdleSocketError(SocketError):
    """Nothing came through the socket for too long."""


class SlowReaderError(SocketError):
    """The client does not read what it is told."""


class MessageTooLargeError(SocketError):
    """One message has more bytes than the limit."""


class UnknownSessionError(SocketError):
    """There is no such live session, or not any more."""


class SessionTakenError(SocketError):
    """The live session has another connection."""


class KeyFileError(CepstraError):
    """The file of keys cannot be read or written, or does not hold what is asked of it."""


class ExposedError(CepstraError):
    """Other machines could use the service without a key, and nobody said that this is meant."""


class PortError(CepstraError):
    """A port cannot be listened on."""


class BackupError(CepstraError):
    """The state directory cannot be written to a backup, or not be made of one."""


class ClientGoneError(ServiceError):
    """The client closed its connection before the answer was there."""


class JobNotFoundError(ServiceError):
    """There is no job, or no message, of that name that the caller may see."""


class JobNotFinishedError(ServiceError):
    """The job has no result: it is queued or running, or has failed, or was cancelled."""


class IdempotencyKeyReusedError(ServiceError):
    """An Idempotency-Key that stands for an earlier, different request."""


class JobsUnavailableError(ServiceError):
    """The jobs' database or disk cannot be used at the moment, or not as it is set up."""


class NewerDatabaseError(JobsUnavailableError):
    """A newer Cepstra has made the jobs' database: to wait does not help."""


@dataclass(frozen=True)
class Row:
    """How one class of errors looks from outside.

    Attributes:
        status: HTTP status.
        type: OpenAI's coarse type.
        code: a word for machines.
        param: the form field to blame unless the error names one itself.
        public: whether the message may be shown; where not, the log has it and the client gets a general one.
    """

    status: int
    type: str
    code: str | None
    param: str | None = None
    public: bool = True


# The row of an error is that of the nearest class in its method resolution order.
TABLE: dict[type[CepstraError], Row] = {
    CepstraError: Row(500, SERVER_ERROR, "internal_error", public=False),
    AudioError: Row(400, INVALID_REQUEST, "invalid_audio", "file"),
    EmptyAudioError: Row(400, INVALID_REQUEST, "empty_audio", "file"),
    UnsupportedAudioError: Row(400, INVALID_REQUEST, "unsupported_audio", "file"),
    CorruptAudioError: Row(400, INVALID_REQUEST, "corrupt_audio", "file"),
    NonFiniteAudioError: Row(400, INVALID_REQUEST, "non_finite_audio", "file"),
    AudioParameterError: Row(400, INVALID_REQUEST, "unsupported_audio_parameters", "file"),
    AudioTooLongError: Row(413, INVALID_REQUEST, "audio_too_long", "file"),
    AudioTooLargeError: Row(413, INVALID_REQUEST, "audio_too_large", "file"),
    InvalidRequestError: Row(400, INVALID_REQUEST, "invalid_value"),
    AlternativesError: Row(400, INVALID_REQUEST, "invalid_value", "alternatives"),
    HotWordError: Row(400, INVALID_REQUEST, "invalid_keywords", "keywords"),
    UnsupportedMediaTypeError: Row(415, INVALID_REQUEST, "unsupported_media_type"),
    UploadTooLargeError: Row(413, INVALID_REQUEST, "file_too_large", "file"),
    SlowClientError: Row(408, INVALID_REQUEST, "request_timeout"),
    UnknownModelError: Row(404, INVALID_REQUEST, "model_not_found", "model"),
    NotReadyError: Row(503, SERVER_ERROR, "not_ready"),
    UndecodableAudioError: Row(400, INVALID_REQUEST, "undecodable_audio", "file"),
    DecoderUnavailableError: Row(503, SERVER_ERROR, "decoder_unavailable"),
    QueueFullError: Row(429, "rate_limit_error", "queue_full"),
    StorageFullError: Row(503, SERVER_ERROR, "storage_full"),
    AuthenticationError: Row(401, INVALID_REQUEST, "invalid_api_key"),
    ForbiddenError: Row(403, INVALID_REQUEST, "insufficient_scope"),
    OriginError: Row(403, INVALID_REQUEST, "origin_not_allowed"),
    PromotionError: Row(409, INVALID_REQUEST, "promotion_failed", "model"),
    RateLimitError: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    SocketError: Row(400, INVALID_REQUEST, "socket_closed"),
    SocketLimitError: Row(429, "rate_limit_error", "too_many_sockets"),
    IdleSocketError: Row(408, INVALID_REQUEST, "idle_timeout"),
    SlowReaderError: Row(408, INVALID_REQUEST, "slow_reader"),
    MessageTooLargeError: Row(413, INVALID_REQUEST, "message_too_large"),
    UnknownSessionError: Row(404, INVALID_REQUEST, "session_not_found", "session"),
    SessionTakenError: Row(409, INVALID_REQUEST, "session_taken_over", "session"),
    ClientGoneError: Row(499, SERVER_ERROR, "client_gone"),
    JobNotFoundError: Row(404, INVALID_REQUEST, "job_not_found"),
    JobNotFinishedError: Row(409, INVALID_REQUEST, "job_not_finished"),
    IdempotencyKeyReusedError: Row(422, INVALID_REQUEST, "idempotency_key_reused"),
    JobsUnavailableError: Row(503, SERVER_ERROR, "jobs_unavailable"),
    NewerDatabaseError: Row(503, SERVER_ERROR, "jobs_unavailable"),
}

LONGEST_TEXT = 2_000  # characters of a message
INTERNAL_MESSAGE = "The server had an internal error. Its log has the details under this request's x-request-id."


def row_of(error: CepstraError) -> Row:
    """The row of the table that applies to `error`."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def error_object(error: Exception) -> dict[str, object]:
    """The `{"error": …}` object for any exception; what must not be shown goes to the log instead."""
    if not isinstance(error, CepstraError) or not row_of(error).public:
        logger.error("internal error", exc_info=error)
        return openai_error(INTERNAL_MESSAGE, SERVER_ERROR, code="internal_error")
    row = row_of(error)
    param, code = row.param, row.code
    if isinstance(error, ServiceError):
        param, code = error.param or param, error.code or code
    return openai_error(str(error), row.type, param=param, code=code)


def error_response(error: Exception) -> JSONResponse:
    """The whole HTTP answer for any exception."""
    status = row_of(error).status if isinstance(error, CepstraError) else 500
    headers = {}
    if isinstance(error, AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, ServiceError) and error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    elif status == 409:  # OpenAI's clients would ask twice more, and nothing would have changed
        headers["x-should-retry"] = "false"
    return JSONResponse(error_object(error), status, headers)


def openai_error(
    message: str, type_: str = INVALID_REQUEST, *, param: str | None = None, code: str | None = None
) -> dict[str, object]:
    """OpenAI's error object."""
    param = None if param is None else sendable(param)
    return {"error": {"message": sendable(message), "type": type_, "param": param, "code": code}}


def sendable(text: str) -> str:
    """What a client sent, fit to be sent back: it may hold halves of surrogate pairs, and have any length."""
    shortened = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return shortened.encode(errors="replace").decode()
