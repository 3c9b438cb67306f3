"""Many files at once: every file takes the way of `Transcriber`, several are on it at the same time.

While one file is decoded and another one searched, the network computes others. Every thread computes with one
processor thread: on a CPU, two threads that share one product wait for each other in every frame of an LSTM
(docs/experiments.md), two that compute different files never do. Decoding, network and search all let go of Python's
lock while they compute.
"""

import copy
import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from weakref import WeakKeyDictionary

import torch

from features.audio import Waveform
from model.batching import BatchingRuntime
from model.cancellation import CancelToken
from model.errors import OptionError
from model.hot_words import HotWords
from model.runtime import Runtime, make_runtime
from model.transcriber import Transcriber
from model.transcript import Transcript

BATCH_ROWS = 8
# Files on their way for each processor thread: those of a batch, and some before and behind it; without batches one,
# because more wait for Python's lock longer than they fill the others' gaps (docs/experiments.md).
FILES_A_THREAD_BATCHED, FILES_A_THREAD = 12, 1

Audio = bytes | str | os.PathLike[str] | Waveform


def transcribe_many(
    transcriber: Transcriber,
    audios: Iterable[Audio],
    *,
    threads: int | None = None,
    batched: bool = True,
    hot_words: HotWords | None = None,
    alternatives: int = 0,
) -> Generator[Transcript | Exception, None, None]:
    """Transcripts in the order of the audio; what one file cannot be transcribed for stands in its place.

    The words are those that `Transcriber.transcribe` gives. Closing the generator ends what is under way.

    Args:
        transcriber: the model; it is not changed.
        audios: as `Transcriber.transcribe` takes them; read as far ahead as there are files on their way.
        threads: processor threads; None for as many as torch uses.
        batched: let the network compute rows of several files at once, which costs less. It rounds differently then,
            in the last digits, and not in every run alike.
        hot_words: as in `Transcriber.transcribe`, for every file.
        alternatives: as in `Transcriber.transcribe`.

    Raises:
        OptionError: `threads` is below 1.
    """
    n_threads = torch.get_num_threads() if threads is None else threads
    if n_threads < 1:
        raise OptionError(f"{n_threads} threads were asked for; 1 is the least")
    before, cancelled = torch.get_num_threads(), CancelToken()
    many, runtime = copy.copy(transcriber), _on_one_thread(transcriber)
    batched = batched and runtime.name != "onnx-int8"  # which is given its rows one by one anyway (`model.batching`)
    n_files = n_threads * (FILES_A_THREAD_BATCHED if batched else FILES_A_THREAD)

    def attempt(audio: Audio) -> Transcript | Exception:
        try:
            return many.transcribe(audio, cancelled=cancelled, hot_words=hot_words, alternatives=alternatives)
        except Exception as error:  # a file's own fault or ours: who reads the results decides
            return error

    on_their_way: deque[Future[Transcript | Exception]] = deque()
    with ExitStack() as stack:  # ends in the opposite order
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(1)  # what the pool's threads begin with
        if batched:
            runtime = batching = BatchingRuntime(runtime, most_rows=BATCH_ROWS, at_once=n_threads)
            stack.callback(batching.close)
        many.runtime = runtime
        pool = ThreadPoolExecutor(n_files, thread_name_prefix="bulk")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.callback(cancelled.cancel)
        for audio in audios:
            on_their_way.append(pool.submit(attempt, audio))
            if len(on_their_way) >= 2 * n_files:  # transcripts that wait for an earlier one are small
                yield on_their_way.popleft().result()
        while on_their_way:
            yield on_their_way.popleft().result()


_one_thread: WeakKeyDictionary[Runtime, Runtime] = WeakKeyDictionary()


def _on_one_thread(transcriber: Transcriber) -> Runtime:
    """The transcriber's runtime with one processor thread a call; made once, because quantising takes a second."""
    runtime = _one_thread.get(transcriber.runtime)
    if runtime is None:
        runtime = make_runtime(transcriber.bundle.acoustic_model, transcriber.runtime.name, threads=1)
        _one_thread[transcriber.runtime] = runtime
    return runtime
