"""Sounds in which nobody speaks, made by chance: noise, tones, tunes, beats. What a model should hear no words in.

Shape legend: N samples.

Every number gives another sound, and the same one each time.
"""

import numpy as np

RATE_HZ = 16_000
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10), tuple(range(12)))


def other_sound(number: int, duration_s: float) -> np.ndarray:
    """Samples (N,), float32, 16 kHz, -40 to -6 dB of full scale.

    Args:
        number: which sound; consecutive ones are of different kinds.
        duration_s: its length, seconds.
    """
    random = np.random.default_rng((number, 77))
    kind = KINDS[number % len(KINDS)]
    samples_N = kind(random, np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)
    level = 10 ** (random.uniform(-40, -6) / 20) / max(1e-9, float(np.sqrt(np.mean(samples_N**2))))
    return np.asarray(np.clip(level * samples_N, -1, 1), np.float32)


def _noise(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """Of any colour, sometimes swelling."""
    spectrum = np.fft.rfft(random.normal(size=len(time_N)))
    spectrum *= np.maximum(np.fft.rfftfreq(len(time_N), 1 / RATE_HZ), 20.0) ** (-random.uniform(0, 2) / 2)
    swell_N = 1 + random.choice([0.0, 0.5, 1.0]) * np.sin(2 * np.pi * random.uniform(0.5, 8) * time_N)
    return np.asarray(np.fft.irfft(spectrum, len(time_N)) * swell_N)


def _tone(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """Held, gliding or trembling, with overtones or without."""
    frequency_hz = random.uniform(50, 3000) * 2 ** (random.choice([0.0, random.uniform(-1.5, 1.5)]) * time_N)
    frequency_hz = frequency_hz * (1 + random.choice([0.0, 0.03]) * np.sin(2 * np.pi * 6 * time_N))
    return _overtones(np.minimum(frequency_hz, 7500.0), int(random.integers(1, 12)), random.uniform(0.5, 2))


def _tune(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """One to three notes at a time from a scale, 1 to 8 a second, plucked or held; over a bass now and then."""
    step_s, scale = 1 / random.uniform(1, 8), np.array(SCALES[random.integers(len(SCALES))])
    step_N = np.floor(time_N / step_s).astype(int)
    since_N = time_N - step_N * step_s
    root_hz, notes = random.uniform(80, 500), random.integers(0, 2 * len(scale), step_N[-1] + 1)
    envelope_N = np.minimum(since_N / random.uniform(0.005, 0.08), 1) * np.exp(-since_N / random.uniform(0.05, 1.0))
    tune_N = np.zeros(len(time_N))
    for voice in range(int(random.integers(1, 4))):
        degrees = (notes + 2 * voice)[step_N]
        pitch_hz = root_hz * 2 ** ((scale[degrees % len(scale)] + 12 * (degrees // len(scale))) / 12)
        pitch_hz = pitch_hz * (1 + random.choice([0.0, 0.01]) * np.sin(2 * np.pi * 5.5 * time_N))
        tune_N += _overtones(np.minimum(pitch_hz, 3000.0), int(random.integers(1, 10)), random.uniform(0.7, 2))
    bass_N = _overtones(np.full(len(time_N), root_hz / 2), 8, 1.0) * random.choice([0.0, 0.0, 0.4])
    return np.asarray(tune_N * envelope_N + bass_N)


def _beat(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """Thuds and bursts of noise, or clicks, 1 to 14 a second."""
    step_s = 1 / random.uniform(1, 14)
    step_N = np.floor(time_N / step_s).astype(int)
    since_N = time_N - step_N * step_s
    thud_N = np.sin(2 * np.pi * (random.uniform(30, 1500) * since_N + 8 * (1 - np.exp(-since_N / 0.03))))
    burst_N = random.normal(size=len(time_N)) * np.exp(-since_N / random.uniform(0.002, 0.08))
    loud_thud = random.choice([0.0, 1.0, 3.0])
    return np.asarray(
        np.where(step_N % 2 == 0, loud_thud * thud_N * np.exp(-since_N / random.uniform(0.01, 0.15)), burst_N)
    )


def _signal(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """Pairs of tones with pauses between, as of telephones and alarms."""
    step_s, n_pairs = 1 / random.uniform(1, 8), int(random.integers(1, 8))
    step_N = np.floor(time_N / step_s).astype(int)
    since_N = time_N - step_N * step_s
    low_hz, high_hz = random.uniform(300, 1000, n_pairs)[step_N % n_pairs], random.uniform(1000, 2500, n_pairs)
    both_N = np.sin(2 * np.pi * np.cumsum(low_hz) / RATE_HZ) + np.sin(
        2 * np.pi * np.cumsum(high_hz[step_N % n_pairs]) / RATE_HZ
    )
    return np.asarray(both_N * (since_N < step_s * random.uniform(0.3, 1.0)))


def _music(random: np.random.Generator, time_N: np.ndarray) -> np.ndarray:
    """A tune over a beat."""
    tune_N, beat_N = _tune(random, time_N), _beat(random, time_N)
    return np.asarray(tune_N / (np.std(tune_N) + 1e-9) + random.uniform(0.2, 1.0) * beat_N / (np.std(beat_N) + 1e-9))


KINDS = (_noise, _tone, _tune, _beat, _tune, _signal, _music, _tune)


def _overtones(frequency_hz: np.ndarray, n: int, falling: float) -> np.ndarray:
    """Harmonics of a pitch that may change, the k-th weaker by k to the power of `falling`."""
    phase_N = 2 * np.pi * np.cumsum(frequency_hz) / RATE_HZ
    return np.asarray(sum(np.sin(k * phase_N) / k**falling for k in range(1, n + 1)))
