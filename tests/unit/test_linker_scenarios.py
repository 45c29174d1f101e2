"""Who belongs where: the table tests/scenarios/linking.txt, played through the door and the link job on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.intake import Intake
from agent.model import Identity, IdentityKind, LinkState
from agent.settings import Settings
from agent.store import cards, employees, interactions, links
from agent.store.engine import Store
from linker.link import Linker
from tests.unit.linking import accept_mail, captured_call, parsed_mail, parties_of

HELD = re.compile(r"\s*(.+?)(?: «(.+)»)?(?: from (\S+))?(?: until (\S+))?\s*")
TABLE = Path(__file__).parent.parent / "scenarios" / "linking.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table."""

    line: int
    kind: str
    at: datetime
    who: str
    direction: str
    employee: str
    outcome: str
    reason: str
    flags: tuple[str, ...]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cases() -> Iterator[Case]:
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        found = re.match(
            r"(call|mail)(?: at (\S+))?\s+(.*?)\s*=>\s*(\w+)(?: @([\w-]+))? \| (.+?) \| (.+?)(?: \| (.+))?$", line
        )
        if found is not None:
            kind, at, who, direction, employee, outcome, reason, flags = found.groups()
            yield Case(
                line=number,
                kind=kind,
                at=day(at or "2026-05-05"),
                who=who,
                direction=direction,
                employee=employee or "",
                outcome=outcome,
                reason=reason,
                flags=tuple(flags.split("; ")) if flags else (),
            )
        else:
            assert not line or line.startswith(("#", "employee ", "nobody ", "card ")), (
                f"linking.txt:{number} is not understood"
            )


CASES = list(cases())


def linker_of(store: Store) -> Linker:
    return Linker(store, Settings(region="RU", extension_digits=5))


def identity(linker: Linker, text: str) -> Identity:
    if text.startswith("@"):
        return Identity(kind=IdentityKind.DOMAIN, value=text[1:])
    found = linker.address(text) if "@" in text else linker.phone(text)
    assert found is not None, text
    return found


@pytest.fixture(scope="module")
async def world(store: Store) -> dict[int, str]:
    """Everybody the table names, and the names of cards by id."""
    linker, names = linker_of(store), {}
    async with store.begin() as connection:
        for line in TABLE.read_text().splitlines():
            noun, _, rest = line.partition(" ")
            if noun in ("employee", "nobody"):
                name, _, held = rest.partition(" ") if noun == "employee" else ("", "", rest)
                employee_id = await employees.insert_employee(connection, name) if name else None
                for one in held.split(","):
                    value, label, start, end = HELD.fullmatch(one).groups()  # type: ignore[union-attr]
                    await employees.insert_identity(
                        connection,
                        employee_id,
                        identity(linker, value),
                        valid_from=day(start) if start else None,
                        valid_to=day(end) if end else None,
                        label=label or "",
                    )
            elif noun == "card":
                name, _, points = rest.partition(" ")
                card_id = await cards.insert_card(connection, name)
                names[card_id] = name
                for one in points.split(","):
                    value, label = re.fullmatch(r"\s*([^«]+?)\s*(?:«(.+)»)?", one).groups()  # type: ignore[union-attr]
                    await cards.insert_contact_point(connection, card_id, identity(linker, value), label=label or "")
    return names


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"line {case.line}")
async def test_who_belongs_where(case: Case, store: Store, intake: Intake, world: dict[int, str]) -> None:
    parties = parties_of(case.who, case.kind)
    if case.kind == "call":
        number = await intake.open_call(captured_call(f"line-{case.line}", parties, started=case.at))
    else:
        number = await accept_mail(intake, parsed_mail(f"line-{case.line}", parties, sent=case.at))
    await linker_of(store).link([number])
    async with store.begin() as connection:
        (interaction,) = await interactions.find_interactions(connection, [number])
        made = await links.list_links(connection, [number])
        stored = (await interactions.list_parties(connection, [number]))[number]
        people = {one.id: one.name for one in await employees.list_employees(connection)}
    made = sorted(made, key=lambda link: world.get(link.card_id or 0, ""))
    is_linked = made[0].state is LinkState.LINKED
    outcome = " + ".join(world[one.card_id or 0] for one in made) if is_linked else made[0].state.value
    assert (outcome, " + ".join(one.reason for one in made)) == (case.outcome, case.reason)
    assert str(interaction.direction or "none") == case.direction
    assert interaction.flags == case.flags
    assert all(one.interaction_id == number and one.started == case.at for one in made)
    assert is_linked or [one.card_id for one in made] == [None]
    credited = {people[one.employee_id] for one in stored if one.employee_id is not None}
    assert not case.employee or credited == {case.employee} - {"-"}
