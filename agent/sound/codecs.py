"""From RTP payloads to sound: which FFmpeg decoder an SDP codec means, and how its frames lie in a payload.

A codec that is not known, or sound that cannot be decoded, is an answer (None), never an exception: it becomes a
flagged gap, and the packet log keeps what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import numpy as np
from av import AudioFrame, AudioResampler, CodecContext, FFmpegError, Packet, codecs_available
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from agent.sound.payloads import Cutter, amr_cutter, cut_g723, equal_cutter

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A codec as SDP names it (RFC 8866, 6.6 and 6.15): `a=rtpmap` and the parameters of `a=fmtp` as they stand."""

    name: str
    clock_rate: int
    channels: int = 1
    fmtp: str = ""

    def __str__(self) -> str:
        return f"{self.name}/{self.clock_rate}" + (f"/{self.channels}" if self.channels > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a payload is cut: ``size`` bytes make a frame that lasts ``ticks`` of the RTP clock.

    Codecs with such frames are decoded in long runs; for the others (``size`` 0) each packet is decoded by itself and
    only then is known how long it lasts.
    """

    size: int = 0
    ticks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    decoder: str
    framing: Framing = field(default_factory=Framing)
    sound_rate: int = 0  # 0: the clock's
    bit_rate: int = 0
    bits: int = 0  # a sample, where the decoder has to be told
    cut: Cutter | None = None
    silence: int = 0  # samples of a frame without sound


# Static payload types (RFC 3551, 6): SDP need not describe them.
STATIC_CODECS: Mapping[int, Codec] = {
    0: Codec(name="PCMU", clock_rate=8000),
    2: Codec(name="G726-32", clock_rate=8000),  # of RFC 1890; many devices keep to it
    3: Codec(name="GSM", clock_rate=8000),
    4: Codec(name="G723", clock_rate=8000),
    8: Codec(name="PCMA", clock_rate=8000),
    9: Codec(name="G722", clock_rate=8000),
    10: Codec(name="L16", clock_rate=44100, channels=2),
    11: Codec(name="L16", clock_rate=44100),
    13: Codec(name="CN", clock_rate=8000),
    18: Codec(name="G729", clock_rate=8000),
    19: Codec(name="CN", clock_rate=8000),
}

_NO_SOUND = frozenset({"TELEPHONE-EVENT", "CN", "TONE", "RED", "ULPFEC", "PARITYFEC", "RTX", "VND.WAVE"})


def is_sound(codec: Codec) -> bool:
    """Whether payloads of this codec are heard: keys (RFC 4733) and comfort noise (RFC 3389) are not."""
    return codec.name.upper() not in _NO_SOUND


def framing(codec: Codec) -> Framing | None:
    """How payloads of ``codec`` are cut; None if we cannot decode it."""
    found = _format(codec)
    return found.framing if found is not None else None


def sound_rate(codec: Codec) -> int:
    """Samples a second of the decoded sound, which for G.722 is not the clock (RFC 3551, 4.5.2); 0 if unknown."""
    found = _format(codec)
    return (found.sound_rate or codec.clock_rate) if found is not None else 0


class Decoder:
    """Decodes the payloads of one source in their order; it keeps the codec's state between them."""

    def __init__(self, codec: Codec) -> None:
        found = _format(codec)
        if found is None:
            raise ValueError(f"no decoder for {codec}: ask framing() first")
        self._format = found
        self.rate = found.sound_rate or codec.clock_rate
        context = cast(AudioCodecContext, CodecContext.create(found.decoder, "r"))
        context.sample_rate = self.rate
        context.layout = "stereo" if codec.channels == 2 else "mono"
        if found.bit_rate:
            context.bit_rate = found.bit_rate
        if found.bits:
            context.options = {"bits_per_coded_sample": str(found.bits)}
        self._context = context
        self._to_mono: AudioResampler | None = None

    def decode(self, payload: bytes) -> Samples | None:
        """16-bit mono samples at ``rate``; None if the payload cannot be decoded."""
        if not payload:
            return None
        try:
            frames = self._format.cut(payload) if self._format.cut else (payload,)
            parts = [part for frame in frames for part in self._decode(frame)]
        except (FFmpegError, ValueError):
            return None
        return np.concatenate(parts) if parts else None

    def _decode(self, frame: bytes | None) -> list[Samples]:
        if frame is None:
            return [np.zeros(self._format.silence, np.int16)]
        return [self._samples(one) for one in self._context.decode(Packet(frame))]

    def _samples(self, frame: AudioFrame) -> Samples:
        if frame.format.name in ("s16", "s16p") and frame.layout.nb_channels == 1:
            return cast(Samples, frame.to_ndarray().reshape(-1))
        if self._to_mono is None:
            self._to_mono = AudioResampler(format="s16", layout="mono", rate=self.rate)
        frame.pts = None
        mono = [part.to_ndarray().reshape(-1) for part in self._to_mono.resample(frame)]
        return cast(Samples, np.concatenate(mono)) if mono else np.zeros(0, np.int16)


def _format(codec: Codec) -> _Format | None:
    name, channels = codec.name.upper(), codec.channels
    if codec.clock_rate <= 0 or channels not in (1, 2):
        return None
    if name == "L16":
        return _Format(decoder="pcm_s16be", framing=Framing(size=2 * channels, ticks=1))
    if name in _G711:
        return _Format(decoder=_G711[name], framing=Framing(size=channels, ticks=1))
    if name == "SPEEX":
        return _Format(decoder="speex") if codec.clock_rate in (8000, 16000, 32000) else None
    if name == "ILBC":
        # RFC 3952: 30 ms unless the mode says 20; FFmpeg tells them apart by the bit rate.
        short = _parameters(codec).get("mode") == "20"
        return _Format(decoder="ilbc", bit_rate=15200 if short else 13333, cut=equal_cutter(38 if short else 50))
    if name in ("AMR", "AMR-WB") and channels == 1:
        return _amr(codec, wide=name == "AMR-WB")
    return _FORMATS.get((name, codec.clock_rate))


def _amr(codec: Codec, *, wide: bool) -> _Format | None:
    """Both ways of packing (RFC 4867, 8.1); checksums, sorting and interleaving, which nobody uses, are not read."""
    told = _parameters(codec)
    if codec.clock_rate != (16000 if wide else 8000) or any(told.get(one, "0") != "0" for one in _AMR_UNREAD):
        return None
    return _Format(
        decoder="amrwb" if wide else _amr_decoder(),
        cut=amr_cutter(wide=wide, octet_aligned=told.get("octet-align") == "1"),
        silence=codec.clock_rate // 50,
    )


@lru_cache
def _amr_decoder() -> str:
    return "libopencore_amrnb" if "libopencore_amrnb" in codecs_available else "amrnb"


def _parameters(codec: Codec) -> dict[str, str]:
    """The parameters of `a=fmtp`, names in lower case."""
    pairs = (part.partition("=") for part in codec.fmtp.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _g726(bits: int, *, decoder: str = "g726le") -> _Format:
    """The order of bits is that of RFC 3551, 4.5.4, or the ITU's in its AAL2 form."""
    size, ticks = {2: (1, 4), 3: (3, 8), 4: (1, 2), 5: (5, 8)}[bits]
    return _Format(decoder=decoder, framing=Framing(size=size, ticks=ticks), bits=bits)


_AMR_UNREAD = ("crc", "robust-sorting", "interleaving")
_G711 = {"PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}
_FORMATS: Mapping[tuple[str, int], _Format] = {
    ("G722", 8000): _Format(decoder="g722", framing=Framing(size=1, ticks=1), sound_rate=16000),
    ("GSM", 8000): _Format(decoder="gsm", framing=Framing(size=33, ticks=160)),
    ("G729", 8000): _Format(decoder="g729", framing=Framing(size=10, ticks=80)),
    ("G723", 8000): _Format(decoder="g723_1", cut=cut_g723, silence=240),
    ("OPUS", 48000): _Format(decoder="opus"),
    **{(f"G726-{8 * bits}", 8000): _g726(bits) for bits in (2, 3, 4, 5)},
    **{(f"AAL2-G726-{8 * bits}", 8000): _g726(bits, decoder="g726") for bits in (2, 3, 4, 5)},
}
