"""The keys as the running server sees them, and how often each of them comes."""

import logging
import time
from collections.abc import Callable

from service.errors import KeyFileError
from service.keys import Key, KeyFile, hash_of

logger = logging.getLogger("cepstra.service")

ROUNDING_S = 1e-6  # of sums of intervals


class KeyRing:
    """The key file, read again whenever it has changed: keys come and go without a restart.

    Doubt closes the door. A file that can no longer be read leaves the keys that were known last; one that is gone
    leaves none, and keys stay required: only a server that never saw a file is open.
    """

    def __init__(self, file: KeyFile, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._stamp: object = object()  # equal to none
        self._keys: tuple[Key, ...] | None = None

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return self._current() is not None

    def find(self, secret: str) -> Key | None:
        """The key with this secret, unless it is revoked or has expired.

        Every key is compared, in time that does not depend on the secret, also after the right one was found.
        """
        sha256 = hash_of(secret)
        now_s = self._clock()
        found = None
        for key in self._current() or ():
            if key.admits(sha256, now_s):
                found = key
        return found

    def _current(self) -> tuple[Key, ...] | None:
        try:
            stamp: object = self._file.stamp()
            if stamp == self._stamp:
                return self._keys
            keys = self._file.read()
        except KeyFileError as error:
            logger.error("the keys known until now stay in force: %s", error)
            keys, stamp = self._keys or (), object()
        if keys is None and self._keys is not None:
            logger.error("%s is gone: nobody is let in until it is back", self._file.path)
            keys = ()
        self._keys, self._stamp = keys, stamp
        return keys


class RequestRate:
    """Requests a minute for each name: a bucket that holds a minute's worth and fills up steadily.

    The generic cell rate algorithm (ITU-T I.371): all that has to be known of a bucket is when it will be full again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}

    def wait_s(self, name: str, per_minute: int) -> float:
        """Take one request out of the bucket of `name`: 0; or, where it is empty, seconds until it is not."""
        now_s = self._clock()
        interval_s = 60 / per_minute
        full_at_s = max(now_s, self._full_at_s.get(name, now_s)) + interval_s
        wait_s = full_at_s - (now_s + 60)
        if wait_s > ROUNDING_S:
            return wait_s
        self._full_at_s[name] = full_at_s
        return 0.0
