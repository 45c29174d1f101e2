"""Folders of old recordings: each comes once, with what the call records say; what is left out has its reason."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.archive.blobs import Archive
from agent.errors import ArchiveUnavailable, Misconfigured
from agent.intake import Intake
from agent.keeping import Keeper
from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind, SourceState
from agent.sip.imports.calls import Habits
from agent.sip.imports.folder import NO_SOUND_FILE, OTHER_FORMAT, Unit
from agent.sip.imports.importer import ALREADY_HERE, DIED, EMPTY, GROWING, RECORDED_LIVE, Importer
from agent.sip.imports.report import Fate, Outcome, Report
from agent.sip.imports.run import import_folder
from agent.sip.imports.watched import WatchedTree
from agent.store import blobs, recordings, soundfiles, sources
from agent.store.engine import Store
from agent.store.soundfiles import FileState, NotedFile
from tests.unit.recordings_lab import EPOCH, MOSCOW, Made, calls_of, make_call, quiet, record_of, rows, take_in
from tests.unit.soundfiles import wav_bytes, write_encoded
from tests.unit.soundlab import chirps

Make = Callable[..., Importer]

_numbers = itertools.count(1)  # content is known across all tests, so none makes what another made


def _call(folder: Path, **more: object) -> Made:
    return make_call(folder, next(_numbers), **more)  # type: ignore[arg-type]


@pytest.fixture
def source() -> str:
    return f"recordings:{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make(store: Store, archive: Archive, intake: Intake, tmp_path: Path, source: str) -> Make:
    def made(root: Path = tmp_path, **more: float) -> Importer:
        return Importer(store, archive, intake, root, Habits(source=source, zone=MOSCOW), **more)

    return made


async def test_a_freepbx_folder_with_its_records(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    calls = [_call(tmp_path, stereo=bool(number % 2)) for number in range(4)]
    cdr = tmp_path / "Master.csv"
    cdr.write_text("".join(one.record for one in calls[:3]))
    report = await take_in(make(), cdr)
    assert report.fates == {Fate.IMPORTED: 4, Fate.LEFT_OUT: 1}
    assert report.mixed == 2
    assert await calls_of(store, source) == sorted((one.unique_id, 1) for one in calls)
    query = """
        SELECT p.value, p.name, p.channel, r.mixed, c.answered_at - i.started_at AS rang,
               r.started_at - i.started_at AS at
        FROM evidence e JOIN party p USING (interaction_id) JOIN recording r USING (interaction_id)
        JOIN call c USING (interaction_id) JOIN interaction i ON i.id = e.interaction_id
        WHERE e.source = :source AND e.key = :key ORDER BY p.ordinal
    """
    caller, callee = await rows(store, query, source=source, key=calls[1].unique_id)
    assert caller.name.startswith("Client ")
    assert (caller.channel, callee.channel, callee.value, caller.mixed) == (0, 1, "101", False)
    assert caller.rang == caller.at == timedelta(seconds=4)


async def test_again_nothing_happens_and_only_news_is_read(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _call(tmp_path)
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    looked = []
    real = Importer._read

    def read(self: Importer, unit: Unit) -> object:
        looked.append(unit)
        return real(self, unit)

    monkeypatch.setattr(Importer, "_read", read)
    assert (await take_in(make())).fates == {}
    _call(tmp_path)
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    assert len(looked) == 1


async def test_a_dry_run_shows_and_changes_nothing(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    made = _call(tmp_path)
    report = await take_in(make(), dry_run=True)
    (outcome,) = report.planned
    assert (outcome.fate, outcome.call, outcome.callee, outcome.separated) == (
        Fate.WOULD_IMPORT,
        made.unique_id,
        "101",
        True,
    )
    assert await calls_of(store, source) == []
    assert await rows(store, "SELECT 1 FROM sound_file WHERE source = :source", source=source) == []
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    assert (await take_in(make(), dry_run=True)).fates == {}


async def test_the_same_content_elsewhere_is_known(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    made = _call(tmp_path / "a")
    assert (await take_in(make(tmp_path / "a"))).fates == {Fate.IMPORTED: 1}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "renamed.wav").write_bytes(made.path.read_bytes())
    report = await take_in(make(tmp_path / "b"))
    assert report.reasons == {(Fate.KNOWN, ALREADY_HERE): 1}
    assert await calls_of(store, source) == [(made.unique_id, 1)]


async def test_two_imports_at_once_take_each_once(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    calls = [_call(tmp_path) for _ in range(6)]
    reports = await asyncio.gather(*(take_in(make()) for _ in range(3)))
    assert sum(one.fates[Fate.IMPORTED] for one in reports) == len(calls)
    assert await calls_of(store, source) == sorted((one.unique_id, 1) for one in calls)


async def test_a_pair_of_monitor_is_two_channels(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    number = next(_numbers)
    for seed, side in enumerate(("in", "out")):
        path = tmp_path / f"{EPOCH + number * 60}.{number}-{side}.wav"
        path.write_bytes(wav_bytes(chirps(1.0, seed=9000 + 2 * number + seed)))
    report = await take_in(make())
    assert (report.fates, report.mixed) == ({Fate.IMPORTED: 1}, 0)
    query = """
        SELECT r.channels, r.mixed, (SELECT count(*) FROM evidence o WHERE o.interaction_id = r.interaction_id
               AND o.blob_id IS NOT NULL) AS originals
        FROM recording r JOIN evidence e USING (interaction_id) WHERE e.source = :source AND e.key = :key
    """
    (row,) = await rows(store, query, source=source, key=f"{EPOCH + number * 60}.{number}")
    assert tuple(row) == (2, False, 2)


async def test_what_is_left_out_and_why(make: Make, tmp_path: Path) -> None:
    good = _call(tmp_path)
    write_encoded(good.path.with_suffix(".mp3"), chirps(1.0), "libmp3lame")
    (tmp_path / "notes.txt").write_text("about the calls")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "head.wav").write_bytes(wav_bytes(chirps(1.0)[:0]))
    (tmp_path / "broken.mp3").write_bytes(b"no sound at all")
    (tmp_path / ".hidden.wav").write_bytes(wav_bytes(chirps(1.0)))
    (tmp_path / "link.wav").symlink_to(good.path)
    report = await take_in(make())
    assert report.fates == {Fate.IMPORTED: 1, Fate.LEFT_OUT: 5}
    assert {reason for _, reason in report.reasons} == {
        NO_SOUND_FILE,
        OTHER_FORMAT,
        EMPTY,
        "A sound file is empty",
        "A sound file cannot be read: it is damaged",
    }
    assert (await take_in(make())).fates == {Fate.LEFT_OUT: 2}, "only what needs no reading is told again"
    assert (await take_in(make(), again=True)).fates == {Fate.LEFT_OUT: 5}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
async def test_a_report_for_machines(make: Make, tmp_path: Path, ending: str) -> None:
    made, target = _call(tmp_path / "mon"), tmp_path / f"report.{ending}"
    with Report(target) as report:
        await import_folder(make(tmp_path / "mon"), report, zone=MOSCOW)
        report.add(Outcome(file="=cmd()", fate=Fate.LEFT_OUT, reason="x"))
    lines = target.read_text().splitlines()
    if ending == "csv":
        assert lines[0].startswith("file,fate,reason,")
        assert lines[2].startswith("'=cmd(),left_out,x,")
    else:
        assert json.loads(lines[0])["call"] == made.unique_id
    assert made.unique_id in lines[-2]


async def test_names_that_are_no_text(store: Store, make: Make, source: str, tmp_path: Path) -> None:
    number = next(_numbers)
    name = os.fsdecode("Иванов ".encode("cp1251") + f"{EPOCH + number * 60}.{number}.wav".encode())
    (tmp_path / name).write_bytes(wav_bytes(chirps(1.0, seed=9500 + number)))
    report = await take_in(make(), dry_run=True)
    assert report.planned[0].file.startswith("Иванов ")
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    assert (await take_in(make())).fates == {}
    assert await calls_of(store, source) == [(f"{EPOCH + number * 60}.{number}", 1)]


async def test_one_that_still_grows_waits(make: Make, tmp_path: Path) -> None:
    made = _call(tmp_path)
    quiet(made.path, 1)
    report = await take_in(make(quiet_seconds=60.0))
    assert report.reasons == {(Fate.FAILED, GROWING): 1}
    quiet(made.path, 100)
    assert (await take_in(make(quiet_seconds=60.0))).fates == {Fate.IMPORTED: 1}


async def test_one_that_was_brought_into_another_format_is_not_taken_twice(make: Make, tmp_path: Path) -> None:
    made = _call(tmp_path)
    await take_in(make())
    write_encoded(made.path.with_suffix(".mp3"), chirps(1.0), "libmp3lame")
    made.path.unlink()
    assert (await take_in(make())).fates == {}


async def test_one_that_has_grown_since_is_one_more_recording_of_its_call(
    store: Store, make: Make, source: str, tmp_path: Path
) -> None:
    made = _call(tmp_path)
    await take_in(make())
    made.path.write_bytes(wav_bytes(chirps(5.0, seed=next(_numbers) + 7000)))
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    assert await calls_of(store, source) == [(made.unique_id, 2)]


async def _live(
    store: Store, archive: Archive, intake: Intake, made: Made, number: int, *, recorded: bool, exact: bool = True
) -> int:
    """The same call as an Asterisk source saw it."""
    started = datetime.fromtimestamp(EPOCH + number * 60, UTC)
    parties = tuple(
        CapturedParty(position=position, kind=IdentityKind.PHONE, value=value, channel=channel)
        for channel, (position, value) in enumerate((("caller", f"7495{number:07d}"), ("callee", "101")))
    )
    key = made.unique_id if exact else uuid.uuid4().hex
    call = CapturedCall(
        source="asterisk:office",
        key=key,
        started=started,
        answered=started + timedelta(seconds=4),
        ended=started + timedelta(seconds=5),
        disposition=Disposition.ANSWERED,
        parties=parties,
        conversation_key=made.unique_id if exact else None,
        capture_id=f"c-{key}",
    )
    interaction_id = await intake.close_call(call)
    async with store.begin() as connection:
        await sources.save_status(connection, "asterisk:office", SourceState.RUNNING)
        if recorded:
            sealed = await asyncio.to_thread(archive.seal, b"sound", media_type="audio/flac")
            await recordings.save_recording(
                connection,
                capture_id=call.capture_id,
                interaction_id=interaction_id,
                blob_id=await blobs.save_blob(connection, sealed, source="asterisk:office"),
                started=started + timedelta(seconds=4),
                duration_ms=1000,
                channels=2,
                sample_rate=8000,
                gaps=(),
                truncated=False,
            )
    return interaction_id


async def test_a_call_recorded_live_is_not_imported(
    store: Store, archive: Archive, intake: Intake, make: Make, source: str, tmp_path: Path
) -> None:
    number = next(_numbers)
    made = make_call(tmp_path, number)
    interaction_id = await _live(store, archive, intake, made, number, recorded=True)
    report = await take_in(make())
    assert report.reasons == {(Fate.KNOWN, f"{RECORDED_LIVE}: asterisk:office"): 1}
    assert await calls_of(store, source) == []
    found = await rows(store, "SELECT 1 FROM recording WHERE interaction_id = :id", id=interaction_id)
    assert len(found) == 1


async def test_a_call_seen_live_without_sound_gets_its_recording(
    store: Store, archive: Archive, intake: Intake, make: Make, source: str, tmp_path: Path
) -> None:
    number = next(_numbers)
    made = make_call(tmp_path, number)
    interaction_id = await _live(store, archive, intake, made, number, recorded=False)
    assert (await take_in(make())).fates == {Fate.IMPORTED: 1}
    assert await calls_of(store, source) == []
    found = await rows(store, "SELECT 1 FROM recording WHERE interaction_id = :id", id=interaction_id)
    assert len(found) == 1
    parties = await rows(
        store, "SELECT value FROM party WHERE interaction_id = :id ORDER BY ordinal", id=interaction_id
    )
    assert [one.value for one in parties] == [f"7495{number:07d}", "101"]


async def test_a_call_that_is_another_sources_by_numbers_and_time_is_not_recorded_twice(
    store: Store, archive: Archive, intake: Intake, make: Make, tmp_path: Path
) -> None:
    number = next(_numbers)
    made = make_call(tmp_path, number)
    cdr = tmp_path / "Master.csv"
    cdr.write_text(made.record)
    interaction_id = await _live(store, archive, intake, made, number, recorded=True, exact=False)
    report = await take_in(make(), cdr)
    assert report.reasons[Fate.KNOWN, RECORDED_LIVE] == 1
    found = await rows(store, "SELECT 1 FROM recording WHERE interaction_id = :id", id=interaction_id)
    assert len(found) == 1


async def test_how_much_of_a_call_was_recorded_live(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    number = next(_numbers)
    interaction_id = await _live(store, archive, intake, make_call(tmp_path, number), number, recorded=True)
    began = datetime.fromtimestamp(EPOCH + number * 60 + 4, UTC)  # and lasted a second

    async def is_live(start: float, end: float) -> bool:
        span = (began + timedelta(seconds=start), began + timedelta(seconds=end))
        async with store.begin() as connection:
            return await soundfiles.is_recorded_live(connection, interaction_id, *span)

    assert await is_live(0, 1)
    assert await is_live(-0.5, 1)
    assert not await is_live(0, 3)
    assert not await is_live(5, 6)


async def test_the_archive_is_full_in_the_middle(
    store: Store, make: Make, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [_call(tmp_path) for _ in range(5)]
    real, seen = Keeper._seal, itertools.count()

    def seal(self: Keeper, path: Path, media_type: str) -> object:
        if next(seen) >= 4:
            raise ArchiveUnavailable("The archive cannot be written: no space.")
        return real(self, path, media_type)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "_seal", seal)
        with pytest.raises(ArchiveUnavailable):
            await take_in(make())
    await take_in(make())
    assert await calls_of(store, source) == sorted((one.unique_id, 1) for one in calls)


async def test_a_file_that_kills_whoever_reads_it_is_given_up_and_holds_up_no_other(
    store: Store, make: Make, source: str, tmp_path: Path
) -> None:
    calls = [_call(tmp_path) for _ in range(2)]
    (unit, _) = (await make().plan()).units
    deadly = NotedFile(
        path=unit.path, suffix="wav", size=unit.size, modified_ns=unit.modified_ns, state=FileState.TRYING
    )
    for _ in range(8):
        async with store.begin() as connection:
            await soundfiles.note_files(connection, source, [deadly])
    report = await take_in(make())
    assert report.fates == {Fate.IMPORTED: 1, Fate.LEFT_OUT: 1}
    assert (Fate.LEFT_OUT, DIED) in report.reasons
    assert len(calls) == 2


async def test_a_folder_or_records_that_are_not_there(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="folder of recordings cannot be read"):
        await take_in(make(tmp_path / "none"))
    _call(tmp_path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        await take_in(make(), tmp_path / "none.csv")


async def test_records_without_a_recording_of_it_are_told(make: Make, tmp_path: Path) -> None:
    _call(tmp_path)
    cdr = tmp_path / "Master.csv"
    cdr.write_text("garbage\n" + record_of(9999))
    report = await take_in(make(), cdr)
    assert any("1 lines of Master.csv" in one for one in report.notes)


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """A folder that may not be read; root may read any, so the call itself is refused."""
    true = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(os.fsdecode(path)) == folder:
            raise PermissionError(13, "Permission denied", str(folder))
        return true(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        yield


async def test_a_folder_that_may_not_be_read_is_named_and_the_others_are_taken(make: Make, tmp_path: Path) -> None:
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        _call(tmp_path / name)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    with closed(tmp_path / "closed"):
        report = await take_in(make())
    assert report.fates == {Fate.IMPORTED: 1, Fate.LEFT_OUT: 1}
    assert [reason for _, reason in report.reasons] == ["the folder cannot be read: Permission denied"]


def test_a_followed_folder_that_may_not_be_read_is_tried_again(tmp_path: Path) -> None:
    tree, folder = WatchedTree(tmp_path), tmp_path / "2026"
    folder.mkdir()
    old = time.time() - 60
    for one in (folder, tmp_path):
        os.utime(one, (old, old))
    with closed(folder):
        assert tree.news() == [tmp_path] and tree.news() == []
    assert tree.news() == [folder], "although neither folder has changed"
    assert tree.news() == []
