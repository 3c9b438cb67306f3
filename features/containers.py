"""What an audio file is, and whether all of it is there: read from its bytes alone, without a codec.

Decoders are lenient: many of them turn half a recording into half a transcript and say nothing. So the structure
that each container promises is checked first. What no container tells, nobody can see:

* mp3 without a Xing/Info header, and ADTS aac, cut exactly between two frames;
* fragmented mp4, and live webm (sizes unknown), cut exactly between two top-level boxes or elements;
* wav written to a pipe (data size 0, or 2 GiB and more): it has no end but the end of the file;
* changed bits inside mp3, aac and webm frames, which carry no checksum. Ogg and flac do, and theirs are checked.
"""

import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from features.errors import CorruptAudioError, EmptyAudioError, UnsupportedAudioError
from features.flac_frames import flac_duration
from features.mpeg_frames import adts_frame_bytes, adts_frame_s, mp3_frame_bytes, mp3_frame_s, xing_frames
from features.seekable import SeekableFile

# Files of nothing but empty elements would keep the walks below busy for minutes. A million is five hours of live
# webm, and far more of everything else.
MOST_ELEMENTS = 1_000_000
MOST_TAGS = 10
ID3V1_BYTES = 128

Kind = Literal["wav", "flac", "vorbis", "ogg", "webm", "mp4", "mp3", "aac"]


@dataclass(frozen=True)
class Container:
    """What `inspect_container` found.

    Attributes:
        kind: the container, by its content. "vorbis" is an ogg that holds one Vorbis stream and nothing else.
        open_ended: a wav that was written to a pipe and does not know its own length.
        tag_behind: a flac that ends with an ID3v1 tag.
        duration_s: seconds by the headers of its frames (flac, mp3, aac), those that encoders add included; None where
            only the decoder's library reads the length.
    """

    kind: Kind
    open_ended: bool = False
    tag_behind: bool = False
    duration_s: Fraction | None = None


def inspect_container(file: SeekableFile) -> Container:
    """Name the container that `file` (seekable, opened for reading in binary mode) holds, and check its structure.

    The name of the file plays no part. The position of `file` afterwards is undefined.

    Raises:
        EmptyAudioError: no bytes.
        UnsupportedAudioError: not one of the containers above.
        CorruptAudioError: the file breaks off, or its structure is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise EmptyAudioError("the audio is empty: it has 0 bytes; send a recording")
    start = _after_id3(file, size)
    magic = _read(file, start, 12)
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64") and magic[8:12] == b"WAVE":
        if start:  # libsndfile would miss the end, and FFmpeg reads nothing
            raise UnsupportedAudioError("the wav has an ID3 tag in front of it; send it without")
        return Container("wav", open_ended=_wav_is_open_ended(file, size))
    if magic[:4] == b"fLaC":
        # Its decoder checks the number of samples, where there is one, and a checksum of each frame.
        tag_behind = size >= ID3V1_BYTES and _read(file, size - ID3V1_BYTES, 3) == b"TAG"
        return Container("flac", duration_s=flac_duration(file, start), tag_behind=tag_behind)
    if magic[:4] == b"OggS":
        streams = _check_ogg(file, start, size)
        is_vorbis = b"\x01vorbis" in _read(file, start, 64)
        return Container("vorbis" if is_vorbis and streams == 1 else "ogg")
    if magic[:4] == b"\x1aE\xdf\xa3":
        _check_webm(file, size)
        return Container("webm")
    if magic[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        _check_mp4(file, size)
        return Container("mp4")
    if adts_frame_bytes(magic):
        _, duration_s = _count_frames(file, start, size, "aac", adts_frame_bytes, adts_frame_s)
        return Container("aac", duration_s=duration_s)
    if _is_mp3(file, start):
        return Container("mp3", duration_s=_check_mp3(file, start, size))
    raise UnsupportedAudioError(
        f"not audio that can be read (it begins with {magic[:8]!r}); send wav, flac, mp3, ogg, opus, webm, m4a or aac"
    )


def _read(file: SeekableFile, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


def _broken(kind: str, offset: int, what: str) -> CorruptAudioError:
    return CorruptAudioError(f"{kind} is truncated or damaged at byte {offset}: {what}; send the whole file")


def _check_elements(kind: Kind, offset: int, elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise _broken(kind, offset, f"it has more than {MOST_ELEMENTS} elements")


def _after_id3(file: SeekableFile, size: int) -> int:
    """The offset behind the ID3v2 tags that the file begins with; 0 if there are none."""
    offset = 0
    for _ in range(MOST_TAGS):
        header = _read(file, offset, 10)
        if header[:3] != b"ID3" or len(header) < 10:
            break
        body_bytes = sum((byte & 0x7F) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
        footer_bytes = 10 if header[5] & 0x10 else 0
        offset += 10 + body_bytes + footer_bytes
    if offset > size:
        raise _broken("ID3 tag", size, f"{offset - size} bytes of it are missing")
    return offset


# --- wav: RIFF chunks ------------------------------------------------------------------------------------------------

# Writers that cannot seek back leave a size that no file has: 0 (a recorder that was killed), 0xFFFFFFFF (FFmpeg),
# 0x7FFFF000 (SoX), 0x80000000 (arecord).
SMALLEST_PLACEHOLDER_BYTES = 0x7FFF_F000


def _wav_is_open_ended(file: SeekableFile, size: int) -> bool:
    """Whether FFmpeg has to read it, up to the end of the file.

    FFmpeg would take the samples of a RIFX file for little-endian: libsndfile reads it, which stops at the file's end
    too, unless the length is 0. Of a length of 0 in RF64, neither reads anything.
    """
    kind = _read(file, 0, 4)
    order = ">" if kind == b"RIFX" else "<"
    riff_bytes: int = struct.unpack(order + "I", _read(file, 4, 4))[0]
    offset = 12
    data_bytes_64: int | None = None
    while True:
        header = _read(file, offset, 8)
        if len(header) < 8:
            raise _broken("wav", size, "the file ends before its data chunk")
        name = header[:4]
        chunk_bytes: int = struct.unpack(order + "I", header[4:])[0]
        offset += 8
        if name == b"data":
            break
        if name == b"ds64" and chunk_bytes >= 16 and len(sizes := _read(file, offset, 16)) == 16:
            data_bytes_64 = struct.unpack(order + "8xQ", sizes)[0]
        offset += chunk_bytes + chunk_bytes % 2
    if chunk_bytes == 0xFFFF_FFFF and data_bytes_64 is not None:
        chunk_bytes = data_bytes_64
    present_bytes = size - offset
    if present_bytes == 0:
        if 0 < chunk_bytes < SMALLEST_PLACEHOLDER_BYTES:
            raise _broken("wav", size, f"none of its {chunk_bytes} bytes of samples are there")
        raise EmptyAudioError("the wav holds no samples: its data chunk is empty")
    if chunk_bytes == 0:
        if 8 + riff_bytes == size:  # a finished file whose remaining bytes are other chunks
            raise EmptyAudioError("the wav holds no samples: its data chunk is empty")
        if kind != b"RIFF":
            raise CorruptAudioError(
                f"the wav ({kind.decode()}) does not say how long it is; send it once it is finished"
            )
        return True
    if chunk_bytes > present_bytes and chunk_bytes < SMALLEST_PLACEHOLDER_BYTES:
        raise _broken("wav", size, f"{present_bytes} of {chunk_bytes} bytes of samples are there")
    return chunk_bytes > present_bytes and kind != b"RIFX"


# --- ogg: pages (RFC 3533) -------------------------------------------------------------------------------------------

OGG_PAGE_HEADER = struct.Struct("<4sBBqIIIB")
OGG_END_OF_STREAM = 4
BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _check_ogg(file: SeekableFile, offset: int, size: int) -> int:
    """Every page whole and intact, none missing, every logical stream ended; returns how many of them there are."""
    streams = 0
    next_page: dict[int, int] = {}  # serial number of a stream that has not ended → number of its next page
    while offset < size:
        header = _read(file, offset, OGG_PAGE_HEADER.size)
        if header[:4] != b"OggS" and not next_page:
            break  # something else (a tag) follows streams that are complete
        if len(header) < OGG_PAGE_HEADER.size or header[:4] != b"OggS":
            raise _broken("ogg", offset, "a page should begin here")
        _, _, flags, _, serial, number, checksum, segments = OGG_PAGE_HEADER.unpack(header)
        lacing = file.read(segments)
        body = file.read(sum(lacing))
        end = offset + len(header) + segments + sum(lacing)
        if end > size:
            raise _broken("ogg", size, f"the page that begins at byte {offset} is cut off")
        if _ogg_checksum(header[:22] + bytes(4) + header[26:] + lacing + body) != checksum:
            raise _broken("ogg", offset, "the page does not have the content that its checksum promises")
        if number != next_page.get(serial, number):
            raise _broken("ogg", offset, f"page {next_page[serial]} of a stream is missing")
        streams += serial not in next_page
        next_page[serial] = number + 1
        if flags & OGG_END_OF_STREAM:
            del next_page[serial]
        offset = end
    if next_page:
        raise _broken("ogg", size, "the page that ends the stream is missing")
    return streams


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC-32: zlib's with bits in the opposite order, a register that starts at 0, no inversion at the end."""
    mirrored = zlib.crc32(page.translate(BITS_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(BITS_REVERSED), "big")


# --- webm: EBML elements (RFC 8794) ----------------------------------------------------------------------------------

SEGMENT_ID, CLUSTER_ID = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def _check_webm(file: SeekableFile, size: int) -> None:
    """Every element lies inside the file. Segments and clusters of unknown size (a live recording) are looked into."""
    offset, elements = 0, 0
    seen_segment = False
    while offset < size:
        elements += 1
        _check_elements("webm", offset, elements)
        head = _read(file, offset, 12)  # at most 4 bytes of identifier, 8 of size
        id_bytes = _ebml_bytes(head, 0)
        size_bytes = _ebml_bytes(head, id_bytes)
        if not 1 <= id_bytes <= 4 or not size_bytes or len(head) < id_bytes + size_bytes:
            raise _broken("webm", offset, "an element should begin here")
        element = head[:id_bytes]
        seen_segment = seen_segment or element == SEGMENT_ID
        mask = (1 << 7 * size_bytes) - 1
        body_bytes = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & mask
        offset += id_bytes + size_bytes
        if body_bytes != mask:  # all ones: unknown
            offset += body_bytes
        elif element not in (SEGMENT_ID, CLUSTER_ID):
            raise _broken("webm", offset, "an element other than a segment or cluster has no size")
    if offset > size or not seen_segment:
        raise _broken("webm", size, "the last element is cut off")


def _ebml_bytes(head: bytes, at: int) -> int:
    """Length in bytes of the variable-size integer at `at`, told by the zeros it begins with; 0 if there is none."""
    return 9 - head[at].bit_length() if at < len(head) and head[at] else 0


# --- mp4: boxes (ISO/IEC 14496-12) -----------------------------------------------------------------------------------

MP4_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")


def _check_mp4(file: SeekableFile, size: int) -> None:
    """Every box lies inside the file; the index is there and promises no more than the file can hold.

    The last is a matter of memory: an index of a hundred bytes can claim four billion samples, and FFmpeg would
    allocate an entry for each of them.
    """
    seen: set[bytes] = set()
    offset, elements, samples_bytes = 0, 0, 0
    while offset < size:
        elements += 1
        _check_elements("mp4", offset, elements)
        header = _read(file, offset, 16)
        if len(header) < 8:
            raise _broken("mp4", offset, "a box should begin here")
        box_bytes, kind = struct.unpack(">I4s", header[:8])
        header_bytes = 8
        if box_bytes == 1 and len(header) == 16:
            header_bytes, box_bytes = 16, struct.unpack(">Q", header[8:])[0]
        elif box_bytes == 0:  # to the end of the file
            box_bytes = size - offset
        if box_bytes < header_bytes or offset + box_bytes > size:
            raise _broken("mp4", offset, f"box {kind!r} of {box_bytes} bytes does not fit into what is left")
        body = _read(file, offset + header_bytes, 12)
        if kind == b"stsz" and len(body) == 12:
            sample_bytes, count = struct.unpack(">4xII", body)
            samples_bytes += count * max(1, sample_bytes)
        elif kind == b"trun" and len(body) >= 8:
            samples_bytes += struct.unpack(">4xI", body[:8])[0]
        if samples_bytes > size:
            raise _broken("mp4", offset, f"the index claims {samples_bytes} bytes of samples or more")
        seen.add(kind)
        offset += header_bytes if kind in MP4_PARENTS else box_bytes
    if b"moov" not in seen:
        raise _broken("mp4", size, "the index (moov) is missing")


# --- aac and mp3: bare frames ----------------------------------------------------------------------------------------

TAGS_AFTER_FRAMES = (b"TAG", b"APE", b"LYR", b"ID3")  # ID3v1, APEv2, Lyrics3, ID3v2


def _is_mp3(file: SeekableFile, start: int) -> bool:
    """One frame header is four bytes, too little to tell mp3 from chance: a second frame or the end has to follow."""
    frame_bytes = mp3_frame_bytes(_read(file, start, 4))
    if not frame_bytes:
        return False
    following = _read(file, start + frame_bytes, 4)
    return not following or bool(mp3_frame_bytes(following)) or following[:3] in TAGS_AFTER_FRAMES


def _check_mp3(file: SeekableFile, start: int, size: int) -> Fraction:
    """Whole frames to the end, and as many as the Xing or Info header says, which sits in a frame of its own.

    Returns the seconds of all of them.
    """
    promised = xing_frames(_read(file, start, 48))
    frames, duration_s = _count_frames(file, start, size, "mp3", mp3_frame_bytes, mp3_frame_s)
    if promised is not None and frames - 1 < promised:
        raise _broken("mp3", size, f"{frames - 1} of {promised} frames are there")
    return duration_s


def _count_frames(
    file: SeekableFile,
    offset: int,
    size: int,
    kind: Kind,
    frame_bytes_of: Callable[[bytes], int],
    frame_s_of: Callable[[bytes], Fraction],
) -> tuple[int, Fraction]:
    """Number of frames from `offset` to the end of the file or to a tag, and their seconds.

    Nothing else may lie between them.
    """
    frames: Counter[bytes] = Counter()  # by the bytes that tell version, layer and sample rate
    while offset < size:
        header = _read(file, offset, 6)
        frame_bytes = frame_bytes_of(header)
        if not frame_bytes and header[:3] in TAGS_AFTER_FRAMES:
            break
        if not frame_bytes or offset + frame_bytes > size:
            raise _broken(kind, offset, "a whole frame should stand here")
        frames[header[:3]] += 1
        offset += frame_bytes
    return frames.total(), sum((count * frame_s_of(header) for header, count in frames.items()), Fraction(0))
