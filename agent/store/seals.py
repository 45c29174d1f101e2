"""Rows of seals, and of their copies elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow
from agent.store.schema import seal, seal_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeal:
    """The signed bytes of a seal with the tokens that authorities gave for it."""

    number: int
    length: int
    statement: bytes
    signature: bytes
    sealed: datetime
    tokens: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealCopy:
    """A copy that should lie elsewhere; ``delivered`` None: not yet, and ``problem`` says why."""

    number: int
    target: str
    delivered: datetime | None
    problem: str


async def find_last_seal(connection: AsyncConnection) -> StoredSeal | None:
    """The newest seal."""
    row = (await connection.execute(select(seal).order_by(seal.c.number.desc()).limit(1))).first()
    return _stored(row, ()) if row else None


async def find_seal(connection: AsyncConnection, number: int) -> StoredSeal | None:
    """One seal with its tokens."""
    row = (await connection.execute(select(seal).where(seal.c.number == number))).first()
    return _stored(row, await _tokens(connection, number)) if row else None


async def list_seals(connection: AsyncConnection) -> list[StoredSeal]:
    """All seals in order; one a day is few."""
    tokens: dict[int, list[bytes]] = {}
    for row in await connection.execute(_TOKENS.order_by(seal_copy.c.target)):
        tokens.setdefault(row.seal_number, []).append(row.token)
    rows = await connection.execute(select(seal).order_by(seal.c.number))
    return [_stored(row, tuple(tokens.get(row.number, ()))) for row in rows]


async def insert_seal(
    connection: AsyncConnection,
    *,
    number: int,
    length: int,
    statement: bytes,
    signature: bytes,
    sealed: datetime,
    targets: Sequence[str],
) -> None:
    """A new seal, and the places its copies have to go to."""
    values = {"number": number, "length": length, "statement": statement, "signature": signature, "sealed_at": sealed}
    await connection.execute(insert(seal).values(**values))
    if targets:
        await connection.execute(insert(seal_copy), [{"seal_number": number, "target": one} for one in targets])


async def mark_delivered(connection: AsyncConnection, number: int, target: str, *, token: bytes | None) -> None:
    """Note that a copy has arrived, and what was given for it."""
    statement = update(seal_copy).where(seal_copy.c.seal_number == number, seal_copy.c.target == target)
    await connection.execute(statement.values(delivered_at=func.now(), token=token, problem=""))


async def mark_waiting(connection: AsyncConnection, number: int, target: str, problem: str) -> None:
    """Note why a copy has not arrived."""
    statement = update(seal_copy).where(seal_copy.c.seal_number == number, seal_copy.c.target == target)
    await connection.execute(statement.values(problem=problem))


async def list_copies(connection: AsyncConnection, number: int) -> list[SealCopy]:
    """Where a seal should lie and does."""
    rows = await connection.execute(
        select(seal_copy).where(seal_copy.c.seal_number == number).order_by(seal_copy.c.target)
    )
    return [
        SealCopy(number=row.seal_number, target=row.target, delivered=row.delivered_at, problem=row.problem)
        for row in rows
    ]


async def count_waiting(connection: AsyncConnection, target: str) -> int:
    """How many seals have not reached a place."""
    query = select(func.count()).where(seal_copy.c.target == target, seal_copy.c.delivered_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


_TOKENS = select(seal_copy.c.seal_number, seal_copy.c.token).where(seal_copy.c.token.is_not(None))


async def _tokens(connection: AsyncConnection, number: int) -> tuple[bytes, ...]:
    query = _TOKENS.where(seal_copy.c.seal_number == number).order_by(seal_copy.c.target)
    return tuple(row.token for row in await connection.execute(query))


def _stored(row: AnyRow, tokens: tuple[bytes, ...]) -> StoredSeal:
    return StoredSeal(
        number=row.number,
        length=row.length,
        statement=row.statement,
        signature=row.signature,
        sealed=row.sealed_at,
        tokens=tokens,
    )
