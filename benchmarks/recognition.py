"""How fast recognition is, and where its time goes: three tables of one run.

    network     every runtime at several batch sizes: × real time, and the share of this machine's matrix-product peak
    files       from file bytes to words, one after the other and many at once, greedily and with the language model
    stages      decode, resample, features, network, search: milliseconds for a second of audio, and shares

Network and stages are in processor time, which other work on the machine does not lengthen (though it makes caches
colder): × real time is what N threads reach that never wait. The files are timed by the clock, with the processor time
beside it; on an idle machine both processors should be busy.

usage: python -m benchmarks.recognition [--manifest FILE] [--limit N] [--bundle DIR] [--runtime NAME] [--threads N]
                                        [--part network|files|stages]... [--record]
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import soxr
import torch

from benchmarks.results import record
from features.audio import decode_audio
from model.acoustic_model import SUBSAMPLING, AcousticModel, AcousticModelConfig, subsampled_length
from model.alignment import build_segments
from model.bulk import transcribe_many
from model.runtime import Runtime, installed_runtimes, make_runtime
from model.runtime_names import RUNTIMES, RuntimeName
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from model.transcript import Transcript
from training.corpora import normalize_transcript, read_corpus
from training.metrics import word_errors

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("network", "files", "stages")
BATCHES = (1, 8)
ROW_FRAMES = 1200  # 12 s, a long utterance of LibriSpeech
FRAMES_A_SECOND = 100
CALLS = 3
NUMBER_TYPE: dict[RuntimeName, str] = {"torch": "fp32", "torch-bf16": "bf16", "onnx": "fp32", "onnx-int8": "int8"}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--limit", type=int, default=100, help="utterances, spread evenly")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto", help="of the files and stages")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--part", choices=PARTS, action="append", help="only these tables")
    parser.add_argument("--record", action="store_true", help="write the tables into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS

    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, runtime=arguments.runtime)
    greedy = Transcriber.from_bundle(arguments.bundle, greedy=True, runtime=transcriber.runtime.name)
    utterances = read_corpus(arguments.manifest)
    utterances = utterances[:: max(1, len(utterances) // arguments.limit)][: arguments.limit]
    files = [utterance.path.read_bytes() for utterance in utterances]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    tables = {
        "network": lambda: network_table(transcriber.bundle.acoustic_model, arguments.threads),
        "files": lambda: files_table(transcriber, greedy, files, references, arguments.threads),
        "stages": lambda: stages_table(transcriber, files),
    }
    print(f"{transcriber.name}, {arguments.threads} threads, torch {torch.__version__}")
    for part in parts:
        table = "\n".join(shown(tables[part]()))
        if arguments.record:
            record(f"Recognition: {part}", table)


def shown(lines: Iterable[str]) -> Iterator[str]:
    """The lines, each printed as it comes."""
    for line in lines:
        print(line, flush=True)
        yield line


def network_table(model: AcousticModel, n_threads: int) -> Iterator[str]:
    """Every runtime and batch size; each of the threads computes batches of its own, as `model.bulk` does."""
    torch.set_num_threads(1)
    peaks = {"fp32": matmul_peak(torch.float32, n_threads), "bf16": matmul_peak(torch.bfloat16, n_threads)}
    if "onnx-int8" in installed_runtimes():
        peaks["int8"] = int8_peak(n_threads)
    products = ", ".join(f"{number_type} {peak / 1e9:.0f} G/s" for number_type, peak in peaks.items())
    yield f"network, rows of {ROW_FRAMES / FRAMES_A_SECOND:g} s, {n_threads} threads with a batch each, processor time"
    yield f"products and sums of the largest matrix product, all threads: {products}"
    work = operations_a_second(model.config)
    for name in installed_runtimes():
        runtime = make_runtime(model, name, threads=1)
        for n_rows in BATCHES:
            features_BTF = torch.randn(n_rows, ROW_FRAMES, model.config.n_features)
            lengths_B = torch.full((n_rows,), ROW_FRAMES)
            took_s = fastest(lambda f=features_BTF, n=lengths_B, r=runtime: r(f, n), n_threads)  # type: ignore[misc]  # mypy has no type for it
            speed = n_threads * n_rows * ROW_FRAMES / FRAMES_A_SECOND / took_s
            share = speed * work / peaks[NUMBER_TYPE[name]]
            yield f"  {name:11} batch {n_rows:3} {speed:7.0f} × real time   {share:4.0%} of {NUMBER_TYPE[name]}'s peak"


def files_table(
    transcriber: Transcriber, greedy: Transcriber, files: Sequence[bytes], references: Sequence[str], n_threads: int
) -> Iterator[str]:
    """From file bytes to words; by the clock, and what the processors did meanwhile."""
    yield f"files, {transcriber.runtime.name}, {n_threads} threads; processor time in ms for a second of audio"
    for label, model in (("greedy", greedy), ("search", transcriber)):
        many_at_once(model, files[:8], n_threads)  # memory is mapped and kernels are chosen in the first calls
        for way, run in (("one by one", one_by_one), ("many at once", many_at_once)):
            torch.set_num_threads(n_threads)
            cpu_s, began = time.process_time(), time.perf_counter()
            transcripts = run(model, files, n_threads)
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
            audio_s = sum(transcript.duration_s for transcript in transcripts)
            rate = word_errors(list(references), [transcript.text for transcript in transcripts]).rate
            yield (
                f"  {label:8} {way:14} {len(files)} files, {audio_s:.0f} s of audio: {took_s:7.2f} s "
                f"{audio_s / took_s:5.0f} × real time   processors {1000 * cpu_s / audio_s:5.2f} ms, "
                f"{cpu_s / took_s / n_threads:4.0%} busy with it   WER {rate:.2%}"
            )


def stages_table(transcriber: Transcriber, files: Sequence[bytes]) -> Iterator[str]:
    """Each stage of one file after the other on one thread, and its share."""
    torch.set_num_threads(1)
    runtime = make_runtime(transcriber.bundle.acoustic_model, transcriber.runtime.name, threads=1)
    seconds: dict[str, float] = defaultdict(float)
    stages(transcriber, runtime, files[0], defaultdict(float))
    audio_s = sum(stages(transcriber, runtime, content, seconds) for content in files)
    total_s = sum(seconds.values())
    yield f"stages, {runtime.name}, one file after the other on one thread, processor time for a second of audio"
    for stage, took_s in (*seconds.items(), ("all", total_s)):
        speed = f" {audio_s / took_s:8.0f} × real time" if took_s else ""
        yield f"  {stage:10} {1000 * took_s / audio_s:7.2f} ms {took_s / total_s:5.0%}{speed}"


def one_by_one(transcriber: Transcriber, files: Sequence[bytes], n_threads: int) -> list[Transcript]:
    """Each file when the one before is done."""
    return [transcriber.transcribe(content) for content in files]


def many_at_once(transcriber: Transcriber, files: Sequence[bytes], n_threads: int) -> list[Transcript]:
    """As `cepstra transcribe` does with several files; one that fails ends the measurement."""
    results = list(transcribe_many(transcriber, files, threads=n_threads))
    return [result for result in results if isinstance(result, Transcript) or raised(result)]  # type: ignore[misc]  # mypy has no type for it


def raised(error: Exception) -> bool:
    """Raise it."""
    raise error


def stages(transcriber: Transcriber, runtime: Runtime, content: bytes, seconds: dict[str, float]) -> float:
    """Time each stage on one file, without windows; return its seconds of audio."""
    bundle = transcriber.bundle
    marks = [time.process_time()]
    with resampling_timed() as resampling:
        waveform = decode_audio(content)
    marks.append(time.process_time())
    with torch.inference_mode():
        samples_BN = torch.from_numpy(waveform.samples_N).unsqueeze(0)
        features_BTF, lengths_B = bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
        features_BTF = bundle.cmvn(features_BTF, lengths_B)
    marks.append(time.process_time())
    log_probs_BSV, _ = runtime(features_BTF, lengths_B)
    marks.append(time.process_time())
    units = transcriber.decode(log_probs_BSV[0])
    build_segments(
        units, log_probs_BSV[0], bundle.tokenizer, frame_s=transcriber.frame_s, duration_s=waveform.duration_s
    )
    marks.append(time.process_time())
    decoding, features, network, search = (end - begin for begin, end in pairwise(marks))
    resample = sum(resampling)
    for stage, took_s in (
        ("decode", decoding - resample),
        ("resample", resample),
        ("features", features),
        ("network", network),
        ("search", search),
    ):
        seconds[stage] += took_s
    return waveform.duration_s


@contextmanager
def resampling_timed() -> Iterator[list[float]]:
    """The seconds of every call of soxr while it is open; audio that has the model's rate needs none."""
    seconds: list[float] = []

    class Timed(soxr.ResampleStream):
        def resample_chunk(self, x: np.ndarray, last: bool = False) -> np.ndarray:
            began = time.process_time()
            result = super().resample_chunk(x, last=last)
            seconds.append(time.process_time() - began)
            return np.asarray(result)

    with mock.patch.object(soxr, "ResampleStream", Timed):
        yield seconds


def operations_a_second(config: AcousticModelConfig) -> float:
    """Multiplications and additions of all matrix products and convolutions, for one second of audio."""
    frames = FRAMES_A_SECOND / SUBSAMPLING
    width, hidden, channels = 2 * config.hidden_size, config.hidden_size, config.channels
    bins = subsampled_length(config.n_features)
    convolutions = 2 * frames * 2 * bins * channels * 9 + frames * bins * channels * channels * 9
    projection = frames * channels * bins * width
    layers = frames * config.n_layers * 2 * (width + hidden) * 4 * hidden
    speller = 0.0
    if config.spelling_layers:
        size, pairs = config.spelling_size, frames / 2
        speller = pairs * size * (2 * config.n_outputs + 3 * size * config.spelling_layers)
    return 2 * (convolutions + projection + layers + frames * width * config.n_outputs + speller)


def matmul_peak(dtype: torch.dtype, n_threads: int, size: int = 2048) -> float:
    """Multiplications and additions a second of large square matrix products, one a thread; torch uses one thread."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return n_threads * 2 * size**3 / fastest(lambda: a @ b, n_threads)


def int8_peak(n_threads: int, size: int = 2048) -> float:
    """The same of ONNX Runtime's product of 8-bit integers."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    b = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 127, (size, size), np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [size, size])],
        [b],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    a = np.random.default_rng(1).integers(0, 255, (size, size), np.uint8)
    return n_threads * 2 * size**3 / fastest(lambda: session.run(None, {"a": a}), n_threads)


def fastest(work: Callable[[], object], n_threads: int) -> float:
    """Processor seconds of a call, with all threads calling at the same time: the fastest of each, their mean."""

    def calls() -> float:
        torch.set_num_threads(1)  # of this thread
        work()  # does not count: memory is mapped, kernels are chosen
        took_s = float("inf")
        for _ in range(CALLS):
            began = time.thread_time()
            work()
            took_s = min(took_s, time.thread_time() - began)
        return took_s

    with ThreadPoolExecutor(n_threads) as pool:
        return sum(pool.map(lambda _: calls(), range(n_threads))) / n_threads


if __name__ == "__main__":
    main()
