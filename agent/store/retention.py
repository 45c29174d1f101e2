"""How long calls and mails are kept, which cards are exempt, and what is due to be erased by age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, exists, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import companysettings
from agent.store.schema import capture, card_hold, client_card, interaction, link

KINDS = (InteractionKind.CALL, InteractionKind.MESSAGE)
GRACE = timedelta(days=1)  # between a change of the policy and its first erasure, and between two
_POLICY, _RUN = "retention", "retention_run"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('retention', 13))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A card of which nothing is erased by age."""

    card_id: int
    name: str
    reason: str
    by: str
    at: datetime


async def find_policy(connection: AsyncConnection) -> dict[InteractionKind, int]:
    """Months for which each kind is kept; what is not in it is kept for ever."""
    saved = await companysettings.find_value(connection, _POLICY)
    found = {kind: saved.get(kind.value) for kind in KINDS}
    return {kind: months for kind, months in found.items() if isinstance(months, int) and months > 0}


async def save_policy(connection: AsyncConnection, policy: Mapping[InteractionKind, int]) -> None:
    """From now on; nothing is erased by it before a day has passed."""
    await companysettings.save_value(connection, _POLICY, {kind.value: months for kind, months in policy.items()})
    await companysettings.save_value(connection, _RUN, {"at": datetime.now(UTC).isoformat()})


async def lock_policy(connection: AsyncConnection) -> None:
    """Whoever changes it by what he has read of it changes it alone, until his transaction ends."""
    await connection.execute(_LOCK)


async def take_turn(connection: AsyncConnection, now: datetime) -> bool:
    """Whether it is time to erase what is due; whoever is told so does it, nobody else before a day has passed."""
    await lock_policy(connection)
    if not await find_policy(connection):
        return False
    last: Any = (await companysettings.find_value(connection, _RUN)).get("at")
    if isinstance(last, str) and now - datetime.fromisoformat(last) < GRACE:
        return False
    await companysettings.save_value(connection, _RUN, {"at": now.isoformat()})
    return True


def months_before(now: datetime, months: int) -> datetime:
    """The same day so many months ago, the last one of a shorter month."""
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    for day in range(now.day, 27, -1):
        try:
            return now.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return now.replace(year=year, month=month + 1)


def _due(kind: InteractionKind, before: datetime) -> Select[int]:
    """Older than that, not erased yet, assembled, and on no card that is held or became one that is."""
    unfinished = select(capture.c.id).where(
        capture.c.interaction_id == interaction.c.id, capture.c.state != "assembled"
    )
    card = client_card.alias()
    held = (
        select(link.c.id)
        .select_from(link)
        .join(card, or_(card.c.id == link.c.client_card_id, card.c.merged_into_id == link.c.client_card_id))
        .join(card_hold, card_hold.c.client_card_id == card.c.id)
        .where(link.c.interaction_id == interaction.c.id)
    )
    return select(interaction.c.id).where(
        interaction.c.kind == kind,
        interaction.c.started_at < before,
        interaction.c.erasure_id.is_(None),
        ~exists(unfinished),
        ~exists(held),
    )


async def list_due(
    connection: AsyncConnection, kind: InteractionKind, before: datetime, *, limit: int
) -> Sequence[int]:
    """The oldest of what is due."""
    query = _due(kind, before).order_by(interaction.c.started_at, interaction.c.id).limit(limit)
    return list((await connection.execute(query)).scalars())


async def count_due(connection: AsyncConnection, kind: InteractionKind, before: datetime, *, most: int) -> int:
    """How many are due, counted up to ``most``."""
    query = select(func.count()).select_from(_due(kind, before).limit(most).subquery())
    return int((await connection.execute(query)).scalar_one())


async def hold_card(connection: AsyncConnection, card_id: int, *, reason: str, by: str) -> bool:
    """Nothing of it is erased by age from now on; False where it was so already, or there is no such card."""
    known = select(client_card.c.id).where(client_card.c.id == card_id)
    if (await connection.execute(known)).first() is None:
        return False
    statement = insert(card_hold).values(client_card_id=card_id, reason=reason, by=by).on_conflict_do_nothing()
    return bool((await connection.execute(statement)).rowcount)


async def release_card(connection: AsyncConnection, card_id: int) -> bool:
    """The policy holds for it again."""
    return bool((await connection.execute(delete(card_hold).where(card_hold.c.client_card_id == card_id))).rowcount)


async def list_holds(connection: AsyncConnection) -> list[Hold]:
    """The newest first."""
    query = select(card_hold, client_card.c.name).join(client_card).order_by(card_hold.c.at.desc())
    return [
        Hold(card_id=row.client_card_id, name=row.name, reason=row.reason, by=row.by, at=row.at)
        for row in await connection.execute(query)
    ]
