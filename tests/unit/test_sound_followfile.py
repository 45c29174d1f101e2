"""Listening in to what a line writes: sound files that grow in pieces, by a clock of their own."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from agent.sound.follow import Follower
from agent.sound.followfile import FollowedFile
from tests.unit.soundlab import EPOCH
from tests.unit.test_sound_follow import BLOCK, LAG, RATE, loud, pitch, tone

CHUNK = 0.125  # seconds that pjmedia writes at once


class Growing:
    """A WAV file that a line writes from ``begins`` on (seconds after EPOCH); its head is that of an open one."""

    def __init__(
        self, path: Path, samples: np.ndarray[tuple[int], np.dtype[np.int16]], *, begins: float, rate: int
    ) -> None:
        self.path, self._samples, self._begins, self._rate = path, samples, begins, rate
        self._written = 0

    def grow(self, now: float) -> None:
        """Write what has been said by then, in whole pieces."""
        until = int(max(now - self._begins, 0) / CHUNK) * round(CHUNK * self._rate)
        if now < self._begins:
            return
        if not self.path.exists():
            head = struct.pack(
                "<4sI4s4sIHHIIHH4sI",
                b"RIFF",
                36,
                b"WAVE",
                b"fmt ",
                16,
                1,
                1,
                self._rate,
                self._rate * 2,
                2,
                16,
                b"data",
                0,
            )
            self.path.write_bytes(head)
        with self.path.open("ab") as file:
            file.write(self._samples[self._written : until].tobytes())
        self._written = max(until, self._written)


def play(
    files: list[tuple[Growing, int]], seconds: float, *, joins: float = 0.0, stalls: tuple[float, float] = (0, 0)
) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """What somebody hears who joins so late; while it ``stalls`` nothing is written."""
    now = joins
    follower = Follower(rate=RATE, channels=2, started=EPOCH + joins, block=BLOCK, now=lambda: EPOCH + now)
    follower.follow([FollowedFile(path=file.path, channel=channel) for file, channel in files])
    blocks = []
    for number in range(round(seconds * RATE / BLOCK)):
        now = joins + (number + 1) * BLOCK / RATE + LAG
        for file, _ in files:
            if not stalls[0] <= now < stalls[1]:
                file.grow(now)
        blocks.append(follower.take())
    return np.frombuffer(b"".join(blocks), np.int16).reshape(-1, 2)


def spoken(pieces: list[tuple[float, float]], rate: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Tones and silences (0 Hz) of so many seconds."""
    return np.concatenate([tone(seconds, hertz, rate) for seconds, hertz in pieces])


@pytest.mark.parametrize("rate", [16000, 8000])
def test_both_voices_stand_where_they_were_said(tmp_path: Path, rate: int) -> None:
    caller = Growing(tmp_path / "caller.wav", spoken([(1, 0), (2, 440), (2, 0)], rate), begins=0.5, rate=rate)
    callee = Growing(tmp_path / "callee.wav", spoken([(1, 1000), (3, 0)], rate), begins=1.3, rate=rate)
    heard = play([(caller, 0), (callee, 1)], 5)
    slack = CHUNK + 0.02  # a file's clock is known to a piece of it
    assert loud(heard[:, 0], 0, 1.5 - 0.02) == 0
    assert loud(heard[:, 0], 1.5 + slack, 3.5 - slack) == 1
    assert loud(heard[:, 0], 3.5 + slack, 5) == 0
    assert loud(heard[:, 1], 1.3 + slack, 2.3 - slack) == 1
    assert loud(heard[:, 1], 2.3 + slack, 5) == 0
    assert abs(pitch(heard[round(1.7 * RATE) : round(3.3 * RATE), 0]) - 440) < 2


def test_who_joins_later_hears_no_more_than_he_may_and_at_once(tmp_path: Path) -> None:
    file = Growing(tmp_path / "caller.wav", spoken([(60, 440), (1, 0), (9, 1000)], RATE), begins=0, rate=RATE)
    file.grow(58)
    heard = play([(file, 0)], 8, joins=58)
    assert loud(heard[:, 0], 0.2, 1.8) == 1
    assert abs(pitch(heard[round(0.2 * RATE) : round(1.8 * RATE), 0]) - 440) < 2
    assert loud(heard[:, 0], 2.2, 2.8) == 0
    assert abs(pitch(heard[round(3.3 * RATE) : 8 * RATE, 0]) - 1000) < 2


def test_a_line_that_was_stopped_for_a_while_is_heard_again(tmp_path: Path) -> None:
    file = Growing(tmp_path / "caller.wav", spoken([(20, 440)], RATE), begins=0, rate=RATE)
    heard = play([(file, 0)], 12, stalls=(4, 8))
    assert loud(heard[:, 0], 0.3, 2.8) == 1
    assert loud(heard[:, 0], 8, 12) == 1


def test_a_file_without_sense_is_silence(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"RIFF", b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + bytes(9000), bytes(9000))):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(content)
        follower = Follower(rate=RATE, channels=2, started=EPOCH, block=BLOCK)
        follower.follow([FollowedFile(path=path, channel=0), FollowedFile(path=tmp_path / "none.wav", channel=1)])
        assert not any(follower.take())
