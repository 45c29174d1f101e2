"""How virtual PBXs are, and which of their recordings are still to be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import provider_recording, provider_status

WAITING, KEPT, GIVEN_UP = "waiting", "kept", "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """What `cardline doctor provider` shows of one. ``refused`` counts requests with a wrong signature."""

    told: datetime | None = None
    refused: int = 0
    refused_at: datetime | None = None
    polled: datetime | None = None
    polled_until: datetime | None = None
    poll_problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRecording:
    """A recording at a provider. ``expires``: when it is given up."""

    provider: str
    call_key: str
    reference: str
    url: str
    attempts: int
    expires: datetime


# --- Status -----------------------------------------------------------------------------------------------------------


async def find_status(connection: AsyncConnection, provider: str) -> ProviderStatus:
    """How a provider is; all empty where nothing was ever heard of it."""
    row = (await connection.execute(select(provider_status).where(provider_status.c.provider == provider))).first()
    if row is None:
        return ProviderStatus()
    return ProviderStatus(
        told=row.told_at,
        refused=row.refused,
        refused_at=row.refused_at,
        polled=row.polled_at,
        polled_until=row.polled_until,
        poll_problem=row.poll_problem,
    )


async def note_told(connection: AsyncConnection, providers: Sequence[str]) -> None:
    """These have just told something that was believed."""
    for name in sorted(set(providers)):
        statement = insert(provider_status).values(provider=name, told_at=func.now())
        key = provider_status.c.provider
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[key], set_={"told_at": statement.excluded.told_at})
        )


async def note_refused(connection: AsyncConnection, provider: str, count: int) -> None:
    """So many more requests had a wrong signature."""
    columns = provider_status.c
    statement = insert(provider_status).values(provider=provider, refused=count, refused_at=func.now())
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[columns.provider],
            set_={"refused": columns.refused + count, "refused_at": statement.excluded.refused_at},
        )
    )


async def claim_poll(connection: AsyncConnection, provider: str, every: timedelta) -> bool:
    """Whether the statistics are to be asked for now, by us: on several hosts one of them does it."""
    columns = provider_status.c
    statement = insert(provider_status).values(provider=provider, claimed_at=func.now())
    result = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[columns.provider],
            set_={"claimed_at": statement.excluded.claimed_at},
            where=or_(columns.claimed_at.is_(None), columns.claimed_at <= func.now() - every),
        ).returning(columns.provider)
    )
    return result.first() is not None


async def note_polled(connection: AsyncConnection, provider: str, until: datetime) -> None:
    """The statistics were read up to this time."""
    await _note(connection, provider, polled_at=func.now(), polled_until=until, poll_problem="")


async def note_poll_problem(connection: AsyncConnection, provider: str, problem: str) -> None:
    """They could not be had, and why."""
    await _note(connection, provider, poll_problem=problem)


async def _note(connection: AsyncConnection, provider: str, **values: Any) -> None:
    statement = insert(provider_status).values(provider=provider, **values)
    key = provider_status.c.provider
    await connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=values))


# --- Recordings -------------------------------------------------------------------------------------------------------


async def add_recording(connection: AsyncConnection, one: ProviderRecording, *, due: datetime) -> bool:
    """A recording that is to be fetched; whether it is new. An address that was told later is kept."""
    statement = insert(provider_recording).values(
        provider=one.provider,
        call_key=one.call_key,
        reference=one.reference,
        url=one.url,
        state=WAITING,
        due_at=due,
        expires_at=one.expires,
    )
    columns = provider_recording.c
    added = await connection.execute(statement.on_conflict_do_nothing().returning(columns.reference))
    if added.first() is not None:
        return True
    if one.url:
        without = and_(_is(one), columns.state == WAITING, columns.url == "")
        await connection.execute(update(provider_recording).where(without).values(url=one.url, due_at=due))
    return False


async def list_due(connection: AsyncConnection, *, limit: int) -> list[ProviderRecording]:
    """Recordings to be fetched now, the longest due first."""
    columns = provider_recording.c
    query = (
        select(provider_recording)
        .where(columns.state == WAITING, columns.due_at <= func.now())
        .order_by(columns.due_at)
        .limit(limit)
    )
    return [_recording(row) for row in await connection.execute(query)]


async def postpone(connection: AsyncConnection, one: ProviderRecording, *, due: datetime, problem: str) -> None:
    """It could not be had now: when to try again, and why."""
    statement = update(provider_recording).where(_is(one), provider_recording.c.state == WAITING)
    values = {"due_at": due, "problem": problem, "attempts": func.least(provider_recording.c.attempts + 1, 30000)}
    await connection.execute(statement.values(**values))


async def settle(
    connection: AsyncConnection,
    one: ProviderRecording,
    *,
    state: str,
    problem: str = "",
    channels: int | None = None,
    interaction_id: int | None = None,
) -> None:
    """It is KEPT, or GIVEN_UP with the reason."""
    values = {"state": state, "problem": problem, "channels": channels, "interaction_id": interaction_id}
    await connection.execute(update(provider_recording).where(_is(one)).values(**values))


async def count_recordings(connection: AsyncConnection, provider: str) -> dict[str, int]:
    """How many are in each state."""
    columns = provider_recording.c
    query = select(columns.state, func.count().label("number")).where(columns.provider == provider)
    return {row.state: row.number for row in await connection.execute(query.group_by(columns.state))}


async def last_channels(connection: AsyncConnection, provider: str) -> int | None:
    """Channels of the recording that was kept last: one means the parties are not separated."""
    columns = provider_recording.c
    query = (
        select(columns.channels)
        .where(columns.provider == provider, columns.state == KEPT, columns.channels.is_not(None))
        .order_by(columns.due_at.desc())
        .limit(1)
    )
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def last_problem(connection: AsyncConnection, provider: str) -> str:
    """Why a recording was given up or is waited for, the newest."""
    columns = provider_recording.c
    query = (
        select(columns.problem)
        .where(columns.provider == provider, columns.problem != "", columns.state != KEPT)
        .order_by(columns.due_at.desc())
        .limit(1)
    )
    return str((await connection.execute(query)).scalar_one_or_none() or "")


def _is(one: ProviderRecording) -> ColumnElement[bool]:
    columns = provider_recording.c
    return and_(columns.provider == one.provider, columns.call_key == one.call_key, columns.reference == one.reference)


def _recording(row: AnyRow) -> ProviderRecording:
    return ProviderRecording(
        provider=row.provider,
        call_key=row.call_key,
        reference=row.reference,
        url=row.url,
        attempts=row.attempts,
        expires=row.expires_at,
    )
