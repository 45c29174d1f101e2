"""Sound files of a call: one recording a reference however often they are said, and the files kept as they came."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from agent import jobs, keeping
from agent.archive.blobs import Archive
from agent.errors import ArchiveUnavailable, UnreadableSound
from agent.intake import Intake
from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sound.files import SoundFile
from agent.store import evidence, history, recordings
from agent.store.engine import Store
from agent.transcribe.speech.channels import read_channels
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps, read_sound

_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_ONE, _TWO = chirps(3.0), chirps(3.0, seed=2)


def _call(**more: Any) -> CapturedCall:
    parties = (
        CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+74950000011", channel=0),
        CapturedParty(position="callee", kind=IdentityKind.PHONE, value="101", channel=1),
    )
    facts: dict[str, Any] = {
        "source": "provider:test",
        "key": uuid.uuid4().hex,
        "started": _START,
        "answered": _START + timedelta(seconds=2),
        "ended": _START + timedelta(seconds=5),
        "disposition": Disposition.ANSWERED,
        "parties": parties,
    }
    return CapturedCall(**{**facts, **more})


async def _rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


async def _recordings(store: Store, call: CapturedCall) -> Sequence[Any]:
    query = """
        SELECT r.* FROM recording r JOIN evidence e USING (interaction_id)
        WHERE e.source = :source AND e.key = :key ORDER BY r.id
    """
    return await _rows(store, query, source=call.source, key=call.key)


async def _speech_jobs(store: Store, recording_id: int) -> int:
    query = "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'transcribe' AND (args->>'recording_id')::bigint = :id"
    return len(await _rows(store, query, id=recording_id))


def _stereo(path: Path) -> Path:
    path.write_bytes(wav_bytes(np.stack([_ONE, _TWO], axis=1)))
    return path


async def test_a_file_becomes_a_recording_with_its_original_beside_it(
    store: Store, intake: Intake, archive: Archive, tmp_path: Path
) -> None:
    call, path = _call(), _stereo(tmp_path / "call.wav")
    before = path.read_bytes()
    recording_id = await intake.keep_recording(call, path, reference="r1")
    assert recording_id is not None
    async with store.begin() as connection:
        found = await recordings.find_recording(connection, recording_id)
        assert found is not None
        proofs = await evidence.list_evidence_of(connection, found.interaction_id)
        (entry,) = await history.load_entries(connection, [found.interaction_id])
    assert (found.channels, found.mixed, found.truncated, found.duration_ms) == (2, False, False, 3000)
    assert found.started == _START + timedelta(seconds=2)  # it ends with the call
    (tmp_path / "heard.flac").write_bytes(archive.read(found.blob))
    heard = read_sound(tmp_path / "heard.flac")
    assert np.array_equal(heard, np.stack([_ONE, _TWO], axis=1))
    (original,) = [one.blob for one in proofs if one.blob]
    assert archive.read(original) == before == path.read_bytes()
    assert entry.evidence_count == 1  # the call was told once
    assert await _speech_jobs(store, recording_id) == 1


async def test_said_again_or_by_ten_at_once_it_is_one(store: Store, intake: Intake, tmp_path: Path) -> None:
    call, path = _call(), _stereo(tmp_path / "call.wav")
    ids = await asyncio.gather(*(intake.keep_recording(call, path, reference="r1") for _ in range(10)))
    assert len([one for one in ids if one is not None]) == 1
    assert await intake.keep_recording(call, path, reference="r1") is None
    (row,) = await _recordings(store, call)
    assert await _speech_jobs(store, row.id) == 1
    assert await intake.keep_recording(call, path, reference="r2") is not None


async def test_a_files_content_is_kept_once_among_all_calls(store: Store, intake: Intake, tmp_path: Path) -> None:
    path, reference = _stereo(tmp_path / "call.wav"), f"{recordings.FILE}{uuid.uuid4().hex}"
    calls = [_call() for _ in range(6)]
    ids = await asyncio.gather(*(intake.keep_recording(call, path, reference=reference) for call in calls))
    assert len([one for one in ids if one is not None]) == 1
    async with store.begin() as connection:
        assert await recordings.find_file(connection, reference) is not None


async def test_the_same_reference_of_two_calls_is_two(intake: Intake, tmp_path: Path) -> None:
    path = _stereo(tmp_path / "call.wav")
    assert await intake.keep_recording(_call(), path, reference="1") is not None
    assert await intake.keep_recording(_call(), path, reference="1") is not None


async def test_mono_is_told_and_can_be_transcribed(
    store: Store, intake: Intake, archive: Archive, tmp_path: Path
) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes(_ONE))
    recording_id = await intake.keep_recording(_call(), path, reference="r")
    async with store.begin() as connection:
        found = await recordings.find_recording(connection, recording_id or 0)
    assert found is not None
    assert (found.channels, found.mixed) == (1, True)
    (channel,) = read_channels(io.BytesIO(archive.read(found.blob)))
    assert channel.seconds == pytest.approx(3.0, abs=0.01)


async def test_a_file_a_party_by_the_clock(store: Store, intake: Intake, tmp_path: Path) -> None:
    files = []
    for channel, sound in enumerate((_ONE, _TWO)):
        path = tmp_path / f"call-{channel}.wav"
        path.write_bytes(wav_bytes(sound))
        files.append(SoundFile(path=path, channel=channel, started=_START.timestamp() + channel))
    recording_id = await intake.keep_recording(_call(), files, reference="r")
    (row,) = await _rows(store, "SELECT * FROM recording WHERE id = :id", id=recording_id)
    assert (row.channels, row.mixed, row.duration_ms, row.started_at) == (2, False, 4000, _START)
    assert [(gap["channel"], gap["start_ms"], gap["end_ms"]) for gap in row.gaps] == [(0, 3000, 4000), (1, 0, 1000)]
    (mark,) = await _rows(store, "SELECT * FROM recording_mark WHERE recording_id = :id", id=recording_id)
    assert (mark.kind, mark.start_ms, mark.end_ms) == ("early_media", 0, 2000)
    originals = "SELECT 1 FROM evidence WHERE interaction_id = :id AND blob_id IS NOT NULL"
    assert len(await _rows(store, originals, id=row.interaction_id)) == 2


async def test_a_cut_file_is_a_truncated_recording(store: Store, intake: Intake, tmp_path: Path) -> None:
    call, path = _call(), tmp_path / "call.wav"
    path.write_bytes(wav_bytes(_ONE, length=100_000))
    await intake.keep_recording(call, path, reference="r")
    (row,) = await _recordings(store, call)
    assert row.truncated


@pytest.mark.parametrize("data", [b"", b"no sound", wav_bytes(_ONE[:0])], ids=["empty", "words", "only a head"])
async def test_without_sound_the_call_stands_all_the_same(
    store: Store, intake: Intake, tmp_path: Path, data: bytes
) -> None:
    call, path = _call(), tmp_path / "call.wav"
    path.write_bytes(data)
    with pytest.raises(UnreadableSound):
        await intake.keep_recording(call, path, reference="r")
    assert await _recordings(store, call) == []
    assert len(await _rows(store, "SELECT 1 FROM evidence WHERE key = :key", key=call.key)) == 1


async def test_a_full_archive_or_a_failing_commit_leaves_nothing_and_is_made_good_by_the_next_try(
    store: Store, intake: Intake, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, path = _call(), _stereo(tmp_path / "call.wav")

    def full(*arguments: object, **more: object) -> None:
        raise ArchiveUnavailable("The archive cannot be written: no space.")

    async def fail(*arguments: object) -> None:
        raise RuntimeError("killed before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "seal", full)
        with pytest.raises(ArchiveUnavailable):
            await intake.keep_recording(call, path, reference="r")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "defer", fail)
        with pytest.raises(RuntimeError):
            await intake.keep_recording(replace(call, parties=()), path, reference="r")
    assert await _recordings(store, call) == []
    assert await intake.keep_recording(call, path, reference="r") is not None


async def test_old_recordings_keep_no_call_of_today_waiting(store: Store, intake: Intake, tmp_path: Path) -> None:
    path, now = _stereo(tmp_path / "call.wav"), datetime.now(UTC)
    found = []
    for days in (0, 10, 400):
        start = now - timedelta(days=days, minutes=5)
        call = _call(started=start, answered=start, ended=start + timedelta(seconds=3))
        recording_id = await intake.keep_recording(call, path, reference="r")
        query = "SELECT priority FROM procrastinate_jobs WHERE (args->>'recording_id')::bigint = :id"
        found.append((await _rows(store, query, id=recording_id))[0].priority)
    assert [found[0] - one for one in found] == [0, 10 * 24 * 60, 400 * 24 * 60]


def test_where_a_recording_lies_in_its_call() -> None:
    call = _call(ended=_START + timedelta(seconds=60))
    start = _START.timestamp()
    assert keeping.place_sound(call, 58.0) == start + 2  # from the answer
    assert keeping.place_sound(call, 30.0) == start + 30  # an agent of a queue, whose conversation began later
    assert keeping.place_sound(call, 90.0) == start  # longer than the call
    assert keeping.place_sound(replace(call, ended=None), 5.0) == start + 2
