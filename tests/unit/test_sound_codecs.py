"""Codecs from their SDP names: real encoders in, sound out, and an answer instead of an exception for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sound.codecs import STATIC_CODECS, Codec, Decoder, Samples, framing, is_sound, sound_rate
from agent.sound.payloads import amr_cutter, cut_g723
from tests.unit.soundlab import chirps, encode


@pytest.mark.parametrize(
    ("codec", "encoder", "rate"),
    [
        (Codec(name="PCMA", clock_rate=8000), "pcm_alaw", 8000),
        (Codec(name="pcmu", clock_rate=8000), "pcm_mulaw", 8000),
        (Codec(name="L16", clock_rate=16000), "pcm_s16be", 16000),
        (Codec(name="G722", clock_rate=8000), "g722", 16000),
    ],
)
def test_sample_codecs_decode_long_runs(codec: Codec, encoder: str, rate: int) -> None:
    sent = chirps(2, rate=rate)
    frames = framing(codec)
    data = b"".join(encode(sent, encoder, rate=rate))
    heard = Decoder(codec).decode(data)
    assert heard is not None
    assert frames is not None
    assert len(heard) == len(sent)
    assert len(data) // frames.size * frames.ticks * sound_rate(codec) // codec.clock_rate == len(sent)
    assert np.corrcoef(heard[:-22], sent[:-22])[0, 1] > 0.9 or np.corrcoef(heard[22:], sent[:-22])[0, 1] > 0.9


def test_opus_decodes_packet_by_packet() -> None:
    decoder = Decoder(Codec(name="opus", clock_rate=48000, channels=2, fmtp="useinbandfec=1"))
    parts = [decoder.decode(packet) for packet in encode(chirps(1, rate=48000), "libopus", rate=48000)]
    assert all(part is not None and len(part) == 960 for part in parts)


@pytest.mark.parametrize(
    ("codec", "payload", "samples"),
    [
        (STATIC_CODECS[3], (b"\xd0" + b"\x11" * 32) * 3, 480),
        (STATIC_CODECS[18], bytes(40), 320),
        (Codec(name="iLBC", clock_rate=8000, fmtp="mode=20"), b"\x35" * 38, 160),
        (Codec(name="iLBC", clock_rate=8000, fmtp="mode=30"), b"\x35" * 50, 240),
        (Codec(name="speex", clock_rate=16000), b"\x36" * 38, 320),
    ],
)
def test_speech_codecs_give_their_frames(codec: Codec, payload: bytes, samples: int) -> None:
    heard = Decoder(codec).decode(payload)
    assert heard is not None
    assert len(heard) == samples


def likeness(heard: Samples, sent: Samples) -> float:
    """The best correlation of the two over the delay that a codec may have (25 ms)."""
    count = len(sent) - 800
    return max(float(np.corrcoef(heard[lag : lag + count], sent[:count])[0, 1]) for lag in range(200))


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize(("prefix", "encoder"), [("", "g726le"), ("AAL2-", "g726")])
def test_g726_in_both_orders_of_bits(bits: int, prefix: str, encoder: str) -> None:
    sent = chirps(2, seed=3)
    data = b"".join(encode(sent, encoder, bit_rate=8000 * bits))
    codec = Codec(name=f"{prefix}G726-{8 * bits}", clock_rate=8000)
    heard = Decoder(codec).decode(data)
    frames = framing(codec)
    assert heard is not None and frames is not None
    assert len(data) // frames.size * frames.ticks == len(heard) == len(sent)
    assert likeness(heard, sent) > (0.7 if bits == 2 else 0.95)
    other = Decoder(Codec(name="AAL2-G726-16" if not prefix else "G726-16", clock_rate=8000)).decode(data)
    assert other is None or len(other) != len(sent) or likeness(other, sent) < 0.5


def amr_payload(frames: list[bytes], *, octet_aligned: bool) -> bytes:
    """Frames of the storage format packed by RFC 4867, bit by bit, the slow way."""
    bits = "1111" + ("0000" if octet_aligned else "")
    speech = ""
    for number, frame in enumerate(frames):
        kind = frame[0] >> 3 & 15
        bits += f"{int(number < len(frames) - 1)}{kind:04b}{frame[0] >> 2 & 1}" + ("00" if octet_aligned else "")
        data = "".join(f"{byte:08b}" for byte in frame[1:])
        speech += data if octet_aligned else data[: {7: 244, 0: 95}[kind]]
    bits += speech
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))


@pytest.mark.parametrize("octet_aligned", [True, False])
@pytest.mark.parametrize(("bit_rate", "per_packet"), [(12200, 1), (12200, 3), (4750, 2)])
def test_amr_in_both_packings(octet_aligned: bool, bit_rate: int, per_packet: int) -> None:
    sent = chirps(2, seed=4)
    frames = encode(sent, "libopencore_amrnb", bit_rate=bit_rate)
    codec = Codec(name="AMR", clock_rate=8000, fmtp="octet-align=1; mode-set=7" if octet_aligned else "mode-set=0,7")
    decoder = Decoder(codec)
    heard = []
    for place in range(0, len(frames), per_packet):
        some = frames[place : place + per_packet]
        sound = decoder.decode(amr_payload(some, octet_aligned=octet_aligned))
        assert sound is not None and len(sound) == 160 * len(some)
        heard.append(sound)
    assert likeness(np.concatenate(heard), sent) > (0.9 if bit_rate == 12200 else 0.6)


@pytest.mark.parametrize("octet_aligned", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_silence_within_amr(octet_aligned: bool, wide: bool) -> None:
    codec = Codec(
        name="AMR-WB" if wide else "AMR",
        clock_rate=16000 if wide else 8000,
        fmtp="octet-align=1" if octet_aligned else "",
    )
    nothing = b"\xf0\x7c" if octet_aligned else b"\xf7\xc0"
    heard = Decoder(codec).decode(nothing)
    assert heard is not None and len(heard) == codec.clock_rate // 50 and not heard.any()


def test_amr_wide_frames_are_cut_and_decoded() -> None:
    random = np.random.default_rng(6)
    data = random.bytes(60)
    (frame,) = amr_cutter(wide=True, octet_aligned=True)(b"\xf0\x44" + data)
    assert frame == b"\x44" + data
    value = int.from_bytes(data, "big") >> 3
    packed = (0b1111_0_1000_1 << 477 | value) << (-487 % 8)
    (narrow,) = amr_cutter(wide=True, octet_aligned=False)(packed.to_bytes(61, "big"))
    assert narrow is not None and int.from_bytes(narrow[1:], "big") >> 3 == value
    heard = Decoder(Codec(name="AMR-WB", clock_rate=16000)).decode(packed.to_bytes(61, "big"))
    assert heard is not None and len(heard) == 320


@pytest.mark.parametrize("payload", [b"", b"\xf0", b"\xf0\x3c\x00", b"\xf0\xbc", b"\xf0\x4c" + bytes(40)])
def test_amr_that_cannot_be(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"reserved|ends within"):
        amr_cutter(wide=False, octet_aligned=True)(payload)


def test_amr_with_checksums_is_an_answer() -> None:
    assert framing(Codec(name="AMR", clock_rate=8000, fmtp="octet-align=1; crc=1")) is None


def test_g723_with_several_frames_a_packet() -> None:
    sent = chirps(3, seed=5)
    frames = encode(sent, "g723_1", bit_rate=6300)
    decoder = Decoder(STATIC_CODECS[4])
    heard = [decoder.decode(b"".join(frames[place : place + 2])) for place in range(0, len(frames), 2)]
    parts = [part for part in heard if part is not None]
    assert len(parts) == len(heard) and sum(map(len, parts)) == 240 * len(frames)
    assert likeness(np.concatenate(parts), sent) > 0.5
    silent = decoder.decode(frames[0] + b"\x02abc")
    assert silent is not None and len(silent) == 480
    with pytest.raises(ValueError, match="ends within"):
        cut_g723(frames[0][:10])


def test_opus_in_stereo_is_heard_from_both_sides() -> None:
    left, right = chirps(1, rate=48000, seed=7), chirps(1, rate=48000, seed=8)
    packets = encode(np.stack([left, right], axis=1).reshape(-1), "libopus", rate=48000, layout="stereo")
    decoder = Decoder(Codec(name="opus", clock_rate=48000, channels=2, fmtp="stereo=1"))
    heard = np.concatenate([part for packet in packets if (part := decoder.decode(packet)) is not None])
    assert len(heard) == 960 * len(packets)
    both = (left.astype(int) + right) // 2
    delay = 312
    assert np.corrcoef(heard[delay:][:40000], both[:40000])[0, 1] > 0.9


def test_keys_and_comfort_noise_are_no_sound() -> None:
    assert not is_sound(Codec(name="telephone-event", clock_rate=8000))
    assert not is_sound(STATIC_CODECS[13])
    assert is_sound(STATIC_CODECS[8])


@pytest.mark.parametrize(
    "codec",
    [
        Codec(name="EVS", clock_rate=16000),
        Codec(name="PCMA", clock_rate=0),
        Codec(name="L16", clock_rate=8000, channels=9),
        Codec(name="opus", clock_rate=8000),
    ],
)
def test_unknown_codecs_are_an_answer(codec: Codec) -> None:
    assert framing(codec) is None
    assert sound_rate(codec) == 0


@given(
    codec=st.sampled_from(
        [
            *STATIC_CODECS.values(),
            Codec(name="opus", clock_rate=48000, channels=2),
            Codec(name="speex", clock_rate=8000),
            Codec(name="iLBC", clock_rate=8000),
            Codec(name="AMR", clock_rate=8000),
            Codec(name="AMR-WB", clock_rate=16000, fmtp="octet-align=1"),
            Codec(name="G726-24", clock_rate=8000),
        ]
    ),
    payloads=st.lists(st.binary(max_size=200), max_size=4),
)
def test_garbage_is_never_an_exception(codec: Codec, payloads: list[bytes]) -> None:
    if framing(codec) is None:
        return
    decoder = Decoder(codec)
    for payload in payloads:
        heard = decoder.decode(payload)
        assert heard is None or heard.dtype == np.int16
