"""Keys pressed (RFC 4733), comfort noise (RFC 3389) and pauses, from packets to marks, gaps and silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.model import Mark, MarkKind
from agent.sound.assemble import Assembled, Assembly, Silence, assemble
from agent.sound.codecs import Codec
from agent.sound.events import MOST
from agent.sound.streams import LOST, StreamPlan
from tests.unit.soundlab import EPOCH, Sent, chirps, read_sound, stream, write_log

CODECS = {101: Codec(name="telephone-event", clock_rate=8000)}


def event(at: float, sequence: int, code: int, *, timestamp: int, masked: bool = False) -> list[Sent]:
    """A key of 100 ms: a packet each 20 ms, the last one three times (RFC 4733, 2.5.1.4)."""
    packets = []
    for number in range(7):
        ticks = min(number + 1, 5) * 160
        payload = bytes([code, 0x8A if number >= 4 else 0x0A]) + ticks.to_bytes(2, "big")
        packets.append(
            Sent(
                at=at + min(number + 1, 5) * 0.02,
                sequence=sequence + number,
                timestamp=timestamp,
                payload=bytes(4) if masked else payload,
                payload_type=101,
            )
        )
    return packets


def record(folder: Path, packets: list[Sent], *, seconds: float) -> Assembled:
    path = write_log(folder / "0.rtpdump", sorted(packets, key=lambda one: one.at))
    return assemble(
        [StreamPlan(path=path, channel=0, codecs=CODECS)], started=EPOCH, ended=EPOCH + seconds, out=folder / "x.flac"
    )


def keys(done: Assembled) -> list[tuple[str, int, int]]:
    return [(mark.text, mark.start_ms, mark.end_ms) for mark in done.marks if mark.kind is MarkKind.DTMF]


def spoken(*, without: range = range(0), skip: int = 0) -> list[Sent]:
    """Five seconds; packets of ``without`` are not sent, and those behind are numbered on by ``skip``."""
    return [
        replace(one, sequence=one.sequence + (skip if number >= without.stop else 0))
        for number, one in enumerate(stream(chirps(5, seed=1)))
        if number not in without
    ]


def test_keys_are_marks_with_their_time(tmp_path: Path) -> None:
    packets = spoken(without=range(100, 105), skip=2)
    pressed = event(2.0, 200, 5, timestamp=5000 + 16000)
    done = record(tmp_path, packets + pressed, seconds=5)
    assert keys(done) == [("5", 2000, 2100)]
    assert [gap for gap in done.gaps if gap.channel == 0] == []


def test_one_packet_of_an_event_is_enough(tmp_path: Path) -> None:
    for number in range(7):
        folder = tmp_path / str(number)
        kept = [event(2.0, 200, 11, timestamp=21000)[number]]
        ((key, start, _),) = keys(record(folder, spoken(without=range(100, 105), skip=2) + kept, seconds=5))
        assert (key, abs(start - 2000) <= 20) == ("#", True)


def test_masked_keys_say_only_that(tmp_path: Path) -> None:
    packets = spoken(without=range(100, 110), skip=4)
    packets += event(2.0, 200, 7, timestamp=21000, masked=True)
    packets += event(2.1, 207, 0, timestamp=21800)
    done = record(tmp_path, packets, seconds=5)
    assert [key for key, _, _ in keys(done)] == ["", "0"]


def test_a_long_key_is_one(tmp_path: Path) -> None:
    packets = event(0, 200, 3, timestamp=1000)[:1]
    packets += [
        Sent(at=8.2, sequence=201, timestamp=1000, payload=b"\x03\x0a\xff\xff", payload_type=101),
        Sent(at=8.4, sequence=202, timestamp=1000 + 0xFFFF, payload=b"\x03\x8a\x06\x40", payload_type=101),
    ]
    ((key, start, end),) = keys(record(tmp_path, packets, seconds=10))
    assert (key, start < 30, 8300 <= end <= 8500) == ("3", True, True)


def test_a_flood_of_keys_is_bounded(tmp_path: Path) -> None:
    packets = [
        Sent(at=n * 0.001, sequence=n, timestamp=n * 7, payload=b"\x01\x8a\x00\x50", payload_type=101)
        for n in range(MOST + 500)
    ]
    done = record(tmp_path, packets, seconds=3)
    assert len(keys(done)) == MOST
    assert any("keys were pressed" in flag for flag in done.flags)


def test_comfort_noise_is_silence_and_no_gap(tmp_path: Path) -> None:
    noise = Sent(at=2.0, sequence=200, timestamp=21000, payload=b"\x4e", payload_type=13)
    done = record(tmp_path, [*spoken(without=range(100, 150), skip=-49), noise], seconds=5)
    assert [gap for gap in done.gaps if gap.channel == 0] == []
    sound = read_sound(done.path)[:, 0]
    assert not sound[16000:24000].any() and sound[24100:24200].any()


def test_a_loss_after_comfort_noise_is_a_gap(tmp_path: Path) -> None:
    noise = Sent(at=2.0, sequence=200, timestamp=21000, payload=b"\x4e", payload_type=13)
    done = record(tmp_path, [*spoken(without=range(100, 150)), noise], seconds=5)
    assert [(gap.start_ms, gap.reason) for gap in done.gaps if gap.channel == 0] == [(2000, LOST)]


def test_changes_of_source_and_codec_are_marks(tmp_path: Path) -> None:
    packets = stream(chirps(2))
    packets += [replace(one, at=one.at + 2, payload_type=0, ssrc=0xABC) for one in stream(chirps(2))]
    done = record(tmp_path, packets, seconds=4)
    assert [(mark.kind, mark.channel, mark.start_ms, mark.text) for mark in done.marks] == [
        (MarkKind.SSRC_CHANGE, 0, 2000, "00001234 → 00000abc"),
        (MarkKind.CODEC_CHANGE, 0, 2000, "PCMA/8000 → PCMU/8000"),
    ]


def test_sources_that_alternate_make_no_flood_of_marks(tmp_path: Path) -> None:
    one, other = stream(chirps(20)), [replace(p, ssrc=2, payload_type=0) for p in stream(chirps(20))]
    done = record(tmp_path, one + other, seconds=20)
    assert len(done.marks) <= 100
    assert any("changes of source or codec" in flag for flag in done.flags)


def test_a_pause_is_silent_whatever_is_in_the_log(tmp_path: Path) -> None:
    sent = chirps(6, seed=2)
    # 40 ms: a loss of that length would be concealed
    for begin, end in ((2.0, 4.0), (1.0, 1.04), (5.5, 9.0)):
        folder = tmp_path / str(begin)
        pressed = event(2.5, 1000, 5, timestamp=900_000)
        path = write_log(folder / "0.rtpdump", sorted([*stream(sent), *pressed], key=lambda one: one.at))
        plan = StreamPlan(path=path, channel=0, codecs=CODECS)
        assembly = Assembly([plan], pauses=[(EPOCH + begin, EPOCH + end)])
        done = assembly.write(started=EPOCH, ended=EPOCH + 6, out=folder / "x.flac")
        sound = read_sound(done.path)[:, 0]
        first, last = round(begin * 8000), min(round(end * 8000), 48000)
        assert not sound[first:last].any()
        assert np.abs(sound[first - 160 : first]).max() > 0
        gaps = [gap for gap in done.gaps if gap.channel == 0]
        assert [gap.reason for gap in gaps] == (["recording was paused"] if end - begin > 0.1 else [])
        assert bool(keys(done)) == (begin != 2.0)


def test_silences_known_from_elsewhere_explain_their_gaps(tmp_path: Path) -> None:
    packets = [one for one in stream(chirps(20, seed=3)) if not 5 <= one.at < 10 and not 12 <= one.at < 13]
    path = write_log(tmp_path / "0.rtpdump", packets)
    assembly = Assembly([StreamPlan(path=path, channel=0, codecs={})])
    hold = Silence(start=EPOCH + 5.1, end=EPOCH + 9.9, reason="on hold", channel=0)
    done = assembly.write(started=EPOCH, ended=EPOCH + 20, out=tmp_path / "x.flac", silences=[hold])
    assert [(gap.channel, gap.reason) for gap in done.gaps] == [(0, "on hold"), (0, LOST), (1, "no packets came")]
    assert [mark for mark in done.marks if mark.kind is MarkKind.LOST] == [
        Mark(kind=MarkKind.LOST, channel=0, start_ms=12000, end_ms=13000)
    ]
