"""A folder that is followed: files that grow, records that come late, rotation, truncation, calls not recorded."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.archive.blobs import Archive
from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.settings_recordings import RecordingsSettings
from agent.sip.imports.cdrtail import CdrTail
from agent.sip.imports.check import check_folder
from agent.sip.imports.follow import Follower, make_importer
from agent.sip.imports.importer import Importer
from agent.sip.imports.watched import WatchedTree
from agent.store import sources
from agent.store.engine import Store
from agent.store.soundfiles import Place
from tests.unit.recordings_lab import EPOCH, calls_of, make_call, quiet, record_of, rows
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps

Make = Callable[..., Follower]

_numbers = itertools.count(5001)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture
def make(store: Store, archive: Archive, intake: Intake, tmp_path: Path, name: str) -> Make:
    def made(**more: Any) -> Follower:
        facts: dict[str, Any] = {
            "folder": tmp_path / "monitor",
            "cdr": tmp_path / "Master.csv",
            "cdr_seconds": 1000.0,
        }
        settings = RecordingsSettings(name=name, timezone="Europe/Moscow", **{**facts, **more})
        settings.folder.mkdir(exist_ok=True)
        return Follower(store, make_importer(store, archive, intake, settings, 5), settings)

    return made


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def _state(store: Store, name: str) -> tuple[str, str]:
    async with store.begin() as connection:
        found = {one.source: one for one in await sources.list_statuses(connection)}
    return found[f"recordings:{name}"].state.value, found[f"recordings:{name}"].detail


def _settle(follower: Follower) -> None:
    """As if the last records were old enough."""
    for one in follower._open.values():
        one.last = -1e9


async def test_a_recording_waits_until_it_is_quiet_and_its_record_is_there(
    store: Store, make: Make, name: str, tmp_path: Path
) -> None:
    follower, number = make(), next(_numbers)
    await follower.step()
    made = make_call(tmp_path / "monitor", number)
    quiet(made.path, 0)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == []
    quiet(made.path, 60)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [], "its record is not there yet"
    _append(tmp_path / "Master.csv", made.record)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]
    assert await _state(store, name) == ("running", "")
    for _ in range(3):
        await follower.step()
    assert follower.taken == 1


async def test_a_record_that_never_comes_is_waited_for_only_so_long(
    store: Store, make: Make, name: str, tmp_path: Path
) -> None:
    follower = make()
    made = make_call(tmp_path / "monitor", next(_numbers))
    quiet(made.path, 2000)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]


async def test_a_file_that_grows_while_it_is_followed(store: Store, make: Make, name: str, tmp_path: Path) -> None:
    follower = make(cdr=None)
    made = make_call(tmp_path / "monitor", next(_numbers), seconds=2.0)
    whole = made.path.read_bytes()
    for size in (100, 5000, 20000):
        made.path.write_bytes(whole[:size])
        await follower.step()
    made.path.write_bytes(whole)
    quiet(made.path, 60)
    await follower.step()
    (row,) = await rows(
        store,
        "SELECT duration_ms FROM recording JOIN evidence USING (interaction_id) WHERE key = :key",
        key=made.unique_id,
    )
    assert row.duration_ms == 2000


async def test_records_told_later_leave_the_channels_of_the_recording(
    store: Store, make: Make, name: str, tmp_path: Path
) -> None:
    follower = make()
    made = make_call(tmp_path / "monitor", next(_numbers))
    _append(tmp_path / "Master.csv", made.record)
    await follower.step()
    _settle(follower)
    await follower.step()
    query = "SELECT channel FROM party JOIN evidence USING (interaction_id) WHERE key = :key ORDER BY ordinal"
    assert [row.channel for row in await rows(store, query, key=made.unique_id)] == [0, 1]
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]


async def test_missed_calls_come_from_their_records_alone(store: Store, make: Make, name: str, tmp_path: Path) -> None:
    follower, number = make(), next(_numbers)
    _append(tmp_path / "Master.csv", record_of(number, answered=False))
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [], "the conversation may go on"
    _settle(follower)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [(f"{EPOCH + number * 60}.{number}", 0)]
    query = "SELECT disposition FROM call JOIN evidence USING (interaction_id) WHERE source = :source"
    (row,) = await rows(store, query, source=f"recordings:{name}")
    assert row.disposition == "no_answer"


async def test_missed_calls_are_not_taken_where_they_are_not_wanted(
    store: Store, make: Make, name: str, tmp_path: Path
) -> None:
    follower = make(unrecorded=False)
    _append(tmp_path / "Master.csv", record_of(next(_numbers), answered=False))
    await follower.step()
    _settle(follower)
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == []


async def test_a_restart_reads_only_what_it_had_not_told(
    store: Store, make: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    real = Importer.take_unrecorded

    async def take(self: Importer, found: Any) -> None:
        told.extend(row.unique_id for row in found)
        await real(self, found)

    monkeypatch.setattr(Importer, "take_unrecorded", take)
    numbers = [next(_numbers) for _ in range(3)]
    follower = make()
    _append(tmp_path / "Master.csv", record_of(numbers[0], answered=False))
    await follower.step()
    _settle(follower)
    _append(tmp_path / "Master.csv", record_of(numbers[1], answered=False))
    await follower.step()  # the first is told, the second still open when the process dies
    assert len(told) == 1
    again = make()
    _append(tmp_path / "Master.csv", record_of(numbers[2], answered=False))
    await again.step()
    _settle(again)
    await again.step()
    assert told == [f"{EPOCH + number * 60}.{number}" for number in numbers]


async def test_a_folder_that_goes_away_and_comes_back(store: Store, make: Make, name: str, tmp_path: Path) -> None:
    follower = make(cdr=None)
    (tmp_path / "monitor").rename(tmp_path / "gone")
    await follower.step()
    state, detail = await _state(store, name)
    assert state == "unreachable"
    assert "No such file" in detail
    (tmp_path / "gone").rename(tmp_path / "monitor")
    made = make_call(tmp_path / "monitor", next(_numbers))
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]
    assert (await _state(store, name))[0] == "running"


async def test_a_database_that_is_away_costs_no_recording(
    store: Store, make: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = make(cdr=None)
    made = make_call(tmp_path / "monitor", next(_numbers))

    async def away(*arguments: object) -> int:
        raise DatabaseUnavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "close_call", away)
        patch.setattr("agent.sip.imports.follow._PAUSE_SECONDS", 0)
        await follower.step()
    await follower.step()
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]


async def test_a_later_recording_of_a_conversation_finds_its_earlier_records(
    store: Store, make: Make, name: str, tmp_path: Path
) -> None:
    number = next(_numbers)
    _append(tmp_path / "Master.csv", record_of(number, seconds=3.0))
    first = make()
    await first.step()
    _settle(first)
    await first.step()
    made = make_call(tmp_path / "monitor", number, seconds=3.0)
    quiet(made.path, 60)
    await make().step()  # another process, which read none of this itself
    assert await calls_of(store, f"recordings:{name}") == [(made.unique_id, 1)]


# --- The tail ---------------------------------------------------------------------------------------------------------


def _read(tail: CdrTail) -> list[str]:
    return [line.data.decode().strip() for line in tail.read()]


def test_only_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    tail = CdrTail(path)
    assert _read(tail) == []
    path.write_text("one\ntw")
    assert _read(tail) == ["one"]
    _append(path, "o\nthree\n")
    assert _read(tail) == ["two", "three"]
    assert _read(tail) == []


def test_rotated_the_rest_of_the_old_one_is_read_first(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_text("one\n")
    tail = CdrTail(path)
    assert _read(tail) == ["one"]
    _append(path, "two\nthree without an end")
    path.rename(tmp_path / "Master.csv.1")
    path.write_text("four\n")
    assert _read(tail) == ["two", "three without an end", "four"]
    path.rename(tmp_path / "Master.csv.2")
    assert _read(tail) == [], "the new one is not there yet"
    path.write_text("five\n")
    assert _read(tail) == ["five"]


@pytest.mark.parametrize("after", ["four\n", "another and longer line than all before\n" * 10])
def test_truncated_it_is_read_from_its_beginning(tmp_path: Path, after: str) -> None:
    path = tmp_path / "Master.csv"
    path.write_text("one\ntwo\nthree\n")
    tail = CdrTail(path)
    assert len(_read(tail)) == 3
    path.write_text(after)
    assert _read(tail) == after.split("\n")[:-1]


def test_the_place_survives_and_another_file_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_text("one\ntwo\n")
    place = CdrTail(path).read()[0].after
    assert _read(CdrTail(path, place)) == ["two"]
    inode = path.stat().st_ino
    path.write_text("other\nlines\n")
    assert path.stat().st_ino == inode
    assert _read(CdrTail(path, place)) == ["other", "lines"]
    assert _read(CdrTail(path, Place(inode=inode + 1, offset=4, head=place.head))) == ["other", "lines"]


def test_rotated_while_nobody_looked_the_rest_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_text("one\ntwo\n")
    place = CdrTail(path).read()[0].after
    path.rename(tmp_path / "Master.csv-20260303")
    assert _read(CdrTail(path, place)) == ["two"]
    path.write_text("three\n")
    assert _read(CdrTail(path, place)) == ["two", "three"]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_bytes(b"x" * (3 * 1024 * 1024) + b"\nlast\n")
    lines = CdrTail(path).read()
    assert lines[-1].data == b"last\n"
    assert max(len(line.data) for line in lines) <= 1024 * 1024


def test_only_folders_with_news_are_looked_at(tmp_path: Path) -> None:
    old, new = tmp_path / "2026/03/01", tmp_path / "2026/03/02"
    old.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "2026", tmp_path / "2026/03", old):
        quiet(folder)
    tree = WatchedTree(tmp_path)
    assert len(tree.news()) == 4
    assert tree.news() == []
    new.mkdir()
    (new / "a.wav").write_bytes(wav_bytes(chirps(0.1)))
    assert set(tree.news()) == {tmp_path / "2026/03", new}
    for folder in (tmp_path / "2026/03", new):
        os.utime(folder, (1e9, 1e9))
    assert set(tree.news()) == {tmp_path / "2026/03", new}
    assert tree.news() == []


def test_what_the_doctor_says(tmp_path: Path) -> None:
    (tmp_path / "monitor").mkdir()
    (tmp_path / "Master.csv").write_text("")
    facts = {"name": "office", "timezone": "Europe/Moscow", "folder": tmp_path / "monitor"}
    (good, without) = check_folder(RecordingsSettings.model_validate(facts))
    assert (good[0], without[0]) == (True, True)
    assert "missed calls do not come" in without[1]
    with_records = RecordingsSettings.model_validate({**facts, "cdr": tmp_path / "Master.csv"})
    assert [one[0] for one in check_folder(with_records)] == [True]
    bad = list(check_folder(RecordingsSettings.model_validate({**facts, "folder": "/none", "cdr": "/none.csv"})))
    assert [one[0] for one in bad] == [False, False]
