"""Many files at once: every file takes the way of `Transcriber`, several are on it at the same time.

While one file is decoded and another one searched, the network computes a batch of others (`model.batching`). Every
thread computes with one processor thread: on a CPU, two threads that share one product wait for each other in every
frame of an LSTM (docs/experiments.md), two that compute different batches never do.
"""

import copy
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakKeyDictionary

import torch

from features.audio import Waveform
from model.batching import BatchingRuntime
from model.errors import OptionError
from model.runtime import Runtime, make_runtime
from model.transcriber import Transcriber
from model.transcript import Transcript

BATCH_ROWS = 8
FILES_A_THREAD = 12  # on their way for each processor thread: those of a batch, and some before and behind it

Audio = bytes | str | os.PathLike[str] | Waveform


def transcribe_many(
    transcriber: Transcriber, audios: Iterable[Audio], *, threads: int | None = None
) -> Iterator[Transcript | Exception]:
    """Transcripts in the order of the audio; what one file cannot be transcribed for stands in its place.

    The words are those that `Transcriber.transcribe` gives.

    Args:
        transcriber: the model; it is not changed.
        audios: as `Transcriber.transcribe` takes them; read as far ahead as there are files on their way.
        threads: processor threads; None for as many as torch uses.

    Raises:
        OptionError: `threads` is below 1.
    """
    n_threads = torch.get_num_threads() if threads is None else threads
    if n_threads < 1:
        raise OptionError(f"{n_threads} threads were asked for; 1 is the least")
    batched = copy.copy(transcriber)
    batched.runtime = batching = BatchingRuntime(_on_one_thread(transcriber), most_rows=BATCH_ROWS, at_once=n_threads)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what the pool's threads begin with
    on_their_way: deque[Future[Transcript | Exception]] = deque()
    n_files = FILES_A_THREAD * n_threads
    pool = ThreadPoolExecutor(n_files, thread_name_prefix="bulk")
    try:
        for audio in audios:
            on_their_way.append(pool.submit(_attempt, batched, audio))
            if len(on_their_way) >= 2 * n_files:  # transcripts that wait for an earlier one are small
                yield on_their_way.popleft().result()
        while on_their_way:
            yield on_their_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        batching.close()
        torch.set_num_threads(before)


_one_thread: WeakKeyDictionary[Runtime, Runtime] = WeakKeyDictionary()


def _on_one_thread(transcriber: Transcriber) -> Runtime:
    """The transcriber's runtime with one processor thread a call; made once, because quantising takes a second."""
    runtime = _one_thread.get(transcriber.runtime)
    if runtime is None:
        runtime = make_runtime(transcriber.bundle.acoustic_model, transcriber.runtime.name, threads=1)
        _one_thread[transcriber.runtime] = runtime
    return runtime


def _attempt(transcriber: Transcriber, audio: Audio) -> Transcript | Exception:
    try:
        return transcriber.transcribe(audio)
    except Exception as error:  # a file's own fault or ours: who reads the results decides
        return error
