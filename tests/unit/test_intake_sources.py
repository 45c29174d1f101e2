"""One conversation that several sources tell of is one call, whoever comes first, however late, and at the same moment;
and a person can part what was taken for one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.model import CapturedCall, Disposition, LinkState, Utterance
from agent.store import blobs, corrections, interactions, joining, links, recordings, transcripts
from agent.store.engine import Store
from agent.store.links import Link
from tests.unit.calls_told import at, told

WHO = "+79160000001 > 101"
AT_ONCE = 16  # as many connections as there are


@pytest.fixture(autouse=True)
async def empty(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(text("TRUNCATE interaction, evidence, blob, procrastinate_jobs CASCADE"))


async def rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


async def shape(store: Store) -> list[tuple[Any, ...]]:
    """Every call with its sources and parties."""
    query = """
        SELECT started_at, answered_at, ended_at, disposition, flags,
               (SELECT array_agg(source ORDER BY source) FROM evidence WHERE interaction_id = i.id),
               (SELECT array_agg(position || ' ' || right(value, 10) ORDER BY ordinal)
                FROM party WHERE interaction_id = i.id)
        FROM interaction i JOIN call c ON c.interaction_id = i.id ORDER BY 1, 6
    """
    return [tuple(one) for one in await rows(store, query)]


def ended(call: CapturedCall, seconds: float = 60) -> CapturedCall:
    how = Disposition.ANSWERED if call.answered else Disposition.NO_ANSWER
    return replace(call, ended=at(seconds), disposition=how)


async def flags_of(store: Store, number: int) -> list[str]:
    (row,) = await rows(store, "SELECT flags FROM interaction WHERE id = :id", id=number)
    return list(row.flags)


# --- One call ---------------------------------------------------------------------------------------------------------


async def test_whoever_comes_first_it_is_one_call(store: Store, intake: Intake) -> None:
    """Three sources, each with a ring, an answer and an end, in every order of the sources."""
    ends = set()
    for order in itertools.permutations(
        [f"asterisk:office {WHO} @0.4 ^6", "siprec 89160000001 > 101 @6.2 ^6.3", f"provider:uis {WHO} @0 ^6"]
    ):
        async with store.begin() as connection:
            await connection.execute(text("TRUNCATE interaction, evidence CASCADE"))
        calls = [told(line, key="k") for line in order]
        for say in (lambda one: replace(one, answered=None), lambda one: one, ended):
            for one in calls:
                await intake.update_call(say(one))
        (whole,) = await shape(store)
        assert whole[:4] == (at(0.4), at(6), at(60), "answered")
        assert whole[5] == ["asterisk:office", "provider:uis", "siprec"]
        assert whole[6] == ["caller 9160000001", "callee 101"]
        ends.add(str(whole))
    assert len(ends) == 1


async def test_a_number_that_comes_later_unites_what_was_two(store: Store, intake: Intake) -> None:
    ring = told("asterisk:office +79160000001 > - @0")
    first = await intake.open_call(ring)
    heard = told(f"siprec {WHO} @1", capture_id="c1")
    assert await intake.open_call(heard) != first
    assert await intake.update_call(replace(told(f"asterisk:office {WHO} @0"), key=ring.key)) == first
    assert len(await shape(store)) == 1
    assert [one.interaction_id for one in await rows(store, "SELECT interaction_id FROM capture")] == [first]
    assert await intake.close_call(ended(heard)) == first


async def test_what_is_polled_an_hour_later_finds_its_call(store: Store, intake: Intake) -> None:
    first = await intake.close_call(ended(told(f"asterisk:office {WHO} @0.3 ^5", capture_id="c2")))
    others = [ended(told(f"asterisk:office +7916000{n:04} > 101 @{n} ^{n + 1}")) for n in range(10, 20)]
    for one in others:
        await intake.close_call(one)
    late = ended(told("provider:uis +79160000001 > +74950000090 @1 ^5"))
    assert await intake.close_call(late) == first
    assert await intake.close_call(late) == first
    assert len(await shape(store)) == 11


async def test_the_same_source_tells_of_two_calls_when_they_overlap(store: Store, intake: Intake) -> None:
    for source in ("asterisk:office", "siprec"):
        assert len({await intake.open_call(told(f"{source} {WHO} @0")) for _ in range(3)}) == 3
    (row,) = await rows(store, "SELECT count(*) AS calls FROM interaction")
    assert row.calls == 6, "each of siprec had several to choose from, so none was certain"


async def test_two_that_fit_are_not_guessed_but_said(store: Store, intake: Intake) -> None:
    one = await intake.close_call(ended(told(f"asterisk:office {WHO} @0 ^4")))
    two = await intake.close_call(ended(told(f"asterisk:office {WHO} @2 ^4")))
    third = await intake.close_call(ended(told(f"provider:uis {WHO} @1 ^4")))
    assert await flags_of(store, third) == [
        f"may be the same call as No. {number} (asterisk:office): 2 calls fit equally well" for number in (one, two)
    ]


async def test_nothing_is_said_while_more_may_become_known(store: Store, intake: Intake) -> None:
    ring = told("asterisk:office +79160000001 > - @0")
    await intake.open_call(ring)
    number = await intake.close_call(ended(told(f"siprec {WHO} @1")))
    assert await flags_of(store, number) == []
    other = await intake.close_call(ended(ring))
    assert await flags_of(store, other) == [
        f"may be the same call as No. {number} (siprec): only one of the numbers agrees"
    ]
    known = replace(told(f"asterisk:office {WHO} @0"), key=ring.key)
    united = await intake.update_call(known)
    assert await flags_of(store, united) == []


async def test_the_call_that_became_another_is_announced_and_linked(store: Store, intake: Intake) -> None:
    first = await intake.open_call(told(f"asterisk:office {WHO} @0"))
    await rows(store, "DELETE FROM procrastinate_jobs RETURNING id")
    await intake.open_call(told("provider:uis +79160000001 > +74950000090 @1"))
    (job,) = await rows(store, "SELECT args FROM procrastinate_jobs WHERE task_name = 'link'")
    assert job.args == {"interaction_ids": [first]}


# --- At the same moment -----------------------------------------------------------------------------------------------


async def test_many_sources_at_the_same_moment_make_one_call_each(store: Store, intake: Intake) -> None:
    """Twenty calls, four sources each, every source three times, all at once through connections of their own."""
    sources = ("asterisk:office", "siprec", "provider:uis", "line:anna")
    calls = [
        told(f"{source} +7916000{n:04} > {100 + n} @{n % 3} ^{n % 3 + 5}", key=f"{source} {n}")
        for n in range(20)
        for source in sources
    ]
    at_once = asyncio.Semaphore(AT_ONCE)

    async def tell(call: CapturedCall) -> None:
        async with at_once:
            await intake.close_call(call)

    for step in (calls, [ended(one) for one in calls]):
        await asyncio.gather(*(tell(one) for one in step for _ in range(2)))
    found = await shape(store)
    assert len(found) == 20
    assert all(one[5] == sorted(sources) and len(one[6]) == 2 and one[3] == "answered" for one in found)


async def test_one_company_number_does_not_make_calls_wait_in_a_circle(store: Store, intake: Intake) -> None:
    """All of them reach one number of ours: every call shares a lock with every other."""
    calls = [
        told(f"{source} +7916000{n:04} > +74950000090 @{n / 100} ^5", key=f"{source} {n}")
        for n in range(30)
        for source in ("siprec", "provider:uis")
    ]
    at_once = asyncio.Semaphore(AT_ONCE)

    async def tell(call: CapturedCall) -> None:
        async with at_once:
            await intake.update_call(call)

    await asyncio.gather(*(tell(one) for one in calls))
    assert len(await shape(store)) == 30


async def test_what_changes_between_look_and_lock_is_tried_again(
    store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = told("asterisk:office +79160000001 > - @0")
    first = await intake.open_call(ring)
    other = await intake.open_call(told(f"siprec {WHO} @1"))
    known = replace(told(f"asterisk:office {WHO} @0"), key=ring.key)

    async def gone(*arguments: object) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(joining, "lock_both", gone)
        with pytest.raises(DatabaseUnavailable, match="at this moment"):
            await intake.update_call(known)
    assert len(await rows(store, "SELECT 1 FROM party WHERE interaction_id = :id", id=first)) == 1, "nothing was done"
    assert await intake.update_call(known) == first != other
    assert len(await shape(store)) == 1


# --- What belongs to a call moves along -------------------------------------------------------------------------------


async def recorded(store: Store, archive: Archive, call: CapturedCall, seconds: int) -> int:
    sealed = await asyncio.to_thread(archive.seal, f"{call.key}".encode(), media_type="audio/flac")
    async with store.begin() as connection:
        row = await recordings.find_capture(connection, call.capture_id or "")
        assert row is not None
        number = await recordings.save_recording(
            connection,
            capture_id=call.capture_id or "",
            interaction_id=row.interaction_id,
            blob_id=await blobs.save_blob(connection, sealed, source=call.source),
            started=call.started,
            duration_ms=seconds * 1000,
            channels=2,
            sample_rate=8000,
            gaps=(),
            truncated=False,
        )
        said = [Utterance(channel=0, start=0, end=1, text=call.source, confidence=1)]
        await transcripts.save_transcript(connection, recording_id=number, model="m", language="ru", utterances=said)
        return number


@pytest.fixture
def pair() -> tuple[CapturedCall, CapturedCall]:
    """Asterisk and SIPREC recorded one call; Asterisk learns its second number last."""
    half = ended(told("asterisk:office +79160000001 > - @0 ^2", capture_id="a", flags=("odd tap",)))
    return half, ended(told(f"siprec {WHO} @1 ^2", capture_id="b", flags=("odd header",)))


async def both_recorded(store: Store, archive: Archive, intake: Intake, pair: tuple[CapturedCall, CapturedCall]) -> int:
    first, second = pair
    number = await intake.close_call(first)
    assert await intake.close_call(second) != number
    await recorded(store, archive, first, 20)
    await recorded(store, archive, second, 50)
    known = replace(first, parties=told(f"asterisk:office {WHO} @0").parties)
    assert await intake.close_call(known) == number
    return number


async def test_recordings_and_transcripts_come_along_the_fuller_first(
    store: Store, archive: Archive, intake: Intake, pair: tuple[CapturedCall, CapturedCall]
) -> None:
    number = await both_recorded(store, archive, intake, pair)
    async with store.begin() as connection:
        sounds = await recordings.list_recordings(connection, [number])
        spoken = await transcripts.list_transcripts(connection, [number])
    assert [one.duration_ms for one in sounds] == [50_000, 20_000]
    assert sorted(one.utterances[0].text for one in spoken) == ["asterisk:office", "siprec"]
    assert await flags_of(store, number) == ["odd tap", "odd header"]
    assert len(await rows(store, "SELECT 1 FROM interaction")) == 1


async def test_a_person_parts_them_and_everything_goes_home(
    store: Store, archive: Archive, intake: Intake, pair: tuple[CapturedCall, CapturedCall]
) -> None:
    number = await both_recorded(store, archive, intake, pair)
    (proof,) = await rows(store, "SELECT id FROM evidence WHERE source = 'siprec'")
    async with store.begin() as connection:
        parted = await corrections.separate_call(connection, proof.id)
        assert parted is not None and parted[0] == number
        other = parted[1]
    async with store.begin() as connection:
        for owner, millis, source in ((number, 20_000, "asterisk:office"), (other, 50_000, "siprec")):
            assert [one.duration_ms for one in await recordings.list_recordings(connection, [owner])] == [millis]
            spoken = await transcripts.list_transcripts(connection, [owner])
            assert [one.utterances[0].text for one in spoken] == [source]
    assert await flags_of(store, number) == ["odd tap"]
    assert await flags_of(store, other) == ["odd header"]
    assert [one[0] for one in await shape(store)] == [at(0), at(1)]
    for again in pair:  # whatever is told again, they stay two
        await intake.close_call(replace(again, answered=at(1.9)))
    assert len(await shape(store)) == 2
    async with store.begin() as connection:
        assert await corrections.separate_call(connection, proof.id) is None, "nothing else vouches for it now"
        assert await corrections.separate_call(connection, 10**9) is None
        assert list(await corrections.list_near(connection, other)) == [number]
        assert await corrections.unite_calls(connection, other, number) == number
    assert len(await shape(store)) == 1
    assert len(await rows(store, "SELECT 1 FROM recording WHERE interaction_id = :id", id=number)) == 2


async def test_calls_of_one_source_or_none_are_not_united_by_hand(store: Store, intake: Intake) -> None:
    first, second = [await intake.open_call(told(f"siprec {WHO} @{n}")) for n in (0, 1)]
    async with store.begin() as connection:
        assert await corrections.unite_calls(connection, first, second) is None
        assert await corrections.unite_calls(connection, first, first) is None
        with pytest.raises(DatabaseUnavailable):
            await corrections.unite_calls(connection, first, 10**9)


def decision(number: int, state: LinkState) -> Link:
    return Link(interaction_id=number, card_id=None, started=at(0), state=state, reason="I know", decided_by="vera")


@pytest.mark.parametrize("who", [0, 1])
async def test_a_persons_decision_holds_for_the_united_call(who: int, store: Store, intake: Intake) -> None:
    ring = told("asterisk:office +79160000001 > - @0")
    ids = [await intake.open_call(ring), await intake.open_call(told(f"siprec {WHO} @1"))]
    async with store.begin() as connection:
        await links.decide_link(connection, decision(ids[who], LinkState.PRIVATE))
    united = await intake.update_call(replace(told(f"asterisk:office {WHO} @0"), key=ring.key))
    async with store.begin() as connection:
        (made,) = await links.list_links(connection, [united])
    assert (made.state, made.decided_by) == (LinkState.PRIVATE, "vera")


async def test_what_two_people_decided_differently_stays_two(store: Store, intake: Intake) -> None:
    ring = told("asterisk:office +79160000001 > - @0")
    other_key = "theirs"
    ids = [await intake.open_call(ring), await intake.open_call(told(f"siprec {WHO} @1", key=other_key))]
    async with store.begin() as connection:
        await links.decide_link(connection, decision(ids[0], LinkState.PRIVATE))
        await links.decide_link(connection, decision(ids[1], LinkState.UNKNOWN))
    assert await intake.update_call(replace(told(f"asterisk:office {WHO} @0"), key=ring.key)) == ids[0]
    assert len(await shape(store)) == 2
    ended_one = ended(replace(told(f"asterisk:office {WHO} @0"), key=ring.key))
    await intake.close_call(ended(told(f"siprec {WHO} @1", key=other_key)))
    await intake.close_call(ended_one)
    said = f"may be the same call as No. {ids[1]} (siprec): people have put them on different cards"
    assert await flags_of(store, ids[0]) == [said]


async def test_a_source_more_costs_one_look_by_index(store: Store, intake: Intake) -> None:
    await intake.open_call(told(f"siprec {WHO} @0"))
    async with store.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        query = (
            "EXPLAIN SELECT 1 FROM call_number WHERE tail IN ('0000001', '101') AND started_at BETWEEN now() AND now()"
        )
        plan = "\n".join((await connection.execute(text(query))).scalars())
    assert "ix_call_number_tail_started_at" in plan


async def test_parties_that_are_no_more_are_taken_away(store: Store, intake: Intake) -> None:
    number = await intake.open_call(told("siprec +79160000001 > 101,102 @0"))
    async with store.begin() as connection:
        whole = (await interactions.list_parties(connection, [number]))[number]
        assert await interactions.save_parties(connection, number, told(f"siprec {WHO} @0").parties)
        assert not await interactions.save_parties(connection, number, told(f"siprec {WHO} @0").parties)
        assert [one.id for one in (await interactions.list_parties(connection, [number]))[number]] == [
            one.id for one in whole[:2]
        ]
