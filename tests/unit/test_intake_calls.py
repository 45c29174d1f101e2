"""The door for calls: said twice, out of order or by many at once, a call is one interaction with one assemble job."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.errors import DatabaseUnavailable
from agent.intake import Intake
from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.store import conversations, interactions
from agent.store.engine import Store

_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_CALLER = CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+74950000011", channel=0)
_CALLEE = CapturedParty(position="callee", kind=IdentityKind.PHONE, value="101", name="Anna Ivanova", channel=1)


def _ringing(**more: Any) -> CapturedCall:
    key = uuid.uuid4().hex
    return CapturedCall(source="siprec", key=key, started=_START, parties=(_CALLER,), capture_id=f"c-{key}", **more)


def _answered(call: CapturedCall) -> CapturedCall:
    return replace(call, answered=_START + timedelta(seconds=4), parties=(_CALLER, _CALLEE))


def _ended(call: CapturedCall) -> CapturedCall:
    left = replace(_CALLEE, left=_START + timedelta(seconds=60))
    return replace(
        _answered(call),
        ended=_START + timedelta(seconds=60),
        disposition=Disposition.ANSWERED,
        parties=(_CALLER, left),
        flags=("metadata were missing",),
    )


async def _rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


async def _jobs(store: Store, task: str, argument: object) -> int:
    query = "SELECT 1 FROM procrastinate_jobs WHERE task_name = :task AND args::text LIKE :argument"
    return len(await _rows(store, query, task=task, argument=f"%{argument}%"))


async def _facts(store: Store, call: CapturedCall) -> dict[str, Any]:
    """Everything that the history knows of a call."""
    query = """
        SELECT i.id, i.started_at, i.flags, c.answered_at, c.ended_at, c.disposition, c.truncated
        FROM evidence e JOIN interaction i ON i.id = e.interaction_id JOIN call c ON c.interaction_id = i.id
        WHERE e.source = :source AND e.key = :key
    """
    (row,) = await _rows(store, query, source=call.source, key=call.key)
    parties = await _rows(
        store,
        "SELECT position, value, name, channel, left_at FROM party WHERE interaction_id = :id ORDER BY ordinal",
        id=row.id,
    )
    return {**row._mapping, "parties": [tuple(one) for one in parties]}


def _expected(interaction_id: int) -> dict[str, Any]:
    end = _START + timedelta(seconds=60)
    return {
        "id": interaction_id,
        "started_at": _START,
        "flags": ["metadata were missing"],
        "answered_at": _START + timedelta(seconds=4),
        "ended_at": end,
        "disposition": "answered",
        "truncated": False,
        "parties": [("caller", "+74950000011", "", 0, None), ("callee", "101", "Anna Ivanova", 1, end)],
    }


async def test_a_call_from_ring_to_end(store: Store, intake: Intake) -> None:
    call = _ringing()
    first = await intake.open_call(call)
    assert (await _facts(store, call))["disposition"] == "in_progress"
    assert await intake.update_call(_answered(call)) == first
    assert await intake.close_call(_ended(call)) == first
    assert await _facts(store, call) == _expected(first)
    assert await _jobs(store, "assemble", call.capture_id) == 1


_STEPS = ("open", "update", "close")


@pytest.mark.parametrize(
    "order", [*itertools.permutations(_STEPS), _STEPS * 2, tuple(reversed(_STEPS)) * 2], ids="-".join
)
async def test_any_order_tells_the_same_story(order: tuple[str, ...], store: Store, intake: Intake) -> None:
    call = _ringing()
    say = {
        "open": lambda: intake.open_call(call),
        "update": lambda: intake.update_call(_answered(call)),
        "close": lambda: intake.close_call(_ended(call)),
    }
    ids = {await say[step]() for step in order}
    assert len(ids) == 1
    assert await _facts(store, call) == _expected(ids.pop())
    assert await _jobs(store, "assemble", call.capture_id) == 1


async def test_twenty_at_once(store: Store, intake: Intake) -> None:
    call = _ringing()
    ways = [
        *(intake.open_call(call) for _ in range(7)),
        *(intake.update_call(_answered(call)) for _ in range(7)),
        *(intake.close_call(_ended(call)) for _ in range(6)),
    ]
    ids = set(await asyncio.gather(*ways))
    assert len(ids) == 1
    assert await _facts(store, call) == _expected(ids.pop())
    assert await _jobs(store, "assemble", call.capture_id) == 1
    assert len(await _rows(store, "SELECT 1 FROM capture WHERE id = :id", id=call.capture_id)) == 1


async def test_many_different_calls_at_once_do_not_wait_for_each_other_for_ever(store: Store, intake: Intake) -> None:
    calls = [_ringing() for _ in range(60)]
    ids = await asyncio.gather(*(intake.close_call(_ended(call)) for call in calls))
    assert len(set(ids)) == 60


async def test_repeating_makes_no_new_link_job(store: Store, intake: Intake) -> None:
    call = _ringing()
    interaction_id = await intake.open_call(call)
    await intake.open_call(call)
    await intake.update_call(_answered(call))
    await intake.update_call(_answered(call))
    assert await _jobs(store, "link", f"[{interaction_id}]") == 2  # one for the ring, one for the second party


async def test_the_assemble_job_is_for_this_host(store: Store, intake: Intake) -> None:
    call = _ringing()
    await intake.close_call(_ended(call))
    query = "SELECT queue_name, args FROM procrastinate_jobs WHERE task_name = 'assemble' AND args::text LIKE :like"
    (row,) = await _rows(store, query, like=f"%{call.capture_id}%")
    assert row.queue_name == "host:test"
    assert row.args == {"capture_id": call.capture_id}


async def test_a_call_without_sound_has_nothing_to_assemble(store: Store, intake: Intake) -> None:
    call = replace(_ringing(), capture_id=None)
    interaction_id = await intake.close_call(_ended(call))
    assert await _rows(store, "SELECT 1 FROM capture WHERE interaction_id = :id", id=interaction_id) == []


async def test_truncation_once_seen_stays(store: Store, intake: Intake) -> None:
    call = _ringing()
    await intake.update_call(replace(call, truncated=True))
    await intake.close_call(_ended(call))
    assert (await _facts(store, call))["truncated"] is True


async def test_what_a_later_snapshot_does_not_know_is_kept(store: Store, intake: Intake) -> None:
    call = _ringing()
    await intake.update_call(_answered(call))
    await intake.update_call(replace(call, parties=(_CALLER, replace(_CALLEE, name="", channel=None))))
    assert (await _facts(store, call))["parties"][1] == ("callee", "101", "Anna Ivanova", 1, None)


async def test_a_party_that_turned_out_to_be_another(store: Store, intake: Intake) -> None:
    call = _ringing()
    await intake.update_call(_answered(call))
    await intake.update_call(replace(call, parties=(_CALLER, replace(_CALLEE, value="102", name="Boris"))))
    assert (await _facts(store, call))["parties"][1][1:3] == ("102", "Boris")


async def test_the_same_key_of_two_sources_is_two_calls(store: Store, intake: Intake) -> None:
    call = _ringing()
    other = replace(call, source="asterisk", capture_id=f"{call.capture_id}-2")
    assert await intake.open_call(call) != await intake.open_call(other)


async def test_a_transaction_that_fails_leaves_no_row_and_no_job(
    store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = _ringing()

    async def fail(*arguments: object, **more: object) -> bool:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(interactions, "save_parties", fail)
        with pytest.raises(RuntimeError):
            await intake.close_call(_ended(call))
    assert await _rows(store, "SELECT 1 FROM evidence WHERE key = :key", key=call.key) == []
    assert await _jobs(store, "assemble", call.capture_id) == 0
    interaction_id = await intake.close_call(_ended(call))
    assert await _facts(store, call) == _expected(interaction_id)


async def test_a_failure_after_the_job_takes_the_job_back(
    store: Store, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = _ringing()
    real = jobs.defer

    async def defer_then_break(connection: AsyncConnection, work: Sequence[jobs.Job]) -> None:
        await real(connection, work)
        if work[0].task == jobs.ASSEMBLE:
            raise RuntimeError("killed before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "defer", defer_then_break)
        with pytest.raises(RuntimeError):
            await intake.close_call(_ended(call))
    assert await _jobs(store, "assemble", call.capture_id) == 0
    assert await _rows(store, "SELECT 1 FROM capture WHERE id = :id", id=call.capture_id) == []
    await intake.close_call(_ended(call))
    assert await _jobs(store, "assemble", call.capture_id) == 1


async def test_hostile_letters_do_not_keep_a_call_out(store: Store, intake: Intake) -> None:
    evil = "A\x00nna \ud800 \U0001f600"
    call = replace(
        _ringing(),
        parties=(replace(_CALLER, name=evil), replace(_CALLEE, value="\x00")),
        flags=(f"odd header {evil}",),
        details={"raw": evil, evil: ["\x00", "\\u0000", "\\\x00"]},
        conversation_key=evil,
    )
    interaction_id = await intake.close_call(_ended(replace(call)))
    assert await intake.close_call(call) == interaction_id
    (row,) = await _rows(store, "SELECT details FROM evidence WHERE key = :key", key=call.key)
    assert row.details["raw"] == "A\ufffdnna ? \U0001f600"
    assert row.details["A\ufffdnna ? \U0001f600"] == ["\ufffd", "\\u0000", "\\\ufffd"]


async def test_the_database_is_away(archive: Any) -> None:
    store = Store("postgresql:///cardline?host=/nonexistent&user=cardline")
    intake = Intake(store, archive, host="test")
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await intake.open_call(_ringing())
    await store.close()


async def test_two_recorders_that_end_at_the_same_moment_forget_neither(store: Store, intake: Intake) -> None:
    first = _ringing()
    second = replace(first, capture_id=f"{first.capture_id}-2")
    for call in (first, second):
        await intake.open_call(_answered(call))
    async with store.begin() as connection:
        await conversations.merge(connection, _ended(second))
        later = asyncio.create_task(intake.close_call(_ended(first)))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(20):
            while not await _rows(store, waiting):  # noqa: ASYNC110 - another session sets no event
                await asyncio.sleep(0.01)
    await later
    facts = await _facts(store, first)
    assert (facts["disposition"], facts["ended_at"]) == ("answered", _START + timedelta(seconds=60))
