"""Sound files of other programs: what kind a file is, told by its bytes, and its sound block by block.

A kind is chosen here and never by FFmpeg's own guess: a playlist that is named call.wav would make it read other files
and addresses. Whatever is wrong with a file in its middle is said as a flag; what comes after it is still read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer

from agent.errors import UnreadableSound
from agent.sound.codecs import Samples
from agent.sound.flac import MOST_CHANNELS

CUT_OFF = "the header of a sound file does not fit its length, as where its writer was cut off; it was read to its end"
_HEAD = 4096
_LOWEST_RATE, _HIGHEST_RATE = 4000, 384_000
_LONGEST_BROKEN = 1.0  # second of silence in place of a packet, whatever it says of itself
_MOST_CHUNKS = 64
_GSM_MAGIC = 0xD  # the first four bits of each frame (RFC 3551, 4.5.8.1)
_UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)  # what stands in a header until it is completed, or where it cannot be


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A demuxer of FFmpeg and what it must be told."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"RIFF", "wav"),
    (0, b"RIFX", "wav"),
    (0, b"RF64", "wav"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (4, b"ftyp", "mov"),
    (0, b"#!AMR", "amr"),
    (0, b".snd", "au"),
    (0, b"FORM", "aiff"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
)


def _raw(name: str, rate: int) -> _Kind:
    return _Kind(name=name, options={"sample_rate": str(rate), "ch_layout": "mono"})


# Formats without a head, by the endings Asterisk gives them (its format modules).
_RAW: Mapping[str, _Kind] = {
    "gsm": _Kind(name="gsm"),
    "g722": _Kind(name="g722"),
    "g729": _Kind(name="g729"),
    **dict.fromkeys(("alaw", "al", "alw"), _raw("alaw", 8000)),
    **dict.fromkeys(("ulaw", "ul", "mu", "ulw", "pcm"), _raw("mulaw", 8000)),
    **{f"sln{rate or ''}": _raw("s16le", (rate or 8) * 1000) for rate in (0, 12, 16, 24, 32, 44, 48, 96)},
    "sln44": _raw("s16le", 44100),
    "mp3": _Kind(name="mp3"),  # one that begins in the middle of a frame
}
_WITH_A_HEAD = "wav wav49 w64 ogg oga opus flac m4a mp4 aac amr au aiff webm mka"
SUFFIXES = frozenset((*_RAW, *_WITH_A_HEAD.split()))
"""Endings, in lower case and without the dot, of what may be a recording."""


class OpenSound:
    """An open sound file; ``flags`` say what was wrong with it, as far as it was read."""

    def __init__(self, container: InputContainer, stream: AudioStream, flags: list[str], *, is_exact: bool) -> None:
        self._container, self._stream, self._is_exact = container, stream, is_exact
        self.flags = flags
        self.channels = stream.codec_context.layout.nb_channels or stream.codec_context.channels
        self.rate = stream.codec_context.sample_rate
        self.codec = stream.codec_context.name
        self.packets = 0
        if not 1 <= self.channels <= MOST_CHANNELS or not _LOWEST_RATE <= self.rate <= _HIGHEST_RATE:
            raise UnreadableSound(f"A sound file has {self.channels} channels of {self.rate} Hz.")

    def seconds(self) -> float:
        """Its length: as its head says where that can be trusted, else of all its packets together. Reads it."""
        stream = self._stream
        if self._is_exact and stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return float(sum((_lasting(packet) for packet in self._demux()), Fraction(0)))

    def blocks(self, rate: int) -> Iterator[Samples]:
        """All of its sound at ``rate`` Hz, of shape (samples, channels); what cannot be decoded is silence."""
        broken = 0
        resampler, last = None, None
        for packet in self._demux():
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                broken += 1
                yield np.zeros((round(min(float(_lasting(packet)), _LONGEST_BROKEN) * rate), self.channels), np.int16)
                continue
            self.packets += bool(packet.size)
            for frame in frames:
                if frame.layout.nb_channels != self.channels:
                    broken += 1
                    continue
                frame.pts = None
                kind = (frame.format.name, frame.layout.name, frame.sample_rate)
                if kind != last:  # the first, or another rate from here on
                    yield from self._resampled(resampler, None)
                    last, resampler = kind, av.AudioResampler(format="s16", layout=frame.layout, rate=rate)
                yield from self._resampled(resampler, frame)
        yield from self._resampled(resampler, None)
        if broken:
            self.flags.append(f"{broken} pieces of a sound file could not be decoded")

    def _demux(self) -> Iterator[av.Packet[AudioStream]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, ValueError):
                self.flags.append("a sound file cannot be read past a damaged place")
                return
            yield packet

    def _resampled(self, resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[Samples]:
        """What comes out for a frame; for None, what is still held back."""
        for one in resampler.resample(frame) if resampler is not None else ():
            yield cast(Samples, one.to_ndarray().reshape(-1, self.channels))


@contextmanager
def open_sound(path: Path) -> Iterator[OpenSound]:
    """Open a sound file of any kind that PBXs and providers write.

    Raises:
        UnreadableSound: it is no sound file, or nothing in it can be read.
        OSError: the file itself cannot be opened.
    """
    with path.open("rb") as file:
        kind = _kind(path, file.read(_HEAD))
        options, flags, is_exact = dict(kind.options), [], False
        if kind.name == "wav":
            file.seek(0)
            is_whole, is_honest = _wav_lengths(file)
            is_exact = is_whole
            if not is_whole:
                flags.append(CUT_OFF)
            if not is_honest:
                options["ignore_length"] = "1"
    try:
        container = av.open(str(path.absolute()), format=kind.name, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableSound("A sound file cannot be read: it is damaged.") from error
    with container:
        if not container.streams.audio:
            raise UnreadableSound("A sound file has no sound in it.")
        stream = container.streams.audio[0]
        if not isinstance(stream.codec_context, AudioCodecContext):
            raise UnreadableSound("A sound file is in a format that cannot be decoded.")
        is_exact = is_exact and stream.codec_context.name.startswith("pcm_")
        yield OpenSound(container, stream, flags, is_exact=is_exact)


def _kind(path: Path, head: bytes) -> _Kind:
    for place, magic, name in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return _Kind(name=name)
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:  # ISO 11172-3, 2.4.1.3: sync word, layer
        return _Kind(name="aac" if head[1] & 0xF6 == 0xF0 else "mp3")
    raw = _RAW.get(path.suffix[1:].lower())
    if not head:
        raise UnreadableSound("A sound file is empty.")
    if raw is None or (raw.name == "gsm" and head[0] >> 4 != _GSM_MAGIC):
        raise UnreadableSound("A sound file is of no kind that is known.")
    return raw


def _wav_lengths(file: BinaryIO) -> tuple[bool, bool]:
    """Whether the head gives the true length of the data, and whether what it gives does no harm.

    It does harm where it is too short: a writer that was killed had completed it some time before. Only where another
    chunk follows the data is it believed.
    """
    size = file.seek(0, 2)
    place = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return False, True
        length = struct.unpack("<I", head[4:])[0]
        end = place + 8 + length
        if head[:4] == b"data":
            if length in _UNKNOWN_LENGTHS or end > size:
                return length == 0 and end == size, True
            is_whole = size - end <= 1 or _is_chunk(file, end + length % 2, size)
            return is_whole, is_whole
        place = end + length % 2
    return False, True


def _is_chunk(file: BinaryIO, place: int, size: int) -> bool:
    file.seek(place)
    head = file.read(8)
    return len(head) == 8 and head[:4].isalnum() and place + 8 + struct.unpack("<I", head[4:])[0] <= size + 1


def _lasting(packet: av.Packet[AudioStream]) -> Fraction:
    return Fraction(packet.duration or 0) * (packet.time_base or 0)
