"""One conversation seen by several sources is one call: each source's view is kept, and the call is made of them.

Locks, in this order, all to the end of the transaction: the numbers (advisory, so that two sources that tell of one
call at the same moment wait for each other, and no others do), the evidence, its captures, the interaction. Numbers are
locked only when something that decides has changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import DatabaseUnavailable
from agent.model import CapturedCall
from agent.store import evidence, interactions, joining, outbox, sameness, search, talks, views
from agent.store.interactions import CallOutline
from agent.store.sameness import Judgement
from agent.store.told import DERIVED_FLAGS, Told, View, combine, overlay
from agent.store.told import lose as lose_takes

log = structlog.get_logger()

_NUMBERS_LOCK = 0x43414C4C
_CHANGED = "The calls were changed by somebody else at this moment."
_NEAR = "may be the same call as No. "


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
    known = await views.find_told(connection, call)
    before = known.told if known else None
    expected = overlay(before, call)
    tails = sameness.tails(expected)
    seeks = before is None or _decisive(before, expected)
    if seeks:
        await _lock_numbers(connection, tails)
    own = await views.lock_view(connection, call, is_new=known is None)
    view = View(source=call.source, told=overlay(own.told, call))
    if own.interaction_id is None:
        return await _take_in(connection, own.id, view)
    if call.details and dict(call.details) != own.details:
        await evidence.save_details(connection, own.id, {**own.details, **call.details})
    if view.told == own.told:
        return Merged(interaction_id=own.interaction_id, evidence_id=own.id, is_news=False)
    await views.save_view(connection, own.id, view.told, own.told)
    if seeks and set(sameness.tails(view.told)) <= set(tails):
        return await _unite(connection, own.id, own.interaction_id, view)
    is_news = await save(connection, own.interaction_id)
    return Merged(interaction_id=own.interaction_id, evidence_id=own.id, is_news=is_news)


async def lose(connection: AsyncConnection, interaction_id: int, lost: Mapping[str, datetime]) -> bool:
    """The hosts of these captures were given up, and when they were heard last; whether the call has ended by that.
    The caller has locked what belongs to the call by `joining.lock_evidence`."""
    stored = await views.list_views(connection, interaction_id)
    went_on = not combine([one.view for one in stored]).is_over
    for one in stored:
        await views.save_view(connection, one.id, lose_takes(one.view.told, lost), one.told)
    await save(connection, interaction_id)
    return went_on and combine([one.view for one in await views.list_views(connection, interaction_id)]).is_over


async def save(connection: AsyncConnection, interaction_id: int, *, near: Sequence[str] | None = None) -> bool:
    """Make the call of what its sources told; returns whether the linker must look again. ``near`` replaces what is
    said of other calls that may be this one.

    The interaction is locked before it is read, so that two sources that tell at once do not undo each other.
    """
    before = await interactions.lock_interaction(connection, interaction_id)
    told = combine([one.view for one in await views.list_views(connection, interaction_id)])
    await interactions.save_call(connection, interaction_id, told)
    if told.is_over and told.answered != before.answered:
        await talks.answer_changed(connection, interaction_id)
    await outbox.stir(connection, [interaction_id])
    after = _interaction_of(told, _flags(before.flags, told, near))
    if after != before:
        await interactions.save_interaction(connection, interaction_id, after)
    has_moved = after.started != before.started
    if await interactions.list_captured(connection, interaction_id) == told.parties:
        await search.changed(connection, [interaction_id] if has_moved else ())
        return False
    await search.changed(connection, [interaction_id])
    return await interactions.save_parties(connection, interaction_id, told.parties)


def _interaction_of(told: Told, flags: Sequence[str]) -> CallOutline:
    return CallOutline(started=told.started, conversation_key=told.conversation_key, flags=tuple(flags))


def _flags(before: Sequence[str], told: Told, near: Sequence[str] | None) -> list[str]:
    """Each once, in the order in which it was first noticed; what follows from the views goes when they change."""
    kept = [
        one
        for one in before
        if (one not in DERIVED_FLAGS or one in told.flags) and (near is None or not one.startswith(_NEAR))
    ]
    return list(dict.fromkeys((*kept, *told.flags, *(near or ()))))


# --- The same call ----------------------------------------------------------------------------------------------------


async def _take_in(connection: AsyncConnection, evidence_id: int, view: View) -> Merged:
    """A source tells of a call for the first time: it is one that others have told of already, or a new one."""
    judgement = await _judge(connection, None, view)
    number = judgement.same
    if number is not None:
        await joining.lock_evidence(connection, [number])
        if (await _judge(connection, None, view)).same != number:
            raise DatabaseUnavailable(_CHANGED)
        await evidence.mark_read(connection, evidence_id, number)
        await views.save_view(connection, evidence_id, view.told, None)
        await save(connection, number)
    else:
        near = await _near_flags(connection, judgement) if view.told.is_over else ()
        outline = _interaction_of(view.told, (*view.told.flags, *near))
        number = await interactions.insert_call(connection, outline, view.told)
        await evidence.mark_read(connection, evidence_id, number)
        await views.save_view(connection, evidence_id, view.told, None)
    return Merged(interaction_id=number, evidence_id=evidence_id, is_news=True)


async def _unite(connection: AsyncConnection, evidence_id: int, interaction_id: int, view: View) -> Merged:
    """What has become known may tell that two calls are one; the older interaction stays, since pages know it."""
    judgement = await _judge(connection, interaction_id, view)
    other = judgement.same
    if other is not None and not await joining.may_join(connection, interaction_id, other):
        judgement = Judgement(near={**judgement.near, other: "people have put them on different cards"})
        other = None
    if other is None:
        near = await _near_flags(connection, judgement) if view.told.is_over else None
        is_news = await save(connection, interaction_id, near=near)
        return Merged(interaction_id=interaction_id, evidence_id=evidence_id, is_news=is_news)
    await lock_both(connection, interaction_id, other)
    if (await _judge(connection, interaction_id, view)).same != other:
        raise DatabaseUnavailable(_CHANGED)
    kept, gone = sorted((interaction_id, other))
    await joining.absorb(connection, kept, gone)
    await save(connection, kept, near=())
    log.info("calls_united", interaction_id=kept, absorbed=gone)
    return Merged(interaction_id=kept, evidence_id=evidence_id, is_news=True, absorbed=(gone,))


async def lock_both(connection: AsyncConnection, first: int, second: int) -> None:
    """Hold two calls with all that belongs to them.

    Raises:
        DatabaseUnavailable: one of them is no more; whoever asked looks again.
    """
    if not await joining.lock_both(connection, first, second):
        raise DatabaseUnavailable(_CHANGED)


async def _judge(connection: AsyncConnection, interaction_id: int | None, view: View) -> Judgement:
    """``interaction_id`` None: of a source that tells of a call for the first time."""
    stored = [] if interaction_id is None else await views.list_views(connection, interaction_id)
    own = [one.view for one in stored] or [view]
    others = await views.list_others(connection, interaction_id or 0, view.told, {one.source for one in own})
    return sameness.judge(own, others, kept_apart=any(one.kept_apart for one in stored))


async def _near_flags(connection: AsyncConnection, judgement: Judgement) -> list[str]:
    sources = await _sources_of_ended(connection, sorted(judgement.near)) if judgement.near else {}
    return [f"{_NEAR}{one} ({sources[one]}): {judgement.near[one]}" for one in sorted(sources)]


async def _sources_of_ended(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, str]:
    """Those still going on will look for themselves when they know more."""
    found: dict[int, str] = {}
    for one in await views.list_views(connection, *ids):
        if one.view.told.is_over and one.interaction_id is not None:
            found.setdefault(one.interaction_id, one.view.source)
    return found


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
