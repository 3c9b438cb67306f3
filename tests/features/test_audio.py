"""What `decode_audio` makes of sound that is in order, and the limits that it keeps."""

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from features.audio import BLOCK_FRAMES, SAMPLE_RATE_HZ, Waveform, decode_audio, open_audio
from features.errors import (
    AudioError,
    AudioParameterError,
    AudioTooLargeError,
    AudioTooLongError,
    CorruptAudioError,
    EmptyAudioError,
    NonFiniteAudioError,
    UnsupportedAudioError,
)
from features.limits import AudioLimits
from tests.conftest import SpokenClip
from tests.features.encoders import CONTAINERS, by_av, by_soundfile, opus_in_webm, silent_flac


@pytest.fixture(scope="module")
def speech(clips_folder: Path) -> np.ndarray:
    """Three seconds of speech at 16 kHz, float32."""
    samples_N, rate_hz = soundfile.read(clips_folder / "river.flac", dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    return samples_N


def tone(frequency_hz: float, rate_hz: int, duration_s: float = 1.0) -> np.ndarray:
    """A sine at half of full scale."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


def amplitude(samples_N: np.ndarray, frequency_hz: float | None = None) -> float:
    """Of a tone, away from its ends: the amplitude at that frequency, or that of a sine with the same power."""
    middle_N = samples_N[len(samples_N) // 4 : -len(samples_N) // 4].astype(np.float64)
    if frequency_hz is None:
        return float(np.sqrt(2 * np.mean(middle_N**2)))
    phases_N = 2 * np.pi * frequency_hz * np.arange(len(middle_N)) / SAMPLE_RATE_HZ
    window_N = np.hanning(len(middle_N))
    return float(2 * abs(np.sum(middle_N * window_N * np.exp(-1j * phases_N))) / window_N.sum())


def snr_db(wanted_N: np.ndarray, got_N: np.ndarray) -> float:
    """Signal over error; the two have to lie on each other to the sample."""
    error_N = got_N.astype(np.float64) - wanted_N
    return float(10 * np.log10(np.mean(wanted_N.astype(np.float64) ** 2) / (np.mean(error_N**2) + 1e-20)))


# Container: samples of delay in front, most samples of padding behind, least signal-to-noise ratio in dB.
LOSSLESS_DB, LOSSY_DB = 90.0, 18.0
FIDELITY = {
    "wav": (0, 0, LOSSLESS_DB),
    "flac": (0, 0, LOSSLESS_DB),
    "ogg flac": (0, 0, LOSSLESS_DB),
    "m4a alac": (0, 0, LOSSLESS_DB),
    "mp3": (0, 0, LOSSY_DB),
    "mp3 by FFmpeg": (0, 0, LOSSY_DB),
    "mp3 without a count": (1105, 1152, LOSSY_DB),
    "ogg vorbis": (0, 0, LOSSY_DB),
    "ogg opus": (0, 0, LOSSY_DB),
    "webm opus": (0, 0, LOSSY_DB),
    "live webm opus": (0, 0, LOSSY_DB),
    "m4a aac": (0, 1023, LOSSY_DB),
    "fragmented mp4 aac": (1024, 1023, LOSSY_DB),
    "adts aac": (1024, 1023, LOSSY_DB),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_recording_back(container: str, speech: np.ndarray) -> None:
    delay, most_padding, least_db = FIDELITY[container]
    waveform = decode_audio(CONTAINERS[container](speech))
    assert waveform.sample_rate_hz == SAMPLE_RATE_HZ
    assert waveform.samples_N.dtype == np.float32
    assert waveform.samples_N.flags.c_contiguous
    assert 0 <= len(waveform.samples_N) - delay - len(speech) <= most_padding
    assert snr_db(speech, waveform.samples_N[delay : delay + len(speech)]) > least_db


@pytest.mark.parametrize("name", ["mp3", "ogg", "opus", "m4a", "webm", "24bit-stereo-48k.flac", "ulaw-8k.wav"])
def test_committed_variants_sound_like_their_original(name: str, clips_folder: Path, speech: np.ndarray) -> None:
    path = clips_folder / "variants" / (f"river-{name}" if "." in name else f"river.{name}")
    samples_N = decode_audio(path).samples_N
    assert 0 <= len(samples_N) - len(speech) < 1024
    assert np.corrcoef(samples_N[: len(speech)], speech)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("encoding", "largest_error"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 0),
        ("DOUBLE", 0),
        ("ULAW", 2**-6 + 2**-12),
        ("ALAW", 2**-6 + 2**-12),
    ],
)
def test_every_sample_format_of_wav(encoding: str, largest_error: float, speech: np.ndarray) -> None:
    samples_N = decode_audio(by_soundfile(speech, "WAV", encoding)).samples_N
    assert len(samples_N) == len(speech)
    assert np.abs(samples_N - speech).max() <= largest_error
    assert snr_db(speech, samples_N) > 30


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_channels_are_averaged(container: str, channels: int) -> None:
    tones_NC = np.stack([tone(200 + 100 * channel, SAMPLE_RATE_HZ) for channel in range(channels)], axis=1)
    samples_N = decode_audio(by_soundfile(tones_NC, container, "PCM_24")).samples_N
    np.testing.assert_allclose(samples_N, tones_NC.mean(axis=1), atol=2**-22)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_of_lossy_codecs_are_averaged(channels: int) -> None:
    # Different tones, so that a channel counted twice, or left out, or memory that is none of ours, would be heard. The
    # fourth of six and of eight is for low frequencies, and the encoder keeps nothing else of it.
    frequencies_hz = [300.0, 500.0, 700.0, 60.0, 1100.0, 1300.0, 1500.0, 1700.0][:channels]
    tones_NC = np.stack([tone(hz, 48_000) for hz in frequencies_hz], axis=1)
    samples_N = decode_audio(by_av(tones_NC, "ipod", "aac", 48_000)).samples_N
    for hz in frequencies_hz:
        assert amplitude(samples_N, hz) == pytest.approx(0.5 / channels, rel=0.05)


RATES_HZ = [8_000, 11_025, 12_345, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_sample_rate_keeps_length_pitch_and_loudness(rate_hz: int) -> None:
    samples_N = decode_audio(by_soundfile(tone(1_000, rate_hz), "WAV", "FLOAT", rate_hz)).samples_N
    assert len(samples_N) == SAMPLE_RATE_HZ
    assert amplitude(samples_N, 1_000) == pytest.approx(0.5, rel=1e-3)
    assert amplitude(samples_N) == pytest.approx(0.5, rel=1e-3)  # and there is nothing else


@pytest.mark.parametrize("frequency_hz", [8_100, 9_000, 12_000, 15_000, 16_000, 17_000, 23_000])
def test_what_sixteen_kilohertz_cannot_hold_is_filtered_out(frequency_hz: int) -> None:
    samples_N = decode_audio(by_soundfile(tone(frequency_hz, 48_000), "WAV", "FLOAT", 48_000)).samples_N
    assert amplitude(samples_N) < 0.5 * 10 ** (-60 / 20)


@pytest.mark.parametrize("frequency_hz", [50, 1_000, 4_000, 7_000])
def test_what_sixteen_kilohertz_can_hold_is_kept(frequency_hz: int) -> None:
    samples_N = decode_audio(by_soundfile(tone(frequency_hz, 48_000), "WAV", "FLOAT", 48_000)).samples_N
    assert amplitude(samples_N, frequency_hz) == pytest.approx(0.5, rel=2e-3)


@pytest.mark.parametrize("rate_hz", [11_025, 44_100, 48_000])
def test_decoding_in_blocks_equals_resampling_the_whole(rate_hz: int) -> None:
    noise_N = (0.1 * np.random.default_rng(0).standard_normal(3 * BLOCK_FRAMES + 77)).astype(np.float32)
    whole_N = soxr.resample(noise_N, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    samples_N = decode_audio(by_soundfile(noise_N, "WAV", "FLOAT", rate_hz)).samples_N
    np.testing.assert_allclose(samples_N, whole_N, atol=1e-6)


@pytest.mark.parametrize("kind", ["MP3", "OGG"])
@pytest.mark.parametrize("channels", [1, 2])
def test_how_packets_are_gathered_makes_no_difference(
    speech: np.ndarray, kind: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech_NC = np.stack([speech * (1 - 0.5 * channel) for channel in range(channels)], axis=1)
    content = by_soundfile(speech_NC, kind, "OPUS" if kind == "OGG" else "MPEG_LAYER_III")
    gathered_N = decode_audio(content).samples_N
    monkeypatch.setattr("features.audio.BLOCK_FRAMES", 1)  # every packet by itself
    np.testing.assert_array_equal(decode_audio(content).samples_N, gathered_N)


def test_links_of_a_chained_ogg_are_all_heard(speech: np.ndarray) -> None:
    once = by_soundfile(speech, "OGG", "OPUS")
    samples_N = decode_audio(once + once).samples_N
    assert len(samples_N) == 2 * len(speech)
    assert snr_db(speech, samples_N[: len(speech)]) > LOSSY_DB


def test_links_of_a_chained_ogg_have_to_be_alike(speech: np.ndarray) -> None:
    stereo_NC = np.stack([speech, speech], axis=1)
    with pytest.raises(UnsupportedAudioError, match="FFmpeg does not support"):
        decode_audio(by_soundfile(speech, "OGG", "OPUS") + by_soundfile(stereo_NC, "OGG", "OPUS"))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_aac_may_change_its_rate_and_channels_on_the_way(order: tuple[int, int]) -> None:
    stereo_NC = np.stack([tone(500, 48_000), np.zeros(48_000, np.float32)], axis=1)
    files = [by_av(tone(500, 16_000), "adts", "aac", 16_000), by_av(stereo_NC, "adts", "aac", 48_000)]
    amplitudes = [0.5, 0.25]
    apart = [decode_audio(files[part]).samples_N for part in order]
    together_N = decode_audio(b"".join(files[part] for part in order)).samples_N
    assert abs(len(together_N) - len(apart[0]) - len(apart[1])) <= 1
    for part, samples_N in zip(order, np.split(together_N, [len(apart[0])]), strict=True):
        assert amplitude(samples_N, 500) == pytest.approx(amplitudes[part], rel=0.02)


def test_recorded_speech_has_the_length_that_its_manifest_says(dev_clean: list[SpokenClip]) -> None:
    assert len(dev_clean) > 700
    for clip in dev_clean[::40]:
        assert decode_audio(clip.path).duration_s == pytest.approx(clip.duration_s, abs=1e-3)


def test_clips_of_sounds_can_be_read(speech_data: Path) -> None:
    # libsndfile 1.2.2 calls about one in seven of these Opus files malformed; FFmpeg reads them all.
    paths = sorted((speech_data / "noise" / "audio").glob("*.opus"))
    assert len(paths) > 300
    for path in paths[::8]:
        assert 4 < decode_audio(path).duration_s < 6


@pytest.mark.parametrize("container", CONTAINERS)
def test_bytes_and_path_are_equal_whatever_the_name(container: str, speech: np.ndarray, tmp_path: Path) -> None:
    data = CONTAINERS[container](speech[:8_000])
    from_bytes_N = decode_audio(data).samples_N
    for name in ("speech.raw", "speech.m3u8", "speech", "spéech 100%d.mp4"):
        path = tmp_path / name
        path.write_bytes(data)
        np.testing.assert_array_equal(decode_audio(path).samples_N, from_bytes_N)
    np.testing.assert_array_equal(decode_audio(str(path)).samples_N, from_bytes_N)


def test_a_pipe_is_read(speech: np.ndarray, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = CONTAINERS["wav"](speech)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    samples_N = decode_audio(pipe).samples_N
    writer.join()
    np.testing.assert_array_equal(samples_N, decode_audio(data).samples_N)


def test_threads_do_not_disturb_each_other(speech: np.ndarray) -> None:
    files = [encode(speech) for encode in CONTAINERS.values()]
    alone = [decode_audio(file).samples_N for file in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda file: decode_audio(file).samples_N, files * 3))
    for got_N, wanted_N in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(got_N, wanted_N)


def test_a_path_that_cannot_be_opened_raises_what_open_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        decode_audio(tmp_path / "nowhere.wav")
    with pytest.raises(IsADirectoryError):
        decode_audio(tmp_path)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_the_limit_on_the_duration_is_exact(container: str, rate_hz: int) -> None:
    silence_N = np.zeros(2 * rate_hz + 1, np.float32)
    assert decode_audio(by_soundfile(silence_N[:-1], container, "PCM_16", rate_hz), max_duration_s=2).duration_s == 2
    with pytest.raises(AudioTooLongError, match="limit of 2 s"):
        decode_audio(by_soundfile(silence_N, container, "PCM_16", rate_hz), max_duration_s=2)


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_limit_on_the_duration_holds_for_every_container(container: str, speech: np.ndarray) -> None:
    data = CONTAINERS[container](speech)
    duration_s = decode_audio(data).duration_s
    assert decode_audio(data, max_duration_s=duration_s).duration_s == duration_s
    with pytest.raises(AudioTooLongError, match="limit of"):
        decode_audio(data, max_duration_s=duration_s - 0.001)


@pytest.mark.parametrize("limit_s", [0, -1, float("nan")])
def test_a_limit_has_to_be_positive(limit_s: float, speech: np.ndarray) -> None:
    with pytest.raises(AudioParameterError, match="max_duration_s is"):
        decode_audio(CONTAINERS["wav"](speech), max_duration_s=limit_s)


@pytest.fixture(scope="module")
def long_silence() -> bytes:
    """Twenty minutes of silence at 48 kHz: 230 MB as float32, a few hundred kB as FLAC."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", samplerate=48_000, channels=1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(20):
            flac.write(np.zeros(60 * 48_000, np.int16))
    return file.getvalue()


def without_length(flac: bytes) -> bytes:
    """The FLAC file with "unknown" for the number of samples in its header, as a live encoder writes it."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


@pytest.mark.parametrize("header_tells", [True, False])
def test_hours_of_silence_are_refused_with_little_memory(header_tells: bool, long_silence: bytes) -> None:
    assert len(long_silence) < 2_000_000
    data = long_silence if header_tells else without_length(long_silence)
    tracemalloc.start()
    with pytest.raises(AudioTooLongError, match="limit of 30 s"):
        decode_audio(data, max_duration_s=30)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 30 s at 16 kHz are 2 MB; were it decoded to the end, 77 MB would be held.
    assert peak_bytes < 8_000_000


def test_a_header_that_tells_the_length_is_enough_to_refuse(long_silence: bytes) -> None:
    # Nothing is left to decode here, so only the header can have been looked at.
    with pytest.raises(AudioTooLongError, match="limit of 30 s"):
        decode_audio(long_silence[:200], max_duration_s=30)


@pytest.mark.parametrize(
    ("container", "rate_hz"), [("WAV", 7_999), ("WAV", 192_001), ("FLAC", 655_350), ("WAV", 4_000), ("WAV", 2**31 - 1)]
)
def test_sample_rates_outside_the_range_are_named(container: str, rate_hz: int, speech: np.ndarray) -> None:
    data = by_soundfile(speech[:1000], container, "PCM_16", rate_hz)
    with pytest.raises(AudioParameterError, match=rf"{rate_hz} Hz; 8000 to 192000 Hz"):
        decode_audio(data)


# As by `FIDELITY`, and the frame that holds a LAME header. Those that are missing do not tell.
CLAIMED_MORE_S = {name: 0.15 for name in CONTAINERS if name != "live webm opus"}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_length_that_a_file_claims_is_known_with_the_first_block(container: str, speech: np.ndarray) -> None:
    long_N = np.tile(speech, 5)
    with open_audio(CONTAINERS[container](long_N)) as blocks:
        decoding = iter(blocks)
        first_N = next(decoding)
        claimed_s = blocks.duration_s
        n_samples = len(first_N) + sum(map(len, decoding))
    assert len(first_N) < n_samples
    if container in CLAIMED_MORE_S:
        assert claimed_s is not None
        assert 0 <= claimed_s - len(long_N) / SAMPLE_RATE_HZ <= CLAIMED_MORE_S[container]
    else:
        assert claimed_s is None


@pytest.mark.parametrize("header_tells", [True, False])
@pytest.mark.parametrize("channels", [1, 8])
def test_ten_hours_of_flac_silence_are_refused_undecoded(header_tells: bool, channels: int) -> None:
    data = silent_flac(36_000, header_tells=header_tells, channels=channels)
    assert len(data) < 7_000_000
    # Everything but the two ends is made worthless: only they can have been looked at.
    worthless = data[:100] + bytes(len(data) - 400) + data[-300:]
    with pytest.raises(AudioTooLongError, match="limit of 14400 s"):
        decode_audio(worthless, max_duration_s=14_400)


def test_flac_written_by_hand_is_decoded() -> None:
    for header_tells in (True, False):
        data = silent_flac(10, header_tells=header_tells)
        with open_audio(data, AudioLimits(max_duration_s=11)) as blocks:
            assert sum(map(len, blocks)) == pytest.approx(15 * 32_768 / 3, abs=1)
            assert blocks.duration_s == pytest.approx(15 * 32_768 / 48_000)


def test_flac_of_unknown_length_by_an_encoder(speech: np.ndarray) -> None:
    data = without_length(by_soundfile(np.tile(speech, 5), "FLAC", "PCM_16"))
    with open_audio(data) as blocks:
        n_samples = sum(map(len, blocks))
        assert blocks.duration_s == n_samples / SAMPLE_RATE_HZ
    cut = data[:-1]  # the last frame is no longer one: nothing is claimed
    with open_audio(cut) as blocks, pytest.raises(CorruptAudioError):
        list(blocks)
    assert blocks.duration_s is None


def test_decoded_bytes_just_under_and_just_over(speech: np.ndarray) -> None:
    """Counted before mixing and resampling: four bytes for each sample of each channel."""
    stereo_NC = np.stack([speech, speech], axis=1)
    decoded_bytes = 4 * stereo_NC.size
    for container in ("WAV", "FLAC"):
        data = by_soundfile(stereo_NC, container, "PCM_16")
        with open_audio(data, AudioLimits(max_decoded_bytes=decoded_bytes)) as blocks:
            assert sum(map(len, blocks)) == len(speech)
        with (
            pytest.raises(AudioTooLargeError, match=f"limit of {decoded_bytes - 1} bytes"),
            open_audio(data, AudioLimits(max_decoded_bytes=decoded_bytes - 1)) as blocks,
        ):
            list(blocks)


@pytest.mark.parametrize("header_tells", [True, False])
def test_decoded_bytes_are_refused_early_where_the_header_tells(header_tells: bool) -> None:
    data = silent_flac(60, 192_000, header_tells=header_tells, channels=8)
    with (
        pytest.raises(AudioTooLargeError, match="limit of 100000000 bytes"),
        open_audio(data[:200] if header_tells else data, AudioLimits(max_decoded_bytes=100_000_000)) as blocks,
    ):
        list(blocks)


def test_channels_and_rate_just_under_and_just_over(speech: np.ndarray) -> None:
    limits = AudioLimits(max_channels=2, max_sample_rate_hz=44_100)
    for container in ("WAV", "FLAC"):
        for channels, rate_hz, message in ((2, 44_100, ""), (3, 44_100, "1 to 2"), (2, 44_101, "8000 to 44100 Hz")):
            data = by_soundfile(np.zeros((1000, channels)), container, "PCM_16", rate_hz)
            if not message:
                with open_audio(data, limits) as blocks:
                    assert len(list(blocks)) == 1
            else:
                with pytest.raises(AudioParameterError, match=message), open_audio(data, limits) as blocks:
                    list(blocks)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_decoded_bytes": 0},
        {"max_duration_s": float("inf")},
        {"max_channels": 0},
        {"max_channels": 9},
        {"max_sample_rate_hz": 7_999},
        {"max_sample_rate_hz": 192_001},
    ],
)
def test_limits_verify_themselves(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(AudioParameterError, match=name):
        AudioLimits(**wrong)  # type: ignore[arg-type]  # one of them at a time


def test_an_open_file_is_read_by_its_descriptor(speech: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "speech"
    path.write_bytes(CONTAINERS["flac"](speech))
    descriptor = os.open(path, os.O_RDONLY)
    np.testing.assert_array_equal(decode_audio(descriptor).samples_N, decode_audio(path).samples_N)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_nine_channels_are_too_many() -> None:
    with pytest.raises(AudioParameterError, match="9 channels; 1 to 8"):
        decode_audio(by_soundfile(np.zeros((100, 9)), "WAV", "PCM_16"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_samples_that_are_no_numbers_are_refused(rate_hz: int, encoding: str, value: float) -> None:
    samples_N = tone(440, rate_hz).astype(np.float64)
    samples_N[rate_hz // 2] = value
    with pytest.raises(NonFiniteAudioError, match=r"0\.500 s"):
        decode_audio(by_soundfile(samples_N, "WAV", encoding, rate_hz))


def test_samples_whose_squares_would_not_be_finite_are_refused() -> None:
    with pytest.raises(NonFiniteAudioError):
        decode_audio(by_soundfile(np.full(100, 1e300), "WAV", "DOUBLE"))
    with pytest.raises(AudioParameterError, match=r"sample at 0\.000 s is 3e\+38; full scale is 1"):
        decode_audio(by_soundfile(np.full((100, 8), 3e38), "WAV", "FLOAT"))
    # The largest that there can be where integers of 32 bits were taken for floats.
    loud_N = decode_audio(by_soundfile(np.full((100, 8), 2.0**31), "WAV", "FLOAT")).samples_N
    np.testing.assert_array_equal(loud_N, np.full(100, 2.0**31, np.float32))


@pytest.mark.parametrize("container", ["wav", "flac", "ogg vorbis", "mp3"])
def test_no_samples_are_an_error_of_their_own(container: str) -> None:
    with pytest.raises(EmptyAudioError):
        decode_audio(CONTAINERS[container](np.zeros(0, np.float32)))


def test_one_sample_is_enough_and_less_than_one_is_not() -> None:
    assert len(decode_audio(by_soundfile(np.zeros(1), "WAV", "PCM_16")).samples_N) == 1
    with pytest.raises(EmptyAudioError, match="the wav holds no samples"):
        decode_audio(by_soundfile(np.zeros(1), "WAV", "PCM_16", 192_000))


def test_an_index_of_a_hundred_bytes_does_not_take_gigabytes(speech: np.ndarray) -> None:
    # Runs in a process of its own whose memory is limited: where the index is believed, FFmpeg asks for 2 GB.
    data = bytearray(CONTAINERS["m4a aac"](speech))
    sizes, chunks, times = (data.index(name) for name in (b"stsz", b"stsc", b"stts"))
    claimed = 60_000_000
    data[sizes + 8 : sizes + 16] = b"\0\0\0\1" + claimed.to_bytes(4, "big")
    data[chunks + 12 : chunks + 20] = b"\0\0\0\1" + claimed.to_bytes(4, "big")
    data[times + 12 : times + 16] = claimed.to_bytes(4, "big")
    code = (
        "import resource, sys\n"
        "from features.audio import decode_audio\n"
        "from features.errors import CorruptAudioError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    decode_audio(sys.stdin.buffer.read())\n"
        "except CorruptAudioError as error:\n"
        "    print(error, '|', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=120)
    message, taken_kb = done.stdout.decode().split("|")
    assert "index claims" in message
    assert int(taken_kb) < 50_000


# --- the type itself -------------------------------------------------------------------------------------------------


def test_a_waveform_tells_its_duration() -> None:
    assert Waveform(np.zeros(24_000, np.float32)).duration_s == 1.5
    assert Waveform(np.zeros(24_000, np.float32), 48_000).duration_s == 0.5


@pytest.mark.parametrize(
    "samples", [np.zeros(8), np.zeros((2, 8), np.float32), np.zeros(8, np.int16), np.zeros(16, np.float32)[::2]]
)
def test_a_waveform_of_another_shape_or_type_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(AudioParameterError, match="wanted contiguous float32"):
        Waveform(samples)


def test_a_waveform_verifies_its_rate_and_samples() -> None:
    with pytest.raises(AudioParameterError, match="0 Hz"):
        Waveform(np.zeros(8, np.float32), 0)
    with pytest.raises(NonFiniteAudioError, match=r"0\.500 s"):
        Waveform(np.repeat(np.array([0, np.nan], np.float32), 8_000))


def test_errors_are_one_family() -> None:
    for error in (EmptyAudioError, AudioParameterError, AudioTooLongError, NonFiniteAudioError):
        assert issubclass(error, AudioError)


def test_live_and_finished_webm_sound_the_same(speech: np.ndarray) -> None:
    np.testing.assert_array_equal(
        decode_audio(opus_in_webm(speech, live=True)).samples_N, decode_audio(opus_in_webm(speech)).samples_N
    )
