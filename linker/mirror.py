"""The job `read_crm`: cards, users, stages and deals of a CRM, read incrementally into our own tables.

A card over there is one of ours by what was decided before, else by a number or address that one card of ours alone
has, else it becomes a new one. What a card gains or loses over there its contact points here follow, and the past is
linked anew. What a person has put on a card here stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.errors import CardlineError, DatabaseUnavailable
from agent.model import Identity, SourceState
from agent.store import cards, connectors, deals, interactions, linking, mirror, outbox, proposals, undelivered
from agent.store.connectors import Connector
from agent.store.deals import DealRow, StageRow
from agent.store.engine import Store
from agent.store.mirror import MirrorCard, UserRow
from linker.crm.connected import Crms
from linker.crm.facts import Changes, CrmCard, CrmDeal, CrmStage, CrmUser, Gone
from linker.crm.protocol import Capability, Crm, CrmLimit

log = structlog.get_logger()

_CARDS_A_TRANSACTION = 50  # whoever links waits for it
_RELINK_BATCH = 200
_MOST_PAGES = 5000  # a job; the next one goes on


@dataclass(slots=True)
class _News:
    """Identities whose past is to be linked anew, and cards that have got a place over there."""

    identities: set[Identity] = field(default_factory=set)
    placed: set[int] = field(default_factory=set)


class MirrorReader:
    """Does the job."""

    def __init__(self, store: Store, crms: Crms) -> None:
        self._store = store
        self._crms = crms

    async def read(self, crm: str) -> None:
        """Whatever changed since the last time. A CRM that does not answer leaves the mirror as it is."""
        async with self._store.begin() as connection:
            connector = await connectors.find_connector(connection, crm)
        pause = timedelta(minutes=self._crms.settings_of(crm).read_minutes) / 2
        if connector is None or (connector.read is not None and datetime.now(UTC) - connector.read < pause):
            return  # another job has just done it
        if connector.is_paused:
            return
        try:
            await self._read(connector, self._crms.connected(crm))
        except DatabaseUnavailable:
            raise
        except CrmLimit as error:
            await self._leave_alone(connector, error)
        except CardlineError as error:
            log.warning("crm_not_read", crm=crm, reason=str(error))
            async with self._store.begin() as connection:
                await connectors.save_read_problem(connection, connector.id, str(error))

    async def _leave_alone(self, connector: Connector, error: CrmLimit) -> None:
        """It asks for fewer requests, whatever they are for."""
        log.warning("crm_left_alone", crm=connector.name, seconds=error.seconds, reason=str(error))
        async with self._store.begin() as connection:
            state = SourceState.RUNNING
            await connectors.pause(connection, connector.id, seconds=error.seconds, state=state, problem=str(error))
            await connectors.save_read_problem(connection, connector.id, str(error))

    async def _read(self, connector: Connector, crm: Crm) -> None:
        can = crm.scorecard.can
        if can(Capability.LIST_USERS):
            await self._read_users(connector, await crm.list_users())
        if can(Capability.READ_DEALS):
            stages = [_stage(one) for one in await crm.list_stages()]
            async with self._store.begin() as connection:
                await deals.save_stages(connection, connector.id, stages)
        if not can(Capability.READ_CARDS):
            async with self._store.begin() as connection:
                await connectors.save_cursor(connection, connector.id, connector.cursor)
            return
        cursor, count = connector.cursor, 0
        for _ in range(_MOST_PAGES):
            page = await crm.read_changes(cursor)
            await self._keep(connector, page)
            cursor, count = page.cursor, count + len(page.cards)
            if page.is_last:
                break
        log.info("crm_read", crm=connector.name, cards=count)

    async def _read_users(self, connector: Connector, users: Sequence[CrmUser]) -> None:
        """Nobody at all is no answer: whoever we are logged in as is there."""
        if not users:
            return
        offered = [(one.extension, one.name) for one in users if one.is_active and one.extension]
        async with self._store.begin() as connection:
            await mirror.save_users(connection, connector.id, [_user(one) for one in users])
            await proposals.offer(connection, f"crm:{connector.name}", offered)
            for employee_id in await mirror.map_users(connection, connector.id):
                await outbox.stir_employee(connection, employee_id)

    async def _keep(self, connector: Connector, page: Changes) -> None:
        """A page in a few transactions, the cursor with the last: a crash between them reads the page again."""
        for at in range(0, len(page.cards), _CARDS_A_TRANSACTION):
            async with self._store.begin() as connection:
                await _keep_cards(connection, connector, page.cards[at : at + _CARDS_A_TRANSACTION])
        async with self._store.begin() as connection:
            await deals.save_deals(connection, connector.id, [_deal(one) for one in page.deals])
            for one in page.gone:
                await _take_away(connection, connector.id, one)
            await connectors.save_cursor(connection, connector.id, page.cursor)


async def _keep_cards(connection: AsyncConnection, connector: Connector, found: Sequence[CrmCard]) -> None:
    await linking.lock_knowledge(connection)
    known = await mirror.find_cards(connection, connector.id, [(one.id.kind, one.id.id) for one in found])
    news = _News()
    for one in found:
        before = known.get((one.id.kind, one.id.id))
        if before is not None and before.is_erased:
            continue  # what a client had erased here is not learnt again from there
        known[one.id.kind, one.id.id] = await _keep_card(connection, connector, one, before, news)
    await _relink(connection, news.identities)
    for card_id in news.placed:
        await undelivered.retry_card(connection, card_id)


async def _keep_card(
    connection: AsyncConnection, connector: Connector, one: CrmCard, before: MirrorCard | None, news: _News
) -> MirrorCard:
    connector_id = connector.id
    card_id = before.client_card_id if before is not None else None
    if card_id is not None:
        card_id = await mirror.living_card(connection, card_id)
    else:
        card_id = await _same_card(connection, connector_id, one)
    if card_id is None:
        card_id = await cards.insert_card(connection, one.name, kind=one.kind, origin=f"crm:{connector.name}")
    if before is None or before.is_gone:
        news.placed.add(card_id)
    responsible = None
    if one.responsible is not None:
        responsible = await mirror.find_employee(connection, connector_id, one.responsible)
    await mirror.save_card(
        connection,
        connector_id,
        kind=one.id.kind,
        external_id=one.id.id,
        client_card_id=card_id,
        name=one.name,
        identities=one.identities,
        responsible=one.responsible or "",
    )
    await mirror.save_names(
        connection,
        card_id,
        name=one.name if one.name and (before is None or before.name != one.name) else None,
        responsible_id=responsible,
        company_id=await _company(connection, connector_id, one),
    )
    await _follow_points(connection, card_id, before.identities if before is not None else (), one, news)
    return MirrorCard(
        id=0,
        kind=one.id.kind,
        external_id=one.id.id,
        client_card_id=card_id,
        name=one.name,
        identities=one.identities,
        responsible=one.responsible or "",
        is_gone=False,
        merged_into=None,
        is_erased=False,
    )


async def _same_card(connection: AsyncConnection, connector_id: int, one: CrmCard) -> int | None:
    """The one card of ours that has one of these, and that is none over there yet."""
    candidates = await cards.find_candidates(connection, list(one.identities))
    found = {each.card_id for each in candidates if each.card_kind == one.kind}
    found -= await mirror.list_mapped(connection, connector_id, sorted(found))
    return found.pop() if len(found) == 1 else None


async def _company(connection: AsyncConnection, connector_id: int, one: CrmCard) -> int | None:
    if one.company is None:
        return None
    key = (one.company.kind, one.company.id)
    found = (await mirror.find_cards(connection, connector_id, [key])).get(key)
    return found.client_card_id if found is not None else None


async def _follow_points(
    connection: AsyncConnection, card_id: int, before: Sequence[Identity], one: CrmCard, news: _News
) -> None:
    for identity in one.identities:
        if await cards.insert_contact_point(connection, card_id, identity):
            news.identities.add(identity)
    lost = [identity for identity in before if identity not in one.identities]
    await mirror.remove_contact_points(connection, card_id, lost)
    news.identities.update(lost)


async def _take_away(connection: AsyncConnection, connector_id: int, gone: Gone) -> None:
    """A card that was merged gives its numbers to the one that took its place; one that was deleted keeps them here,
    with its history."""
    merged_into = gone.merged_into.id if gone.merged_into is not None else None
    key = (gone.id.kind, gone.id.id)
    card = (await mirror.find_cards(connection, connector_id, [key])).get(key)
    await mirror.mark_gone(connection, connector_id, *key, merged_into=merged_into)
    if card is None or card.client_card_id is None or merged_into is None:
        return
    await linking.lock_knowledge(connection)
    heir_key = (gone.id.kind, merged_into)
    heir = (await mirror.find_cards(connection, connector_id, [heir_key])).get(heir_key)
    if heir is None or heir.client_card_id in (None, card.client_card_id):
        return
    assert heir.client_card_id is not None
    for identity in card.identities:
        await cards.insert_contact_point(connection, heir.client_card_id, identity, label="")
    await mirror.remove_contact_points(connection, card.client_card_id, card.identities)
    await _relink(connection, set(card.identities))


async def _relink(connection: AsyncConnection, identities: set[Identity]) -> None:
    if not identities:
        return
    ids = await interactions.list_interactions_with(connection, sorted(identities, key=str))
    batches = [ids[at : at + _RELINK_BATCH] for at in range(0, len(ids), _RELINK_BATCH)]
    await jobs.defer(connection, [jobs.Job(task=jobs.LINK, args={"interaction_ids": one}) for one in batches])


def _user(one: CrmUser) -> UserRow:
    return UserRow(
        external_id=one.id, name=one.name, address=one.address, extension=one.extension, is_active=one.is_active
    )


def _stage(one: CrmStage) -> StageRow:
    return StageRow(
        pipeline=one.pipeline,
        external_id=one.id,
        name=one.name,
        pipeline_name=one.pipeline_name,
        place=one.place,
        state=one.state.value,
    )


def _deal(one: CrmDeal) -> DealRow:
    return DealRow(
        kind=one.id.kind,
        external_id=one.id.id,
        card=(one.card.kind, one.card.id) if one.card is not None else None,
        title=one.title,
        pipeline=one.pipeline,
        stage=one.stage,
        state=one.state.value,
        amount=one.amount,
        currency=one.currency,
        source=one.source,
        loss_reason=one.loss_reason,
        responsible=one.responsible or "",
        created=one.created,
        closed=one.closed,
        history=tuple((each.stage, each.at) for each in one.history),
    )
