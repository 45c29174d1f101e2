"""Employees with the extensions and addresses that were theirs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, func, insert, or_, select, text, tuple_, update
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.asking import Query, ask
from agent.store.engine import AnyRow
from agent.store.schema import employee, employee_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class EmployeeIdentity:
    """An extension, number or address of an employee; valid from (inclusive) to (exclusive), None is open.

    ``employee_id`` None: nobody's on purpose, such as a shared phone or a fax; ``label`` says which.
    """

    employee_id: int | None
    identity: Identity
    valid_from: datetime | None
    valid_to: datetime | None
    id: int = 0
    name: str = ""
    label: str = ""

    def is_valid(self, at: datetime) -> bool:
        """Whether it belonged to the employee at that time."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Employee:
    """A person of the company."""

    id: int
    name: str
    identities: tuple[EmployeeIdentity, ...] = ()


def _held(row: AnyRow) -> EmployeeIdentity:
    return EmployeeIdentity(
        id=row.id,
        employee_id=row.employee_id,
        name=row.name or "",
        identity=Identity(kind=IdentityKind(row.kind), value=row.value),
        label=row.label,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
    )


def _identities() -> Select[*tuple[object, ...]]:
    query = select(employee_identity, employee.c.name)
    return query.outerjoin(employee, employee.c.id == employee_identity.c.employee_id).order_by(employee_identity.c.id)


async def insert_employee(connection: AsyncConnection, name: str) -> int:
    """A new employee."""
    return int((await connection.execute(insert(employee).values(name=name).returning(employee.c.id))).scalar_one())


async def find_or_insert_employee(connection: AsyncConnection, name: str) -> int:
    """The employee of this name, made where nobody has it."""
    found = (
        await connection.execute(select(employee.c.id).where(employee.c.name == name).limit(1))
    ).scalar_one_or_none()
    return int(found) if found is not None else await insert_employee(connection, name)


async def rename_employee(connection: AsyncConnection, employee_id: int, name: str) -> bool:
    """Another name from now on, in the past too; False where there is no such employee."""
    statement = update(employee).where(employee.c.id == employee_id).values(name=name).returning(employee.c.id)
    return (await connection.execute(statement)).first() is not None


async def insert_identity(
    connection: AsyncConnection,
    employee_id: int | None,
    identity: Identity,
    *,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    label: str = "",
) -> None:
    """Give an employee, or nobody on purpose, an identity.

    With ``valid_from`` it has one holder at a time: an open earlier one keeps it up to then, and a later one has it
    from his own day on. Without, it is shared with whoever else holds it.
    """
    if valid_from is not None:
        columns = employee_identity.c
        others = and_(
            columns.kind == identity.kind,
            columns.value == identity.value,
            columns.employee_id.is_distinct_from(employee_id),
        )
        began = or_(columns.valid_from.is_(None), columns.valid_from <= valid_from)
        earlier = update(employee_identity).where(others, began, columns.valid_to.is_(None))
        await connection.execute(earlier.values(valid_to=valid_from))
        later = select(func.min(columns.valid_from)).where(others, columns.valid_from > valid_from)
        valid_to = valid_to or (await connection.execute(later)).scalar_one()
    await connection.execute(
        insert(employee_identity).values(
            employee_id=employee_id,
            kind=identity.kind,
            value=identity.value,
            valid_from=valid_from,
            valid_to=valid_to,
            label=label,
        )
    )


async def find_identity(connection: AsyncConnection, identity_id: int) -> EmployeeIdentity | None:
    """One of them."""
    row = (await connection.execute(_identities().where(employee_identity.c.id == identity_id))).first()
    return _held(row) if row else None


async def end_identity(connection: AsyncConnection, identity_id: int, valid_to: datetime) -> None:
    """It was the employee's until then, exclusively."""
    statement = update(employee_identity).where(employee_identity.c.id == identity_id)
    await connection.execute(statement.values(valid_to=valid_to))


async def remove_identity(connection: AsyncConnection, identity_id: int) -> None:
    """It was never the employee's: somebody erred."""
    await connection.execute(delete_from(employee_identity).where(employee_identity.c.id == identity_id))


async def list_employees(connection: AsyncConnection) -> list[Employee]:
    """Everybody, by name, with all their identities."""
    held: dict[int, list[EmployeeIdentity]] = {}
    for row in await connection.execute(_identities().where(employee_identity.c.employee_id.is_not(None))):
        held.setdefault(row.employee_id, []).append(_held(row))
    rows = await connection.execute(select(employee.c.id, employee.c.name).order_by(employee.c.name))
    return [Employee(id=row.id, name=row.name, identities=tuple(held.get(row.id, ()))) for row in rows]


_NAMES = text("SELECT id, name FROM employee ORDER BY name, id")


def names() -> Query[dict[int, str]]:
    """Everybody's name by id, by name."""
    return Query(statement=_NAMES, values={}, read=lambda rows: {row.id: row.name for row in rows})


async def list_names(connection: AsyncConnection) -> dict[int, str]:
    """The same by itself."""
    (found,) = await ask(connection, names())
    return found


async def list_nobodys(connection: AsyncConnection) -> list[EmployeeIdentity]:
    """What is nobody's on purpose, by its value."""
    query = _identities().where(
        employee_identity.c.employee_id.is_(None), employee_identity.c.kind != IdentityKind.DOMAIN
    )
    return [_held(row) for row in await connection.execute(query.order_by(None).order_by(employee_identity.c.value))]


async def find_holders(connection: AsyncConnection, identities: Sequence[Identity]) -> list[EmployeeIdentity]:
    """Everybody who held one of these identities at any time; the caller asks `is_valid` for its moment."""
    if not identities:
        return []
    pairs = [(one.kind.value, one.value) for one in identities]
    query = _identities().where(tuple_(employee_identity.c.kind, employee_identity.c.value).in_(pairs))
    return [_held(row) for row in await connection.execute(query)]


async def list_own_domains(connection: AsyncConnection) -> list[EmployeeIdentity]:
    """Mail domains that are the company's own, whoever writes from there, by name."""
    query = _identities().where(employee_identity.c.kind == IdentityKind.DOMAIN)
    return [_held(row) for row in await connection.execute(query.order_by(None).order_by(employee_identity.c.value))]


async def list_address_domains(connection: AsyncConnection) -> list[str]:
    """The domains at which employees have addresses."""
    domain = func.split_part(employee_identity.c.value, "@", 2)
    query = select(domain).where(employee_identity.c.kind == IdentityKind.ADDRESS).distinct()
    return sorted((await connection.execute(query)).scalars())
