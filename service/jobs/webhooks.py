"""Sends the messages of the outbox: at least once each, also when the process dies in between."""

import logging
import time
from collections.abc import Callable, Mapping

from service.errors import JobsUnavailableError
from service.jobs.loop import Loop
from service.jobs.outbound import OutboundError
from service.jobs.outbox import Attempt, Outbox
from service.jobs.signing import SecretFile, signed_headers

logger = logging.getLogger("cepstra.jobs")

Post = Callable[[str, Mapping[str, str], bytes], int]
"""URL, headers, body → status code of the answer; raises OutboundError."""

POLL_S = 1.0
SENDERS = 4  # which one owner's messages take all only while nobody else's wait: outbox.MAX_OF_OWNER


class Webhooks:
    """Threads that send.

    Args:
        outbox: what to send.
        secret: to sign it with.
        post: how to send it.
        user_agent: how to call ourselves.
    """

    def __init__(self, outbox: Outbox, secret: SecretFile, post: Post, user_agent: str) -> None:
        self._outbox = outbox
        self._secret = secret
        self._post = post
        self._user_agent = user_agent
        self._senders = [Loop(f"webhook-{number}", self._step, POLL_S) for number in range(SENDERS)]

    def start(self) -> None:
        """Begin to send."""
        for sender in self._senders:
            sender.start()

    def wake(self) -> None:
        """There is a message."""
        for sender in self._senders:
            sender.wake()

    def stop(self, grace_s: float) -> None:
        """Begin no more attempts; one that goes on for longer than `grace_s` is made again by the next process."""
        for sender in self._senders:
            sender.stop()
        deadline_s = time.monotonic() + grace_s
        for sender in self._senders:
            sender.join(max(0.0, deadline_s - time.monotonic()))

    def _step(self) -> bool:
        if not self._outbox.database.exists:
            return False
        attempt = self._outbox.claim()
        if attempt is None:
            return False
        started_s = time.monotonic()
        status_code, error = self._send(attempt)
        self._outbox.record(attempt, time.monotonic() - started_s, status_code, error)
        logger.info("%s: attempt %d: %s", attempt.id, attempt.number, error or status_code)
        return True

    def _send(self, attempt: Attempt) -> tuple[int | None, str | None]:
        body = attempt.body.encode()
        try:
            signed = signed_headers(self._secret.keys(), attempt.id, int(time.time()), body)
            headers = {"Content-Type": "application/json", "User-Agent": self._user_agent, **signed}
            return self._post(attempt.url, headers, body), None
        except OutboundError as error:
            return None, str(error)
        except JobsUnavailableError as error:
            logger.error("%s", error)
            return None, "the secret that signs webhooks cannot be read; the server's log says why"
