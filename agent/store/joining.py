"""Two interactions become one, or one becomes two: whatever belongs to a call moves along.

Evidence first, then captures, then the interactions themselves, each in the order of ids: so no two such moves, and no
job that is about to store a recording or a transcript, wait for each other in a circle. Once an interaction is locked
nothing new can come to belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import changes, links, outbox, search
from agent.store.schema import (
    call,
    call_view,
    capture,
    delivery,
    evidence,
    interaction,
    link,
    metadata,
    party,
    recording,
    search_entry,
)

_MADE_ANEW = (party, call, link, search_entry)  # of the views that stay, by the linker, or by the index
_FOLLOWERS: tuple[Column[int], ...] = tuple(
    column
    for table in metadata.sorted_tables
    for column in table.columns
    if table not in (*_MADE_ANEW, delivery) and any(key.column is interaction.c.id for key in column.foreign_keys)
)


async def lock_interactions(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Hold these interactions as they are; whoever adds to them in the meantime is let through."""
    rows = select(interaction.c.id).where(interaction.c.id.in_(ids)).order_by(interaction.c.id)
    await connection.execute(rows.with_for_update(key_share=True))


async def lock_evidence(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """Hold everything that vouches for these interactions, and their captures."""
    for table in (evidence, capture):
        rows = select(table.c.id).where(table.c.interaction_id.in_(interaction_ids)).order_by(table.c.id)
        await connection.execute(rows.with_for_update())


async def lock_both(connection: AsyncConnection, first: int, second: int) -> bool:
    """Hold two interactions with all that belongs to them; False where one of them is no more."""
    await lock_evidence(connection, [first, second])
    rows = select(interaction.c.id).where(interaction.c.id.in_([first, second])).order_by(interaction.c.id)
    return len((await connection.execute(rows.with_for_update())).all()) == 2


async def may_join(connection: AsyncConnection, first: int, second: int) -> bool:
    """Not where people have decided about both, and not the same."""
    decided = {
        (one.interaction_id, one.card_id, one.state)
        for one in await links.list_links(connection, [first, second])
        if one.decided_by != links.BY_RULE
    }
    of_first = {one[1:] for one in decided if one[0] == first}
    of_second = {one[1:] for one in decided if one[0] == second}
    return not of_first or not of_second or of_first == of_second


async def absorb(connection: AsyncConnection, kept: int, gone: int) -> None:
    """Everything of ``gone`` becomes ``kept``'s, and it is no more; the caller has locked both by `lock_both`, saves
    the call and has it linked."""
    await outbox.move(connection, kept, gone)
    for column in _FOLLOWERS:
        await connection.execute(update(column.table).where(column == gone).values({column.name: kept}))
    await _move_decision(connection, kept, gone)
    await connection.execute(_MOVE_FLAGS, {"kept": kept, "gone": gone})
    for table in _MADE_ANEW:
        await connection.execute(delete(table).where(table.c.interaction_id == gone))
    await connection.execute(delete(interaction).where(interaction.c.id == gone))
    await search.changed(connection, [kept])
    await changes.touch(connection, [gone])


_MOVE_FLAGS = text(
    """
    UPDATE interaction SET flags = flags || ARRAY(
        SELECT flag FROM interaction AS other, unnest(other.flags) AS flag
        WHERE other.id = :gone AND flag <> ALL (interaction.flags))
    WHERE id = :kept
    """
)


async def _move_decision(connection: AsyncConnection, kept: int, gone: int) -> None:
    """What a person has decided about one of them holds for both."""
    by_person = link.c.decided_by != links.BY_RULE
    query = select(link.c.id).where(link.c.interaction_id == kept, by_person)
    has_own = (await connection.execute(query)).first() is not None
    is_decided = select(link.c.id).where(link.c.interaction_id == gone, by_person)
    if has_own or (await connection.execute(is_decided)).first() is None:
        return
    await connection.execute(delete(link).where(link.c.interaction_id == kept))
    await connection.execute(update(link).where(link.c.interaction_id == gone, by_person).values(interaction_id=kept))


async def part(connection: AsyncConnection, evidence_id: int, old: int, new: int) -> None:
    """The evidence with its captures, recordings and transcripts becomes the new interaction's, and stays apart."""
    await lock_interactions(connection, [old, new])
    source = select(evidence.c.source).where(evidence.c.id == evidence_id).scalar_subquery()
    own = update(evidence).where(evidence.c.interaction_id == old, evidence.c.source == source)  # its sound files too
    await connection.execute(own.values(interaction_id=new))
    await connection.execute(update(call_view).where(call_view.c.evidence_id == evidence_id).values(kept_apart=True))
    captures = select(capture.c.id).where(capture.c.evidence_id == evidence_id)
    recordings = select(recording.c.id).where(
        or_(recording.c.evidence_id == evidence_id, recording.c.capture_id.in_(captures))
    )
    ids = list((await connection.execute(recordings)).scalars())
    await connection.execute(update(capture).where(capture.c.evidence_id == evidence_id).values(interaction_id=new))
    await connection.execute(update(recording).where(recording.c.id.in_(ids)).values(interaction_id=new))
    for column in _FOLLOWERS:
        of_recording = [one for one in column.table.c if any(key.column is recording.c.id for key in one.foreign_keys)]
        for each in of_recording:
            await connection.execute(update(column.table).where(each.in_(ids)).values({column.name: new}))
    await search.changed(connection, [old, new])


async def let_join(connection: AsyncConnection, interaction_id: int) -> None:
    """A person has united what was to stay apart."""
    mine = select(evidence.c.id).where(evidence.c.interaction_id == interaction_id)
    await connection.execute(update(call_view).where(call_view.c.evidence_id.in_(mine)).values(kept_apart=False))


async def take_flags(connection: AsyncConnection, interaction_id: int, flags: Sequence[str]) -> None:
    """Take back what only somebody else's view said."""
    statement = text("UPDATE interaction SET flags = array_remove(flags, :flag) WHERE id = :id")
    for flag in flags:
        await connection.execute(statement, {"id": interaction_id, "flag": flag})
