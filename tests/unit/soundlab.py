"""Sound made for tests: chirps, real encoders, packet logs as a network would have made them, and measuring again."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from agent.sound.codecs import Samples
from agent.sound.packetlog import PacketLogWriter, encode_record

EPOCH = 1_780_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One RTP packet on its way: ``at`` is the arrival in seconds after EPOCH."""

    at: float
    sequence: int
    timestamp: int
    payload: bytes
    ssrc: int = 0x1234
    payload_type: int = 8

    def packet(self) -> bytes:
        return rtp(self.sequence, self.timestamp, self.payload, ssrc=self.ssrc, payload_type=self.payload_type)


def rtp(sequence: int, timestamp: int, payload: bytes, *, ssrc: int = 0x1234, payload_type: int = 8) -> bytes:
    """An RTP packet with counters wrapped as on the wire."""
    return struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def chirps(seconds: float, *, rate: int = 8000, seed: int = 1) -> Samples:
    """Sound that is like itself at no other moment: a tone whose pitch and strength wander."""
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    knots = int(seconds * 8) + 3
    pitch = np.interp(np.arange(count) * 8 / rate, np.arange(knots), random.uniform(300, 2500, knots))
    strength = np.interp(np.arange(count) * 8 / rate, np.arange(knots), random.uniform(2000, 12000, knots))
    return cast(Samples, (strength * np.sin(2 * np.pi * np.cumsum(pitch) / rate)).astype(np.int16))


def encode(sound: Samples, codec: str, *, rate: int = 8000, bit_rate: int = 0, layout: str = "mono") -> list[bytes]:
    """The sound (interleaved if stereo) through an encoder of FFmpeg, as the packets the encoder makes."""
    context = cast(AudioCodecContext, av.CodecContext.create(codec, "w"))
    context.sample_rate, context.layout, context.format = rate, layout, av.AudioFormat("s16")
    if bit_rate:
        context.bit_rate = bit_rate
    if codec == "libopus":
        context.options = {"frame_duration": "20"}
    context.open()
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = rate
    return [bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]]


def stream(
    sound: Samples, *, at: float = 0.0, sequence: int = 100, timestamp: int = 5000, frame: int = 160
) -> list[Sent]:
    """A-law packets of 20 ms sent evenly from ``at`` on."""
    data = b"".join(encode(sound, "pcm_alaw"))
    pieces = [data[place : place + frame] for place in range(0, len(data), frame)]
    return [
        Sent(
            at=at + index * frame / 8000, sequence=sequence + index, timestamp=timestamp + index * frame, payload=piece
        )
        for index, piece in enumerate(pieces)
    ]


def delayed(packets: Iterable[Sent], delays: Iterable[float]) -> list[Sent]:
    """The packets in the order they arrive when each is late by its delay in seconds."""
    late = [replace(packet, at=packet.at + delay) for packet, delay in zip(packets, delays, strict=False)]
    return sorted(late, key=lambda packet: packet.at)


def write_log(path: Path, packets: Iterable[Sent], *, started: float = EPOCH) -> Path:
    """A packet log of these packets, in this order."""
    log = PacketLogWriter(path, address="192.0.2.1", port=40000, started=started)
    for packet in packets:
        log.append(b"".join(encode_record(packet.packet(), round((EPOCH + packet.at - started) * 1000))))
    log.close()
    return path


def read_sound(path: Path) -> Samples:
    """All samples of a file, of shape (samples, channels)."""
    with av.open(str(path)) as file:
        channels = file.streams.audio[0].codec_context.layout.nb_channels
        blocks = [frame.to_ndarray().reshape(-1, channels) for frame in file.decode(audio=0)]
    return cast(Samples, np.concatenate(blocks))


def shift_of(heard: Samples, sent: Samples, *, place: int, most: int = 1600) -> int:
    """By how many samples ``sent`` lies later in ``heard`` than ``place``: the peak of their cross-correlation."""
    begin = max(place - most, 0)
    part = heard[begin : place + len(sent) + most].astype(np.float64)
    size = 1 << int(np.ceil(np.log2(len(part) + len(sent))))
    product = np.fft.rfft(part, size) * np.conj(np.fft.rfft(sent.astype(np.float64), size))
    correlation = np.fft.irfft(product, size)[: len(part)]
    peak = int(np.argmax(correlation))
    energy = np.sqrt((sent.astype(np.float64) ** 2).sum() * (part[peak : peak + len(sent)] ** 2).sum())
    assert correlation[peak] > 0.8 * energy, "the sound was not found at all"
    return begin + peak - place
