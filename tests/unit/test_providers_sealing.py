"""What a provider told of a call becomes evidence: once, an hour after its end, and gone with an erasure."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.archive.chain import verify
from agent.archive.erasure import Demand, erase
from agent.model import EvidenceState
from agent.sip.providers.sealing import QUIET, ToldSealer
from agent.store import evidence, notifications
from agent.store.engine import Store
from tests.unit.provider_stories import EVENTS, STORIES
from tests.unit.test_providers_flow import Lab, lab

__all__ = ["lab"]

PRESET = "zadarma"


class Sealing:
    """A lab whose sealing jobs are done at will."""

    def __init__(self, lab: Lab, archive: Archive) -> None:
        self.lab, self.archive = lab, archive
        self.sealer = ToldSealer(lab.store, archive)

    async def jobs(self) -> list[tuple[datetime, list[list[str]]]]:
        query = "DELETE FROM procrastinate_jobs WHERE task_name = 'seal_told' RETURNING scheduled_at, args"
        return [(row.scheduled_at, row.args["calls"]) for row in await self.lab.rows(query)]

    async def pass_time(self) -> None:
        await self.lab.rows("UPDATE provider_call SET told_at = now() - interval '61 minutes' RETURNING 1")

    async def run(self, calls: Sequence[Sequence[str]]) -> list[tuple[str, bytes, int]]:
        """What is sealed after the job: key, content, interaction."""
        await self.sealer.seal(calls)
        async with self.lab.store.begin() as connection:
            ids = [row.id for row in await self.lab.rows("SELECT id FROM evidence WHERE key LIKE 'told:%'")]
            found = await evidence.find_evidence(connection, ids)
        assert all(one.state is EvidenceState.READ and one.blob is not None for one in found)
        return [(one.key, self.archive.read(one.blob), one.interaction_id or 0) for one in found if one.blob]


@pytest.fixture
async def sealing(lab: Lab, archive: Archive) -> AsyncIterator[Sealing]:
    yield Sealing(lab, archive)


async def told(sealing: Sealing) -> list[list[str]]:
    """All stories told; the calls that are to be sealed."""
    one = sealing.lab.add(PRESET)
    await sealing.lab.tell(one, *[hook for story in STORIES for hook in EVENTS[PRESET](story)])
    ((at, calls),) = await sealing.jobs()
    (row,) = await sealing.lab.rows("SELECT now() AS now")
    assert timedelta(0) < at - row.now <= QUIET
    return calls


async def test_all_that_was_told_of_each_call_is_sealed_once_when_it_is_quiet(sealing: Sealing) -> None:
    calls = await told(sealing)
    assert await sealing.run(calls) == [], "something was told of it within the hour"
    await sealing.pass_time()
    pieces = await sealing.run(calls)
    assert len(pieces) == len(calls) == len(STORIES)
    async with sealing.lab.store.begin() as connection:
        stored = await notifications.list_of_calls(connection, [(name, key) for name, key in calls])
    for (_, call_key), one in stored.items():
        (content,) = [json_lines(raw) for key, raw, _ in pieces if key == f"told:{call_key}:{one[-1].id}"]
        assert [base64.b64decode(line["body"]) for line in content] == [each.told.body for each in one]
        assert [datetime.fromisoformat(line["received"]) for line in content] == [each.received for each in one]
    assert sorted(number for _, _, number in pieces) == sorted(
        one["id"] for one in (await sealing.lab.calls()).values()
    )
    before = len(await blobs(sealing.lab.store))
    assert await sealing.run(calls) == pieces
    assert len(await blobs(sealing.lab.store)) == before


async def test_what_is_told_later_is_sealed_beside_it_with_all_there_is(sealing: Sealing) -> None:
    calls = await told(sealing)
    await sealing.pass_time()
    first = await sealing.run(calls)
    name, key = calls[0]
    await sealing.lab.rows(
        "INSERT INTO notification (provider, digest, origin, body, state, call_key)"
        " VALUES (:name, 'x', 'poll', 'late', 'read', :key) RETURNING 1",
        name=name,
        key=key,
    )
    again = await sealing.run(calls)
    (more,) = [one for one in again if one not in first]
    assert len(json_lines(more[1])) == 1 + len(
        json_lines(next(raw for one, raw, _ in first if one.startswith(f"told:{key}:")))
    )


async def test_calls_that_go_on_are_not_sealed_and_none_that_is_unknown(sealing: Sealing) -> None:
    calls = await told(sealing)
    await sealing.pass_time()
    await sealing.lab.rows("UPDATE provider_call SET state = 'open' WHERE call_key = :key RETURNING 1", key=calls[0][1])
    keys = {key.split(":")[1] for key, _, _ in await sealing.run([*calls, ["nobody", "nothing"], [PRESET, ""]])}
    assert calls[0][1] not in keys and len(keys) == len(calls) - 1


async def test_an_erasure_takes_it_and_it_does_not_come_back(sealing: Sealing) -> None:
    calls = await told(sealing)
    await sealing.pass_time()
    pieces = {key.split(":")[1]: number for key, _, number in await sealing.run(calls[:1])}
    numbers = {key.removeprefix(f"provider:{PRESET}/"): one["id"] for key, one in (await sealing.lab.calls()).items()}
    demand = Demand(by="anna", reason="demanded", basis="GDPR Art. 17", interaction_ids=list(numbers.values()))
    await erase(sealing.lab.store, demand)
    assert pieces == {calls[0][1]: numbers[calls[0][1]]}
    async with sealing.lab.store.begin() as connection:
        proofs = await evidence.list_evidence_of(connection, pieces[calls[0][1]])
    sealed = [one.blob for one in proofs if one.blob is not None]
    assert len(sealed) == 1 and sealed[0].wrapped_key is None
    await sealing.sealer.seal(calls)
    (row,) = await sealing.lab.rows("SELECT count(*) AS number FROM evidence WHERE key LIKE 'told:%'")
    assert row.number == 1, "nothing of the calls that were erased before they were sealed"
    assert (await verify(sealing.lab.store, sealing.archive)).first_bad is None


async def test_a_call_without_an_end_is_sealed_too_once_it_is_given_up(sealing: Sealing) -> None:
    one = sealing.lab.add(PRESET)
    await sealing.lab.tell(one, EVENTS[PRESET](STORIES[0])[0])
    ((_, calls),) = await sealing.jobs()
    (row,) = await sealing.lab.rows("SELECT told_at FROM provider_call")
    await sealing.lab.reader.give_up((calls[0][0], calls[0][1]), at=row.told_at)
    assert [found for _, found in await sealing.jobs()] == [calls]


def json_lines(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.decode().splitlines()]


async def blobs(store: Store) -> list[Any]:
    async with store.begin() as connection:
        return list((await connection.execute(text("SELECT id FROM blob"))).all())
