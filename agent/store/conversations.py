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
from agent.model import CapturedCall, InteractionKind
from agent.store import evidence, interactions, joining, linking, sameness, views
from agent.store.sameness import Judgement
from agent.store.told import Told, View, combine, overlay
from agent.store.told import lose as lose_takes

log = structlog.get_logger()

_NONE: tuple[int, ...] = ()
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
    before = await views.find_told(connection, call)
    expected = overlay(before, call)
    tails = sameness.tails(expected)
    seeks = before is None or _decisive(before, expected)
    if seeks:
        await _lock_numbers(connection, tails)
    own = await views.lock_view(connection, call)
    view = View(source=call.source, told=overlay(own.told, call))
    seeks = seeks and set(sameness.tails(view.told)) <= set(tails)
    interaction_id, absorbed = own.interaction_id, _NONE
    if interaction_id is None:
        interaction_id = await _place(connection, own.id, view)
    if view.told != own.told:
        await views.save_view(connection, own.id, view.told)
    if call.details and dict(call.details) != own.details:
        await evidence.save_details(connection, own.id, {**own.details, **call.details})
    if seeks and own.interaction_id is not None:
        interaction_id, absorbed = await _unite(connection, interaction_id, view)
    if seeks and view.told.is_over and not absorbed:
        await _flag_near(connection, interaction_id, await _judge(connection, interaction_id, view))
    is_news = bool(absorbed) or own.interaction_id is None
    if is_news or view.told != own.told:
        is_news |= await save(connection, interaction_id)
    return Merged(interaction_id=interaction_id, evidence_id=own.id, is_news=is_news, absorbed=absorbed)


async def lose(connection: AsyncConnection, interaction_id: int, lost: Mapping[str, datetime]) -> bool:
    """The hosts of these captures were given up, and when they were heard last; whether the call has ended by that.
    The caller has locked what belongs to the call by `joining.lock_evidence`."""
    stored = await views.list_views(connection, interaction_id)
    went_on = not combine([one.view for one in stored]).is_over
    for one in stored:
        await views.save_view(connection, one.id, lose_takes(one.view.told, lost))
    await save(connection, interaction_id)
    return went_on and combine([one.view for one in await views.list_views(connection, interaction_id)]).is_over


async def save(connection: AsyncConnection, interaction_id: int) -> bool:
    """Make the call of what its sources told; returns whether the linker must look again.

    The interaction is locked before it is read, so that two sources that tell at once do not undo each other.
    """
    await joining.lock_interactions(connection, [interaction_id])
    told = combine([one.view for one in await views.list_views(connection, interaction_id)])
    await interactions.save_call(connection, interaction_id, told)
    await interactions.add_flags(connection, interaction_id, told.flags)
    return await interactions.save_parties(connection, interaction_id, told.parties)


# --- The same call ----------------------------------------------------------------------------------------------------


async def _place(connection: AsyncConnection, evidence_id: int, view: View) -> int:
    """The call that other sources have told of already, or a new one."""
    number = (await _judge(connection, None, view)).same
    if number is not None:
        await joining.lock_evidence(connection, [number])
        if (await _judge(connection, None, view)).same != number:
            raise DatabaseUnavailable(_CHANGED)
    else:
        number = await interactions.insert_interaction(connection, InteractionKind.CALL, view.told.started)
    await evidence.mark_read(connection, evidence_id, number)
    return number


async def _unite(connection: AsyncConnection, interaction_id: int, view: View) -> tuple[int, tuple[int, ...]]:
    """What has become known may tell that two calls are one; the older interaction stays, since pages know it."""
    other = (await _judge(connection, interaction_id, view)).same
    if other is None or not await joining.may_join(connection, interaction_id, other):
        return interaction_id, ()
    await lock_both(connection, interaction_id, other)
    if (await _judge(connection, interaction_id, view)).same != other:
        raise DatabaseUnavailable(_CHANGED)
    kept, gone = sorted((interaction_id, other))
    await joining.absorb(connection, kept, gone)
    await linking.drop_flags(connection, [kept], NEAR_FLAG)
    log.info("calls_united", interaction_id=kept, absorbed=gone)
    return kept, (gone,)


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
