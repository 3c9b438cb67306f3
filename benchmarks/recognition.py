"""Where the time of recognition goes: each stage, and the whole path from file bytes to words.

usage: python -m benchmarks.recognition [--manifest FILE] [--limit N] [--bundle DIR] [--greedy] [--threads N]
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import torch

from features.audio import Waveform, decode_audio
from model.alignment import build_segments
from model.transcriber import Transcriber
from training.corpora import read_corpus

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--limit", type=int, default=100, help="utterances")
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cepstra-base")
    parser.add_argument("--greedy", action="store_true", help="without the language model")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()

    transcriber = Transcriber.from_bundle(arguments.bundle, threads=arguments.threads, greedy=arguments.greedy)
    files = [utterance.path.read_bytes() for utterance in read_corpus(arguments.manifest)[: arguments.limit]]
    for content in files[:3]:
        transcriber.transcribe(content)  # warm-up: kernels are chosen and memory is mapped in the first calls
    seconds: dict[str, float] = defaultdict(float)
    audio_s = 0.0
    for content in files:
        audio_s += stages(transcriber, content, seconds)
        began = time.perf_counter()
        transcriber.transcribe(content)
        seconds["the whole path"] += time.perf_counter() - began
    print(f"{len(files)} files, {audio_s:.0f} s of audio, {arguments.threads} threads, torch {torch.__version__}")
    for stage, took in seconds.items():
        print(f"{stage:16} {took:8.2f} s   {audio_s / took:8.0f} x real time")


def stages(transcriber: Transcriber, content: bytes, seconds: dict[str, float]) -> float:
    """Time each stage on one file, without windows; return its seconds of audio."""
    bundle = transcriber.bundle
    marks = [time.perf_counter()]
    waveform: Waveform = decode_audio(content)
    marks.append(time.perf_counter())
    with torch.inference_mode():
        samples_BN = torch.from_numpy(waveform.samples_N).unsqueeze(0)
        features_BTF, lengths_B = bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
        features_BTF = bundle.cmvn(features_BTF, lengths_B)
        marks.append(time.perf_counter())
        log_probs_BSV, _ = bundle.acoustic_model(features_BTF, lengths_B)
    marks.append(time.perf_counter())
    units = transcriber.decode(log_probs_BSV[0])
    build_segments(units, log_probs_BSV[0], bundle.tokenizer, frame_s=0.04, duration_s=waveform.duration_s)
    marks.append(time.perf_counter())
    for stage, begin, end in zip(("decoding", "features", "network", "search"), marks[:-1], marks[1:], strict=True):
        seconds[stage] += end - begin
    return waveform.duration_s


if __name__ == "__main__":
    main()
