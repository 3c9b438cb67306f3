"""What the beam search costs and what it gains: word error rate and speed for sizes of the beam.

The acoustic model runs once; every setting then searches the same log-probabilities, on one thread, in this run.

usage: python -m benchmarks.beam [--manifest FILE] [--every N] [--bundle DIR]
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from features.audio import decode_audio
from model.checkpoint import load_bundle
from model.language_model import BeamSearchConfig
from model.searches import make_search
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from training.corpora import normalize_transcript, read_corpus
from training.metrics import word_errors

ROOT = Path(__file__).resolve().parent.parent
BEAM_SIZES = (5, 10, 20, 50, 100, 200, 400)
UNITS = (4, 8, 12, 20, 29)
THRESHOLDS = (8.0, 12.0, 17.0, 25.0, 50.0)


def main() -> None:
    """Measure and print a table a dimension, the other two as the bundle has them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--every", type=int, default=1, help="take every N-th utterance")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.bundle)
    if bundle.language_model is None:
        parser.error(f"{arguments.bundle} has no language model")
    utterances = read_corpus(arguments.manifest)[:: arguments.every]
    transcriber = Transcriber(bundle, greedy=True)
    waveforms = [decode_audio(utterance.path) for utterance in utterances]
    heard = [transcriber.log_probs(waveform) for waveform in waveforms]
    references = [normalize_transcript(utterance.transcript) for utterance in utterances]
    audio_s = sum(waveform.duration_s for waveform in waveforms)
    print(f"{len(utterances)} utterances, {audio_s:.0f} s of audio, torch {torch.__version__}, {bundle.name}")
    shipped = bundle.language_model.search
    search = make_search(bundle)
    assert search is not None
    settings: dict[str, list[BeamSearchConfig]] = {
        "beam size": [replace(shipped, beam_size=size) for size in BEAM_SIZES],
        "units a frame": [replace(shipped, beam_units=units) for units in UNITS],
        "threshold": [replace(shipped, beam_threshold=threshold) for threshold in THRESHOLDS],
    }
    for dimension, configs in settings.items():
        print(f"\n{dimension:>14}   WER      x real time")
        for config in configs:
            sized = search.with_config(config)
            began = time.perf_counter()
            found = [sized.decode(log_probs_SV) for log_probs_SV in heard]
            took_s = time.perf_counter() - began
            texts = [" ".join(bundle.tokenizer.decode([unit.id for unit in units]).split()) for units in found]
            rate = word_errors(references, texts).rate
            value = {
                "beam size": config.beam_size,
                "units a frame": config.beam_units,
                "threshold": config.beam_threshold,
            }[dimension]
            mark = "  <- the bundle's" if config == shipped else ""
            print(f"{value:14g}   {rate:6.2%}   {audio_s / took_s:8.0f}{mark}")


if __name__ == "__main__":
    main()
