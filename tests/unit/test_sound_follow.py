"""Listening in: logs read while they grow, and their sound where the wall clock has it."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from agent.sound.codecs import Codec, Samples
from agent.sound.follow import FollowedStream, Follower, LogTail, wav_head
from agent.sound.packetlog import PacketLogWriter, encode_record
from tests.unit.soundlab import EPOCH, encode, rtp

RATE, BLOCK = 16000, 3200
LAG = 0.8


def tone(seconds: float, hertz: float, rate: int = 8000) -> Samples:
    wave_form = np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate) * 12000
    return wave_form.astype(np.int16)


class Growing:
    """A log that grows; times are seconds after EPOCH."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = PacketLogWriter(path, address="127.0.0.1", port=4000, started=EPOCH)

    def add(self, at: float, packet: bytes) -> None:
        self.file.append(b"".join(encode_record(packet, round(at * 1000))))


def alaw(seconds: float, hertz: float) -> list[bytes]:
    data = b"".join(encode(tone(seconds, hertz), "pcm_alaw"))
    return [data[at : at + 160] for at in range(0, len(data), 160)]


def play(
    log: Growing, arrivals: list[tuple[float, bytes]], seconds: float, stream: FollowedStream | None = None
) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Follow while packets come in their time; the sound of channel 0 and 1."""
    follower = Follower(rate=RATE, channels=2, started=EPOCH, block=BLOCK)
    follower.follow([stream or FollowedStream(path=log.path, channel=0)])
    blocks, waiting = [], sorted(arrivals)
    for number in range(round(seconds * RATE / BLOCK)):
        due = (number + 1) * BLOCK / RATE + LAG
        while waiting and waiting[0][0] <= due:
            log.add(*waiting.pop(0))
        blocks.append(follower.take())
    return np.frombuffer(b"".join(blocks), np.int16).reshape(-1, 2)


def loud(samples: np.ndarray[tuple[int], np.dtype[np.int16]], start: float, end: float) -> float:
    """Share of the 20 ms pieces in which there is sound."""
    part = samples[round(start * RATE) : round(end * RATE)]
    return float((np.abs(part[: len(part) // 320 * 320].reshape(-1, 320)).max(axis=1) > 3000).mean())


def pitch(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples))


@pytest.fixture
def log(tmp_path: Path) -> Growing:
    return Growing(tmp_path / "0.rtpdump")


def test_sound_stands_where_it_was_said(log: Growing) -> None:
    packets = [(1 + n * 0.02, rtp(n, n * 160, data)) for n, data in enumerate(alaw(2, 440))]
    heard = play(log, packets, 4)
    assert loud(heard[:, 0], 0, 0.98) == 0
    assert loud(heard[:, 0], 1.02, 2.98) == 1
    assert loud(heard[:, 0], 3.04, 4) == 0
    assert not heard[:, 1].any()
    assert abs(pitch(heard[RATE : 3 * RATE, 0]) - 440) < 2


def test_a_hole_is_silent_and_what_follows_is_in_its_place(log: Growing) -> None:
    packets = [(n * 0.02, rtp(n, n * 160, data)) for n, data in enumerate(alaw(3, 440)) if not 50 <= n < 100]
    heard = play(log, packets, 3)
    assert loud(heard[:, 0], 0.1, 0.98) == 1
    assert loud(heard[:, 0], 1.04, 1.98) == 0
    assert loud(heard[:, 0], 2.04, 2.9) == 1


def test_late_repeated_and_overtaken_packets_make_no_echo(log: Growing) -> None:
    packets = []
    for n, data in enumerate(alaw(3, 440)):
        packet = rtp(n, n * 160, data)
        packets.append((n * 0.02 + (0.07 if n % 7 == 3 else 0.0), packet))
        if n % 5 == 0:
            packets.append((n * 0.02 + 0.03, packet))
    heard = play(log, packets, 3)
    assert np.abs(heard[:, 0].astype(int)).max() < 14000
    assert loud(heard[:, 0], 0.2, 2.8) > 0.8


def test_a_clock_that_stood_still_is_followed(log: Growing) -> None:
    """After a hold some senders go on with the timestamp they had."""
    data = alaw(4, 440)
    packets = [(n * 0.02, rtp(n, n * 160, data[n])) for n in range(50)]
    packets += [(3 + n * 0.02, rtp(50 + n, (50 + n) * 160, data[n])) for n in range(150)]
    heard = play(log, packets, 6)
    assert loud(heard[:, 0], 1.1, 2.9) == 0
    assert loud(heard[:, 0], 4.5, 5.9) == 1, "after a moment the sound is where it is said"


def test_opus_and_a_second_channel(log: Growing) -> None:
    frames = encode(tone(2, 700, 48000), "libopus", rate=48000)
    packets = [(n * 0.02, rtp(n, n * 960, data, payload_type=111)) for n, data in enumerate(frames)]
    codec = Codec(name="opus", clock_rate=48000, channels=2)
    heard = play(log, packets, 2, FollowedStream(path=log.path, channel=1, codecs={111: codec}))
    assert not heard[:, 0].any()
    assert abs(pitch(heard[RATE // 2 : 3 * RATE // 2, 1]) - 700) < 2


def test_codecs_learnt_later_are_used_from_then_on(log: Growing) -> None:
    follower = Follower(rate=RATE, channels=2, started=EPOCH, block=BLOCK)
    follower.follow([FollowedStream(path=log.path, channel=0)])
    sound = tone(2, 440).astype(">i2").tobytes()
    heard = b""
    for n in range(100):
        log.add(n * 0.02, rtp(n, n * 160, sound[n * 320 : n * 320 + 320], payload_type=96))
        if n == 50:
            codecs = {96: Codec(name="L16", clock_rate=8000)}
            follower.follow([FollowedStream(path=log.path, channel=0, codecs=codecs)])
        if n % 10 == 9:
            heard += follower.take()
    samples = np.frombuffer(heard, np.int16).reshape(-1, 2)[:, 0]
    assert loud(samples, 0, 0.9) == 0
    assert loud(samples, 1.3, 1.9) == 1


# --- Logs that grow ---------------------------------------------------------------------------------------------------


def test_a_log_that_is_not_there_yet_is_awaited(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "0.rtpdump")
    assert tail.read() == []
    (tmp_path / "0.rtpdump").write_bytes(b"#!rtpplay1.0 127.0.0.1/1\n\0\0")
    assert tail.read() == [], "half a head"
    (tmp_path / "0.rtpdump").unlink()
    log = Growing(tmp_path / "0.rtpdump")
    log.add(1, b"x" * 20)
    assert [one.data for one in tail.read()] == [b"x" * 20]
    assert tail.read() == []


def test_half_a_record_is_left_for_the_next_look_or_replaced_by_another(log: Growing) -> None:
    tail = LogTail(log.path)
    log.add(0, b"a" * 20)
    whole = log.path.stat().st_size
    with log.path.open("ab") as file:
        file.write(b"".join(encode_record(b"torn" * 50, 20))[:30])
    assert [one.data for one in tail.read()] == [b"a" * 20]
    assert tail.read() == []
    PacketLogWriter(log.path, address="127.0.0.1", port=4000, started=EPOCH + 9).close()  # a new process cuts it off
    assert log.path.stat().st_size == whole
    log.add(0.04, b"b" * 33)
    assert [(one.at, one.data) for one in tail.read()] == [(EPOCH + 0.04, b"b" * 33)]


@pytest.mark.parametrize("garbage", [b"\0" * 40, b"\xff" * 400, bytes(range(256)) * 8])
def test_garbage_ends_the_sound_and_nothing_else(log: Growing, garbage: bytes) -> None:
    packets = [(n * 0.02, rtp(n, n * 160, data)) for n, data in enumerate(alaw(1, 440))]
    play(log, packets, 1)
    with log.path.open("ab") as file:
        file.write(garbage)
    heard = play(log, [(1 + at, packet) for at, packet in packets], 2)
    assert loud(heard[:, 0], 0.1, 0.9) == 1


def test_packets_that_are_no_sound_are_passed_over(log: Growing) -> None:
    noise = np.random.default_rng(3)
    packets = [
        (n * 0.02, noise.integers(0, 256, int(noise.integers(1, 300))).astype(np.uint8).tobytes()) for n in range(99)
    ]
    packets += [(n * 0.02 + 0.001, rtp(n, n * 160, data)) for n, data in enumerate(alaw(2, 440))]
    packets += [(n * 0.02, rtp(n, n * 160, b"", ssrc=5)) for n in range(50)]
    heard = play(log, packets, 2)
    assert loud(heard[:, 0], 0.3, 1.9) > 0.9


def test_the_head_makes_a_wav_that_others_read(tmp_path: Path) -> None:
    with wave.open(io.BytesIO(wav_head(rate=RATE, channels=2) + bytes(400))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 2, 2)
        assert file.readframes(100) == bytes(400)
