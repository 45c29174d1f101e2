"""The child that decodes a call in progress: `python -m agent.sip.listening_child <folder>`, WAV on standard output."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agent.processes import leave_with_parent
from agent.sip.calls import LoggedStream, stream_plans
from agent.sip.journal import CLOSED, FILE_NAME, Fact, read_journal
from agent.sip.sounding import codecs_of, file_streams, keys_of
from agent.sound.follow import FollowedStream, Follower, wav_head
from agent.sound.followfile import FollowedFile

RATE = 16000  # Hz; enough for every telephone codec
CHANNELS = 2
BLOCK_SECONDS = 0.2
BEHIND = 0.8  # seconds from the end of a block to its sending: capture writes four times a second, networks jitter
LEFT_BEHIND = 3.0  # a listener who reads too slowly goes on from where the call is by then
_BLOCK = round(RATE * BLOCK_SECONDS)
_LOOK_BLOCKS = 5  # between two looks at the journal
_MOST_MEMORY = 2 << 30


class CallInProgress:
    """What the journal says of the call by now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = -1
        self.streams: list[FollowedStream | FollowedFile] = []
        self.ended: float | None = None

    def look(self) -> None:
        """Read the journal again if it has grown. A folder that is gone was assembled: the call has ended."""
        try:
            size = (self._folder / FILE_NAME).stat().st_size
        except FileNotFoundError:
            self.ended = self.ended or time.time()
            return
        if size == self._size:
            return
        self._size = size
        facts = read_journal(self._folder)
        logs = [_followed(self._folder, one) for one in stream_plans(facts)]
        files = [FollowedFile(path=self._folder / one.name, channel=one.channel) for one in file_streams(facts, ())]
        self.streams = [*logs, *files]
        self.ended = _end(facts)


def _end(facts: Sequence[Fact]) -> float | None:
    return next((fact.at.timestamp() for fact in facts if fact.kind == CLOSED), None)


def _followed(folder: Path, one: LoggedStream) -> FollowedStream:
    path = folder / f"{one.index}.rtpdump"
    return FollowedStream(path=path, channel=one.channel, codecs=codecs_of(one), keys=keys_of(one))


def follow(folder: Path, out: int) -> None:
    """Write the sound of the call to the descriptor ``out`` at its true pace until it ends."""
    call = CallInProgress(folder)
    started = time.time() - BEHIND - BLOCK_SECONDS
    follower = Follower(rate=RATE, channels=CHANNELS, started=started, block=_BLOCK)
    os.write(out, wav_head(rate=RATE, channels=CHANNELS))
    number = 0
    while call.ended is None or started + number * BLOCK_SECONDS < call.ended:
        if number % _LOOK_BLOCKS == 0:
            call.look()
            follower.follow(call.streams)
        due = started + (number + 1) * BLOCK_SECONDS + BEHIND
        time.sleep(max(0.0, due - time.time()))
        block, number = follower.take(), number + 1
        if time.time() - due < LEFT_BEHIND:
            _write(out, block)


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


def main() -> None:
    """The folder of the capture is the one argument."""
    leave_with_parent()
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    follow(Path(sys.argv[1]), sys.stdout.fileno())


if __name__ == "__main__":
    main()
