"""From what a provider tells, or is asked for, to calls with recordings in the history: on a real database, against
servers that answer as the providers' documents say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.errors import CardlineError, DatabaseUnavailable, Misconfigured
from agent.intake import Intake
from agent.model import CapturedCall, SourceState
from agent.sip.providers import polling
from agent.sip.providers.door import store_told
from agent.sip.providers.egress import ProviderRefused, ProviderUnreachable
from agent.sip.providers.fetching import RecordingFetcher
from agent.sip.providers.notification import Hook
from agent.sip.providers.polling import Poller
from agent.sip.providers.preset import Provider
from agent.sip.providers.reading import NotificationReader
from agent.store import notifications, providers, sources
from agent.store.engine import Store
from agent.store.notifications import Told
from tests.unit.provider_fakes import FakeProviders, empty
from tests.unit.provider_stories import EVENTS, ROWS, START, STORIES, Story, expected_times, provider
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps

NOW = START + timedelta(hours=1)
STEREO = wav_bytes(np.stack([chirps(1.0), chirps(1.0, seed=2)], axis=1))
MONO = wav_bytes(chirps(1.0))


class Lab:
    """A database of its own, a fake server, and providers of every preset that point to it."""

    def __init__(self, store: Store, archive: Archive, fake: FakeProviders, folder: Path) -> None:
        self.store, self.fake = store, fake
        self.intake = Intake(store, archive, host="test")
        self.known: dict[str, Provider] = {}
        self.reader = NotificationReader(store, archive, self.intake, self.known)
        self.fetcher = RecordingFetcher(store, archive, self.intake, self.known, folder)
        self.poller = Poller(store, self.reader, self.known, clock=lambda: NOW)

    def add(self, preset: str, **more: Any) -> Provider:
        found = provider(preset, api_url=self.fake.url, allow_private_hosts=True, **more)
        self.known[found.name] = found
        return found

    async def tell(self, one: Provider, *hooks: Hook) -> list[int]:
        told = [
            Told(
                provider=one.name,
                origin=notifications.HOOK,
                body=hook.body,
                tail="" if one.preset.in_address else hook.tail,
                query=hook.query,
                content_type=hook.content_type,
            )
            for hook in hooks
        ]
        await store_told(self.store, told)
        return await self.work()

    async def work(self) -> list[int]:
        """Do the reading jobs as a worker would; returns the notifications read."""
        query = "DELETE FROM procrastinate_jobs WHERE task_name = 'read_notifications' RETURNING args"
        ids = [number for row in await self.rows(query) for number in row.args["notification_ids"]]
        if ids:
            await self.reader.read(ids)
        return ids

    async def fetch(self) -> None:
        """Everything is due."""
        await self.rows("UPDATE provider_recording SET due_at = now() - interval '1 second' RETURNING 1")
        await self.fetcher.fetch()

    async def rows(self, query: str, **values: Any) -> Sequence[Any]:
        async with self.store.begin() as connection:
            return (await connection.execute(text(query), values)).all()

    async def calls(self) -> dict[str, dict[str, Any]]:
        query = """
            SELECT e.source || '/' || e.key AS key, i.id, i.started_at, i.flags,
                   c.answered_at, c.ended_at, c.disposition,
                   (SELECT array_agg(value ORDER BY ordinal) FROM party WHERE interaction_id = i.id) AS parties,
                   (SELECT count(*) FROM recording WHERE interaction_id = i.id) AS recordings
            FROM evidence e JOIN interaction i ON i.id = e.interaction_id JOIN call c ON c.interaction_id = i.id
            WHERE e.state = 'read' AND e.blob_id IS NULL
        """
        return {row.key: dict(row._mapping) for row in await self.rows(query)}


@pytest.fixture
async def lab(store: Store, archive: Archive, tmp_path: Path) -> AsyncIterator[Lab]:
    await empty(store)
    fake = FakeProviders(STORIES, STEREO)
    await fake.start()
    yield Lab(store, archive, fake, tmp_path)
    await fake.stop()


def digits(values: Sequence[str]) -> list[str]:
    return [value.lstrip("+") for value in values]


def as_expected(preset: str, found: Mapping[str, dict[str, Any]]) -> None:
    """All stories and no other call."""
    assert len(found) == len(STORIES)
    by_start = {(one["started_at"], tuple(digits(one["parties"]))): one for one in found.values()}
    for story in STORIES:
        numbers = (story.outside, story.extension)
        caller, callee = numbers if story.direction == "inbound" else tuple(reversed(numbers))
        started, answered, ended = expected_times(preset, story)
        matching = [one for one in found.values() if one["ended_at"] == ended and one["answered_at"] == answered]
        assert (started, (caller, callee)) in by_start, story
        assert any(
            (one["started_at"], tuple(digits(one["parties"])), one["disposition"])
            == (started, (caller, callee), story.status)
            for one in matching
        ), (story, found)


@pytest.mark.parametrize("preset", sorted(EVENTS))
async def test_notifications_become_calls(lab: Lab, preset: str) -> None:
    one = lab.add(preset)
    for story in STORIES:
        for hook in EVENTS[preset](story):
            await lab.tell(one, hook)
    as_expected(preset, await lab.calls())


@pytest.mark.parametrize("preset", sorted(EVENTS))
async def test_backwards_and_twice_the_same_calls(lab: Lab, preset: str) -> None:
    one = lab.add(preset)
    hooks = [hook for story in STORIES for hook in EVENTS[preset](story)]
    for hook in reversed(hooks):
        await lab.tell(one, hook)
    for hook in hooks:
        assert await lab.tell(one, hook) == [], "what was told before is no news and no job"
    as_expected(preset, await lab.calls())


async def test_all_at_once_by_many(lab: Lab) -> None:
    one = lab.add("mango")
    hooks = [hook for story in STORIES for hook in EVENTS["mango"](story)]
    ids = []
    for hook in hooks:
        told = Told(provider="mango", origin="hook", body=hook.body, tail=hook.tail)
        async with lab.store.begin() as connection:
            ids += await notifications.insert_notifications(connection, [told])
    await asyncio.gather(*(lab.reader.read([number]) for number in ids))
    as_expected("mango", await lab.calls())
    assert one.source == "provider:mango"


@pytest.mark.parametrize("preset", sorted(ROWS))
async def test_asking_alone_is_enough_with_recordings(lab: Lab, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lab.add(preset)
    monkeypatch.setattr("agent.sip.providers.preset._STATISTICS_PAUSE", 0.01)
    found = await lab.poller.poll(one)
    await lab.work()
    as_expected(preset, await lab.calls())
    assert found == len(STORIES)
    assert await lab.poller.poll(one) == 0, "the same lines again are no news"
    await lab.fetch()
    calls = await lab.calls()
    assert sum(call["recordings"] for call in calls.values()) == sum(story.recorded for story in STORIES)
    async with lab.store.begin() as connection:
        assert await providers.count_recordings(connection, one.name) == {"kept": 2}
        assert await providers.last_channels(connection, one.name) == 2
        status = await providers.find_status(connection, one.name)
        assert status.polled_until == NOW
    before = len(lab.fake.asked)
    await lab.fetcher.fetch()
    assert len(lab.fake.asked) == before, "what is kept is not fetched again"


@pytest.mark.parametrize("preset", ["mango", "zadarma", "sipuni", "uis"])
async def test_recordings_by_notification(lab: Lab, preset: str) -> None:
    one = lab.add(preset, recording_hosts=("127.0.0.1",))
    for hook in EVENTS[preset](STORIES[0]):
        body = hook.body.replace(b"https://media.uiscom.ru", f"{lab.fake.url}/files".encode())
        query = hook.query.replace("https%3A%2F%2Fsipuni.com", f"{lab.fake.url}/files")
        await lab.tell(one, replace(hook, body=body, query=query))
    await lab.fetch()
    (call,) = (await lab.calls()).values()
    assert call["recordings"] == 1
    (recording,) = await lab.rows("SELECT channels, mixed FROM recording")
    assert (recording.channels, recording.mixed) == (2, False)


async def test_one_channel_is_said(lab: Lab) -> None:
    one = lab.add("mango")
    lab.fake.sound = MONO
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    await lab.fetch()
    (recording,) = await lab.rows("SELECT channels, mixed FROM recording")
    assert (recording.channels, recording.mixed) == (1, True)
    await lab.poller._say(one, SourceState.RUNNING, "")
    async with lab.store.begin() as connection:
        (status,) = await sources.list_statuses(connection)
    assert status.source == "provider:mango"
    assert "the parties are not separated" in status.detail
    assert one.preset.stereo in status.detail


async def test_the_switch_for_recordings(lab: Lab) -> None:
    one = lab.add("mango", recordings=False)
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    assert await lab.rows("SELECT 1 FROM provider_recording") == []


# --- Recordings that cannot be had ------------------------------------------------------------------------------------


async def test_a_recording_that_is_not_ready_is_tried_again_later(lab: Lab) -> None:
    one = lab.add("mango")
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    for trouble in (web.Response(status=404), web.Response(status=503), web.json_response({"result": 3300})):
        lab.fake.troubles = [trouble]
        await lab.fetch()
        (row,) = await lab.rows(
            "SELECT state, problem, due_at > now() + interval '10 seconds' AS later FROM provider_recording"
        )
        assert (row.state, row.later) == ("waiting", True)
        assert row.problem != ""
    await lab.fetch()
    (row,) = await lab.rows("SELECT state, problem, attempts FROM provider_recording")
    assert (row.state, row.problem, row.attempts) == ("kept", "", 3)


async def test_a_recording_is_given_up_when_its_days_are_over_and_the_call_says_so(lab: Lab) -> None:
    one = lab.add("mango")
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    await lab.rows("UPDATE provider_recording SET expires_at = now() RETURNING 1")
    lab.fake.troubles = [web.Response(status=404)]
    await lab.fetch()
    (row,) = await lab.rows("SELECT state, problem FROM provider_recording")
    assert row.state == "given_up"
    assert "answers 404" in row.problem
    (call,) = (await lab.calls()).values()
    assert any(flag.startswith("the provider's recording could not be had") for flag in call["flags"])


async def test_where_we_cannot_nothing_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lab.add("mango")
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    await lab.rows("UPDATE provider_recording SET expires_at = now() RETURNING 1")

    async def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lab.intake, "keep_recording", full)
        await lab.fetch()
    (row,) = await lab.rows("SELECT state, problem FROM provider_recording")
    assert (row.state, "No space left" in row.problem) == ("waiting", True)


async def test_an_address_elsewhere_is_not_asked(lab: Lab) -> None:
    one = lab.add("uis")
    lab.known["uis"] = replace(
        one, settings=one.settings.model_copy(update={"allow_private_hosts": False, "api_url": ""})
    )
    hook = Hook(
        body=b'{"event": "end", "call_session_id": 1, "direction": "in", "contact_phone_number": "74950000011",'
        b'"start_time": "2026-03-02 14:00:00", "talk_duration": 5, "total_duration": 9,'
        b'"full_record_file_link": "http://169.254.169.254/latest/meta-data"}'
    )
    await lab.tell(one, hook)
    await lab.fetch()
    (row,) = await lab.rows("SELECT state, problem FROM provider_recording")
    assert row.state == "waiting"
    assert "is not HTTPS" in row.problem
    assert "add its host to recording_hosts" in row.problem


async def test_a_file_that_is_no_sound_is_kept_for_a_person(lab: Lab) -> None:
    one = lab.add("mango")
    lab.fake.sound = b"no sound at all"
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    for _ in range(9):
        await lab.fetch()
    (row,) = await lab.rows("SELECT state FROM provider_recording")
    assert row.state == "given_up"
    (proof,) = await lab.rows("SELECT source, problem, blob_id FROM evidence WHERE state = 'unreadable'")
    assert proof.source == "provider:mango"
    assert proof.blob_id is not None


async def test_a_hanging_provider_holds_up_no_other(lab: Lab) -> None:
    slow, fast = lab.add("mango"), lab.add("zadarma")
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(slow, hook)
    for hook in EVENTS["zadarma"](STORIES[0]):
        await lab.tell(fast, hook)
    lab.fake.troubles = [web.Response(status=500)]
    await lab.fetch()
    states = {row.provider: row.state for row in await lab.rows("SELECT provider, state FROM provider_recording")}
    assert sorted(states.values()) == ["kept", "waiting"]


async def test_what_a_killed_worker_left_is_removed(lab: Lab, tmp_path: Path) -> None:
    import os

    left, young = tmp_path / "tmp-old", tmp_path / "tmp-young"
    left.mkdir()
    (left / "recording").write_bytes(b"x")
    young.mkdir()
    os.utime(left, (0, 0))
    await lab.fetcher.fetch()
    assert not left.exists()
    assert young.exists()


# --- Reading ----------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_read_is_kept_and_shown(lab: Lab, archive: Archive) -> None:
    one = lab.add("generic")
    await lab.tell(one, Hook(body=b'{"event": "dance"'), Hook(query="event=end&outside=1"))
    found = await lab.rows("SELECT source, problem, state FROM evidence ORDER BY id")
    assert [(row.source, row.state) for row in found] == [("provider:generic", "unreadable")] * 2
    states = await lab.rows("SELECT state FROM notification")
    assert {row.state for row in states} == {"unreadable"}
    assert await lab.calls() == {}


async def test_a_preset_that_stumbles_hides_nothing(lab: Lab) -> None:
    one = lab.add("generic")

    def stumble(*_: object) -> None:
        raise ZeroDivisionError

    lab.known["generic"] = replace(one, preset=replace(one.preset, read=stumble))
    await lab.tell(one, *EVENTS["generic"](STORIES[0]))
    problems = {row.problem for row in await lab.rows("SELECT problem FROM evidence WHERE state = 'unreadable'")}
    assert problems == {"The notification cannot be read: ZeroDivisionError."}


async def test_letters_that_no_database_holds(lab: Lab) -> None:
    one = lab.add("generic")
    evil = b'{"event": "end", "call_id": "a\\u0000\\ud800b", "outside": "+7495\\u0000", "started": 1772442000}'
    await lab.tell(one, Hook(body=evil), *EVENTS["generic"](STORIES[0]))
    await lab.tell(one, Hook(query="event=end&call_id=%00%ff&outside=%00&started=1772442000"))
    assert len(await lab.calls()) == 3
    await lab.reader.go_on(before=datetime.now(UTC) + timedelta(minutes=1))
    assert await lab.rows("SELECT 1 FROM provider_call WHERE read_upto < noted_upto") == []


async def test_a_call_that_cannot_be_made_holds_up_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lab.add("generic")
    real = lab.intake.close_call

    async def stumble(call: CapturedCall) -> int:
        if call.key == STORIES[0].key:
            raise ZeroDivisionError
        return await real(call)

    monkeypatch.setattr(lab.intake, "close_call", stumble)
    await lab.tell(one, EVENTS["generic"](STORIES[0])[2], EVENTS["generic"](STORIES[1])[2])
    assert [key.partition("/")[2] for key in await lab.calls()] == [STORIES[1].key]
    (proof,) = await lab.rows("SELECT problem FROM evidence WHERE state = 'unreadable'")
    assert proof.problem == "The call cannot be made of what was told of it: ZeroDivisionError."
    assert await lab.rows("SELECT 1 FROM provider_call WHERE read_upto < noted_upto") == []


async def test_a_recording_told_before_its_call(lab: Lab) -> None:
    one = lab.add("zadarma")
    *others, record = EVENTS["zadarma"](STORIES[0])
    await lab.tell(one, record)
    assert await lab.calls() == {}
    assert await lab.rows("SELECT 1 FROM provider_recording") == []
    await lab.tell(one, *others)
    (row,) = await lab.rows("SELECT reference FROM provider_recording")
    assert row.reference == STORIES[0].recording


async def test_a_job_killed_after_its_marks_goes_on_where_it_was(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lab.add("mango")

    async def die(call: CapturedCall) -> int:
        raise DatabaseUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(lab.intake, "close_call", die)
        hook = next(hook for hook in EVENTS["mango"](STORIES[0]) if hook.tail == "events/summary")
        with pytest.raises(DatabaseUnavailable):
            await lab.tell(one, hook)
    assert await lab.calls() == {}
    now = datetime.now(UTC)
    await lab.reader.go_on(before=now - timedelta(minutes=2))
    assert await lab.calls() == {}, "whoever is at it is not disturbed"
    await lab.reader.go_on(before=now + timedelta(minutes=2))
    assert len(await lab.calls()) == 1
    (row,) = await lab.rows("SELECT read_upto = noted_upto AS is_whole, read_upto FROM provider_call")
    assert row.is_whole
    assert row.read_upto > 0


async def test_one_job_reads_what_others_were_to_read(lab: Lab) -> None:
    one = lab.add("mango")
    for hook in EVENTS["mango"](STORIES[0]):
        await store_told(lab.store, [Told(provider=one.name, origin="hook", body=hook.body, tail=hook.tail)])
    (job,) = await lab.rows("SELECT args FROM procrastinate_jobs WHERE task_name = 'read_notifications'")
    assert len(job.args["notification_ids"]) == 1
    await lab.reader.read(job.args["notification_ids"])
    assert {row.state for row in await lab.rows("SELECT state FROM notification")} == {"read"}
    (call,) = (await lab.calls()).values()
    assert call["disposition"] == "answered"


async def test_what_comes_while_a_call_is_made_is_in_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs at once: the one that began earlier ends later, and must not leave the call as it was then."""
    one = lab.add("mango")
    first, *others = EVENTS["mango"](STORIES[0])
    real, came = lab.intake.update_call, False

    async def update(call: CapturedCall) -> int:
        nonlocal came
        if not came:
            came = True
            await lab.tell(one, *others)
        return await real(call)

    monkeypatch.setattr(lab.intake, "update_call", update)
    made: list[CapturedCall] = []
    close = lab.intake.close_call

    async def note(call: CapturedCall) -> int:
        made.append(call)
        return await close(call)

    monkeypatch.setattr(lab.intake, "close_call", note)
    await lab.tell(one, first)
    assert len(made) == 2, "by the job that was faster, and again by the one that was overtaken"
    (call,) = (await lab.calls()).values()
    assert call["disposition"] == "answered"


async def test_a_worker_that_takes_the_job_this_moment_is_not_waited_for(lab: Lab) -> None:
    one = lab.add("mango")
    first, second, *_ = EVENTS["mango"](STORIES[0])
    await store_told(lab.store, [Told(provider=one.name, origin="hook", body=first.body, tail=first.tail)])
    async with lab.store.begin() as connection:
        await connection.execute(text("SELECT 1 FROM procrastinate_jobs FOR UPDATE"))
        async with asyncio.timeout(20):
            await store_told(lab.store, [Told(provider=one.name, origin="hook", body=second.body, tail=second.tail)])
    assert len(await lab.rows("SELECT 1 FROM procrastinate_jobs WHERE task_name = 'read_notifications'")) == 2


async def test_a_job_that_has_begun_is_not_relied_upon(lab: Lab) -> None:
    one = lab.add("mango")
    first, second, *_ = EVENTS["mango"](STORIES[0])
    await store_told(lab.store, [Told(provider=one.name, origin="hook", body=first.body, tail=first.tail)])
    await lab.rows("UPDATE procrastinate_jobs SET status = 'doing' RETURNING 1")
    await store_told(lab.store, [Told(provider=one.name, origin="hook", body=second.body, tail=second.tail)])
    assert len(await lab.rows("SELECT 1 FROM procrastinate_jobs WHERE task_name = 'read_notifications'")) == 2


async def test_a_provider_taken_out_of_the_settings(lab: Lab) -> None:
    gone, stays = lab.add("mango"), lab.add("generic")
    del lab.known["mango"]
    told = [
        Told(provider=gone.name, origin="hook", body=EVENTS["mango"](STORIES[0])[-2].body, tail="events/summary"),
        Told(provider=stays.name, origin="hook", body=EVENTS["generic"](STORIES[0])[2].body),
    ]
    await store_told(lab.store, told)
    with pytest.raises(Misconfigured, match="mango, which is in no"):
        await lab.work()
    assert len(await lab.calls()) == 1
    lab.known["mango"] = gone
    await lab.reader.read([row.id for row in await lab.rows("SELECT id FROM notification")])
    assert len(await lab.calls()) == 2


# --- Asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(ROWS))
async def test_a_refused_key_is_said(lab: Lab, preset: str) -> None:
    one = lab.add(preset, secret=SecretStr("wrong"))
    with pytest.raises(CardlineError) as caught:
        await lab.poller.poll(one)
    expected = ProviderUnreachable if preset == "sipuni" else ProviderRefused  # Sipuni says it with status 200
    assert isinstance(caught.value, expected)
    async with lab.store.begin() as connection:
        (status,) = await sources.list_statuses(connection)
        problem = (await providers.find_status(connection, one.name)).poll_problem
    assert status.state is (SourceState.UNREACHABLE if preset == "sipuni" else SourceState.LOGIN_FAILED)
    assert "wrong" not in problem
    assert problem == status.detail == str(caught.value)


@pytest.mark.parametrize("preset", sorted(ROWS))
@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 429},
        {"status": 200, "text": "<html>"},
        {"status": 200, "text": "[1, 2]"},
        {"status": 200},
    ],
    ids=str,
)
async def test_odd_answers_move_no_mark(lab: Lab, preset: str, trouble: dict[str, Any]) -> None:
    one = lab.add(preset)
    lab.fake.troubles = [web.Response(**trouble)]
    with pytest.raises(CardlineError):
        await lab.poller.poll(one)
    async with lab.store.begin() as connection:
        assert (await providers.find_status(connection, one.name)).polled_until is None
    assert await lab.calls() == {}


async def test_many_lines_come_page_by_page(lab: Lab) -> None:
    one = lab.add("zadarma", recordings=False)
    lab.fake.stories = [Story(key=f"n{number}", started=START + timedelta(seconds=number)) for number in range(1500)]
    assert await lab.poller.poll(one) == 1500
    assert lab.fake.asked.count("GET /v1/statistics/pbx/") == 2


async def test_what_was_missed_while_away_is_asked_for(lab: Lab) -> None:
    one = lab.add("zadarma", recordings=False)
    now = [START - timedelta(days=30)]
    poller = Poller(lab.store, lab.reader, lab.known, clock=lambda: now[0])
    assert await poller.poll(one) == 0
    now[0] = NOW
    assert await poller.poll(one) == len(STORIES)
    assert lab.fake.asked.count("GET /v1/statistics/pbx/") == 1 + 5, "in spans of a week at most"


async def test_a_call_that_went_on_when_we_last_asked(lab: Lab) -> None:
    one = lab.add("zadarma", recordings=False)
    long_call = Story(key="long", started=NOW - timedelta(hours=2), talk=3 * 3600)
    now, lab.fake.stories = [NOW], []
    poller = Poller(lab.store, lab.reader, lab.known, clock=lambda: now[0])
    assert await poller.poll(one) == 0
    now[0], lab.fake.stories = NOW + timedelta(hours=2), [long_call]
    assert await poller.poll(one) == 1, "the statistics have it in the place of its start"


async def test_only_one_host_asks(lab: Lab) -> None:
    lab.add("zadarma")
    async with lab.store.begin() as connection:
        assert await providers.claim_poll(connection, "zadarma", timedelta(minutes=5))
    async with lab.store.begin() as connection:
        assert not await providers.claim_poll(connection, "zadarma", timedelta(minutes=5))
        assert await providers.claim_poll(connection, "zadarma", timedelta(0))


async def test_what_no_job_read_is_read(lab: Lab) -> None:
    one = lab.add("mango")
    told = [
        Told(provider=one.name, origin="hook", body=hook.body, tail=hook.tail) for hook in EVENTS["mango"](STORIES[0])
    ]
    await store_told(lab.store, told)
    await lab.rows("DELETE FROM procrastinate_jobs RETURNING 1")
    await lab.rows("UPDATE notification SET received_at = :at RETURNING 1", at=NOW - timedelta(hours=1))
    await lab.poller.look_around()
    assert len(await lab.calls()) == 1


async def test_a_call_without_an_end_is_ended_and_flagged(lab: Lab) -> None:
    one = lab.add("mango")
    await lab.tell(one, EVENTS["mango"](STORIES[0])[0])
    await lab.poller.look_around()
    (call,) = (await lab.calls()).values()
    assert call["disposition"] == "in_progress"
    told = START + timedelta(minutes=2)
    await lab.rows("UPDATE provider_call SET told_at = :at RETURNING 1", at=told)
    poller = Poller(lab.store, lab.reader, lab.known, clock=lambda: NOW + timedelta(days=1))
    await poller.look_around()
    (call,) = (await lab.calls()).values()
    assert (call["disposition"], call["ended_at"]) == ("no_answer", told)
    assert "the provider never told of the end of this call" in call["flags"]


async def test_recordings_that_become_due_are_ordered_once(lab: Lab) -> None:
    one = lab.add("mango")
    for hook in EVENTS["mango"](STORIES[0]):
        await lab.tell(one, hook)
    await lab.rows("DELETE FROM procrastinate_jobs WHERE task_name = 'fetch_recordings' RETURNING 1")
    await lab.rows("UPDATE provider_recording SET due_at = now() - interval '1 second' RETURNING 1")
    for _ in range(3):
        await lab.poller.look_around()
    assert len(await lab.rows("SELECT 1 FROM procrastinate_jobs WHERE task_name = 'fetch_recordings'")) == 1


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("zadarma", [("100", ""), ("101", "")]),
        ("uis", [("101", "Anna Ivanova")]),
        ("mango", [("101", "Anna Ivanova")]),
    ],
)
async def test_extensions_for_who_is_who(lab: Lab, preset: str, expected: list[tuple[str, str]]) -> None:
    one = lab.add(preset)
    assert one.preset.list_extensions is not None
    api = one.open_api()
    try:
        assert await one.preset.list_extensions(api) == expected
    finally:
        await api.egress.close()


def test_the_clock_is_the_wall_s() -> None:
    assert abs(polling._now() - datetime.now(UTC)) < timedelta(minutes=1)
