"""How fast recognition is, and where its time goes: three tables of one run.

    network     every runtime at several batch sizes: × real time, and the share of this machine's matrix-product peak
    files       from file bytes to words, one after the other and many at once, greedily and with the language model
    stages      decode, resample, features, network, search: seconds and shares, one file after the other

usage: python -m benchmarks.recognition [--manifest FILE] [--limit N] [--bundle DIR] [--runtime NAME] [--threads N]
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from unittest import mock

import numpy as np
import soxr
import torch

from features.audio import decode_audio
from model.acoustic_model import SUBSAMPLING, AcousticModel, AcousticModelConfig, subsampled_length
from model.alignment import build_segments
from model.bulk import transcribe_many
from model.runtime import installed_runtimes, make_runtime
from model.runtime_names import RUNTIMES, RuntimeName
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from model.transcript import Transcript
from training.corpora import normalize_transcript, read_corpus
from training.metrics import word_errors

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 8, 32)
ROW_FRAMES = 1200  # 12 s, a long utterance of LibriSpeech
FRAMES_A_SECOND = 100
Result = TypeVar("Result")
NUMBER_TYPE: dict[RuntimeName, str] = {"torch": "fp32", "torch-bf16": "bf16", "onnx": "fp32", "onnx-int8": "int8"}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--limit", type=int, default=100, help="utterances, spread evenly")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto", help="of the files and stages")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()

    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, runtime=arguments.runtime)
    greedy = Transcriber(transcriber.bundle, greedy=True, runtime=transcriber.runtime)
    utterances = read_corpus(arguments.manifest)
    utterances = utterances[:: max(1, len(utterances) // arguments.limit)][: arguments.limit]
    files = [utterance.path.read_bytes() for utterance in utterances]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    print(f"{transcriber.name}, {arguments.threads} threads, torch {torch.__version__}\n")

    print_network(transcriber.bundle.acoustic_model)
    print(f"\nfiles, {transcriber.runtime.name} ({arguments.runtime})")
    for label, model in (("greedy", greedy), ("search", transcriber)):
        list(transcribe_many(model, files[:8]))  # memory is mapped and kernels are chosen in the first calls
        for way, run in (("one by one", one_by_one), ("many at once", many_at_once)):
            transcripts, took_s = timed(lambda run=run, model=model: run(model, files))  # type: ignore[misc]  # mypy has no type for it
            audio_s = sum(transcript.duration_s for transcript in transcripts)
            rate = word_errors(references, [transcript.text for transcript in transcripts]).rate
            speed = f"{took_s:7.2f} s {audio_s / took_s:7.0f} × real time"
            print(f"  {label:8} {way:14} {len(files)} files, {audio_s:.0f} s of audio: {speed}   WER {rate:.2%}")
    print_stages(transcriber, files)


def print_network(model: AcousticModel) -> None:
    """Every runtime and batch size; the peak of each number type is measured beside them."""
    peaks = {"fp32": matmul_peak(torch.float32), "bf16": matmul_peak(torch.bfloat16)}
    if "onnx-int8" in installed_runtimes():
        peaks["int8"] = int8_peak()
    shown = ", ".join(f"{number_type} {peak / 1e9:.0f} G/s" for number_type, peak in peaks.items())
    print(
        f"network, rows of {ROW_FRAMES / FRAMES_A_SECOND:g} s; products and sums of the largest matrix product: {shown}"
    )
    work = operations_a_second(model.config)
    for name in installed_runtimes():
        runtime = make_runtime(model, name)
        for n_rows in BATCHES:
            features_BTF = torch.randn(n_rows, ROW_FRAMES, model.config.n_features)
            lengths_B = torch.full((n_rows,), ROW_FRAMES)
            took_s = fastest(lambda f=features_BTF, n=lengths_B, r=runtime: r(f, n), calls=3)  # type: ignore[misc]  # mypy has no type for it
            speed = n_rows * ROW_FRAMES / FRAMES_A_SECOND / took_s
            share = speed * work / peaks[NUMBER_TYPE[name]]
            print(
                f"  {name:11} batch {n_rows:3} {speed:7.0f} × real time   {share:4.0%} of the {NUMBER_TYPE[name]} peak"
            )


def print_stages(transcriber: Transcriber, files: list[bytes]) -> None:
    """Each stage of one file after the other, and its share."""
    seconds: dict[str, float] = defaultdict(float)
    audio_s = sum(stages(transcriber, content, seconds) for content in files)
    total_s = sum(seconds.values())
    print("\nstages, one file after the other")
    for stage, took_s in seconds.items():
        print(f"  {stage:10} {took_s:7.2f} s {took_s / total_s:5.0%} {audio_s / max(took_s, 1e-9):8.0f} × real time")
    print(f"  {'all':10} {total_s:7.2f} s  100% {audio_s / total_s:8.0f} × real time")


def one_by_one(transcriber: Transcriber, files: list[bytes]) -> list[Transcript]:
    """As `cepstra evaluate` goes through a corpus."""
    return [transcriber.transcribe(content) for content in files]


def many_at_once(transcriber: Transcriber, files: list[bytes]) -> list[Transcript]:
    """As `model.bulk` does; a file that fails ends the measurement."""
    results = list(transcribe_many(transcriber, files))
    return [result for result in results if isinstance(result, Transcript) or raised(result)]  # type: ignore[misc]  # mypy has no type for it


def raised(error: Exception) -> bool:
    """Raise it."""
    raise error


def stages(transcriber: Transcriber, content: bytes, seconds: dict[str, float]) -> float:
    """Time each stage on one file, without windows; return its seconds of audio."""
    bundle = transcriber.bundle
    marks = [time.perf_counter()]
    with resampling_timed() as resampling:
        waveform = decode_audio(content)
    marks.append(time.perf_counter())
    with torch.inference_mode():
        samples_BN = torch.from_numpy(waveform.samples_N).unsqueeze(0)
        features_BTF, lengths_B = bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
        features_BTF = bundle.cmvn(features_BTF, lengths_B)
    marks.append(time.perf_counter())
    log_probs_BSV, _ = transcriber.runtime(features_BTF, lengths_B)
    marks.append(time.perf_counter())
    units = transcriber.decode(log_probs_BSV[0])
    build_segments(
        units, log_probs_BSV[0], bundle.tokenizer, frame_s=transcriber.frame_s, duration_s=waveform.duration_s
    )
    marks.append(time.perf_counter())
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
            began = time.perf_counter()
            result = super().resample_chunk(x, last=last)
            seconds.append(time.perf_counter() - began)
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
    return 2 * (convolutions + projection + layers + frames * width * config.vocabulary_size)


def matmul_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Multiplications and additions a second of a large square matrix product, the best of several."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / fastest(lambda: a @ b, calls=10)


def int8_peak(size: int = 2048) -> float:
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
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    a = np.random.default_rng(1).integers(0, 255, (size, size), np.uint8)
    return 2 * size**3 / fastest(lambda: session.run(None, {"a": a}), calls=10)


def fastest(work: Callable[[], object], *, calls: int) -> float:
    """Seconds of the fastest call, after one that does not count."""
    work()
    return min(timed(work)[1] for _ in range(calls))


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What it returns, and the seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
