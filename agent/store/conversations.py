"""One conversation seen by several sources is one call: each source's view is kept, and the call is made of them.

Locks, in this order, all to the end of the transaction: the numbers (advisory, so that two sources that tell of one
call at the same moment wait for each other, and no others do), the evidence, its captures, the interaction. Numbers are
locked only when something that decides has changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from sqlalchemy import Select, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import DatabaseUnavailable
from agent.model import CapturedCall, EvidenceState, InteractionKind
from agent.store import evidence as evidences
from agent.store import interactions, joining, linking, sameness
from agent.store.engine import AnyRow
from agent.store.sameness import Judgement, Other
from agent.store.schema import call_number, call_view, evidence
from agent.store.told import Told, View, as_json, combine, from_json, overlay
from agent.store.told import lose as lose_takes

log = structlog.get_logger()

_NUMBERS_LOCK = 0x43414C4C
_CHANGED = "The calls were changed by somebody else at this moment."
NEAR_FLAG = "may be the same call as No. % (%): %"
"""What the flag of a call that may be another's looks like (LIKE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Where a snapshot went. ``is_news``: something the linker looks at has changed. ``absorbed`` are interactions
    that turned out to be this one and are no more."""

    interaction_id: int
    evidence_id: int
    is_news: bool
    absorbed: tuple[int, ...] = ()


async def merge(connection: AsyncConnection, call: CapturedCall) -> Merged:
    """Lay a snapshot over what its source told before, and that over what others told of the same call."""
    before = await _find(connection, _of(call))
    expected = overlay(before.told if before else None, call)
    tails = sameness.tails(expected)
    seeks = before is None or _decisive(before.told, expected)
    if seeks:
        await _lock_numbers(connection, tails)
    is_new, own = await _lock_own(connection, call)
    told = overlay(own.told, call)
    interaction_id = own.interaction_id or await _begin(connection, own.id, call, told)
    if told != own.told:
        await _save_view(connection, own.id, told)
    if not is_new and call.details and dict(call.details) != own.details:
        await evidences.save_details(connection, own.id, {**own.details, **call.details})
    absorbed: tuple[int, ...] = ()
    if seeks and set(sameness.tails(told)) <= set(tails):
        interaction_id, absorbed = await _unite(connection, interaction_id, told)
    is_news = bool(absorbed) or is_new
    if absorbed or told != own.told:
        is_news |= await save(connection, interaction_id)
    return Merged(interaction_id=interaction_id, evidence_id=own.id, is_news=is_news, absorbed=absorbed)


async def lose(connection: AsyncConnection, interaction_id: int, lost: Mapping[str, datetime]) -> bool:
    """The hosts of these captures were given up, and when they were heard last; whether the call has ended by that.
    The caller has locked what belongs to the call by `joining.lock_evidence`."""
    views = await _list(connection, _views().where(evidence.c.interaction_id == interaction_id))
    went_on = not combine([one.view for one in views]).is_over
    for one in views:
        await _save_view(connection, one.id, lose_takes(one.view.told, lost))
    await save(connection, interaction_id)
    return went_on and combine(await list_views(connection, interaction_id)).is_over


async def save(connection: AsyncConnection, interaction_id: int) -> bool:
    """Make the call of what its sources told; returns whether the linker must look again.

    The interaction is locked before it is read, so that two sources that tell at once do not undo each other.
    """
    await joining.lock_interactions(connection, [interaction_id])
    views = [one.view for one in await _list(connection, _views().where(evidence.c.interaction_id == interaction_id))]
    told = combine(views)
    await interactions.save_call(connection, interaction_id, told)
    await interactions.add_flags(connection, interaction_id, told.flags)
    return await interactions.save_parties(connection, interaction_id, told.parties)


# --- The same call ----------------------------------------------------------------------------------------------------


async def _unite(connection: AsyncConnection, interaction_id: int, told: Told) -> tuple[int, tuple[int, ...]]:
    """Look whether another source has told of this call; the older interaction stays, since pages know it."""
    judgement = await _judge(connection, interaction_id, told)
    if judgement.same is not None and await joining.may_join(connection, interaction_id, judgement.same):
        await _lock_both(connection, interaction_id, judgement.same)
        if await _judge(connection, interaction_id, told) != judgement:
            raise DatabaseUnavailable(_CHANGED)
        kept, gone = sorted((interaction_id, judgement.same))
        await joining.absorb(connection, kept, gone)
        await linking.drop_flags(connection, [kept], NEAR_FLAG)
        log.info("calls_united", interaction_id=kept, absorbed=gone)
        return kept, (gone,)
    if told.is_over:
        await _flag_near(connection, interaction_id, judgement)
    return interaction_id, ()


async def _lock_both(connection: AsyncConnection, first: int, second: int) -> None:
    if not await joining.lock_both(connection, first, second):
        raise DatabaseUnavailable(_CHANGED)


async def _judge(connection: AsyncConnection, interaction_id: int, told: Told) -> Judgement:
    found = await _list(connection, _views().where(evidence.c.interaction_id == interaction_id))
    others = await _list_others(connection, interaction_id, told)
    return sameness.judge([one.view for one in found], others, kept_apart=any(one.kept_apart for one in found))


async def _list_others(connection: AsyncConnection, interaction_id: int, told: Told) -> list[Other]:
    """Calls with one of the numbers that began about then: by one index, however many calls there are."""
    first, last = sameness.window(told)
    nearby = (
        select(evidence.c.interaction_id)
        .join(call_number, call_number.c.evidence_id == evidence.c.id)
        .where(call_number.c.tail.in_(sameness.tails(told)), call_number.c.started_at.between(first, last))
    )
    query = _views().where(evidence.c.interaction_id.in_(nearby), evidence.c.interaction_id != interaction_id)
    groups: dict[int, list[_Known]] = {}
    for one in await _list(connection, query):
        groups.setdefault(one.interaction_id or 0, []).append(one)
    return [
        Other(interaction_id=number, views=[one.view for one in group], kept_apart=any(one.kept_apart for one in group))
        for number, group in groups.items()
    ]


async def _flag_near(connection: AsyncConnection, interaction_id: int, judgement: Judgement) -> None:
    await linking.drop_flags(connection, [interaction_id], NEAR_FLAG)
    if not judgement.near:
        return
    sources = await _sources_of_ended(connection, sorted(judgement.near))
    flags = [f"may be the same call as No. {one} ({sources[one]}): {judgement.near[one]}" for one in sorted(sources)]
    await interactions.add_flags(connection, interaction_id, flags)


async def _sources_of_ended(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """Those still going on will look for themselves when they know more."""
    found: dict[int, str] = {}
    for one in await _list(connection, _views().where(evidence.c.interaction_id.in_(ids))):
        if one.view.told.is_over and one.interaction_id is not None:
            found.setdefault(one.interaction_id, one.view.source)
    return found


# --- What a person says -----------------------------------------------------------------------------------------------


async def list_near(connection: AsyncConnection, interaction_id: int) -> dict[int, str]:
    """Calls that a person may want to unite with this one, with the reason why no rule did; those that a person has
    parted are among them, since he may have erred."""
    found = await _list(connection, _views().where(evidence.c.interaction_id == interaction_id))
    near: dict[int, str] = {}
    for told in (one.view.told for one in found):
        others = [replace(one, kept_apart=False) for one in await _list_others(connection, interaction_id, told)]
        judgement = sameness.judge([one.view for one in found], others)
        near |= judgement.near
        if judgement.same is not None:
            near[judgement.same] = "the numbers agree"
    return near


async def unite(connection: AsyncConnection, first: int, second: int) -> int | None:
    """A person says that these two are one call. Returns the interaction that stays; None where the two are not
    calls of different sources, or people have put them on different cards."""
    kept, gone = sorted((first, second))
    if kept == gone:
        return None
    await _lock_both(connection, kept, gone)
    views = {one: await list_views(connection, one) for one in (kept, gone)}
    sources = [{view.source for view in views[one]} for one in (kept, gone)]
    if not all(sources) or sources[0] & sources[1] or not await joining.may_join(connection, kept, gone):
        return None
    await joining.absorb(connection, kept, gone)
    await joining.let_join(connection, kept)
    await linking.drop_flags(connection, [kept], NEAR_FLAG)
    await save(connection, kept)
    return kept


async def separate(connection: AsyncConnection, evidence_id: int) -> tuple[int, int] | None:
    """A person says that what this evidence tells is a call of its own. It gets an interaction with its own times,
    parties and recordings, and no rule unites it again. Returns the ids of the old and the new one; None where nothing
    else vouches for the call."""
    found = await _find(connection, _views().where(evidence.c.id == evidence_id))
    if found is None or found.interaction_id is None:
        return None
    views = await _list(connection, _views().where(evidence.c.interaction_id == found.interaction_id))
    if len(views) < 2:
        return None
    await joining.lock_evidence(connection, [found.interaction_id])
    told = found.view.told
    own = await interactions.insert_interaction(connection, InteractionKind.CALL, told.started)
    rest = {flag for one in views if one.id != evidence_id for flag in one.view.told.flags}
    await joining.part(connection, evidence_id, found.interaction_id, own)
    gone = [flag for flag in told.flags if flag not in rest]
    await joining.take_flags(connection, found.interaction_id, gone)
    for one in (found.interaction_id, own):
        await save(connection, one)
    return found.interaction_id, own


async def list_views(connection: AsyncConnection, interaction_id: int) -> list[View]:
    """What each source told of a call, the first to tell first."""
    rows = await _list(connection, _views().where(evidence.c.interaction_id == interaction_id))
    return [one.view for one in rows]


# --- Rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    id: int
    interaction_id: int | None
    details: dict[str, object]
    told: Told | None
    source: str
    kept_apart: bool

    @property
    def view(self) -> View:
        assert self.told is not None
        return View(source=self.source, told=self.told)


def _known(row: AnyRow) -> _Known:
    return _Known(
        id=row.id,
        interaction_id=row.interaction_id,
        details=row.details,
        told=from_json(row.told) if row.told is not None else None,
        source=row.source,
        kept_apart=bool(row.kept_apart),
    )


_COLUMNS = (
    evidence.c.id,
    evidence.c.interaction_id,
    evidence.c.details,
    evidence.c.source,
    call_view.c.told,
    call_view.c.kept_apart,
)


def _views() -> Select[*tuple[object, ...]]:
    return select(*_COLUMNS).join(call_view, call_view.c.evidence_id == evidence.c.id).order_by(evidence.c.id)


def _of(call: CapturedCall) -> Select[*tuple[object, ...]]:
    known = select(*_COLUMNS).outerjoin(call_view, call_view.c.evidence_id == evidence.c.id)
    return known.where(evidence.c.source == call.source, evidence.c.key == call.key)


async def _find(connection: AsyncConnection, query: Select[*tuple[object, ...]]) -> _Known | None:
    row = (await connection.execute(query)).first()
    return _known(row) if row else None


async def _list(connection: AsyncConnection, query: Select[*tuple[object, ...]]) -> list[_Known]:
    return [_known(row) for row in await connection.execute(query)]


def _decisive(before: Told | None, after: Told) -> bool:
    """Whether it may have become known only now that this call is another one's."""
    if before is None:
        return True
    numbers = [(one.position, one.value) for one in before.parties] != [
        (one.position, one.value) for one in after.parties
    ]
    return numbers or _moments(before) != _moments(after)


def _moments(told: Told) -> tuple[datetime, datetime | None, bool]:
    return told.started, told.answered, told.is_over


async def _lock_numbers(connection: AsyncConnection, tails: Iterable[str]) -> None:
    keys = sorted({zlib.crc32(one.encode("utf-8", "replace")) - 2**31 for one in tails})
    query = text("SELECT pg_advisory_xact_lock(:lock, key) FROM unnest(CAST(:keys AS integer[])) AS key")
    if keys:
        await connection.execute(query, {"lock": _NUMBERS_LOCK, "keys": keys})


async def _lock_own(connection: AsyncConnection, call: CapturedCall) -> tuple[bool, _Known]:
    inserted = await evidences.insert_evidence(
        connection,
        source=call.source,
        key=call.key,
        details=dict(call.details),
        received_at=datetime.now(UTC),
        state=EvidenceState.STORED,
    )
    row = (await connection.execute(_of(call).with_for_update(of=evidence))).one()
    return inserted is not None, _known(row)


async def _begin(connection: AsyncConnection, evidence_id: int, call: CapturedCall, told: Told) -> int:
    number = await interactions.insert_interaction(
        connection, InteractionKind.CALL, told.started, conversation_key=call.conversation_key
    )
    await evidences.mark_read(connection, evidence_id, number)
    return number


async def _save_view(connection: AsyncConnection, evidence_id: int, told: Told) -> None:
    statement = insert(call_view).values(evidence_id=evidence_id, told=as_json(told))
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[call_view.c.evidence_id], set_={"told": statement.excluded.told}
        )
    )
    rows = [{"evidence_id": evidence_id, "tail": one, "started_at": told.started} for one in sameness.tails(told)]
    if not rows:
        return
    numbers = insert(call_number).values(rows)
    moved = call_number.c.started_at != numbers.excluded.started_at
    await connection.execute(
        numbers.on_conflict_do_update(
            index_elements=[call_number.c.evidence_id, call_number.c.tail],
            set_={"started_at": numbers.excluded.started_at},
            where=moved,
        )
    )
