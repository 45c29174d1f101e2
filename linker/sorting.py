"""Mails sorted by the rules in the database, with what the linker knows: who is ours, and whose a domain is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind, LinkState, MessageCategory
from agent.store import cards, employees, rules
from agent.store.interactions import Interaction
from agent.store.links import Link
from agent.store.rules import MailFacts, Sorted
from linker.match import Decision
from linker.normalize import PUBLIC_DOMAINS, normalize_address
from linker.rules import Domains, list_domain, sort_mail

SILENT = (MessageCategory.AUTOMATIC, MessageCategory.NEWSLETTER, MessageCategory.BOUNCE)
"""Archived without becoming an activity: the category says why, so they need no link."""

_LIST_HEADERS = ("list-id", "list-post", "mailing-list", "x-google-group-id")


async def mail_facts(connection: AsyncConnection, message_ids: Sequence[int]) -> dict[int, MailFacts]:
    """What rules look at, by mail; erased ones are left out."""
    return {one.interaction_id: one for one in await rules.list_facts(connection, message_ids)}


async def sort_mails(
    connection: AsyncConnection, facts: Mapping[int, MailFacts], decisions: Mapping[int, Decision]
) -> dict[int, Sorted]:
    """The category of each mail and its tags, by the rules as they stand."""
    if not facts:
        return {}
    known = await rules.list_rules(connection)
    domains = await find_domains(connection, list(facts.values()))
    return {
        one: sort_mail(replace(each, direction=decisions[one].direction), known, domains) for one, each in facts.items()
    }


async def find_domains(connection: AsyncConnection, facts: Sequence[MailFacts]) -> Domains:
    """Our own domains and those of clients, as far as mailing lists live there."""
    listed = {domain for one in facts if (domain := list_domain(one.headers))} - PUBLIC_DOMAINS
    if not listed:
        return Domains()
    own = {one.identity.value for one in await employees.list_own_domains(connection)}
    own |= set(await employees.list_address_domains(connection))
    met = {
        address
        for one in facts
        if list_domain(one.headers)
        for raw in (*one.senders, *one.recipients)
        if (address := normalize_address(raw)) is not None
    }
    met |= {Identity(kind=IdentityKind.DOMAIN, value=domain) for domain in listed}
    found = await cards.find_candidates(connection, sorted(met, key=str))
    clients = {one.contact_point.identity.value.rpartition("@")[2] for one in found}
    return Domains(own=frozenset(own & listed), clients=frozenset(clients & listed))


def is_from_list(facts: MailFacts) -> bool:
    """Whether a mailing list has passed it on."""
    return any(name in facts.headers for name in _LIST_HEADERS)


def links_of(interaction: Interaction, decision: Decision, kind: Sorted) -> Sequence[Link]:
    """Where a mail stands, by its category."""
    if kind.category in SILENT:
        return ()
    if kind.category is MessageCategory.PRIVATE:
        return (private_link(interaction, kind.reason),)
    if kind.category is MessageCategory.INTERNAL and any(one.state is not LinkState.INTERNAL for one in decision.links):
        return (_link(interaction, LinkState.INTERNAL, kind.reason),)
    return decision.links


def private_link(interaction: Interaction, reason: str) -> Link:
    """It stands on no card and is shown to nobody (`agent.store.rights`)."""
    return _link(interaction, LinkState.PRIVATE, reason)


def _link(interaction: Interaction, state: LinkState, reason: str) -> Link:
    return Link(interaction_id=interaction.id, card_id=None, started=interaction.started, state=state, reason=reason)
