"""flashlight's search without Python's lock: as many threads search at the same time as there are processors.

flashlight's bindings (pybind11) keep Python's lock while they search, so that neither a second search nor any other
Python code can run meanwhile. The library below them exports the methods that do the work. Here they are called through
ctypes, which lets go of the lock, on the very object that the bindings have made: the arithmetic is the same, and so is
every result. Of the object's address nothing is believed that is not checked: its first word has to point to the table
of virtual methods of flashlight's class. Where anything is missing or other than it was when this was written (another
version of flashlight-text, a platform with other names for C++ symbols), the bindings are called as they are.

Sources: the Itanium C++ ABI (names, `this` as the first argument, where the table's address points); pybind11's
`struct instance`, whose first field behind the object's head is the address of the C++ object.
"""

import ctypes
import logging
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

from flashlight.lib.text.decoder import LexiconDecoder

logger = logging.getLogger("cepstra.search")

TRIED = ("0.0.7",)  # versions of flashlight-text
_CLASS = "N2fl3lib4text14LexiconDecoder"
_POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
_HEAD_BYTES = object.__basicsize__
_TABLE_HEAD = 2  # words of a table of virtual methods before the one that objects point to


class SearchSteps:
    """The steps of one search, for one thread at a time; the lock is free while they compute.

    Args:
        decoder: made by flashlight's bindings; kept alive.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._begin: Callable[[], object] = decoder.decode_begin
        self._step: Callable[[int, int, int], object] = decoder.decode_step
        self._end: Callable[[], object] = decoder.decode_end
        library = _library()
        if library is not None:
            this = _address(decoder)
            self._begin = lambda: library.begin(this)
            self._step = lambda data, n_frames, n_units: library.step(this, data, n_frames, n_units)
            self._end = lambda: library.end(this)

    def begin(self) -> None:
        """Start with an empty beam."""
        self._begin()

    def step(self, data_ptr: int, n_frames: int, n_units: int) -> None:
        """Search through frames.

        Args:
            data_ptr: address of float32 log-probs, shape (n_frames, n_units), contiguous; alive until this returns.
            n_frames: how many rows.
            n_units: how many columns.
        """
        self._step(data_ptr, n_frames, n_units)

    def end(self) -> None:
        """Finish: what `get_all_final_hypothesis` of the decoder gives is there now."""
        self._end()

    def forget(self) -> None:
        """Let go of the beam, a fifth of the search's time; else it would go with the decoder, under the lock."""
        self._begin()


def searches_unlocked() -> bool:
    """Whether Python's lock is free while a search computes."""
    return _library() is not None


class _Library:
    """The methods in flashlight's library; raises AttributeError or ValueError where a name is missing."""

    def __init__(self, path: str) -> None:
        exported = ctypes.CDLL(path)  # the bindings, which are loaded already; names are looked up below them too
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self.begin = exported[f"_Z{_CLASS}11decodeBeginEv"]
        self.begin.argtypes, self.begin.restype = (pointer,), None
        self.step = exported[f"_Z{_CLASS}10decodeStepEPKfii"]
        self.step.argtypes, self.step.restype = (pointer, pointer, number, number), None
        self.end = exported[f"_Z{_CLASS}9decodeEndEv"]
        self.end.argtypes, self.end.restype = (pointer,), None
        table = ctypes.c_void_p.in_dll(exported, f"_ZTV{_CLASS}E")
        self.table = ctypes.addressof(table) + _TABLE_HEAD * _POINTER_BYTES


@cache
def _library() -> _Library | None:
    try:
        installed = version("flashlight-text")
        if installed not in TRIED:
            raise ValueError(f"flashlight-text is {installed}; tried are {', '.join(TRIED)}")
        import flashlight.lib.text.flashlight_lib_text_decoder as bindings

        return _Library(bindings.__file__)
    except (ImportError, OSError, AttributeError, ValueError) as error:
        logger.warning("the search keeps Python's lock, one at a time: %s", error)
        return None


def _address(decoder: Any) -> int:
    """Of the C++ object that the bindings' object stands for."""
    assert type(decoder) is LexiconDecoder
    this = ctypes.c_void_p.from_address(id(decoder) + _HEAD_BYTES).value
    library = _library()
    assert this and library
    assert ctypes.c_void_p.from_address(this).value == library.table, "not flashlight's LexiconDecoder"
    return this
