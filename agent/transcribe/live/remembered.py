"""What planning a call costs, paid once for the same sound: where somebody speaks, and what is bleed.

While the call goes on all of it is written down, so that the plan of its finished recording, which the job makes as it
always does, has to listen to the last half minute only. Each row stands under a keyed digest of the very sound and of
what it was judged by: other sound finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeAlias

from agent.transcribe.answers import pack_speech, unpack_speech
from agent.transcribe.engine import Sound, Stretch
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.bleed import Copy, Parted
from agent.transcribe.speech.planning import COMPARING, Comparing, FindSpeech

Known: TypeAlias = Callable[[bytes], bytes | None]
Note: TypeAlias = Callable[[bytes, bytes, Stretch | None], None]  # key, answer, and of which stretch; None: about now


class Remembered:
    """The functions that planning is given."""

    def __init__(self, keys: SoundKeys, known: Known, note: Note = lambda key, answer, stretch: None) -> None:
        """``known`` has the rows, ``note`` takes new ones."""
        self._keys, self._known, self._note = keys, known, note

    def finding(self, find: FindSpeech) -> FindSpeech:
        """The same as ``find``."""

        def find_or_know(sound: Sound) -> list[Stretch]:
            key = self._keys.of_block(sound)
            if (row := self._known(key)) is not None:
                return unpack_speech(row)
            found = find(sound)
            self._note(key, pack_speech(found), None)
            return found

        return find_or_know

    @property
    def comparing(self) -> Comparing:
        """The same as `planning.COMPARING`."""
        return Comparing(part=self._part, is_same=self._is_same)

    def _part(self, stretch: Stretch, heard: Sound, source: Sound) -> Parted:
        key = self._keys.of_two(f"part {stretch.start!r} {stretch.end!r}", heard, source)
        if (row := self._known(key)) is not None:
            return _unpack(row)
        parted = COMPARING.part(stretch, heard, source)
        self._note(key, _pack(parted), stretch)
        return parted

    def _is_same(self, block: Stretch, heard: Sound, source: Sound) -> bool | None:
        key = self._keys.of_two("same", heard, source)
        if (row := self._known(key)) is not None:
            known: bool | None = json.loads(row)["same"]
            return known
        found = COMPARING.is_same(block, heard, source)
        self._note(key, json.dumps({"same": found}).encode(), block)
        return found


def _pack(parted: Parted) -> bytes:
    copied = parted.copied
    told = None if copied is None else (copied.lag, copied.quieter_db, copied.share)
    return json.dumps({"own": [(one.start, one.end) for one in parted.own], "copied": told}).encode()


def _unpack(packed: bytes) -> Parted:
    row = json.loads(packed)
    copied = row["copied"]
    return Parted(
        own=tuple(Stretch(start=start, end=end) for start, end in row["own"]),
        copied=None if copied is None else Copy(lag=copied[0], quieter_db=copied[1], share=copied[2]),
    )
