"""The recorder's side of commands: in order, once, also those of before a start, also over a broken connection."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from agent.intake import Intake
from agent.model import CapturedCall, Disposition
from agent.sip.commands import BY_KEYS, ENDED, NOTHING_RECORDED, CommandDesk
from agent.sip.journal import CLOSED, OPENED, Journal, read_journal
from agent.sip.sounding import pauses
from agent.store import commands, recordings
from agent.store.commands import CommandKind
from agent.store.engine import Store
from agent.store.notices import COMMANDS, INTERACTIONS, Notices, notify

HOST = "test"
PAUSE, RESUME = CommandKind.PAUSE, CommandKind.RESUME


class FakeRecorder:
    """Tells what it was told; ``trouble`` is raised instead."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.trouble: Exception | None = None

    def pause(self, capture_id: str, at: datetime | None = None) -> datetime:
        return self._note("pause", capture_id)

    def resume(self, capture_id: str) -> datetime:
        return self._note("resume", capture_id)

    def _note(self, what: str, capture_id: str) -> datetime:
        if self.trouble is not None:
            raise self.trouble
        self.told.append((what, capture_id))
        return datetime.now(UTC)


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.fixture
async def journal(intake: Intake, tmp_path: Path) -> Journal:
    """A call that goes on."""
    journal = Journal.create(tmp_path)
    journal.write(OPENED, source="siprec")
    call = CapturedCall(
        source="siprec",
        key=journal.capture_id,
        started=datetime.now(UTC),
        disposition=Disposition.IN_PROGRESS,
        parties=(),
        capture_id=journal.capture_id,
    )
    await intake.open_call(call)
    return journal


@pytest.fixture
def desk(store: Store, recorder: FakeRecorder, journal: Journal) -> CommandDesk:
    return CommandDesk(store, recorder, journal.folder.parent, host=HOST)


async def ask(store: Store, journal: Journal, kind: CommandKind, *, host: str = HOST, by: str = "anna") -> int:
    async with store.begin() as connection:
        return await commands.insert_command(connection, journal.capture_id, host, kind, by)


async def state_of(store: Store, number: int) -> tuple[bool, str]:
    async with store.begin() as connection:
        (one,) = await commands.find_commands(connection, [number])
    return one.done is not None, one.problem


async def is_paused(store: Store, journal: Journal) -> bool:
    async with store.begin() as connection:
        row = await recordings.find_capture(connection, journal.capture_id)
    assert row is not None
    return row.paused_at is not None


async def test_commands_are_done_in_their_order_once(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    for kind in (PAUSE, RESUME, PAUSE):
        await ask(store, journal, kind)
    elsewhere = await ask(store, journal, RESUME, host="elsewhere")
    await desk.work()
    await desk.work()
    assert [what for what, _ in recorder.told] == ["pause", "resume", "pause"]
    assert await is_paused(store, journal)
    assert await state_of(store, elsewhere) == (False, "")
    found = pauses(read_journal(journal.folder), datetime.now(UTC))
    assert [one.text for one in found] == ["anna", "anna"]
    assert found[0].end <= found[1].start


async def test_a_call_that_has_ended_is_left_alone(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    journal.write(CLOSED, by="client")
    number = await ask(store, journal, PAUSE)
    await desk.work()
    assert await state_of(store, number) == (True, ENDED)
    assert recorder.told == []
    assert not await is_paused(store, journal)


async def test_where_nothing_is_recorded_pausing_is_told_and_resuming_is_done(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    recorder.trouble = LookupError("no stream")
    paused, resumed = await ask(store, journal, PAUSE), await ask(store, journal, RESUME)
    await desk.work()
    assert await state_of(store, paused) == (True, NOTHING_RECORDED)
    assert await state_of(store, resumed) == (True, "")
    assert [fact.kind for fact in read_journal(journal.folder)] == [OPENED]


async def test_a_recorder_that_fails_holds_up_nobody(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    recorder.trouble = RuntimeError("a bug")
    number = await ask(store, journal, PAUSE)
    await desk.work()
    done, problem = await state_of(store, number)
    assert done
    assert "could not" in problem
    assert not await is_paused(store, journal)


async def test_a_pause_whose_mark_cannot_be_written_holds_all_the_same(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "write", full)
    number = await ask(store, journal, PAUSE)
    await desk.work()
    assert recorder.told == [("pause", journal.capture_id)]
    assert await state_of(store, number) == (True, "")


async def test_codes_of_keys_pause_and_resume_at_once(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    desk.enter(journal.capture_id, PAUSE, datetime.now(UTC))
    assert recorder.told == [("pause", journal.capture_id)], "before any database is asked"
    assert not await is_paused(store, journal)
    await desk.work()
    assert await is_paused(store, journal)
    desk.enter(journal.capture_id, PAUSE, datetime.now(UTC))  # once more: it stays paused
    desk.enter(journal.capture_id, RESUME, datetime.now(UTC))
    await desk.work()
    assert not await is_paused(store, journal)
    (found,) = pauses(read_journal(journal.folder), datetime.now(UTC))
    assert found.text == BY_KEYS


async def test_who_clicks_after_a_code_has_the_last_word(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    desk.enter(journal.capture_id, PAUSE, datetime.now(UTC))
    await ask(store, journal, RESUME)
    await desk.work()
    await desk.work()
    assert [what for what, _ in recorder.told] == ["pause", "resume"]
    assert not await is_paused(store, journal)


async def test_a_code_in_a_call_that_the_database_does_not_know_yet(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal, intake: Intake
) -> None:
    new = Journal.create(journal.folder.parent)
    new.write(OPENED, source="siprec")
    desk.enter(new.capture_id, PAUSE, datetime.now(UTC))
    await desk.work()
    call = CapturedCall(source="siprec", key=new.capture_id, started=datetime.now(UTC), capture_id=new.capture_id)
    await intake.open_call(call)
    await desk.work()
    assert await is_paused(store, new)
    assert desk._entered == {}


async def test_a_code_of_a_call_that_is_gone_is_forgotten(
    desk: CommandDesk, recorder: FakeRecorder, tmp_path: Path
) -> None:
    desk.enter("gone", PAUSE, datetime.now(UTC))  # its folder too: only the mark is missing
    recorder.trouble = LookupError("no stream")
    desk.enter("never", RESUME, datetime.now(UTC))
    await desk.work()
    assert desk._entered == {}
    assert not (tmp_path / "gone").exists()


async def test_a_command_given_while_the_service_was_down_is_done_at_its_start(
    store: Store, desk: CommandDesk, recorder: FakeRecorder, journal: Journal
) -> None:
    number = await ask(store, journal, PAUSE)
    notices = Notices(store.url)
    notices.listen(COMMANDS, desk.hear)
    tasks = [asyncio.create_task(notices.run()), asyncio.create_task(desk.run())]
    try:
        async with asyncio.timeout(20):
            done = False
            while not done:
                await asyncio.sleep(0.02)
                done, _ = await state_of(store, number)
    finally:
        await _cancel(tasks)
    assert recorder.told == [("pause", journal.capture_id)]


async def test_notices_survive_their_connection(store: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    notices = Notices(store.url)
    notices.listen(INTERACTIONS, heard.put_nowait)
    notices.listen(INTERACTIONS, _break)  # a hearer that breaks harms nobody
    task = asyncio.create_task(notices.run())
    try:
        async with asyncio.timeout(30):
            for number in range(2):
                assert await heard.get() is None, "after each connect everything is looked at"
                async with store.begin() as connection:
                    await notify(connection, INTERACTIONS, number)
                assert await heard.get() == str(number)
                assert await asyncio.to_thread(_terminate_listeners, store.url) == 1
    finally:
        await _cancel([task])


async def test_what_is_rolled_back_is_not_told(store: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    notices = Notices(store.url)
    notices.listen(INTERACTIONS, heard.put_nowait)
    task = asyncio.create_task(notices.run())
    try:
        async with asyncio.timeout(20):
            assert await heard.get() is None
            with pytest.raises(RuntimeError):
                async with store.begin() as connection:
                    await notify(connection, INTERACTIONS, 1)
                    raise RuntimeError
            async with store.begin() as connection:
                await notify(connection, INTERACTIONS, 2)
            assert await heard.get() == "2"
    finally:
        await _cancel([task])


def _break(payload: str | None) -> None:
    raise RuntimeError(payload)


def _terminate_listeners(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        return len(connection.execute(query).fetchall())


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
