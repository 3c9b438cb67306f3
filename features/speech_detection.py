"""Where in a recording somebody may be speaking: found before the network runs, so that silence costs almost nothing.

Shape legend: N samples, T frames, K bands.

Speech changes: syllables come and go two to eight times a second, and the loudness of some band goes up and down with
them by far more than 10 dB. Silence, hiss, hum and held tones do not. So a second of audio may hold speech if, in any
of four bands, its loudest 60 ms stand out from its quietest. That needs no estimate of the noise, works at any level,
and finds speech in steady noise that is louder than itself. Music and barking change too: what is no speech among the
sounds that change is for the network to say (`model.rejection`).

After the modulation spectrum as a cue for speech: Scheirer and Slaney, "Construction and evaluation of a robust
multifeature speech/music discriminator", ICASSP 1997.
"""

import math
from dataclasses import dataclass

import numpy as np

from features.errors import CepstraError


class SpeechDetectionConfigError(CepstraError):
    """An option of the speech detector outside its range."""


@dataclass(frozen=True)
class SpeechDetectionConfig:
    """What counts as a change, and how much is left around it.

    Attributes:
        sample_rate_hz: rate of the waveform.
        hop_ms: distance between frames; windows are 1.6 times as long.
        band_edges_hz: the bands lie between neighbouring edges.
        smooth_frames: frames over which a band's power is averaged.
        look_s: audio that is judged at once.
        range_db: how far the loudest has to stand out from the quietest.
        floor_db: band power below which everything is equally silent, decibels of full scale.
        padding_s: taken along before and after what may be speech.
        shortest_silence_s: silence that is shorter, padding left out, is not worth a gap.
    """

    sample_rate_hz: int = 16_000
    hop_ms: float = 20.0
    band_edges_hz: tuple[float, ...] = (200.0, 800.0, 1600.0, 3200.0, 5500.0)
    smooth_frames: int = 3
    look_s: float = 1.0
    range_db: float = 8.0
    floor_db: float = -95.0
    padding_s: float = 0.5
    shortest_silence_s: float = 2.0

    def __post_init__(self) -> None:
        edges_hz = self.band_edges_hz
        if not (1000 <= self.sample_rate_hz <= 1_000_000 and 1 <= self.hop_ms <= 1000 and 0 < self.look_s <= 60):
            raise SpeechDetectionConfigError(
                f"rate {self.sample_rate_hz} Hz, hop {self.hop_ms} ms, look {self.look_s} s; 1000 to 1000000, 1 to "
                "1000 and above 0 to 60 are possible"
            )
        if not (math.isfinite(self.range_db) and -300 <= self.floor_db <= 0):
            raise SpeechDetectionConfigError(
                f"range is {self.range_db} dB and floor {self.floor_db} dB; a finite number and -300 to 0 are possible"
            )
        if len(edges_hz) < 2 or not edges_hz[0] > 0 or list(edges_hz) != sorted(set(edges_hz)):
            raise SpeechDetectionConfigError(
                f"band edges are {edges_hz} Hz; they have to rise, two or more, from above 0"
            )
        if edges_hz[-1] > self.sample_rate_hz / 2:
            raise SpeechDetectionConfigError(
                f"the last band ends at {edges_hz[-1]} Hz; {self.sample_rate_hz / 2} Hz is the most"
            )
        if not 1 <= self.smooth_frames < self.step_frames:
            raise SpeechDetectionConfigError(
                f"hop {self.hop_ms} ms, smoothing {self.smooth_frames} frames, look {self.look_s} s: a look has to "
                "hold more than twice the frames that are smoothed"
            )
        if not (0 <= self.padding_s <= 3600 and 0 < self.shortest_silence_s <= 3600):
            raise SpeechDetectionConfigError(
                f"padding is {self.padding_s} s and the shortest silence {self.shortest_silence_s} s; "
                "0 to 3600 and above 0 to 3600 are possible"
            )

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def window_samples(self) -> int:
        """Samples of a frame."""
        return round(1.6 * self.hop_samples)

    @property
    def step_frames(self) -> int:
        """Frames from one look to the next: half a look."""
        return round(500 * self.look_s / self.hop_ms)


@dataclass(frozen=True)
class Span:
    """A stretch of audio.

    Attributes:
        first_sample, last_sample: where it lies, `last_sample` excluded.
        speech: whether somebody may be speaking in it.
    """

    first_sample: int
    last_sample: int
    speech: bool


class SpeechDetector:
    """Finds what may be speech in audio that arrives in pieces of any size.

    The spans of all `feed` calls and of `flush`, one after another, cover the audio from its first sample to its last;
    neighbours may be of the same kind. How the audio was cut into pieces makes no difference. The state is bounded:
    one look's frames and what the next frame still needs.
    """

    def __init__(self, config: SpeechDetectionConfig | None = None) -> None:
        self.config = config = config or SpeechDetectionConfig()
        self._window_N = np.hanning(config.window_samples + 1)[:-1].astype(np.float32)
        hz = np.fft.rfftfreq(config.window_samples, 1 / config.sample_rate_hz)
        self._band_bins = np.searchsorted(hz, config.band_edges_hz)
        # A full-scale sine has 0 dB, whatever the length of the window.
        self._scale = np.float32(4 / self._window_N.sum() ** 2)
        # A look is judged every step, and every step lies in two looks.
        self._step_samples = config.step_frames * config.hop_samples
        self._padding_steps = math.ceil(config.padding_s * config.sample_rate_hz / self._step_samples)
        self._shortest_steps = math.ceil(config.shortest_silence_s * config.sample_rate_hz / self._step_samples)
        self._start()

    def _start(self) -> None:
        self._seen = 0  # samples
        self._rest_N = np.zeros(0, np.float32)
        self._power_TK = np.zeros((0, len(self._band_bins) - 1), np.float32)  # from the step of the next look on
        self._look = 0  # number of the next look; it covers the steps of this number and the next
        self._kept_until = 0  # the step after the last one that is kept as speech, padding included
        self._given = 0  # steps that lie in spans already returned

    def feed(self, samples_N: np.ndarray) -> list[Span]:
        """Take samples in about -1..1; return what is certain with them, perhaps nothing."""
        config = self.config
        self._seen += len(samples_N)
        self._rest_N = np.concatenate([self._rest_N, samples_N])
        n_frames = max(0, (len(self._rest_N) - config.window_samples) // config.hop_samples + 1)
        if n_frames:
            self._power_TK = np.concatenate([self._power_TK, self._powers(n_frames)])
            self._rest_N = self._rest_N[n_frames * config.hop_samples :].copy()
        spans: list[Span] = []
        while len(self._power_TK) >= 2 * config.step_frames:
            spans.extend(self._take_look(self._changes(self._power_TK[: 2 * config.step_frames])))
            self._power_TK = self._power_TK[config.step_frames :].copy()
        return spans

    def flush(self) -> list[Span]:
        """End of the audio: return the rest, and be ready for other audio."""
        # Less than a look; and where it is less than a frame, everything but silence may be speech.
        changes = self._changes(self._power_TK) if len(self._power_TK) else bool(self._rest_N.any())
        spans = self._take_look(changes)
        end = math.ceil(self._seen / self._step_samples)
        silent_from = min(self._kept_until, end)
        if self._kept_until and self._kept_until >= self._given and end - self._kept_until < self._shortest_steps:
            silent_from = end
        spans += [*self._give(silent_from, speech=True), *self._give(end, speech=False)]
        self._start()
        return spans

    def _powers(self, n_frames: int) -> np.ndarray:
        """Power of every band in the next frames; shape (T, K)."""
        config = self.config
        used_N = self._rest_N[: (n_frames - 1) * config.hop_samples + config.window_samples]
        if not used_N.any():
            return np.zeros((n_frames, len(self._band_bins) - 1), np.float32)
        frames_TN = np.lib.stride_tricks.sliding_window_view(used_N, config.window_samples)[:: config.hop_samples]
        spectrum_TS = np.fft.rfft(frames_TN * self._window_N)[:, : self._band_bins[-1]]
        power_TS = np.square(np.abs(spectrum_TS), dtype=np.float32)
        return self._scale * np.add.reduceat(power_TS, self._band_bins[:-1], axis=1)

    def _changes(self, power_TK: np.ndarray) -> bool:
        """Whether the loudest stands out from the quietest in any band."""
        smooth = min(self.config.smooth_frames, len(power_TK))
        mean_TK = np.lib.stride_tricks.sliding_window_view(power_TK, smooth, axis=0).mean(-1)
        level_TK = 10 * np.log10(np.maximum(mean_TK, 10 ** (self.config.floor_db / 10)))
        return bool(np.ptp(level_TK, axis=0).max() > self.config.range_db)

    def _take_look(self, changes: bool) -> list[Span]:
        """What is certain once the next look is judged."""
        spans: list[Span] = []
        look, padding, self._look = self._look, self._padding_steps, self._look + 1
        if changes:
            begin = max(self._given, look - padding)
            is_silence = self._kept_until < self._given or begin - self._kept_until >= self._shortest_steps
            if is_silence:
                spans += [*self._give(self._kept_until, speech=True), *self._give(begin, speech=False)]
            self._kept_until = look + 2 + padding
        # No later look can make speech of what lies before this.
        certain = look + 1 - padding
        if certain - self._kept_until >= self._shortest_steps:
            spans += [*self._give(self._kept_until, speech=True), *self._give(certain, speech=False)]
        else:
            spans += self._give(min(self._kept_until, look + 1), speech=True)
        return spans

    def _give(self, until_step: int, *, speech: bool) -> list[Span]:
        if until_step <= self._given:
            return []
        first, last = self._given * self._step_samples, min(self._seen, until_step * self._step_samples)
        self._given = until_step
        return [Span(first, last, speech)]
