"""Employees with the extensions and addresses that were theirs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.schema import employee, employee_identity


@dataclass(frozen=True, slots=True, kw_only=True)
class EmployeeIdentity:
    """An extension, number or address of an employee; valid from (inclusive) to (exclusive), None is open."""

    employee_id: int
    identity: Identity
    valid_from: datetime | None
    valid_to: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Whether it belonged to the employee at that time."""
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Employee:
    """A person of the company."""

    id: int
    name: str
    identities: tuple[EmployeeIdentity, ...] = ()


async def insert_employee(connection: AsyncConnection, name: str) -> int:
    """A new employee."""
    return int((await connection.execute(insert(employee).values(name=name).returning(employee.c.id))).scalar_one())


async def find_or_insert_employee(connection: AsyncConnection, name: str) -> int:
    """The employee of this name, made where nobody has it."""
    found = (
        await connection.execute(select(employee.c.id).where(employee.c.name == name).limit(1))
    ).scalar_one_or_none()
    return int(found) if found is not None else await insert_employee(connection, name)


async def insert_identity(
    connection: AsyncConnection,
    employee_id: int,
    identity: Identity,
    *,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> None:
    """Give an employee an identity; an open earlier holder keeps it up to ``valid_from``."""
    if valid_from is not None:
        await connection.execute(
            update(employee_identity)
            .where(
                employee_identity.c.kind == identity.kind,
                employee_identity.c.value == identity.value,
                employee_identity.c.employee_id != employee_id,
                employee_identity.c.valid_to.is_(None),
            )
            .values(valid_to=valid_from)
        )
    await connection.execute(
        insert(employee_identity).values(
            employee_id=employee_id,
            kind=identity.kind,
            value=identity.value,
            valid_from=valid_from,
            valid_to=valid_to,
        )
    )


async def list_employees(connection: AsyncConnection) -> list[Employee]:
    """Everybody, by name, with all their identities."""
    held: dict[int, list[EmployeeIdentity]] = {}
    for row in await connection.execute(select(employee_identity).order_by(employee_identity.c.id)):
        held.setdefault(row.employee_id, []).append(
            EmployeeIdentity(
                employee_id=row.employee_id,
                identity=Identity(kind=IdentityKind(row.kind), value=row.value),
                valid_from=row.valid_from,
                valid_to=row.valid_to,
            )
        )
    rows = await connection.execute(select(employee.c.id, employee.c.name).order_by(employee.c.name))
    return [Employee(id=row.id, name=row.name, identities=tuple(held.get(row.id, ()))) for row in rows]


async def find_holders(connection: AsyncConnection, identities: Sequence[Identity]) -> list[EmployeeIdentity]:
    """Everybody who held one of these identities at any time; the caller asks `is_valid` for its moment."""
    if not identities:
        return []
    pairs = [(one.kind.value, one.value) for one in identities]
    query = select(employee_identity).where(tuple_(employee_identity.c.kind, employee_identity.c.value).in_(pairs))
    return [
        EmployeeIdentity(
            employee_id=row.employee_id,
            identity=Identity(kind=IdentityKind(row.kind), value=row.value),
            valid_from=row.valid_from,
            valid_to=row.valid_to,
        )
        for row in await connection.execute(query.order_by(employee_identity.c.id))
    ]
