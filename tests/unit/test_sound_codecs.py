"""Codecs from their SDP names: real encoders in, sound out, and an answer instead of an exception for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sound.codecs import STATIC_CODECS, Codec, Decoder, framing, is_sound, sound_rate
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
