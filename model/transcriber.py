"""The one path from audio to words: command line, evaluation and service all go through `Transcriber`.

Shape legend: N samples, S output frames, V vocabulary.

    audio → decode → windows → front end → CMVN → acoustic model → stitched log-probs → decoder → words and segments
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from features.audio import Waveform, decode_audio
from features.errors import AudioParameterError, AudioTooLongError
from model.acoustic_model import SUBSAMPLING
from model.alignment import build_segments
from model.checkpoint import Bundle, load_bundle
from model.chunking import ChunkingConfig, Window, plan_windows
from model.decoder import decode_greedy
from model.errors import OptionError
from model.hypothesis import NBest
from model.runtime import Runtime, TorchRuntime, make_runtime
from model.runtime_names import RuntimeChoice
from model.transcript import Transcript


class Transcriber:
    """Transcribes audio with one bundle.

    Safe to call from several threads at once: a call shares nothing with another but the read-only weights.

    Args:
        bundle: the model.
        chunking: how audio longer than a window is cut.
        greedy: decode without the bundle's language model; a bundle that has none is decoded greedily anyway.
        runtime: what computes the bundle's acoustic model; None for torch in float32.

    Attributes:
        bundle, chunking, runtime: as given.
        decode: log-probs (S, V) → units of the best path, greedily or by beam search, rescored where the bundle can.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        chunking: ChunkingConfig | None = None,
        greedy: bool = False,
        runtime: Runtime | None = None,
    ) -> None:
        self.bundle = bundle
        self.runtime: Runtime = runtime or TorchRuntime(bundle.acoustic_model)
        self.decode = decode_greedy
        self._n_best: Callable[[Tensor, int], list[NBest]] | None = None
        if bundle.language_model is not None and not greedy:
            from model.beam_search import BeamSearch  # flashlight need not be there for greedy decoding
            from model.rescoring import Rescorer

            search = BeamSearch(bundle.tokenizer, bundle.language_model)
            self.decode, self._n_best = search.decode, search.n_best
            if bundle.neural_lm is not None:
                rescorer = Rescorer(search, bundle.neural_lm, bundle.rescoring)
                self.decode, self._n_best = rescorer.decode, rescorer.n_best
        self.chunking = chunking or ChunkingConfig()
        self._samples_per_frame = bundle.front_end.config.hop_samples * SUBSAMPLING

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        greedy: bool = False,
        runtime: RuntimeChoice = "auto",
    ) -> "Transcriber":
        """Load a bundle directory.

        Args:
            path: the directory.
            threads: processor threads that torch may use in this process; None leaves torch's choice.
            greedy: decode without the bundle's language model.
            runtime: what computes the acoustic model (`model.runtime`); `"auto"` takes the fastest here of those that
                cost at most 0.3 points of word error rate.

        Raises:
            model.errors.BundleError: there is none, it is of another format version, or its hashes do not match.
            OptionError: the runtime is not installed.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        bundle = load_bundle(path)
        computed_by = make_runtime(bundle.acoustic_model, runtime, training=bundle.training)
        return cls(bundle, greedy=greedy, runtime=computed_by)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.bundle.name

    @property
    def created_at(self) -> int:
        """Unix seconds at which the bundle was written."""
        return self.bundle.created_at

    @property
    def training(self) -> dict[str, Any]:
        """The bundle's training record."""
        return self.bundle.training

    @property
    def frame_s(self) -> float:
        """Seconds from one output frame to the next."""
        return self._samples_per_frame / self.bundle.front_end.config.sample_rate_hz

    def transcribe(
        self,
        audio: bytes | str | os.PathLike[str] | Waveform,
        *,
        max_duration_s: float | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """Audio → words.

        Args:
            audio: the bytes of an audio file, a path to one, or samples already decoded to 16 kHz mono.
            max_duration_s: the most seconds of audio accepted; enforced while decoding, so that it bounds memory too.
            progress: called with the share of the work done, 0..1, from the calling thread.

        Raises:
            features.errors.AudioError: the audio cannot be used; its subclasses say why.
            OSError: the path cannot be opened.
        """
        waveform = _accept(audio, max_duration_s)
        log_probs_SV = self.log_probs(waveform, progress=progress)
        segments = build_segments(
            self.decode(log_probs_SV),
            log_probs_SV,
            self.bundle.tokenizer,
            frame_s=self.frame_s,
            duration_s=waveform.duration_s,
        )
        return Transcript(" ".join(segment.text for segment in segments), segments, waveform.duration_s)

    def n_best(
        self, audio: bytes | str | os.PathLike[str] | Waveform, n: int, *, max_duration_s: float | None = None
    ) -> list[NBest]:
        """Audio → the n best word sequences of every stretch of at most 30 s, in order of time.

        The first of each list are the words that `transcribe` gives.

        Args:
            audio: as in `transcribe`.
            n: the most hypotheses wanted; there may be fewer (`BeamSearch.n_best`).
            max_duration_s: as in `transcribe`.

        Raises:
            OptionError: n is below 1, or decoding is greedy, which knows of one text only.
            features.errors.AudioError: the audio cannot be used; its subclasses say why.
            OSError: the path cannot be opened.
        """
        if self._n_best is None:
            raise OptionError(f"{self.name!r} is decoded greedily; only a language model's search has an N-best list")
        return self._n_best(self.log_probs(_accept(audio, max_duration_s)), n)

    def log_probs(self, waveform: Waveform, *, progress: Callable[[float], None] | None = None) -> Tensor:
        """Natural-log posteriors (S, V) of every unit in every output frame of 40 ms.

        Raises:
            features.errors.AudioParameterError: the waveform has another sample rate than the model.
        """
        rate_hz = self.bundle.front_end.config.sample_rate_hz
        if waveform.sample_rate_hz != rate_hz:
            raise AudioParameterError(f"the waveform has {waveform.sample_rate_hz} Hz; the model hears {rate_hz} Hz")
        windows = plan_windows(len(waveform.samples_N), waveform.sample_rate_hz, self._samples_per_frame, self.chunking)
        kept = [torch.zeros(0, self.bundle.tokenizer.vocabulary_size)]
        for index, window in enumerate(windows, 1):
            kept.append(self._window_log_probs(waveform, window))
            if progress:
                progress(index / len(windows))
        return torch.cat(kept)

    @torch.inference_mode()
    def _window_log_probs(self, waveform: Waveform, window: Window) -> Tensor:
        # A copy, because a caller's array may be read-only.
        samples_BN = torch.tensor(waveform.samples_N[window.first_sample : window.last_sample]).unsqueeze(0)
        features_BTF, lengths_B = self.bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
        features_BTF = self.bundle.cmvn(features_BTF, lengths_B)
        log_probs_BSV, _ = self.runtime(features_BTF, lengths_B)
        end = None if window.keep_frames is None else window.skip_frames + window.keep_frames
        return torch.as_tensor(log_probs_BSV[0, window.skip_frames : end])


def _accept(audio: bytes | str | os.PathLike[str] | Waveform, max_duration_s: float | None) -> Waveform:
    if not isinstance(audio, Waveform):
        return decode_audio(audio, max_duration_s=max_duration_s)
    if max_duration_s is not None and audio.duration_s > max_duration_s:
        raise AudioTooLongError(f"the audio lasts {audio.duration_s:g} s, more than the limit of {max_duration_s:g} s")
    return audio
