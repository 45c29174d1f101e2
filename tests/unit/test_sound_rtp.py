"""RTP headers and counters, against packets put together by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sound.rtp import parse_headers, parse_packet, steps


@given(
    payload=st.binary(max_size=60),
    sources=st.integers(0, 15),
    extension=st.none() | st.integers(0, 5),
    padding=st.integers(0, 20),
    marker=st.booleans(),
    payload_type=st.integers(0, 63),
    sequence=st.integers(0, 2**16 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    ssrc=st.integers(0, 2**32 - 1),
)
def test_every_lawful_header_is_read(
    payload: bytes,
    sources: int,
    extension: int | None,
    padding: int,
    marker: bool,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
) -> None:
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension is not None else 0) | sources
    packet = struct.pack("!BBHII", first, marker << 7 | payload_type, sequence, timestamp, ssrc) + b"src." * sources
    if extension is not None:
        packet += struct.pack("!HH", 0xBEDE, extension) + b"ext." * extension
    packet += payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")

    parsed = parse_packet(packet)

    assert parsed is not None
    assert parsed.payload == payload
    assert (parsed.sequence, parsed.timestamp, parsed.ssrc) == (sequence, timestamp, ssrc)
    assert parsed.payload_type == payload_type


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80",
        b"\x80\x08" + bytes(9),  # eleven bytes
        b"\x00\x08" + bytes(20),  # version 0, as STUN has it
        b"\x8f\x08" + bytes(20),  # fifteen sources that are not there
        b"\x90\x08" + bytes(10) + b"\xbe\xde\x00\x09" + bytes(8),  # a longer extension than packet
        b"\x90\x08" + bytes(11),  # an extension without a header
        b"\xa0\x08" + bytes(20) + b"\x64",  # more padding than packet
        b"\xa0\x08" + bytes(21),  # padding of 0
        b"\x80\xc8" + bytes(26),  # RTCP on the same port
    ],
)
def test_what_is_no_rtp_is_refused(packet: bytes) -> None:
    assert parse_packet(packet) is None


@given(packets=st.lists(st.binary(max_size=40), max_size=8))
def test_packets_in_one_buffer_are_read_as_if_alone(packets: list[bytes]) -> None:
    lengths = np.array([len(packet) for packet in packets], np.int64)
    starts = np.cumsum(lengths) - lengths
    headers = parse_headers(np.frombuffer(b"".join(packets), np.uint8), starts, lengths)
    for index, packet in enumerate(packets):
        alone = parse_packet(packet)
        assert (alone is not None) == headers.valid[index]
        if alone is not None:
            assert alone.sequence == headers.sequence[index]
            assert len(alone.payload) == headers.length[index]


@given(
    bits=st.sampled_from([16, 32]),
    begin=st.integers(0, 2**32 - 1),
    moves=st.lists(st.integers(-(2**15) + 1, 2**15 - 1), min_size=1, max_size=50),
)
def test_a_wrapping_counter_is_followed_both_ways(bits: int, begin: int, moves: list[int]) -> None:
    whole = begin + np.cumsum(moves)
    wrapped = whole % (1 << bits)
    assert steps(wrapped, bits, begin % (1 << bits)).tolist() == moves
