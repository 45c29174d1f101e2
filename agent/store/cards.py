"""Client cards and their contact points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.asking import Query, ask
from agent.store.schema import client_card, contact_point


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPoint:
    """A phone, address or domain of a card."""

    card_id: int
    identity: Identity
    label: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCard:
    """Whom a history belongs to: a person or a company. ``merged_into_id`` is the card that this one became."""

    id: int
    kind: str
    name: str
    company_id: int | None
    responsible_id: int | None
    contact_points: tuple[ContactPoint, ...] = ()
    stage: str = ""
    origin: str = ""
    merged_into_id: int | None = None
    created: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A card that could be meant by an identity, and through which contact point."""

    card_id: int
    card_name: str
    card_kind: str
    contact_point: ContactPoint
    company_id: int | None = None
    responsible_id: int | None = None


async def insert_card(
    connection: AsyncConnection,
    name: str,
    *,
    kind: str = "person",
    company_id: int | None = None,
    responsible_id: int | None = None,
    origin: str = "",
) -> int:
    """A new card without contact points; ``origin`` is what made it, if no person did."""
    values = {"name": name, "kind": kind, "company_id": company_id, "responsible_id": responsible_id, "origin": origin}
    return int(
        (await connection.execute(insert(client_card).values(**values).returning(client_card.c.id))).scalar_one()
    )


async def insert_contact_point(
    connection: AsyncConnection, card_id: int, identity: Identity, *, label: str = ""
) -> bool:
    """Give a card a contact point; False when it has it already. The caller re-links the past (`linker.retro`)."""
    values = {"client_card_id": card_id, "kind": identity.kind, "value": identity.value, "label": label}
    statement = upsert(contact_point).values(**values).on_conflict_do_nothing().returning(contact_point.c.id)
    return (await connection.execute(statement)).first() is not None


_CARD = text(
    """
    SELECT c.*, (SELECT json_agg(json_build_array(p.id, p.kind, p.value, p.label) ORDER BY p.id) FROM contact_point p
                 WHERE p.client_card_id = c.id) AS points
    FROM client_card c WHERE c.id = ANY(:ids) ORDER BY c.id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def find_card(connection: AsyncConnection, card_id: int) -> ClientCard | None:
    """One card with its contact points."""
    found = await find_cards(connection, [card_id])
    return found[0] if found else None


async def find_cards(connection: AsyncConnection, ids: Sequence[int]) -> list[ClientCard]:
    """Those of these cards that there are, in the order of their ids."""
    query = Query(statement=_CARD, values={"ids": list(ids)}, read=lambda rows: [_card(row) for row in rows])
    (found,) = await ask(connection, query)
    return found


def _card(row: Any) -> ClientCard:
    return ClientCard(
        id=row.id,
        kind=row.kind,
        name=row.name,
        company_id=row.company_id,
        responsible_id=row.responsible_id,
        contact_points=tuple(
            ContactPoint(
                id=number, card_id=row.id, identity=Identity(kind=IdentityKind(kind), value=value), label=label
            )
            for number, kind, value, label in row.points or ()
        ),
        stage=row.stage,
        origin=row.origin,
        merged_into_id=row.merged_into_id,
        created=row.created_at,
    )


async def find_or_insert_company(connection: AsyncConnection, name: str) -> int:
    """The company of this name, made where there is none."""
    named = (client_card.c.name == name) & (client_card.c.kind == "company") & client_card.c.merged_into_id.is_(None)
    query = select(client_card.c.id).where(named).order_by(client_card.c.id).limit(1)
    found = (await connection.execute(query)).scalar_one_or_none()
    return int(found) if found is not None else await insert_card(connection, name, kind="company")


async def lock_card(connection: AsyncConnection, card_id: int) -> None:
    """Nobody else changes it until the transaction ends."""
    await connection.execute(select(client_card.c.id).where(client_card.c.id == card_id).with_for_update())


async def change_card(
    connection: AsyncConnection,
    card_id: int,
    *,
    name: str,
    kind: str,
    company_id: int | None,
    responsible_id: int | None,
) -> None:
    """What a person has changed on the card; nobody is of himself."""
    values = {"name": name, "kind": kind, "responsible_id": responsible_id}
    values["company_id"] = company_id if company_id != card_id else None
    await connection.execute(update(client_card).where(client_card.c.id == card_id).values(**values))


async def remove_contact_point(connection: AsyncConnection, card_id: int, point_id: int) -> Identity | None:
    """It is not this client's any more; the caller re-links the past. None where the card has no such."""
    statement = (
        delete(contact_point)
        .where(contact_point.c.id == point_id, contact_point.c.client_card_id == card_id)
        .returning(contact_point.c.kind, contact_point.c.value)
    )
    row = (await connection.execute(statement)).first()
    return Identity(kind=IdentityKind(row.kind), value=row.value) if row else None


async def find_candidates(connection: AsyncConnection, identities: Sequence[Identity]) -> list[Candidate]:
    """Every card that has one of these identities as a contact point, oldest card first."""
    if not identities:
        return []
    pairs = [(one.kind.value, one.value) for one in identities]
    query = (
        select(
            contact_point.c.client_card_id,
            contact_point.c.kind,
            contact_point.c.value,
            contact_point.c.label,
            client_card.c.name,
            client_card.c.kind.label("card_kind"),
            client_card.c.company_id,
            client_card.c.responsible_id,
        )
        .join(client_card)
        .where(tuple_(contact_point.c.kind, contact_point.c.value).in_(pairs), client_card.c.merged_into_id.is_(None))
        .order_by(contact_point.c.client_card_id, contact_point.c.id)
    )
    return [
        Candidate(
            card_id=row.client_card_id,
            card_name=row.name,
            card_kind=row.card_kind,
            contact_point=ContactPoint(
                card_id=row.client_card_id,
                identity=Identity(kind=IdentityKind(row.kind), value=row.value),
                label=row.label,
            ),
            company_id=row.company_id,
            responsible_id=row.responsible_id,
        )
        for row in await connection.execute(query)
    ]
