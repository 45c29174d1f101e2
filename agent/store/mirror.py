"""The mirror of a CRM: which of our cards is which of theirs, and users; rows only, no decisions.

Stages and deals are in `agent.store.deals`.

Whoever decides is `linker.mirror`; the matching reads our own cards and never waits for a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.engine import AnyRow
from agent.store.schema import (
    client_card,
    contact_point,
    crm_card,
    crm_user,
    deal,
    delivery,
    employee,
    employee_identity,
    party,
)

BY_RULE = "rule"
_MOST_MERGES = 20  # one after the other; a circle of them ends here


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorCard:
    """A card over there as we know it. ``client_card_id`` is ours, ``identities`` are those it has from there."""

    id: int
    kind: str
    external_id: str
    client_card_id: int | None
    name: str
    identities: tuple[Identity, ...]
    responsible: str
    is_gone: bool
    merged_into: str | None
    is_erased: bool


def _card(row: AnyRow) -> MirrorCard:
    return MirrorCard(
        id=row.id,
        kind=row.kind,
        external_id=row.external_id,
        client_card_id=row.client_card_id,
        name=row.name,
        identities=tuple(Identity(kind=IdentityKind(kind), value=value) for kind, value in row.identities),
        responsible=row.responsible,
        is_gone=row.gone_at is not None,
        merged_into=row.merged_into,
        is_erased=row.is_erased,
    )


async def living_card(connection: AsyncConnection, card_id: int) -> int:
    """The card that a card of ours has become, or itself."""
    merged = func.coalesce(client_card.c.merged_into_id, client_card.c.id)
    return int((await connection.execute(select(merged).where(client_card.c.id == card_id))).scalar_one())


async def find_cards(
    connection: AsyncConnection, connector_id: int, ids: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], MirrorCard]:
    """Those of these (kind, external id) that are known."""
    key = tuple_(crm_card.c.kind, crm_card.c.external_id)
    query = select(crm_card).where(crm_card.c.connector_id == connector_id, key.in_(list(ids)))
    return {(row.kind, row.external_id): _card(row) for row in await connection.execute(query)}


async def list_places(
    connection: AsyncConnection, connector_id: int, card_ids: Sequence[int]
) -> dict[int, list[tuple[str, str]]]:
    """Where each of our cards is over there: (kind, external id), the oldest first; merges there and here are
    followed."""
    merged = client_card.alias()
    family = (
        select(client_card.c.id.label("own"), merged.c.id.label("member"))
        .join(merged, or_(merged.c.id == client_card.c.id, merged.c.merged_into_id == client_card.c.id))
        .where(client_card.c.id.in_(card_ids))
        .subquery()
    )
    query = (
        select(family.c.own, crm_card)
        .join(crm_card, crm_card.c.client_card_id == family.c.member)
        .where(crm_card.c.connector_id == connector_id)
        .order_by(crm_card.c.id)
    )
    places: dict[int, list[tuple[str, str]]] = {one: [] for one in card_ids}
    for row in (await connection.execute(query)).all():
        end = await _end_of_merges(connection, connector_id, _card(row))
        if end is not None and (end.kind, end.external_id) not in places[row.own]:
            places[row.own].append((end.kind, end.external_id))
    return places


async def _end_of_merges(connection: AsyncConnection, connector_id: int, card: MirrorCard) -> MirrorCard | None:
    for _ in range(_MOST_MERGES):
        if not card.is_gone:
            return card
        if card.merged_into is None:
            return None
        known = await find_cards(connection, connector_id, [(card.kind, card.merged_into)])
        found = known.get((card.kind, card.merged_into))
        if found is None:
            return None
        card = found
    return None


async def save_card(
    connection: AsyncConnection,
    connector_id: int,
    *,
    kind: str,
    external_id: str,
    client_card_id: int | None,
    name: str,
    identities: Iterable[Identity],
    responsible: str,
) -> None:
    """What a card over there is now; one that was gone and comes back is there again."""
    values: dict[str, Any] = {
        "client_card_id": client_card_id,
        "name": name,
        "identities": [[one.kind.value, one.value] for one in identities],
        "responsible": responsible,
        "gone_at": None,
        "merged_into": None,
        "seen_at": func.now(),
    }
    statement = insert(crm_card).values(connector_id=connector_id, kind=kind, external_id=external_id, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["connector_id", "kind", "external_id"], set_=values)
    )


async def mark_gone(
    connection: AsyncConnection, connector_id: int, kind: str, external_id: str, *, merged_into: str | None
) -> None:
    """A card or a deal is no more over there."""
    for table in (crm_card, deal):
        mine = (table.c.connector_id == connector_id) & (table.c.kind == kind) & (table.c.external_id == external_id)
        values: dict[str, Any] = {"gone_at": func.coalesce(table.c.gone_at, func.now())}
        if table is crm_card:
            values["merged_into"] = merged_into
        await connection.execute(update(table).where(mine).values(**values))


async def list_mapped(connection: AsyncConnection, connector_id: int, card_ids: Sequence[int]) -> set[int]:
    """Those of our cards that have a living place over there."""
    query = select(crm_card.c.client_card_id).where(
        crm_card.c.connector_id == connector_id, crm_card.c.client_card_id.in_(card_ids), crm_card.c.gone_at.is_(None)
    )
    return {one for one in (await connection.execute(query)).scalars() if one is not None}


async def save_names(
    connection: AsyncConnection,
    card_id: int,
    *,
    name: str | None,
    responsible_id: int | None,
    company_id: int | None,
) -> None:
    """What the CRM says of our card; None leaves it as it is."""
    values = {"name": name, "responsible_id": responsible_id, "company_id": company_id}
    said = {column: value for column, value in values.items() if value is not None}
    if said:
        await connection.execute(update(client_card).where(client_card.c.id == card_id).values(**said))


async def remove_contact_points(connection: AsyncConnection, card_id: int, identities: Sequence[Identity]) -> None:
    """A card over there has these no more, and no other card of there that is the same one here has them."""
    for one in identities:
        others = exists().where(
            crm_card.c.client_card_id == card_id,
            crm_card.c.gone_at.is_(None),
            crm_card.c.identities.contains([[one.kind.value, one.value]]),
        )
        mine = contact_point.c.client_card_id == card_id
        same = (contact_point.c.kind == one.kind.value) & (contact_point.c.value == one.value)
        await connection.execute(delete(contact_point).where(mine, same, ~others))


# --- Users ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """Somebody over there, and which employee he is."""

    external_id: str
    name: str
    address: str
    extension: str
    is_active: bool = True
    employee_id: int | None = None
    mapped_by: str | None = None


async def save_users(connection: AsyncConnection, connector_id: int, users: Sequence[UserRow]) -> None:
    """Those there are now; whoever is missing has left. What a person has mapped stays."""
    for one in users:
        values = {"name": one.name, "address": one.address, "extension": one.extension, "is_active": one.is_active}
        statement = insert(crm_user).values(connector_id=connector_id, external_id=one.external_id, **values)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["connector_id", "external_id"], set_=values)
        )
    rest = crm_user.c.external_id.not_in([one.external_id for one in users])
    mine = crm_user.c.connector_id == connector_id
    await connection.execute(update(crm_user).where(mine, rest).values(is_active=False))


async def map_users(connection: AsyncConnection, connector_id: int) -> list[int]:
    """Give users to employees by the same address or extension, where it is only one of each; returns the employees."""
    held = employee_identity.c
    same = or_(
        (held.kind == IdentityKind.ADDRESS)
        & (held.value == func.lower(crm_user.c.address))
        & (crm_user.c.address != ""),
        (held.kind == IdentityKind.EXTENSION) & (held.value == crm_user.c.extension) & (crm_user.c.extension != ""),
    )
    query = (
        select(crm_user.c.id, held.employee_id)
        .join(employee_identity, same)
        .where(
            crm_user.c.connector_id == connector_id,
            crm_user.c.employee_id.is_(None),
            crm_user.c.is_active,
            held.employee_id.is_not(None),
            held.valid_to.is_(None),
        )
        .distinct()
    )
    pairs = [(row.id, row.employee_id) for row in await connection.execute(query)]
    users, employees = [one for one, _ in pairs], [one for _, one in pairs]
    sure = [pair for pair in pairs if users.count(pair[0]) == 1 and employees.count(pair[1]) == 1]
    for user, who in sure:
        statement = update(crm_user).where(crm_user.c.id == user)
        await connection.execute(statement.values(employee_id=who, mapped_by=BY_RULE))
    return [who for _, who in sure]


async def map_user(
    connection: AsyncConnection, connector_id: int, external_id: str, employee_id: int | None, by: str
) -> bool:
    """A person says who a user is; False where there is no such user."""
    mine = (crm_user.c.connector_id == connector_id) & (crm_user.c.external_id == external_id)
    done = await connection.execute(update(crm_user).where(mine).values(employee_id=employee_id, mapped_by=by))
    return bool(done.rowcount)


async def find_users(connection: AsyncConnection, connector_id: int, employee_ids: Sequence[int]) -> dict[int, str]:
    """The users that these employees are over there."""
    query = (
        select(crm_user.c.employee_id, crm_user.c.external_id)
        .where(crm_user.c.connector_id == connector_id, crm_user.c.employee_id.in_(employee_ids), crm_user.c.is_active)
        .order_by(crm_user.c.id.desc())
    )
    return {row.employee_id: row.external_id for row in await connection.execute(query)}


async def find_employee(connection: AsyncConnection, connector_id: int, external_id: str) -> int | None:
    """The employee that a user over there is."""
    query = select(crm_user.c.employee_id).where(
        crm_user.c.connector_id == connector_id, crm_user.c.external_id == external_id
    )
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def list_users(connection: AsyncConnection, connector_id: int) -> list[UserRow]:
    """Who works there, by name."""
    query = select(crm_user).where(crm_user.c.connector_id == connector_id, crm_user.c.is_active)
    return [
        UserRow(
            external_id=row.external_id,
            name=row.name,
            address=row.address,
            extension=row.extension,
            employee_id=row.employee_id,
            mapped_by=row.mapped_by,
        )
        for row in await connection.execute(query.order_by(crm_user.c.name, crm_user.c.id))
    ]


async def list_unmapped(connection: AsyncConnection, connector_id: int) -> list[tuple[int, str]]:
    """Employees whose calls or mails are told there and who are nobody there: id and name."""
    told = exists(
        select(party.c.id)
        .join(delivery, delivery.c.interaction_id == party.c.interaction_id)
        .where(party.c.employee_id == employee.c.id, delivery.c.connector_id == connector_id)
    )
    mapped = exists().where(
        crm_user.c.connector_id == connector_id, crm_user.c.employee_id == employee.c.id, crm_user.c.is_active
    )
    query = select(employee.c.id, employee.c.name).where(told, ~mapped).order_by(employee.c.name, employee.c.id)
    return [(row.id, row.name) for row in await connection.execute(query)]
