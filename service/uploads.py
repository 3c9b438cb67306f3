"""Uploads: limits while the body is read, and the form that it holds.

The file goes into an unnamed temporary file that the kernel removes with its last handle, so that nothing stays on
disk, and its name, which the client chose, is never used.
"""

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from starlette.datastructures import FormData, Headers, MutableHeaders, UploadFile
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    InvalidRequestError,
    SlowClientError,
    StorageFullError,
    UnsupportedMediaTypeError,
    UploadTooLargeError,
    error_response,
)
from service.settings import Settings

FORM_OVERHEAD_BYTES = 256 * 1024  # that a body may have beside its file

# An early answer is sent at once, and then this much of what the client still sends is read and dropped: a connection
# closed with unread bytes is reset, and many clients would report the reset rather than the answer.
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 5.0

STORAGE_FULL_S = 10  # until some of the uploads that fill the disk are transcribed


@dataclass(frozen=True)
class Upload:
    """A form as it was sent.

    Attributes:
        file: the audio, spooled; the owner closes it.
        fields: the other fields, each with all its values in order; names as sent.
    """

    file: BinaryIO
    fields: dict[str, list[str]]


@dataclass(frozen=True)
class FormLimits:
    """What a form may hold.

    Attributes:
        max_file_bytes: of its one file.
        max_fields: beside the file.
        max_field_bytes: of each of them.
    """

    max_file_bytes: int
    max_fields: int
    max_field_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "FormLimits":
        """Those that are set."""
        return cls(settings.max_upload_bytes, settings.max_fields, settings.max_field_bytes)


async def read_upload(request: Request, limits: FormLimits, on_disk: Callable[[], None]) -> Upload:
    """Read the multipart form of `request`; `on_disk` is called once it is too large for memory, and may raise.

    Raises:
        UnsupportedMediaTypeError: the body is no multipart form.
        UploadTooLargeError: the file has too many bytes.
        InvalidRequestError: there is no file, or more than one, or what should be text is none.
        StorageFullError: it does not fit on the disk.
        starlette.exceptions.HTTPException: the form cannot be read, or has too many fields or too long ones.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaTypeError(
            f"The body has to be a form of type multipart/form-data; its Content-Type is '{content_type[:100]}'."
        )
    try:
        counted = Request(request.scope, _counted(request, on_disk))
        form = await counted.form(max_files=1, max_fields=limits.max_fields, max_part_size=limits.max_field_bytes)
    except UnicodeError:  # the client chooses the charset, and some codecs fail in ways of their own
        raise InvalidRequestError("The form is not text in the charset that its Content-Type names.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(
            f"There is no room for this upload at the moment. Try again in {STORAGE_FULL_S} s.",
            retry_after_s=STORAGE_FULL_S,
        ) from error
    try:
        return _checked(form, limits.max_file_bytes)
    except Exception:
        await form.close()
        raise


def _counted(request: Request, on_disk: Callable[[], None]) -> Receive:
    """The request's messages; once they hold more than a file has in memory, `on_disk` is called before each."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > MultiPartParser.spool_max_size:
            on_disk()
        return message

    return receive


def _checked(form: FormData, max_file_bytes: int) -> Upload:
    file = None
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if not _is_text(name) or (isinstance(value, str) and not _is_text(value)):
            raise InvalidRequestError(
                f"The parameter '{name[:100]}' is no text: it has halves of characters.", param=name[:100]
            )
        if isinstance(value, str):
            fields.setdefault(name, []).append(value)
        elif name != "file":
            raise InvalidRequestError(f"The parameter '{name[:100]}' does not take a file.", param=name[:100])
        else:
            file = value
    if file is None:
        missing = "is text, without a file name" if "file" in fields else "is missing"
        raise InvalidRequestError(
            f"The parameter 'file' {missing}: send the audio as a file part of the form.",
            param="file",
            code="missing_required_parameter",
        )
    if (size := file.size or 0) > max_file_bytes:
        raise too_large(f"The file has {size} bytes", max_file_bytes)
    return Upload(_spooled(file), fields)


def _is_text(text: str) -> bool:
    """Whether it can be written down: some charsets (utf-7) have halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _spooled(upload: UploadFile) -> BinaryIO:
    assert isinstance(upload.file, SpooledTemporaryFile)
    return cast(BinaryIO, upload.file)


def too_large(what: str, limit_bytes: int) -> UploadTooLargeError:
    """The error for too many bytes; `what` begins the sentence."""
    return UploadTooLargeError(f"{what}; the limit is {limit_bytes} bytes (CEPSTRA_MAX_UPLOAD_BYTES).")


class BodyLimit:
    """ASGI middleware: no body is read further than `max_file_bytes` and a form's overhead, nor waited for too long.

    A Content-Length above that is refused before anything is read; a body without one, once it has gone past it.

    Args:
        max_file_bytes: most bytes of the file in the body.
        body_s: seconds that the whole body may take.
        stall_s: seconds that may go by without a byte of it.
    """

    def __init__(self, app: ASGIApp, max_file_bytes: int, body_s: float, stall_s: float) -> None:
        self.app = app
        self.max_file_bytes = max_file_bytes
        self.max_body_bytes = max_file_bytes + FORM_OVERHEAD_BYTES
        self.body_s = body_s
        self.stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, send, self)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            error = too_large(f"The request announces {length} bytes", self.max_file_bytes)
            await error_response(error)(scope, body.receive, body.send)
        else:
            await self.app(scope, body.receive, body.send)


class _Body:
    """Counts the body of one request, and drains what is left of it once the answer is out."""

    def __init__(self, receive: Receive, send: Send, limit: BodyLimit) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._deadline_s = time.monotonic() + limit.body_s
        self._seen_bytes = 0
        self._ended = False
        self._too_slow = False

    async def receive(self) -> Message:
        message = await (self._receive() if self._ended else self._receive_in_time())
        self._note(message)
        if self._seen_bytes > self._limit.max_body_bytes:
            raise too_large(f"The request has more than {self._seen_bytes - 1} bytes", self._limit.max_file_bytes)
        return message

    async def _receive_in_time(self) -> Message:
        left_s = self._deadline_s - time.monotonic()
        try:
            async with asyncio.timeout(min(left_s, self._limit.stall_s)):
                return await self._receive()
        except TimeoutError:
            self._too_slow = True
            if left_s <= self._limit.stall_s:
                what = f"took longer than {self._limit.body_s:g} s (CEPSTRA_BODY_S)"
            else:
                what = f"stopped for {self._limit.stall_s:g} s (CEPSTRA_BODY_STALL_S)"
            raise SlowClientError(f"The body of the request {what}: {self._seen_bytes} bytes have come.") from None

    async def send(self, message: Message) -> None:
        if self._too_slow and message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"  # or the rest of the body would be waited for
        if message["type"] != "http.response.body" or message.get("more_body") or self._ended or self._too_slow:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        stop_at_bytes = self._seen_bytes + DRAIN_BYTES
        while not self._ended and self._seen_bytes < stop_at_bytes:
            self._note(await self._receive())

    def _note(self, message: Message) -> None:
        self._seen_bytes += len(message.get("body", b""))
        self._ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
