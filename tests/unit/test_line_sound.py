"""Sound files in a capture become the recording: by the wall clock, without what a pause must not keep."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from agent.model import CapturedCall, Disposition, MarkKind
from agent.sip.assembler import _Made, _make
from agent.sip.calls import captured_call
from agent.sip.courier import find_left_over
from agent.sip.journal import CLOSED, KEY, OPENED, SNAPSHOT, STREAM, Journal, read_journal
from agent.sip.snapshots import as_data
from agent.sip.sounding import PAUSED, RESUMED
from tests.unit.soundlab import EPOCH, read_sound
from tests.unit.test_line_wav import RATE, wav

BEGAN = datetime.fromtimestamp(EPOCH, UTC)
CALL = CapturedCall(source="line:Anna", key="1", started=BEGAN)


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


class Line:
    """The journal and the files of a call, as a line and its keeper write them; seconds count from the first ring."""

    def __init__(self, captures: Path) -> None:
        self.journal = Journal.create(captures)
        self.folder = self.journal.folder
        self.note(0, OPENED, source=CALL.source, call=as_data(CALL))

    def note(self, second: float, kind: str, **data: Any) -> None:
        self.journal.write(kind, at=at(second), **data)

    def file(self, channel: int, started: float, content: bytes, *, known: bool = True) -> Path:
        name = ("caller.wav", "callee.wav")[channel]
        path = self.folder / name
        path.write_bytes(content)
        if known:
            data = {"channel": channel, "file": name, "started": at(started).isoformat()}
            self.note(started, STREAM, index=channel, active=True, **data)
        return path

    def end(self, answered: float, ended: float) -> None:
        done = replace(CALL, answered=at(answered), ended=at(ended), disposition=Disposition.ANSWERED)
        self.note(ended, SNAPSHOT, call=as_data(done))
        self.note(ended, CLOSED, by="caller", truncated=False)

    def made(self) -> _Made:
        facts = read_journal(self.folder)
        return _make(facts, captured_call(facts, self.folder.name), self.folder)


def level(made: _Made, channel: int, start: float, end: float) -> float:
    sound = read_sound(made.assembled.path)[:, channel]
    return float(np.abs(sound[round(start * made.assembled.rate) : round(end * made.assembled.rate)]).mean())


def test_files_are_placed_by_the_wall_clock(tmp_path: Path) -> None:
    call = Line(tmp_path)
    call.file(1, 1.0, wav(4 * RATE))  # an announcement before the answer
    call.file(0, 3.0, wav(2 * RATE))
    call.note(3.5, KEY, channel=0, digit="5")
    call.note(4, STREAM, index=0, channel=0, file="caller.wav", active=False)
    call.note(4.5, STREAM, index=0, channel=0, file="caller.wav", active=True)
    call.end(3.0, 5.0)
    made = call.made()
    assert made.started == at(1.0) and abs(made.assembled.seconds - 4) < 0.01
    assert (made.assembled.channels, made.assembled.rate, made.flags, made.unread) == (2, RATE, (), False)
    assert level(made, 0, 0, 1.9) == 0 and level(made, 0, 2.1, 3.9) == level(made, 1, 0.1, 3.9) == 1
    marks = [(one.kind, one.channel, one.start_ms, one.end_ms, one.text) for one in made.marks]
    assert marks == [
        (MarkKind.EARLY_MEDIA, None, 0, 2000, ""),
        (MarkKind.DTMF, 0, 2500, 2500, "5"),
        (MarkKind.HOLD, 0, 3000, 3500, ""),
    ]
    (gap,) = made.assembled.gaps
    assert (gap.channel, gap.start_ms, gap.end_ms, gap.reason) == (0, 0, 2000, "before the answer")


def test_nothing_of_a_pause_is_left_wherever_it_was_written(tmp_path: Path) -> None:
    call = Line(tmp_path)
    files = [call.file(channel, 0, wav(4 * RATE)) for channel in (0, 1)]
    call.note(1, PAUSED, by="keys")
    call.note(2, RESUMED, by="keys")
    call.note(3, PAUSED, by="Anna")
    call.end(0, 4)
    made = call.made()
    for channel in (0, 1):
        assert level(made, channel, 1.0, 2.0) == level(made, channel, 3.0, 4.0) == 0
        assert level(made, channel, 0.1, 0.9) == level(made, channel, 2.1, 2.9) == 1
    assert [(one.start_ms, one.end_ms, one.text) for one in made.marks if one.kind is MarkKind.PAUSE] == [
        (1000, 2000, "keys"),
        (3000, 4000, "Anna"),
    ]
    for file in files:  # also on the disk
        assert not np.frombuffer(file.read_bytes()[44 + 2 * RATE : 44 + 4 * RATE], np.int16).any()


def test_a_killed_process_costs_nothing_that_it_wrote(tmp_path: Path) -> None:
    call = Line(tmp_path)
    for channel in (0, 1):
        path = call.file(channel, 1, wav(3 * RATE, told=0))
        os.utime(path, (EPOCH + 4, EPOCH + 4))
    assert find_left_over(tmp_path, frozenset()) == [call.folder.name]
    facts = read_journal(call.folder)
    found = captured_call(facts, call.folder.name)
    assert found.truncated and found.ended == at(4)  # as of the last sound, which no journal knows
    made = call.made()
    assert abs(made.assembled.seconds - 4) < 0.1 and level(made, 0, 1.1, 3.9) == level(made, 1, 1.1, 3.9) == 1


def test_a_journal_that_knows_no_file_loses_no_sound(tmp_path: Path) -> None:
    call = Line(tmp_path)
    for channel in (0, 1):
        path = call.file(channel, 0, wav(2 * RATE), known=False)
        os.utime(path, (EPOCH + 3, EPOCH + 3))
    call.end(1, 3)
    made = call.made()
    assert made.started == at(1) and level(made, 0, 0.1, 1.9) == level(made, 1, 0.1, 1.9) == 1


def test_a_file_that_is_none_is_kept_for_somebody_to_look_at(tmp_path: Path) -> None:
    call = Line(tmp_path)
    call.file(0, 0, wav(2 * RATE))
    call.file(1, 0, b"no sound at all")
    call.end(0, 2)
    made = call.made()
    assert made.unread and level(made, 0, 0.1, 1.9) == 1


def test_a_name_in_a_journal_leads_nowhere_else(tmp_path: Path) -> None:
    call = Line(tmp_path / "captures")
    (tmp_path / "outside.wav").write_bytes(wav(RATE))
    call.note(0, STREAM, index=0, channel=0, file="../../outside.wav", started=at(0).isoformat(), active=True)
    call.note(0, STREAM, index=1, channel=99, file="callee.wav", started=at(0).isoformat(), active=True)
    call.end(0, 1)
    assert call.made().assembled.packets == 0
