"""Sounds in which nobody speaks, made from formulas: 16 kHz float32, the same samples every time."""

from collections.abc import Callable

import numpy as np

RATE_HZ = 16_000


def coloured_noise(duration_s: float, exponent: float, level_db: float = -20.0) -> np.ndarray:
    """Noise whose power falls with frequency to the power of `exponent`: 0 is white, 1 pink, 2 brown."""
    n_samples = round(duration_s * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(7).normal(size=n_samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 20 * duration_s) ** (-exponent / 2)
    return _at_level(np.fft.irfft(spectrum, n_samples), level_db)


def tone(duration_s: float, frequency_hz: float = 440.0, level_db: float = -12.0) -> np.ndarray:
    return _at_level(np.sin(2 * np.pi * frequency_hz * _time_s(duration_s)), level_db)


def hum(duration_s: float) -> np.ndarray:
    """Mains: 50 Hz with its overtones, weaker and weaker."""
    return _at_level(np.sum([tone(duration_s, 50.0 * n) / n for n in range(1, 20)], axis=0), -25.0)


def sweep(duration_s: float) -> np.ndarray:
    """From 50 Hz to 7 kHz, equal time for each octave."""
    rate = np.log(7000 / 50) / duration_s
    return _at_level(np.sin(2 * np.pi * 50 / rate * np.exp(rate * _time_s(duration_s))), -12.0)


def clicks(duration_s: float, per_second: float = 2.0) -> np.ndarray:
    """A metronome: a sample at full scale, and a short ring after it."""
    since_s = _time_s(duration_s) % (1 / per_second)
    return (0.8 * np.exp(-since_s / 0.003) * np.sin(2 * np.pi * 1500 * since_s + 1)).astype(np.float32)


def telephone(duration_s: float) -> np.ndarray:
    """Pairs of tones as keys give them, 0.12 s each, with pauses between."""
    low_hz, high_hz = (697, 770, 852, 941), (1209, 1336, 1477)
    since_s, key = _steps(duration_s, 0.2)
    low_N = np.sin(2 * np.pi * np.take(low_hz, key * 3 % 4) * _time_s(duration_s))
    high_N = np.sin(2 * np.pi * np.take(high_hz, key * 2 % 3) * _time_s(duration_s))
    return _at_level((low_N + high_N) * (since_s < 0.12), -15.0)


def chords(duration_s: float) -> np.ndarray:
    """Four chords of three notes with overtones, half a second each, which swell and die away."""
    roots_hz = np.array((220.0, 174.6, 261.6, 196.0))
    since_s, step = _steps(duration_s, 0.5)
    envelope_N = np.minimum(since_s / 0.05, 1) * np.minimum((0.5 - since_s) / 0.1, 1)
    notes = (_note(roots_hz[step % 4] * interval, since_s, 6) for interval in (1, 1.26, 1.498))
    return _at_level(sum(notes) * envelope_N, -15.0)


def arpeggio(duration_s: float) -> np.ndarray:
    """One plucked note after another, five a second, about as fast as syllables."""
    since_s, step = _steps(duration_s, 0.2)
    frequency_hz = 220 * 2 ** (np.take((0, 4, 7, 12, 7, 4, 9, 5), step % 8) / 12)
    return _at_level(_note(frequency_hz, since_s, 8) * np.exp(-since_s / 0.12), -15.0)


def melody(duration_s: float) -> np.ndarray:
    """A tune with vibrato and an organ's overtones over a held bass."""
    time_s = _time_s(duration_s)
    since_s, step = _steps(duration_s, 0.4)
    frequency_hz = 330 * 2 ** (np.take((0, 2, 4, 5, 7, 5, 4, -1), step % 8) / 12)
    phase_N = 2 * np.pi * np.cumsum(frequency_hz * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time_s))) / RATE_HZ
    tune_N = sum(np.sin(n * phase_N) / n for n in range(1, 7)) * np.minimum(since_s / 0.03, 1)
    return _at_level(tune_N + 0.5 * _note(np.full_like(time_s, 82.4), time_s, 10), -15.0)


def drums(duration_s: float) -> np.ndarray:
    """A beat: a falling thud, and bursts of noise between."""
    since_s, step = _steps(duration_s, 0.25)
    thud_N = np.sin(2 * np.pi * (50 * since_s + 8 * (1 - np.exp(-since_s / 0.03)))) * np.exp(-since_s / 0.1)
    burst_N = np.random.default_rng(3).normal(size=len(since_s)) * np.exp(-since_s / 0.04)
    return _at_level(np.where(step % 2 == 0, 2 * thud_N, burst_N), -18.0)


def trembling_noise(duration_s: float) -> np.ndarray:
    """White noise that swells four times a second, as often as speech has syllables."""
    swell_N = np.sin(np.pi * 4 * _time_s(duration_s)) ** 2
    return _at_level(coloured_noise(duration_s, 0.0) * swell_N, -20.0)


def music(duration_s: float) -> np.ndarray:
    """Chords, plucked notes and a beat together."""
    return _at_level(chords(duration_s) + arpeggio(duration_s) + 0.7 * drums(duration_s), -15.0)


SOUNDS: dict[str, Callable[[float], np.ndarray]] = {
    "digital silence": lambda duration_s: np.zeros(round(duration_s * RATE_HZ), np.float32),
    "a constant": lambda duration_s: np.full(round(duration_s * RATE_HZ), 0.1, np.float32),
    "white noise": lambda duration_s: coloured_noise(duration_s, 0.0),
    "loud white noise": lambda duration_s: coloured_noise(duration_s, 0.0, -6.0),
    "faint white noise": lambda duration_s: coloured_noise(duration_s, 0.0, -70.0),
    "pink noise": lambda duration_s: coloured_noise(duration_s, 1.0),
    "faint pink noise": lambda duration_s: coloured_noise(duration_s, 1.0, -60.0),
    "brown noise": lambda duration_s: coloured_noise(duration_s, 2.0),
    "trembling noise": trembling_noise,
    "low tone": lambda duration_s: tone(duration_s, 110.0),
    "tone": tone,
    "high tone": lambda duration_s: tone(duration_s, 3000.0),
    "faint tone": lambda duration_s: tone(duration_s, 440.0, -55.0),
    "hum": hum,
    "sweep": sweep,
    "clicks": clicks,
    "fast clicks": lambda duration_s: clicks(duration_s, 12.0),
    "telephone": telephone,
    "chords": chords,
    "arpeggio": arpeggio,
    "melody": melody,
    "drums": drums,
    "music": music,
}


def _time_s(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def _steps(duration_s: float, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since the step began, and the step's number, for every sample."""
    time_s = _time_s(duration_s)
    step_N = np.floor(time_s / step_s + 1e-9).astype(int)
    return time_s - step_N * step_s, step_N


def _note(frequency_hz: np.ndarray, since_s: np.ndarray, overtones: int) -> np.ndarray:
    tones = [np.sin(2 * np.pi * n * frequency_hz * since_s) / n for n in range(1, overtones + 1)]
    return np.asarray(np.sum(tones, axis=0))


def _at_level(samples_N: np.ndarray, level_db: float) -> np.ndarray:
    """Scaled to this root mean square, decibels of full scale; clipped at full scale."""
    scale = 10 ** (level_db / 20) / np.sqrt(np.mean(samples_N**2))
    return np.asarray(np.clip(scale * samples_N, -1, 1), np.float32)
