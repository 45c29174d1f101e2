"""Teams: who is in one from when to when, and who supervises it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import account, employee, team, team_member, team_supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An employee in a team, from when (inclusive) to when (exclusive); None is open."""

    id: int
    employee_id: int
    name: str
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """With its members, those of the past too; ``supervisors`` are ids and names of accounts."""

    id: int
    name: str
    members: tuple[Member, ...] = ()
    supervisors: tuple[tuple[int, str], ...] = ()


async def insert_team(connection: AsyncConnection, name: str) -> int | None:
    """A new team; None where the name is taken."""
    statement = insert_or(team).values(name=name).on_conflict_do_nothing().returning(team.c.id)
    found: int | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def find_or_insert_team(connection: AsyncConnection, name: str) -> int:
    """The team of this name, made where there is none."""
    found = (await connection.execute(select(team.c.id).where(team.c.name == name))).scalar_one_or_none()
    made = found if found is not None else await insert_team(connection, name)
    assert made is not None
    return int(made)


async def rename_team(connection: AsyncConnection, team_id: int, name: str) -> bool:
    """Another name; False where there is no such team, or another one has the name."""
    if (await connection.execute(select(team.c.id).where(team.c.name == name, team.c.id != team_id))).first():
        return False
    statement = update(team).where(team.c.id == team_id).values(name=name)
    return bool((await connection.execute(statement)).rowcount)


async def remove_team(connection: AsyncConnection, team_id: int) -> bool:
    """Dissolve a team. Its supervisors see nothing of it any more, the entries stay what they are."""
    for table in (team_member, team_supervisor):
        await connection.execute(delete(table).where(table.c.team_id == team_id))
    return bool((await connection.execute(delete(team).where(team.c.id == team_id))).rowcount)


async def add_member(
    connection: AsyncConnection, team_id: int, employee_id: int, valid_from: datetime | None = None
) -> bool:
    """An employee joins; False where he is a member already, or one of the two is not there."""
    there = select(exists(select(team.c.id).where(team.c.id == team_id)))
    there = there.where(exists(select(employee.c.id).where(employee.c.id == employee_id)))
    still = select(team_member.c.id).where(
        team_member.c.team_id == team_id, team_member.c.employee_id == employee_id, team_member.c.valid_to.is_(None)
    )
    if (
        not (await connection.execute(there)).scalar_one_or_none()
        or (await connection.execute(still)).first() is not None
    ):
        return False
    values = {"team_id": team_id, "employee_id": employee_id, "valid_from": valid_from}
    await connection.execute(insert(team_member).values(**values))
    return True


async def find_team_of(connection: AsyncConnection, member_id: int) -> int | None:
    """The team of which this is a member."""
    query = select(team_member.c.team_id).where(team_member.c.id == member_id)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def end_member(connection: AsyncConnection, member_id: int, valid_to: datetime) -> bool:
    """He leaves at that time; what he did before stays the team's. False where it would end before it began."""
    mine = team_member.c.id == member_id
    began = or_(team_member.c.valid_from.is_(None), team_member.c.valid_from < valid_to)
    statement = update(team_member).where(mine, began).values(valid_to=valid_to)
    return bool((await connection.execute(statement)).rowcount)


async def remove_member(connection: AsyncConnection, member_id: int) -> bool:
    """He was never a member: it was a mistake."""
    return bool((await connection.execute(delete(team_member).where(team_member.c.id == member_id))).rowcount)


async def set_membership(
    connection: AsyncConnection, employee_id: int, wanted: Collection[int], *, of: Collection[int]
) -> None:
    """Of these teams an employee is in those that are wanted from now on, and in the others no more."""
    mine = (team_member.c.employee_id == employee_id) & team_member.c.valid_to.is_(None)
    query = select(team_member.c.team_id).where(mine, team_member.c.team_id.in_(of))
    now = set((await connection.execute(query)).scalars())
    leaving = update(team_member).where(mine, team_member.c.team_id.in_(now - set(wanted)))
    await connection.execute(leaving.values(valid_to=func.now()))
    been = select(team_member.c.team_id).where(team_member.c.employee_id == employee_id)
    before = set((await connection.execute(been)).scalars())
    for team_id in sorted(set(wanted) - now):  # who comes back was not there meanwhile
        since = datetime.now(UTC) if team_id in before else None
        values = {"team_id": team_id, "employee_id": employee_id, "valid_from": since}
        await connection.execute(insert(team_member).values(**values))


async def set_supervised(connection: AsyncConnection, account_id: int, team_ids: Sequence[int]) -> None:
    """The teams that an account supervises: these and no others."""
    await connection.execute(delete(team_supervisor).where(team_supervisor.c.account_id == account_id))
    known = (await connection.execute(select(team.c.id).where(team.c.id.in_(team_ids)))).scalars().all()
    if known:
        rows = [{"team_id": one, "account_id": account_id} for one in known]
        await connection.execute(insert(team_supervisor), rows)


async def list_supervised(connection: AsyncConnection, account_id: int) -> set[int]:
    """Ids of the teams an account supervises."""
    query = select(team_supervisor.c.team_id).where(team_supervisor.c.account_id == account_id)
    return set((await connection.execute(query)).scalars())


async def list_teams(connection: AsyncConnection) -> list[Team]:
    """All teams by name."""
    members: dict[int, list[Member]] = {}
    query = select(team_member, employee.c.name).join(employee)
    for row in await connection.execute(query.order_by(team_member.c.valid_to.is_not(None), employee.c.name)):
        one = Member(
            id=row.id,
            employee_id=row.employee_id,
            name=row.name,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
        )
        members.setdefault(row.team_id, []).append(one)
    supervisors: dict[int, list[tuple[int, str]]] = {}
    people = select(team_supervisor.c.team_id, account.c.id, account.c.name).join(account)
    for row in await connection.execute(people.where(account.c.role == "supervisor").order_by(account.c.name)):
        supervisors.setdefault(row.team_id, []).append((row.id, row.name))
    rows = await connection.execute(select(team).order_by(func.lower(team.c.name), team.c.id))
    return [
        Team(
            id=row.id,
            name=row.name,
            members=tuple(members.get(row.id, ())),
            supervisors=tuple(supervisors.get(row.id, ())),
        )
        for row in rows
    ]
