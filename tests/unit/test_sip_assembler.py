"""The job that makes the recording: what it keeps, marks and removes."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Mark, MarkKind
from agent.sip.assembler import Assembler
from agent.sip.calls import captured_call
from agent.sip.journal import CLOSED, KEY, OPENED, STREAM, Journal, read_journal
from agent.sip.sounding import PAUSED, RESUMED
from agent.store import blobs, recordings
from agent.store.engine import Store
from agent.store.schema import blob, kept_log
from tests.unit.soundlab import EPOCH, Sent, chirps, read_sound, shift_of, stream, write_log

CODECS = {"8": "PCMA/8000", "101": "telephone-event/8000"}


class Call:
    """A journal and its logs, written as the SIP side and the capture process do; seconds count from EPOCH."""

    def __init__(self, captures: Path) -> None:
        self.journal = Journal.create(captures)
        self.capture_id = self.journal.capture_id
        self.folder = self.journal.folder
        self.note(0, OPENED, source="siprec", key=self.capture_id)

    def note(self, second: float, kind: str, **data: Any) -> None:
        self.journal.write(kind, at=datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=second), **data)

    def stream(self, second: float, index: int, *, active: bool = True) -> None:
        self.note(second, STREAM, index=index, label=str(index), active=active, codecs=CODECS, parameters={})

    def log(self, index: int, packets: list[Sent]) -> None:
        write_log(self.folder / f"{index}.rtpdump", packets)


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(tmp_path)


async def assembled(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> tuple[recordings.Recording | None, tuple[Mark, ...], np.ndarray[Any, np.dtype[np.int16]], list[str]]:
    """Close the call, run the job, and read back what it made; the folder must be gone."""
    known = captured_call(read_journal(call.folder), call.capture_id)
    interaction_id = await intake.open_call(known)
    await intake.close_call(known)
    await Assembler(store, archive, tmp_path).assemble(call.capture_id)
    assert not call.folder.exists()
    async with store.begin() as connection:
        found = await recordings.list_recordings(connection, [interaction_id])
        marks = await recordings.list_marks(connection, [one.id for one in found])
        flags = (
            await connection.execute(text("SELECT flags FROM interaction WHERE id = :id"), {"id": interaction_id})
        ).scalar_one()
    if not found:
        return None, (), np.zeros((0, 2), np.int16), list(flags)
    out = tmp_path / f"{call.capture_id}.flac"
    out.write_bytes(archive.read(found[0].blob))
    return found[0], marks[found[0].id], read_sound(out), list(flags)


async def test_holds_pauses_and_keys_become_marks(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    said = chirps(20, seed=1)
    packets = [one for one in stream(said) if not 4 <= one.at < 6]
    pressed = Sent(at=8.1, sequence=9000, timestamp=77, payload=b"\x05\x8a\x03\x20", payload_type=101)
    call.stream(0, 0)
    call.stream(0, 1)
    call.log(0, sorted([*packets, pressed], key=lambda one: one.at))
    call.log(1, stream(chirps(20, seed=2)))
    call.stream(4, 0, active=False)
    call.stream(6, 0)
    call.note(10, PAUSED, by="api")
    call.note(13, RESUMED, by="api")
    call.note(20, CLOSED, by="client")
    recording, marks, sound, _ = await assembled(call, store, archive, intake, tmp_path)
    assert recording is not None and recording.started.timestamp() == EPOCH
    assert marks == (
        Mark(kind=MarkKind.HOLD, channel=0, start_ms=4000, end_ms=6000),
        Mark(kind=MarkKind.DTMF, channel=0, start_ms=8000, end_ms=8100, text="5"),
        Mark(kind=MarkKind.PAUSE, channel=None, start_ms=10000, end_ms=13000, text="api"),
    )
    assert not sound[80000:104000].any() and len(sound) == 160000
    assert [(gap.channel, gap.reason) for gap in recording.gaps] == [
        (0, "on hold"),
        (0, "recording was paused"),
        (1, "recording was paused"),
    ]
    assert abs(shift_of(sound[:, 0], said[112000:150000], place=112000)) <= 8


async def test_where_a_mark_says_that_recording_was_paused_is_not_one_sample_of_sound(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call.stream(0, 0)
    call.log(0, stream(np.full(160000, 8000, np.int16)))
    for begin in range(2, 18, 2):
        call.note(begin + begin / 10000, PAUSED, by="api")
        call.note(begin + 1 + begin / 10000, RESUMED, by="api")
    call.note(20, CLOSED, by="client")
    _, marks, sound, _ = await assembled(call, store, archive, intake, tmp_path)
    assert [round(mark.start_ms, -2) for mark in marks] == list(range(2000, 18000, 2000))
    for mark in marks:
        assert not sound[mark.start_ms * 8 : mark.end_ms * 8].any(), mark
        before, after = sound[mark.start_ms * 8 - 200, 0], sound[mark.end_ms * 8 + 200, 0]  # beside its packets
        assert before and after, mark


async def test_keys_that_a_source_tells_become_marks_but_for_those_of_a_pause(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call.stream(0, 0)
    call.log(0, stream(chirps(9, seed=1)))
    for second, digit in ((1, "7"), (2, ""), (4, "4"), (5, "2"), (7, "#")):
        call.note(second, KEY, channel=0, digit=digit)
    call.note(3, PAUSED, by="api")
    call.note(6, RESUMED, by="api")
    call.note(9, CLOSED, by="source")
    _, marks, _, _ = await assembled(call, store, archive, intake, tmp_path)
    keys = [(one.start_ms, one.text) for one in marks if one.kind is MarkKind.DTMF]
    assert keys == [(1000, "7"), (2000, ""), (7000, "#")]


async def test_sound_before_the_answer_and_after_the_end_is_kept(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    said = chirps(10, seed=3)
    call.stream(0, 0, active=False)
    call.stream(5, 0)
    call.log(0, stream(said, at=2))
    call.note(11, CLOSED, by="client")
    recording, marks, sound, _ = await assembled(call, store, archive, intake, tmp_path)
    assert recording is not None
    assert recording.started.timestamp() == pytest.approx(EPOCH + 2, abs=0.001)
    assert marks == (Mark(kind=MarkKind.EARLY_MEDIA, channel=None, start_ms=0, end_ms=3000),)
    assert len(sound) == 80000  # not a packet more
    assert abs(shift_of(sound[:, 0], said, place=0)) <= 8  # all of it, to the last packet


async def test_a_journal_that_knows_no_stream_loses_no_sound(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    said = chirps(5, seed=4)
    call.log(0, stream(said))
    call.log(3, stream(said, at=1))
    call.note(6, CLOSED, by="recovery", truncated=True)
    recording, _, sound, _ = await assembled(call, store, archive, intake, tmp_path)
    assert recording is not None and recording.truncated
    assert abs(shift_of(sound[:, 0], said, place=0)) <= 8
    assert abs(shift_of(sound[:, 1], said, place=8000)) <= 8


async def test_logs_that_were_not_understood_are_kept_sealed(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call.stream(0, 0)
    call.log(0, [replace(one, payload_type=99) for one in stream(chirps(3))])
    call.note(3, CLOSED, by="client")
    raw = (call.folder / "0.rtpdump").read_bytes()
    recording, _, sound, flags = await assembled(call, store, archive, intake, tmp_path)
    assert recording is not None and not sound.any()
    assert "0.rtpdump: payload type 99 was never announced" in flags
    assert any("logs are kept" in flag for flag in flags)
    async with store.begin() as connection:
        query = kept_log.join(blob).select().where(kept_log.c.capture_id == call.capture_id)
        (row,) = (await connection.execute(query)).all()
    with tarfile.open(fileobj=io.BytesIO(archive.read(blobs.sealed(row)))) as tar:
        assert tar.getnames() == ["0.rtpdump", "journal.jsonl"]
        kept = tar.extractfile("0.rtpdump")
        assert kept is not None and kept.read() == raw


async def test_a_job_that_runs_twice_makes_one_recording(
    call: Call, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    call.stream(0, 0)
    call.log(0, stream(chirps(2)))
    call.note(2, CLOSED, by="client")
    recording, _, _, _ = await assembled(call, store, archive, intake, tmp_path)
    await Assembler(store, archive, tmp_path).assemble(call.capture_id)
    assert recording is not None
    async with store.begin() as connection:
        assert len(await recordings.list_recordings(connection, [recording.interaction_id])) == 1
        query = "SELECT 1 FROM kept_log WHERE capture_id = :id"
        assert not (await connection.execute(text(query), {"id": call.capture_id})).all()


async def test_marks_of_recordings_nobody_knows(store: Store) -> None:
    async with store.begin() as connection:
        assert await recordings.list_marks(connection, [-1]) == {-1: ()}
        assert await recordings.list_marks(connection, []) == {}
