"""Linking: load what is known, decide (`linker.match`), save; and re-link the past when a card learns something.

A batch is one transaction with a handful of statements, so that one interaction and five hundred cost as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.model import Direction, Identity, InteractionKind, LinkState
from agent.settings import Settings
from agent.store import (
    cards,
    employees,
    interactions,
    linking,
    links,
    meetings,
    notices,
    outbox,
    proposals,
    relinks,
    rules,
    signs,
    undelivered,
)
from agent.store.asking import ask
from agent.store.employees import EmployeeIdentity
from agent.store.engine import Store
from agent.store.linking import Resolved, Undecided
from agent.store.links import Link
from linker.gathering import gather
from linker.knowledge import Knowledge, NewCard
from linker.match import Decision, decide
from linker.meetings import parties_of, plan_of
from linker.offering import offer_contacts
from linker.reading import Reader
from linker.roles import is_flag_of_ours
from linker.settling import settle
from linker.sorting import is_from_list, links_of, mail_facts, private_link, sort_mails

log = structlog.get_logger()

_RELINK_BATCH = 200
_BATCH = 500
_LOGGED_ONE_BY_ONE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of a batch: where each stands, which mails are sorted otherwise, which stand elsewhere than before, and
    which cards are to be made."""

    states: Mapping[int, Sequence[Link]]
    sorted_anew: frozenset[int] = frozenset()
    changed: frozenset[int] = frozenset()
    new_cards: tuple[NewCard, ...] = ()


class Linker(Reader):
    """Puts interactions on cards, and lets a person correct it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        super().__init__(settings)
        self._store = store
        self._settings = settings

    async def link(
        self, interaction_ids: list[int], run_id: int | None = None, batch: int = 0, follow: bool = True
    ) -> None:
        """The job: decide about these interactions as of now. What a person has decided stays.

        ``run_id`` and ``batch`` name the look into the past that this is a part of. ``follow``: what stands in the same
        threads and conversations without a card of its own is looked at again where these have changed.
        """
        changed: set[int] = set()
        for at in range(0, len(interaction_ids), _BATCH):
            outcome = await self._link(interaction_ids[at : at + _BATCH], follow=follow)
            changed |= outcome.changed
        if run_id is not None:
            async with self._store.begin() as connection:
                counts = {"done": len(interaction_ids), "changed": len(changed & set(interaction_ids))}
                await relinks.note_batch(connection, run_id, batch, **counts)

    async def decide(self, interaction_ids: Sequence[int]) -> set[int]:
        """The same; returns the mails that rules sort otherwise than before."""
        return set((await self._link(interaction_ids, follow=True)).sorted_anew)

    async def _link(self, interaction_ids: Sequence[int], *, follow: bool) -> _Outcome:
        async with self._store.begin() as connection:
            outcome = await self.link_within(connection, interaction_ids, follow=follow, redoable=True, commit=True)
        for one in outcome.new_cards:
            await self._create_by_policy(one)
        _tell(outcome.states)
        return outcome

    async def link_within(
        self,
        connection: AsyncConnection,
        interaction_ids: Sequence[int],
        *,
        follow: bool = True,
        redoable: bool = False,
        commit: bool = False,
    ) -> _Outcome:
        """Decide in the caller's transaction, for a page that shows the outcome at once; a few hundred at most. Cards
        that a policy wants made are left to the job. ``redoable``: as in `Store.begin`; ``commit``: the transaction may
        end with this."""
        held, loaded = await ask(
            connection,
            linking.lock(interaction_ids, with_meetings=True, redoable=redoable),
            linking.load(interaction_ids, with_meetings=True),
        )
        found = [one for one in loaded if one.interaction.id in held]
        arranged = [one for one in found if one.interaction.kind is InteractionKind.MEETING]
        decided = [one for one in found if one.interaction.kind is not InteractionKind.MEETING]
        commit = commit and not any(map(_has_more, found))
        outcome = await self._decide(connection, decided, follow=follow, commit=commit)
        states = {**outcome.states, **await self._arrange(connection, arranged)}
        await self._tell_meetings(connection, [one.interaction.id for one in found if one.near_meeting])
        return replace(outcome, states=states)

    async def _decide(
        self, connection: AsyncConnection, found: Sequence[Undecided], *, follow: bool, commit: bool
    ) -> _Outcome:
        """Calls and mails."""
        mails = [one.interaction.id for one in found if one.interaction.kind is InteractionKind.MESSAGE]
        facts = await mail_facts(connection, mails) if mails else {}
        identities = self._identities(found)
        knowledge = await gather(connection, found, identities, self._settings)
        decisions = {
            one.interaction.id: decide(
                one.interaction,
                one.parties,
                knowledge,
                normalize=lambda party: identities[party.id],
                is_from_list=one.interaction.id in facts and is_from_list(facts[one.interaction.id]),
            )
            for one in found
        }
        kinds = await sort_mails(connection, facts, decisions)
        sorted_anew = await rules.save_sorted(connection, kinds)
        made: dict[int, Sequence[Link]] = {
            one.interaction.id: links_of(one.interaction, decisions[one.interaction.id], kinds[one.interaction.id])
            if one.interaction.id in kinds
            else decisions[one.interaction.id].links
            for one in found
        }
        changed = await _save(connection, found, decisions, made, commit=commit and not knowledge.relatives)
        written = [one for one in mails if one in changed and decisions[one].direction is Direction.INBOUND]
        await offer_contacts(connection, written, made, self)
        if follow:
            await self._let_follow(connection, changed, knowledge)
        return _Outcome(
            states=made,
            sorted_anew=frozenset(sorted_anew),
            changed=frozenset(changed),
            new_cards=tuple(
                card
                for number, one in decisions.items()
                if (card := one.new_card) is not None and any(each.state is LinkState.UNKNOWN for each in made[number])
            ),
        )

    async def _arrange(self, connection: AsyncConnection, found: Sequence[Undecided]) -> dict[int, Sequence[Link]]:
        """Meetings: who takes part by everything that was told of them, on which cards they stand, what became of
        them."""
        told = await meetings.list_told(connection, [one.interaction.id for one in found]) if found else {}
        now = datetime.now(UTC)
        made: dict[int, Sequence[Link]] = {}
        for one in found:
            number = one.interaction.id
            open_words = [each for each in told[number] if not each.is_private]
            plan = plan_of(open_words or told[number])
            if plan is None:
                continue  # erased, or nobody has said when
            await interactions.save_parties(connection, number, parties_of(plan))
            ((again,),) = await ask(connection, linking.load([number]))
            again = replace(again, interaction=replace(again.interaction, started=plan.start))
            identities = self._identities([again])
            knowledge = await gather(connection, [again], identities, self._settings)
            at, normalize = again.interaction, lambda party, known=identities: known[party.id]
            decision = decide(at, again.parties, knowledge, normalize=normalize)
            made[number] = decision.links if open_words else [private_link(at, "only private mails tell of it")]
            await _save(connection, [again], {number: decision}, {number: made[number]})
            await settle(connection, at, plan, decision.parties, hidden=not open_words, now=now)
        return made

    async def _let_follow(self, connection: AsyncConnection, changed: set[int], knowledge: Knowledge) -> None:
        """What has no card of its own may have it from these."""
        bound = sorted(changed & knowledge.relatives.keys())
        ids = await signs.list_to_follow(connection, bound) if bound else []
        if ids:
            args = {"interaction_ids": ids, "follow": False}
            await jobs.defer(connection, [jobs.Job(task=jobs.LINK, args=args)])

    async def _create_by_policy(self, wanted: NewCard) -> None:
        """Once, however many jobs want it at the same time; its past follows by itself."""
        async with self._store.begin() as connection:
            await linking.lock_knowledge(connection)
            if await cards.find_candidates(connection, [wanted.identity]):
                return
            card_id = await cards.insert_card(
                connection, wanted.name, responsible_id=wanted.responsible_id, origin="policy"
            )
            await self.learn(connection, card_id, wanted.identity, by="policy")
        log.info("card_created_by_policy", card_id=card_id)

    async def _tell_meetings(self, connection: AsyncConnection, call_ids: Sequence[int]) -> None:
        """A call with a client at the time of a meeting confirms that."""
        beside = await meetings.list_meetings_beside(connection, call_ids) if call_ids else []
        if beside:
            await self.relink(connection, beside)

    def _identities(self, found: Sequence[Undecided]) -> dict[int, Identity | None]:
        return {party.id: self.identity_of(party) for one in found for party in one.parties}

    # --- What a person does -----------------------------------------------------------------------------------------

    async def create_card_from(self, identity: Identity, name: str, *, responsible_id: int | None = None) -> int:
        """Turn an unknown identity into a client card; its past follows by itself. Returns the card's id."""
        async with self._store.begin() as connection:
            card_id = await cards.insert_card(connection, name, responsible_id=responsible_id)
            await self.learn(connection, card_id, identity)
        return card_id

    async def add_contact_point(self, card_id: int, identity: Identity, *, label: str = "") -> None:
        """Give a card one more phone, address or domain; its past follows by itself."""
        async with self._store.begin() as connection:
            await self.learn(connection, card_id, identity, label=label)

    async def learn(
        self, connection: AsyncConnection, card_id: int, identity: Identity, *, label: str = "", by: str = ""
    ) -> bool:
        """The same in the caller's transaction; False where the card has it already."""
        await linking.lock_knowledge(connection)
        if not await cards.insert_contact_point(connection, card_id, identity, label=label):
            return False
        await undelivered.retry_card(connection, card_id)  # a CRM may know it by this one
        await self.relink_identities(connection, [identity], card_id=card_id, by=by)
        return True

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

    async def relink_identities(
        self,
        connection: AsyncConnection,
        identities: Sequence[Identity],
        *,
        card_id: int | None = None,
        by: str = "",
        at_once: int = 0,
    ) -> int | None:
        """Decide anew about everything these took part in, in batches, each a job; the newest ``at_once`` now, so that
        a page shows what it has done. Returns the id of the run, whose progress the pages show; None where there is
        nothing left to do."""
        ids = await interactions.list_interactions_with(connection, identities)
        if at_once and ids:
            await self.link_within(connection, ids[-at_once:])
            ids = ids[:-at_once]
        batches = [ids[at : at + _RELINK_BATCH] for at in range(0, len(ids), _RELINK_BATCH)]
        if not batches:
            return None
        subject = ", ".join(one.value for one in identities[:3])
        run_id = await relinks.start_run(
            connection, subject=subject, by=by, card_id=card_id, total=len(ids), batches=len(batches)
        )
        work = [
            jobs.Job(task=jobs.LINK, args={"interaction_ids": one, "run_id": run_id, "batch": number}, priority=-1)
            for number, one in enumerate(batches, 1)
        ]
        await jobs.defer(connection, work)
        return run_id

    async def _relink(self, connection: AsyncConnection, identity: Identity) -> None:
        await self.relink_identities(connection, [identity])


def _has_more(one: Undecided) -> bool:
    """Whether more is written after its links: by mails, meetings and what is to be told of it."""
    return one.interaction.kind is not InteractionKind.CALL or one.near_meeting or one.is_going_on


async def _save(
    connection: AsyncConnection,
    found: Sequence[Undecided],
    decisions: Mapping[int, Decision],
    made: Mapping[int, Sequence[Link]],
    *,
    commit: bool = False,
) -> set[int]:
    """Write what has changed; returns the interactions whose links have."""
    parties, outlines = [], []
    for one in found:
        number, decision = one.interaction.id, decisions[one.interaction.id]
        parties += [now for before, now in zip(one.parties, decision.parties, strict=True) if now != before]
        flags = tuple(dict.fromkeys((*(each for each in one.interaction.flags if not is_flag_of_ours(each)),
                                     *decision.flags)))  # fmt: skip
        if (decision.direction, flags) != (one.interaction.direction, one.interaction.flags):
            outlines.append(Resolved(interaction_id=number, direction=decision.direction, flags=flags))
    has_crm = any(one.has_crm for one in found)
    going_on = [one.interaction.id for one in found if one.is_going_on]
    changed = await links.replace_links(
        connection,
        [one.interaction.id for one in found],
        [link for each in made.values() for link in each],
        parties=parties,
        outlines=outlines,
        commit=commit and not has_crm,
    )
    if has_crm:
        told = [one.interaction for one in found]
        anew = {one.id for one in told if decisions[one.id].direction != one.direction}
        anew |= {one.interaction_id for one in parties}
        await outbox.want(connection, [one.id for one in told], anew=anew, commit=commit and not going_on)
    if going_on:
        await notices.announce_calls_in_progress(connection, going_on)
    return changed


def _tell(states: Mapping[int, Sequence[Link]]) -> None:
    if len(states) <= _LOGGED_ONE_BY_ONE:
        for number, made in states.items():
            log.info("interaction_linked", interaction_id=number, states=[one.state.value for one in made])
        return
    counts = Counter(one.state.value for made in states.values() for one in made)
    log.info("interactions_linked", interactions=len(states), **counts)
