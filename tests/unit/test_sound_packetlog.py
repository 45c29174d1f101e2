"""Packet logs: what is written is read, a torn tail costs the torn record only, garbage is never an exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sound.batches import BatchReader, find_records
from agent.sound.packetlog import LONGEST_PACKET, RECORD, PacketLogWriter, encode_record, read_packets

START = 1_780_000_000.25
RECORDS = st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.integers(0, 2**32 - 1)), max_size=40)


def log_of(path: Path, records: list[tuple[bytes, int]], *, started: float = START) -> PacketLogWriter:
    log = PacketLogWriter(path, address="192.0.2.7", port=40002, started=started)
    for packet, offset in records:
        log.append(b"".join(encode_record(packet, offset)))
    return log


def test_the_format_is_that_of_rtptools(tmp_path: Path) -> None:
    log_of(tmp_path / "calls" / "0.rtpdump", [(b"\x80\x08abc", 1500)]).close()
    expected = b"#!rtpplay1.0 192.0.2.7/40002\n" + bytes.fromhex(
        "6a18a500 0003d090 c0000207 9c42 0000".replace(" ", "")
    )
    expected += bytes.fromhex("000d0005000005dc") + b"\x80\x08abc"
    assert (tmp_path / "calls" / "0.rtpdump").read_bytes() == expected
    (packet,) = read_packets(tmp_path / "calls" / "0.rtpdump")
    assert packet.at == pytest.approx(START + 1.5)
    assert (tmp_path / "calls").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "calls" / "0.rtpdump").stat().st_mode & 0o777 == 0o600


@given(records=RECORDS, cut=st.integers(0, 200), garbage=st.binary(max_size=50))
@settings(max_examples=150, deadline=None)
def test_any_tail_is_read_up_to_the_tear_and_repaired(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[bytes, int]], cut: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("log") / "0.rtpdump"
    log_of(path, records).close()
    whole = path.read_bytes()
    head = len(whole) - sum(len(packet) + RECORD.size for packet, _ in records)
    torn = whole[: max(len(whole) - cut, head)]
    path.write_bytes(torn)
    before = [packet.data for packet in read_packets(path)]
    assert before == [packet for packet, _ in records][: len(before)]
    assert len(before) >= len(records) - 1 - cut // RECORD.size

    log = log_of(path, [(b"after", 7)], started=START + 99)
    log.close()
    assert log.start == pytest.approx(START)
    reader = read_packets(path)
    assert [packet.data for packet in reader] == [*before, b"after"]
    assert reader.torn is None

    path.write_bytes(torn + garbage)
    assert [packet.data for packet in read_packets(path)][: len(before)] == before
    blocks = BatchReader(path)
    assert sum(len(batch.arrival) for batch in blocks) == len(list(read_packets(path)))


def test_the_torn_end_of_a_long_log_is_found_without_walking_it(tmp_path: Path) -> None:
    path = tmp_path / "0.rtpdump"
    dice = random.Random(1)
    records = [(dice.randbytes(dice.choice([172, 60, 172, 300])), number * 20) for number in range(8000)]
    log = log_of(path, records)
    log.append(b"".join(encode_record(b"x" * 172, 1)))
    log.close()
    whole = path.stat().st_size
    assert whole > 1_000_000
    for torn in (1, 100, 172, 175, 179):
        path.write_bytes(path.read_bytes()[: whole - torn])
        log = PacketLogWriter(path, address="192.0.2.7", port=40002, started=0)
        assert log.size == whole - 180
        log.append(b"".join(encode_record(b"x" * 172, 1)))
        log.close()
    assert [packet.data for packet in read_packets(path)] == [packet for packet, _ in records] + [b"x" * 172]


def test_what_is_no_log_is_set_aside_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "0.rtpdump"
    path.write_bytes(b"something else entirely " * 100)
    reader = read_packets(path)
    assert list(reader) == []
    assert reader.torn
    log_of(path, [(b"new", 0)]).close()
    assert [packet.data for packet in read_packets(path)] == [b"new"]
    (aside,) = tmp_path.glob("0.rtpdump.unreadable-*")
    assert aside.read_bytes() == b"something else entirely " * 100


def test_a_log_cut_within_its_head_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "0.rtpdump"
    path.write_bytes(b"#!rtpplay1.0 192.0")
    log_of(path, [(b"new", 0)]).close()
    assert [packet.data for packet in read_packets(path)] == [b"new"]


def test_a_failed_write_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    log = log_of(tmp_path / "0.rtpdump", [(b"first", 0)])
    real, calls = os.write, []

    def short(fd: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real(fd, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        log.append(b"".join(encode_record(b"second", 1)))
    monkeypatch.undo()
    log.append(b"".join(encode_record(b"third", 2)))
    log.close()
    assert [packet.data for packet in read_packets(tmp_path / "0.rtpdump")] == [b"first", b"third"]


def test_an_impossible_packet_and_a_time_before_the_start_still_make_a_record(tmp_path: Path) -> None:
    log_of(tmp_path / "0.rtpdump", [(b"x" * 70000, -5)]).close()
    (packet,) = read_packets(tmp_path / "0.rtpdump")
    assert len(packet.data) == LONGEST_PACKET
    assert packet.at == pytest.approx(START)


@given(data=st.binary(max_size=400))
def test_records_in_garbage_never_raise_and_never_leave_the_data(data: bytes) -> None:
    starts, lengths, _, _, end, _ = find_records(data)
    assert end <= len(data)
    assert all(start + length <= end for start, length in zip(starts.tolist(), lengths.tolist(), strict=True))
