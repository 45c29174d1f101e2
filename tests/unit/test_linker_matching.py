"""Which card is meant: the table tests/scenarios/matching.txt, decided by the pure function alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.model import Direction, Identity, IdentityKind, InteractionKind, LinkState
from agent.settings import Settings
from agent.settings_linking import LinkingSettings
from agent.store.cards import Candidate, ContactPoint
from agent.store.employees import EmployeeIdentity
from agent.store.interactions import Interaction, Party
from agent.store.linkrules import LinkRule, RuleDecision, UnknownPolicy
from linker.knowledge import Bond, Decision, Knowledge, LastTalk, Relative, Signs
from linker.match import decide
from linker.reading import Reader

TABLE = Path(__file__).parent.parent / "scenarios" / "matching.txt"
READER = Reader(
    Settings(
        region="RU",
        extension_digits=5,
        linking=LinkingSettings(
            area_code="495", ignore_gmail_dots=True, same_domains=(("steel.example.org", "old-steel.example.org"),)
        ),
    )
)
HELD = re.compile(r"\s*(.+?)(?: «(.+)»)?(?: from (\S+))?(?: until (\S+))?\s*")
CASE = re.compile(
    r"(call|mail)(?: at (\S+))?\s+(.*?)(?: ~ (.*?))?\s*=> (\w+)(?: @([\w-]+))? \| (.+?)(?: \| (.+?))?(?: \| (.+))?"
)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOW = day("2026-05-05")


def identity(text: str) -> Identity:
    found = READER.identity(text)
    assert found is not None, text
    return found


@dataclass(slots=True)
class World:
    """What the table says before its cases."""

    employees: dict[str, int] = field(default_factory=dict)
    cards: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    holders: dict[Identity, list[EmployeeIdentity]] = field(default_factory=dict)
    candidates: dict[Identity, list[Candidate]] = field(default_factory=dict)
    rules: dict[Identity, LinkRule] = field(default_factory=dict)
    policies: dict[Identity, UnknownPolicy] = field(default_factory=dict)
    deals: dict[int, frozenset[int]] = field(default_factory=dict)
    talks: dict[int, LastTalk] = field(default_factory=dict)

    def read(self, line: str) -> None:
        noun, _, rest = line.partition(" ")
        if noun in ("employee", "nobody", "own"):
            name, _, held = rest.strip().partition(" ") if noun == "employee" else ("", "", rest)
            if name:
                self.employees[name] = len(self.employees) + 1
            for one in held.split(","):
                self._hold(name, one)
        elif noun in ("person", "company"):
            name, _, points = rest.strip().partition(" ")
            self.cards[name], self.kinds[name] = len(self.cards) + 1, noun
            self._card(name, [one.strip() for one in points.split(",")])
        elif noun == "rule":
            self._rule(rest.split())
        elif noun == "line":
            policy, line_ = rest.split(maxsplit=1)
            self.policies[identity(line_)] = UnknownPolicy(policy)

    def _hold(self, name: str, text: str) -> None:
        value, label, start, end = HELD.fullmatch(text).groups()  # type: ignore[union-attr]
        held = EmployeeIdentity(
            id=1,
            employee_id=self.employees.get(name),
            name=name,
            identity=identity(value),
            label=label or "",
            valid_from=day(start) if start else None,
            valid_to=day(end) if end else None,
        )
        self.holders.setdefault(held.identity, []).append(held)

    def _card(self, name: str, words: list[str]) -> None:
        number, company, responsible = self.cards[name], None, None
        points = []
        for one in words:
            word, *more = one.split()
            if word == "deal":
                self.deals[number] = frozenset(self.employees[each] for each in more)
            elif word == "talk":
                self.talks[number] = LastTalk(at=day(more[0]), employee_ids=frozenset({self.employees[more[1]]}))
            elif word == "of":
                company = self.cards[more[0]]
            elif word == "responsible":
                responsible = self.employees[more[0]]
            else:
                points.append(re.fullmatch(r"([^«]+?)\s*(?:«(.+)»)?", one).groups())  # type: ignore[union-attr]
        for value, label in points:
            point = ContactPoint(card_id=number, identity=identity(value), label=label or "")
            candidate = Candidate(
                card_id=number,
                card_name=name,
                card_kind=self.kinds[name],
                contact_point=point,
                company_id=company,
                responsible_id=responsible,
            )
            self.candidates.setdefault(point.identity, []).append(candidate)

    def _rule(self, words: list[str]) -> None:
        decision = RuleDecision(words[0])
        card = words[1] if decision is RuleDecision.CARD else ""
        about = identity(" ".join(words[2 if card else 1 :]))
        self.rules[about] = LinkRule(
            id=len(self.rules) + 1,
            identity=about,
            decision=decision,
            card_id=self.cards.get(card),
            card_name=card,
            note="",
            made_by="vera",
            made=NOW,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table."""

    line: int
    kind: InteractionKind
    at: datetime
    who: str
    kin: str
    direction: str
    employee: str
    outcome: str
    reason: str
    flags: str


def read_table() -> tuple[World, list[Case]]:
    world, cases = World(), []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if found := CASE.fullmatch(line):
            kind, at, who, kin, direction, employee, outcome, reason, flags = (one or "" for one in found.groups())
            cases.append(
                Case(
                    line=number,
                    kind=InteractionKind.CALL if kind == "call" else InteractionKind.MESSAGE,
                    at=day(at) if at else NOW,
                    who=who,
                    kin=kin,
                    direction=direction,
                    employee=employee,
                    outcome=outcome.strip(),
                    reason=reason,
                    flags=flags,
                )
            )
        else:
            known = ("#", "employee ", "nobody ", "own ", "person ", "company ", "rule ", "line ")
            assert not line or line.startswith(known), f"matching.txt:{number} is not understood"
            world.read(line)
    return world, cases


WORLD, CASES = read_table()


def parties(case: Case) -> Iterator[Party]:
    people, *others = (
        part.strip() for part in (case.who.split(" ; ") if case.kind != InteractionKind.CALL else [case.who])
    )
    first, second = people.split(" > ")
    is_call = case.kind is InteractionKind.CALL
    places = ("caller", "callee") if is_call else ("from", "to")
    named = [(places[0], first), (places[1], second), *((one.split(" ", 1)) for one in others)]
    number = 0
    for position, values in named:
        for value in values.split(", "):
            named_ = re.fullmatch(r'"([^"]+)" ([^<].*)', value.strip())
            name, raw = named_.groups() if named_ else ("", value.strip())
            if raw == "-":
                continue
            number += 1
            yield Party(
                id=number,
                interaction_id=1,
                position=position,
                kind=IdentityKind.PHONE if is_call else IdentityKind.ADDRESS,
                value="" if raw == '""' else raw,
                name=name,
                channel=None,
                identity=None,
                role=None,
                employee_id=None,
            )


def relatives(case: Case) -> list[Relative]:
    found = []
    for number, one in enumerate(case.kin.split("; ") if case.kin else [], 2):
        bond, card, values = re.fullmatch(r"(\w+) (\S+): (.+)", one).groups()  # type: ignore[union-attr]
        found.append(
            Relative(
                interaction_id=number,
                bond=Bond.CONVERSATION if bond == "conversation" else Bond.THREAD,
                card_id=WORLD.cards.get(card),
                card_name=card,
                started=day("2026-05-01"),
                identities=frozenset(identity(each) for each in values.split(", ")),
                is_heir=bond == "heir",
            )
        )
    return found


def play(case: Case) -> Decision:
    interaction = Interaction(id=1, kind=case.kind, started=case.at, direction=None, conversation_key=None, flags=())
    knowledge = Knowledge(
        holders=WORLD.holders,
        candidates=WORLD.candidates,
        rules=WORLD.rules,
        policies=WORLD.policies,
        relatives={1: relatives(case)},
        signs={1: Signs(deals=WORLD.deals, talks=WORLD.talks)},
    )
    return decide(interaction, list(parties(case)), knowledge, normalize=READER.identity_of)


def outcome_of(decision: Decision, names: Mapping[int, str]) -> tuple[str, list[int]]:
    links = sorted(decision.links, key=lambda one: names.get(one.card_id or 0, ""))
    if links[0].state is LinkState.LINKED:
        return " + ".join(names[one.card_id or 0] for one in links), [one.confidence for one in links]
    return "create" if decision.new_card else links[0].state.value, []


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"line {case.line}")
def test_which_card_is_meant(case: Case) -> None:
    decision = play(case)
    names = {number: name for name, number in WORLD.cards.items()}
    wanted, sure = re.fullmatch(r"(.+?)(?: (\d+))?", case.outcome).groups()  # type: ignore[union-attr]
    found, confidences = outcome_of(decision, names)
    assert (str(decision.direction or "none"), found) == (case.direction, wanted)
    assert not sure or confidences == [int(sure)]
    assert case.reason in " + ".join(one.reason for one in decision.links)
    assert not case.flags or "; ".join(decision.flags) == case.flags
    people = {number: name for name, number in WORLD.employees.items()}
    credited = {people[one.employee_id] for one in decision.parties if one.employee_id is not None}
    assert not case.employee or credited == {case.employee} - {"-"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"line {case.line}")
def test_what_holds_of_every_decision(case: Case) -> None:
    """One entry a card, a card in no other state, a reason always, and the same whichever way the parties are told."""
    decision = play(case)
    assert decision.links
    assert all(one.reason for one in decision.links)
    assert len({one.card_id for one in decision.links}) == len(decision.links)
    assert all((one.card_id is not None) == (one.state is LinkState.LINKED) for one in decision.links)
    assert len({one.state for one in decision.links}) == 1
    assert all(0 <= one.confidence <= 100 for one in decision.links)
    assert decision.direction is None or isinstance(decision.direction, Direction)
    assert play(case) == decision
