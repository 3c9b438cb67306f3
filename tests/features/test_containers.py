"""What is no audio, or not all of it: `inspect_container`, and `decode_audio` on damaged files."""

import io
import itertools
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from features import containers
from features.audio import decode_audio, open_audio
from features.containers import inspect_container
from features.errors import AudioError, CorruptAudioError, EmptyAudioError, UnsupportedAudioError
from features.mpeg_frames import mp3_frame_bytes
from tests.features.encoders import CONTAINERS, by_av, by_soundfile, wav_with_sizes

RATE_HZ = 16_000
# A second of a sound that is different everywhere: a rising tone in noise.
TIMES_S = np.arange(RATE_HZ) / RATE_HZ
SOUND = (
    0.3 * np.sin(2 * np.pi * (200 + 1000 * TIMES_S) * TIMES_S)
    + 0.05 * np.random.default_rng(0).standard_normal(RATE_HZ)
).astype(np.float32)
FILES = {name: encode(SOUND) for name, encode in CONTAINERS.items()}
WAV = FILES["wav"]

KINDS = {
    "wav": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "mp3 by FFmpeg": "mp3",
    "mp3 without a count": "mp3",
    "ogg vorbis": "vorbis",
    "ogg opus": "ogg",
    "ogg flac": "ogg",
    "webm opus": "webm",
    "live webm opus": "webm",
    "m4a aac": "mp4",
    "m4a alac": "mp4",
    "fragmented mp4 aac": "mp4",
    "adts aac": "aac",
}


@pytest.mark.parametrize("container", FILES)
def test_containers_are_told_by_their_content(container: str) -> None:
    assert inspect_container(io.BytesIO(FILES[container])).kind == KINDS[container]


@pytest.mark.parametrize("container", ["mp3", "ogg opus", "live webm opus", "fragmented mp4 aac", "adts aac"])
def test_looking_at_a_container_can_be_ended_anywhere(container: str) -> None:
    """A frame, page, element or box at a time: a long file has many of them."""

    def ends_after(n: int) -> Callable[[], None]:
        asked = itertools.count(1)

        def go_on() -> None:
            if next(asked) > n:
                raise TimeoutError

        return go_on

    asked: list[None] = []
    with open_audio(FILES[container], go_on=lambda: asked.append(None)):
        most = len(asked)
    assert most > 10
    for n in (0, most // 2, most - 1):
        with pytest.raises(TimeoutError), open_audio(FILES[container], go_on=ends_after(n)):
            pytest.fail("it was not ended")


# --- not audio -------------------------------------------------------------------------------------------------------


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("speech.wav", WAV)
    return file.getvalue()


NOT_AUDIO = {
    "one byte": b"R",
    "text": b"The morning train was late again because of the snow.\n" * 20,
    "utf-16 text": ("The morning train was late again. " * 20).encode("utf-16"),
    "html": b"<!doctype html><html><body>413 Payload Too Large</body></html>",
    "json": b'{"error": {"message": "no such file"}}',
    "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "pdf": b"%PDF-1.7\n" + bytes(200),
    "zip": zipped(),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(200),
    "avi": b"RIFF" + struct.pack("<I", 4) + b"AVI " + bytes(200),
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "aiff": by_soundfile(SOUND, "AIFF", "PCM_16"),
    "ffconcat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "id3 tag alone": b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16),
    "one mp3 sync word": b"\xff\xfb\x90\x00" + b"not a frame, and nothing like it follows. " * 30,
}


@pytest.mark.parametrize("name", NOT_AUDIO)
def test_what_is_not_audio_is_called_so(name: str) -> None:
    with pytest.raises(UnsupportedAudioError, match="not audio that can be read"):
        decode_audio(NOT_AUDIO[name])


@pytest.mark.parametrize("name", ["speech.wav", "speech.m3u8", "speech.mp3"])
def test_a_playlist_opens_nothing(name: str, tmp_path: Path) -> None:
    target = tmp_path / "secret.wav"
    target.write_bytes(WAV)
    playlist = tmp_path / name
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{target}\n#EXT-X-ENDLIST\n")
    for source in (playlist, playlist.read_bytes()):
        with pytest.raises(UnsupportedAudioError, match="not audio that can be read"):
            decode_audio(source)


def test_nothing_at_all_is_empty(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    for source in (b"", nothing):
        with pytest.raises(EmptyAudioError, match="0 bytes"):
            decode_audio(source)


def test_a_codec_outside_the_list_is_named() -> None:
    with pytest.raises(UnsupportedAudioError, match="not read: ac3"):
        decode_audio(by_av(SOUND, "mp4", "ac3", 48_000))
    for format_tag, codec in ((0x2000, "ac3"), (0x161, "wmav2"), (0x9999, "unknown")):
        with pytest.raises(UnsupportedAudioError, match=f"not read: {codec}"):
            decode_audio(WAV[:20] + struct.pack("<H", format_tag) + WAV[22:])


def test_a_codec_that_nobody_knows_is_called_so() -> None:
    with pytest.raises(UnsupportedAudioError, match="not read: unknown"):
        # without "esds" nothing else says that it is AAC
        decode_audio(FILES["m4a aac"].replace(b"mp4a", b"zz4a").replace(b"esds", b"zzzz"))


def test_a_film_without_sound_is_called_so() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(UnsupportedAudioError, match="no audio stream"):
        decode_audio(file.getvalue())


# --- not all of it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", FILES)
def test_a_file_that_breaks_off_is_never_taken_for_whole(container: str) -> None:
    whole = FILES[container]
    cuts = {len(whole) * tenth // 10 for tenth in range(1, 10)} | {len(whole) - 1, len(whole) - 5, 100, 40}
    for cut in sorted(cuts - boundaries(container)):
        with pytest.raises(CorruptAudioError):
            decode_audio(whole[:cut])


@pytest.mark.parametrize("container", FILES)
def test_the_first_bytes_of_a_file_are_an_error(container: str) -> None:
    for cut in range(1, 40):
        with pytest.raises(AudioError):
            decode_audio(FILES[container][:cut])


def boundaries(container: str) -> set[int]:
    """Where the file can be cut and nothing shows, as `features.containers` admits."""
    file = FILES[container]
    if container == "adts aac":
        return {at for at in range(len(file)) if file[at : at + 2] == b"\xff\xf1"}
    if container == "mp3 without a count":
        found, at = set(), file.index(b"\xff\xf3")
        while at < len(file):
            found.add(at)
            at += mp3_frame_bytes(file[at:])
        return found
    return set()


@pytest.mark.parametrize("container", ["adts aac", "mp3 without a count"])
def test_bare_frames_cut_between_two_frames_look_whole(container: str) -> None:
    cut = sorted(boundaries(container))[-5]
    assert 0.5 < decode_audio(FILES[container][:cut]).duration_s < 0.95


CLUSTER = b"\x1f\x43\xb6\x75"


def test_live_webm_cut_between_two_clusters_looks_whole() -> None:
    whole = CONTAINERS["live webm opus"](np.tile(SOUND, 12))
    cut = whole.rindex(CLUSTER)
    assert 4 < decode_audio(whole[:cut]).duration_s < 12
    with pytest.raises(CorruptAudioError, match="the last element is cut off"):
        decode_audio(whole[: cut + 50])


def test_webm_clusters_of_unknown_size_are_looked_into() -> None:
    # As browsers record: neither the segment nor its clusters know their size.
    whole = bytearray(FILES["live webm opus"])
    at = whole.index(CLUSTER) + len(CLUSTER)
    size_bytes = 9 - whole[at].bit_length()
    whole[at : at + size_bytes] = (~(-1 << 7 * size_bytes) | 1 << 7 * size_bytes).to_bytes(size_bytes, "big")
    assert whole != FILES["live webm opus"]
    np.testing.assert_array_equal(decode_audio(bytes(whole)).samples_N, decode_audio(FILES["live webm opus"]).samples_N)
    endings = [decodes(bytes(whole[:cut])) for cut in range(len(whole) // 2, len(whole) // 2 + 500)]
    assert 1 <= sum(endings) <= 10  # between two blocks of about 200 bytes; every other cut is seen


def decodes(data: bytes) -> bool:
    try:
        decode_audio(data)
    except CorruptAudioError:
        return False
    return True


def test_flac_cut_between_two_frames_is_seen_where_the_samples_are_counted() -> None:
    cut = FILES["flac"].rindex(b"\xff\xf8")  # what a frame begins with
    with pytest.raises(CorruptAudioError, match=r"truncated: \d+ of 16000 samples"):
        decode_audio(FILES["flac"][:cut])


def test_only_clusters_and_segments_of_webm_may_lack_a_size() -> None:
    with pytest.raises(CorruptAudioError, match="other than a segment or cluster has no size"):
        decode_audio(b"\x1aE\xdf\xa3\xff" + FILES["webm opus"][5:])


def test_mp3_cut_between_two_frames_is_seen_where_the_frames_are_counted() -> None:
    whole = FILES["mp3"]
    at = 0
    while at < len(whole) // 2:
        at += mp3_frame_bytes(whole[at:])
    with pytest.raises(CorruptAudioError, match=r"\d+ of \d+ frames are there"):
        decode_audio(whole[:at])


@pytest.mark.parametrize("container", ["ogg vorbis", "ogg opus", "ogg flac"])
def test_ogg_without_its_last_page_is_truncated(container: str) -> None:
    whole = FILES[container]
    with pytest.raises(CorruptAudioError, match="page that ends the stream is missing"):
        decode_audio(whole[: whole.rindex(b"OggS")])


def test_ogg_that_lacks_a_page_is_damaged() -> None:
    whole = by_soundfile(np.tile(SOUND, 4), "OGG", "OPUS")
    pages = [b"OggS" + page for page in whole.split(b"OggS")[1:]]
    assert len(pages) > 4
    with pytest.raises(CorruptAudioError, match="page 3 of a stream is missing"):
        decode_audio(b"".join(pages[:3] + pages[4:]))


@pytest.mark.parametrize("container", ["flac", "ogg vorbis", "ogg opus", "ogg flac"])
def test_a_changed_bit_of_sound_is_seen_where_there_are_checksums(container: str) -> None:
    random_ = random.Random(0)
    for _ in range(20):
        data = bytearray(FILES[container])
        data[random_.randrange(len(data) // 2, len(data))] ^= 1 << random_.randrange(8)
        with pytest.raises(CorruptAudioError):
            decode_audio(bytes(data))


@pytest.mark.parametrize("container", ["m4a aac", "fragmented mp4 aac"])
def test_mp4_without_its_index_is_damaged(container: str) -> None:
    with pytest.raises(CorruptAudioError, match=r"index \(moov\) is missing"):
        decode_audio(FILES[container].replace(b"moov", b"free"))


def test_mp4_fragments_cannot_claim_more_than_the_file_holds() -> None:
    data = bytearray(FILES["fragmented mp4 aac"])
    at = data.index(b"trun") + 8
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    with pytest.raises(CorruptAudioError, match="index claims"):
        decode_audio(bytes(data))


@pytest.mark.parametrize(
    ("head", "element"),
    [
        (b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff", b"\xec\x80"),
        (b"\0\0\0\x08ftyp", b"\0\0\0\x08free"),
    ],
)
def test_files_of_nothing_but_empty_elements_are_given_up(
    head: bytes, element: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MOST_ELEMENTS", 1_000)
    with pytest.raises(CorruptAudioError, match="more than 1000 elements"):
        decode_audio(head + element * 1_001)
    with pytest.raises(CorruptAudioError, match=r"moov|webm is damaged"):
        decode_audio(head + element * 900)


# --- the sizes in a wav's header -------------------------------------------------------------------------------------


@pytest.mark.parametrize("riff_bytes", [0, 36, 0xFFFF_FFFF])
@pytest.mark.parametrize("data_bytes", [0, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF])
@pytest.mark.parametrize("encoding", ["PCM_16", "PCM_24", "ULAW", "FLOAT"])
def test_wav_written_to_a_pipe_is_read_to_its_end(encoding: str, data_bytes: int, riff_bytes: int) -> None:
    closed = by_soundfile(SOUND, "WAV", encoding)
    samples_N = decode_audio(wav_with_sizes(closed, riff_bytes, data_bytes)).samples_N
    np.testing.assert_array_equal(samples_N, decode_audio(closed).samples_N)


def test_wav_with_less_sound_than_its_header_says_is_truncated() -> None:
    with pytest.raises(CorruptAudioError, match="31999 of 32000 bytes of samples are there"):
        decode_audio(WAV[:-1])
    with pytest.raises(CorruptAudioError, match="32000 of 32002 bytes of samples are there"):
        decode_audio(wav_with_sizes(WAV, len(WAV) - 8, 32_002))


def test_wav_without_sound_is_empty_or_truncated() -> None:
    header = WAV[: WAV.index(b"data") + 8]
    with pytest.raises(CorruptAudioError, match="none of its 32000 bytes"):
        decode_audio(header)
    with pytest.raises(CorruptAudioError, match="ends before its data chunk"):
        decode_audio(header[:-8])
    with pytest.raises(EmptyAudioError, match="data chunk is empty"):
        decode_audio(wav_with_sizes(header, len(header) - 8, 0))
    with pytest.raises(EmptyAudioError, match="data chunk is empty"):
        decode_audio(wav_with_sizes(header, 0xFFFF_FFFF, 0xFFFF_FFFF))
    other_chunk = b"LIST" + struct.pack("<I", 12) + b"INFOIART\0\0\0\0"
    with pytest.raises(EmptyAudioError, match="data chunk is empty"):
        decode_audio(wav_with_sizes(header + other_chunk, len(header + other_chunk) - 8, 0))


def test_other_chunks_of_a_wav_do_not_disturb() -> None:
    odd_chunk = b"note" + struct.pack("<I", 3) + b"odd\0"
    at = WAV.index(b"data")
    samples_N = decode_audio(WAV[:at] + odd_chunk + WAV[at:] + odd_chunk).samples_N
    np.testing.assert_array_equal(samples_N, decode_audio(WAV).samples_N)


@pytest.mark.parametrize(("container", "endian"), [("RF64", "FILE"), ("WAVEX", "FILE"), ("WAV", "BIG")])
def test_relatives_of_wav_are_read(container: str, endian: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE_HZ, format=container, subtype="PCM_16", endian=endian)
    np.testing.assert_array_equal(decode_audio(file.getvalue()).samples_N, decode_audio(WAV).samples_N)
    with pytest.raises(CorruptAudioError):
        decode_audio(file.getvalue()[:-100])


@pytest.mark.parametrize("placeholder", [0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_a_big_endian_wav_that_was_written_to_a_pipe_is_heard_as_it_is(placeholder: int) -> None:
    big = by_soundfile(SOUND, "WAV", "PCM_16", endian="BIG")
    at = big.index(b"data") + 4
    piped = b"RIFX" + struct.pack(">I", placeholder) + big[8:at] + struct.pack(">I", placeholder) + big[at + 4 :]
    np.testing.assert_array_equal(decode_audio(piped).samples_N, decode_audio(WAV).samples_N)


def test_relatives_of_wav_have_to_say_how_long_they_are() -> None:
    big = by_soundfile(SOUND, "WAV", "PCM_16", endian="BIG")
    at = big.index(b"data") + 4
    long = by_soundfile(SOUND, "RF64", "PCM_16")
    sizes = long.index(b"ds64") + 8
    for unsaid in (
        big[:4] + bytes(4) + big[8:at] + bytes(4) + big[at + 4 :],
        long[:sizes] + bytes(16) + long[sizes + 16 :],
    ):
        with pytest.raises(CorruptAudioError, match="does not say how long it is"):
            decode_audio(unsaid)


# --- tags around bare frames -----------------------------------------------------------------------------------------

ID3V2 = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)


@pytest.mark.parametrize("container", ["mp3", "mp3 without a count", "adts aac", "flac"])
def test_a_tag_in_front_is_stepped_over(container: str) -> None:
    samples_N = decode_audio(ID3V2 + FILES[container]).samples_N
    np.testing.assert_array_equal(samples_N, decode_audio(FILES[container]).samples_N)


def test_a_tag_in_front_of_wav_is_named() -> None:
    with pytest.raises(UnsupportedAudioError, match="ID3 tag in front"):
        decode_audio(ID3V2 + WAV)


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)])
def test_a_tag_behind_is_no_damage(tag: bytes) -> None:
    samples_N = decode_audio(FILES["mp3"] + tag).samples_N
    np.testing.assert_array_equal(samples_N, decode_audio(FILES["mp3"]).samples_N)


def test_a_tag_behind_flac_is_no_damage_but_frames_are_missed() -> None:
    samples_N = decode_audio(FILES["flac"] + b"TAG" + bytes(125)).samples_N
    np.testing.assert_array_equal(samples_N, decode_audio(FILES["flac"]).samples_N)
    with pytest.raises(CorruptAudioError):
        decode_audio(FILES["flac"][:-200] + b"TAG" + bytes(125))


def test_junk_between_frames_is_damage() -> None:
    whole = FILES["mp3 without a count"]
    at = sorted(boundaries("mp3 without a count"))[10]
    with pytest.raises(CorruptAudioError, match=f"at byte {at}: a whole frame should stand here"):
        decode_audio(whole[:at] + b"junk" + whole[at:])


# --- whatever comes in, only errors of ours come out -----------------------------------------------------------------


def decode_or_refuse(data: bytes) -> None:
    """Anything but an `AudioError` fails the test, and so does a result that is not one."""
    try:
        waveform = decode_audio(data, max_duration_s=5)
    except AudioError as error:
        message = str(error)
    else:
        message = f"{waveform.duration_s} s"
        assert 0 < waveform.duration_s <= 5.01
    assert message
    assert "object at 0x" not in message


MAGICS = [b"", *(file[:16] for file in FILES.values()), b"ID3\x04\0\0", b"\0\0\0\x20ftypM4A ", b"\xff\xfb\x90\x00"]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(magic=st.sampled_from(MAGICS), data=st.binary(max_size=400))
def test_random_bytes_are_refused(magic: bytes, data: bytes) -> None:
    decode_or_refuse(magic + data)


@pytest.mark.parametrize("container", FILES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_files_are_decoded_or_refused(container: str, data: st.DataObject) -> None:
    file = bytearray(FILES[container])
    # Headers are small and most of the file is sound: half of the damage goes to the first kilobyte.
    places = st.integers(0, len(file) - 1) | st.integers(0, min(len(file), 1000) - 1)
    interesting = st.sampled_from([0x00, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    for at, byte in data.draw(st.lists(st.tuples(places, interesting), min_size=1, max_size=8), label="bytes"):
        file[at] = byte
    if data.draw(st.booleans(), label="also cut"):
        del file[data.draw(places, label="cut") :]
    decode_or_refuse(bytes(file))
