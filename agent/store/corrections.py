"""What a person says of calls that no rule can know: these two are one, this one is two, this was somebody's."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import conversations, interactions, joining, sameness, views


async def list_near(connection: AsyncConnection, interaction_id: int) -> dict[int, str]:
    """Calls that a person may want to unite with this one, with the reason why no rule did; those that a person has
    parted are among them, since he may have erred."""
    own = [one.view for one in await views.list_views(connection, interaction_id)]
    sources = {one.source for one in own}
    near: dict[int, str] = {}
    for told in (one.told for one in own):
        found = await views.list_others(connection, interaction_id, told, sources)
        judgement = sameness.judge(own, [replace(one, kept_apart=False) for one in found])
        near |= judgement.near
        if judgement.same is not None:
            near[judgement.same] = "the numbers agree"
    return near


async def unite_calls(connection: AsyncConnection, first: int, second: int) -> int | None:
    """These two are one call. Returns the interaction that stays; None where they are not calls of different sources,
    or people have put them on different cards.

    Raises:
        DatabaseUnavailable: one of them is no more.
    """
    kept, gone = sorted((first, second))
    if kept == gone:
        return None
    await conversations.lock_both(connection, kept, gone)
    sources = [{one.source for one in await views.list_views(connection, number)} for number in (kept, gone)]
    if not all(sources) or sources[0] & sources[1] or not await joining.may_join(connection, kept, gone):
        return None
    await joining.absorb(connection, kept, gone)
    await joining.let_join(connection, kept)
    await conversations.save(connection, kept, near=())
    return kept


async def separate_call(connection: AsyncConnection, evidence_id: int) -> tuple[int, int] | None:
    """What this evidence tells is a call of its own. It gets an interaction with its own times, parties and recordings,
    and no rule unites it again. Returns the ids of the old and the new one; None where nothing else vouches for the
    call."""
    found = await views.find_view(connection, evidence_id)
    if found is None or found.interaction_id is None:
        return None
    old = found.interaction_id
    await joining.lock_evidence(connection, [old])
    stored = await views.list_views(connection, old)
    if len(stored) < 2 or evidence_id not in [one.id for one in stored]:
        return None
    told = found.view.told
    new = await interactions.insert_interaction(connection, InteractionKind.CALL, told.started)
    await joining.part(connection, evidence_id, old, new)
    rest = {flag for one in stored if one.id != evidence_id for flag in one.view.told.flags}
    await joining.take_flags(connection, old, [flag for flag in told.flags if flag not in rest])
    for one in (old, new):
        await conversations.save(connection, one)
    return old, new
