"""Linking: load what is known, decide (`linker.match`), save; and re-link the past when a card learns something.

A batch is one transaction with set-based queries, so that ten thousand interactions cost a few round trips a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.model import Identity, IdentityKind, InteractionKind
from agent.settings import Settings
from agent.store import cards, employees, interactions, linking, links, meetings, notices, proposals, rules
from agent.store.employees import EmployeeIdentity
from agent.store.engine import Store
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from linker.match import FLAG_PATTERNS, Decision, Knowledge, decide
from linker.meetings import parties_of, plan_of
from linker.normalize import company_domain, normalize_address, normalize_phone, without_tag
from linker.settling import settle
from linker.sorting import is_from_list, links_of, mail_facts, private_link, sort_mails

log = structlog.get_logger()

_RELINK_BATCH = 200
T = TypeVar("T", bound="cards.Candidate | EmployeeIdentity")


class Linker:
    """Puts interactions on cards, and lets a person correct it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def link(self, interaction_ids: list[int]) -> None:
        """The job: decide about these interactions as of now. What a person has decided stays."""
        await self.decide(interaction_ids)

    async def decide(self, interaction_ids: Sequence[int]) -> set[int]:
        """The same; returns the mails that rules sort otherwise than before."""
        async with self._store.begin() as connection:
            told_of = await meetings.list_meetings_told_by(connection, interaction_ids)
            ids = sorted({*interaction_ids, *told_of})
            await linking.lock_for_decision(connection, ids)
            found = await interactions.find_interactions(connection, ids)
            arranged = [one for one in found if one.kind is InteractionKind.MEETING]
            states, changed = await self._decide(connection, [one for one in found if one not in arranged])
            states |= await self._arrange(connection, arranged)
            await self._tell_meetings(connection, [one.id for one in found if one.kind is InteractionKind.CALL])
        for interaction_id, links_made in states.items():
            log.info(
                "interaction_linked", interaction_id=interaction_id, states=[one.state.value for one in links_made]
            )
        return changed

    async def _decide(
        self, connection: AsyncConnection, found: Sequence[Interaction]
    ) -> tuple[dict[int, Sequence[Link]], set[int]]:
        """Calls and mails."""
        ids = [one.id for one in found]
        parties = await interactions.list_parties(connection, ids)
        facts = await mail_facts(connection, [one.id for one in found if one.kind is InteractionKind.MESSAGE])
        knowledge = await self._knowledge(connection, [one for group in parties.values() for one in group])
        decisions = {
            one.id: decide(
                one,
                parties[one.id],
                knowledge,
                normalize=self.identity_of,
                is_from_list=one.id in facts and is_from_list(facts[one.id]),
            )
            for one in found
        }
        kinds = await sort_mails(connection, facts, decisions)
        changed = await rules.save_sorted(connection, kinds)
        made = {
            one.id: links_of(one, decisions[one.id], kinds[one.id]) if one.id in kinds else decisions[one.id].links
            for one in found
        }
        await _save(connection, decisions, made)
        return made, changed

    async def _arrange(self, connection: AsyncConnection, found: Sequence[Interaction]) -> dict[int, Sequence[Link]]:
        """Meetings: who takes part by everything that was told of them, on which cards they stand, what became of
        them."""
        told = await meetings.list_told(connection, [one.id for one in found])
        now = datetime.now(UTC)
        made: dict[int, Sequence[Link]] = {}
        for one in found:
            open_words = [each for each in told[one.id] if not each.is_private]
            plan = plan_of(open_words or told[one.id])
            if plan is None:
                continue  # erased, or nobody has said when
            at = replace(one, started=plan.start)
            await interactions.save_parties(connection, one.id, parties_of(plan))
            parties = (await interactions.list_parties(connection, [one.id]))[one.id]
            decision = decide(at, parties, await self._knowledge(connection, parties), normalize=self.identity_of)
            made[one.id] = decision.links if open_words else [private_link(at, "only private mails tell of it")]
            await _save(connection, {one.id: decision}, {one.id: made[one.id]})
            await settle(connection, at, plan, decision.parties, hidden=not open_words, now=now)
        return made

    async def _tell_meetings(self, connection: AsyncConnection, call_ids: Sequence[int]) -> None:
        """A call with a client at the time of a meeting confirms that."""
        beside = await meetings.list_meetings_beside(connection, call_ids)
        if beside:
            await self.relink(connection, beside)

    def identity_of(self, party: Party) -> Identity | None:
        """The normalised identity of a party, None for a hidden or meaningless one."""
        if party.kind is IdentityKind.ADDRESS:
            return self.address(party.value)
        return self.phone(party.value)

    def address(self, raw: str) -> Identity | None:
        """An e-mail address."""
        return normalize_address(raw)

    def phone(self, raw: str) -> Identity | None:
        """A number by this installation's region and length of extensions."""
        digits = self._settings.extension_digits
        return normalize_phone(raw, region=self._settings.region, extension_digits=digits)

    async def _knowledge(self, connection: AsyncConnection, parties: Sequence[Party]) -> Knowledge:
        wanted = {identity for one in parties if (identity := self.identity_of(one)) is not None}
        wanted |= {without_tag(one) for one in wanted}
        wanted |= {
            domain for one in wanted if one.kind is IdentityKind.ADDRESS and (domain := company_domain(one)) is not None
        }
        held = await employees.find_holders(connection, sorted(wanted, key=str))
        candidates = await cards.find_candidates(connection, sorted(wanted, key=str))
        return Knowledge(
            holders=_by_identity((one.identity, one) for one in held),
            candidates=_by_identity((one.contact_point.identity, one) for one in candidates),
        )

    # --- What a person does -----------------------------------------------------------------------------------------

    async def create_card_from(self, identity: Identity, name: str, *, responsible_id: int | None = None) -> int:
        """Turn an unknown identity into a client card; its past follows by itself. Returns the card's id."""
        async with self._store.begin() as connection:
            card_id = await cards.insert_card(connection, name, responsible_id=responsible_id)
            await self._learn(connection, card_id, identity, label="")
        return card_id

    async def add_contact_point(self, card_id: int, identity: Identity, *, label: str = "") -> None:
        """Give a card one more phone, address or domain; its past follows by itself."""
        async with self._store.begin() as connection:
            await self._learn(connection, card_id, identity, label=label)

    async def add_employee_identity(
        self,
        connection: AsyncConnection,
        employee_id: int | None,
        identity: Identity,
        *,
        valid_from: datetime | None = None,
        label: str = "",
    ) -> None:
        """Say that an extension or address is an employee's from a time on (None: from ever on), in the caller's
        transaction; the entries it took part in are decided anew. ``employee_id`` None: nobody's on purpose."""
        await linking.lock_knowledge(connection)
        await employees.insert_identity(connection, employee_id, identity, valid_from=valid_from, label=label)
        await proposals.settle(connection, identity.value)
        await self._relink(connection, identity)

    async def end_employee_identity(
        self, connection: AsyncConnection, held: EmployeeIdentity, valid_to: datetime
    ) -> None:
        """It was the employee's until then; what came after is decided anew."""
        await linking.lock_knowledge(connection)
        await employees.end_identity(connection, held.id, valid_to)
        await self._relink(connection, held.identity)

    async def remove_employee_identity(self, connection: AsyncConnection, held: EmployeeIdentity) -> None:
        """It was never the employee's: the entries it took part in are decided anew."""
        await linking.lock_knowledge(connection)
        await employees.remove_identity(connection, held.id)
        await self._relink(connection, held.identity)

    async def relink(self, connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
        """Decide about these anew."""
        await jobs.defer(connection, [jobs.Job(task=jobs.LINK, args={"interaction_ids": list(interaction_ids)})])

    async def _learn(self, connection: AsyncConnection, card_id: int, identity: Identity, *, label: str) -> None:
        await linking.lock_knowledge(connection)
        if await cards.insert_contact_point(connection, card_id, identity, label=label):
            await self._relink(connection, identity)

    async def _relink(self, connection: AsyncConnection, identity: Identity) -> None:
        ids = await interactions.list_interactions_with(connection, [identity])
        batches = [ids[at : at + _RELINK_BATCH] for at in range(0, len(ids), _RELINK_BATCH)]
        await jobs.defer(connection, [jobs.Job(task=jobs.LINK, args={"interaction_ids": one}) for one in batches])


async def _save(
    connection: AsyncConnection, decisions: Mapping[int, Decision], made: Mapping[int, Sequence[Link]]
) -> None:
    await interactions.save_resolution(connection, [one for each in decisions.values() for one in each.parties])
    await interactions.save_direction(connection, {one: each.direction for one, each in decisions.items()})
    for pattern in FLAG_PATTERNS:
        await linking.drop_flags(connection, list(decisions), pattern)
    for one, each in decisions.items():
        await interactions.add_flags(connection, one, each.flags)
    await links.replace_links(connection, list(decisions), [link for each in made.values() for link in each])
    await notices.announce_calls_in_progress(connection, list(decisions))


def _by_identity(pairs: Iterable[tuple[Identity, T]]) -> dict[Identity, list[T]]:
    found: dict[Identity, list[T]] = defaultdict(list)
    for identity, one in pairs:
        found[identity].append(one)
    return found
