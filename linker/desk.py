"""What a person says about cards and entries, in the transaction of the page on which he says it: the past follows.

Whatever is said here can be taken back: a rule is revoked, an entry goes back to the rules, a merge is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, LinkState
from agent.store import cardmerges, cards, linking, linkrules, links
from agent.store.interactions import Interaction
from agent.store.linkrules import RuleDecision
from agent.store.links import Link

AT_ONCE = 100  # entries that are decided before the page is shown; the others follow by jobs


class Relinker(Protocol):
    """Who decides anew (`linker.link.Linker`)."""

    async def link_within(self, connection: AsyncConnection, interaction_ids: Sequence[int]) -> object:
        """Decide about these now."""
        ...

    async def relink_identities(
        self,
        connection: AsyncConnection,
        identities: Sequence[Identity],
        *,
        card_id: int | None = None,
        by: str = "",
        at_once: int = 0,
    ) -> int | None:
        """Decide about everything these took part in."""
        ...


# --- A number, once for all -------------------------------------------------------------------------------------------


async def decide_identity(
    connection: AsyncConnection,
    linker: Relinker,
    identity: Identity,
    decision: RuleDecision,
    *,
    by: str,
    card_id: int | None = None,
    note: str = "",
) -> int:
    """Whose a number is, or that it is private, or concerns nobody: now, in the past and from now on. Returns the id of
    the rule, by which it can be taken back."""
    await linking.lock_knowledge(connection)
    rule_id = await linkrules.make_rule(connection, identity, decision, by=by, card_id=card_id, note=note)
    await linker.relink_identities(connection, [identity], card_id=card_id, by=by, at_once=AT_ONCE)
    return rule_id


async def revoke_rule(connection: AsyncConnection, linker: Relinker, rule_id: int, *, by: str) -> bool:
    """It holds no more: what it decided is decided without it. False where it does not hold."""
    await linking.lock_knowledge(connection)
    identity = await linkrules.revoke_rule(connection, rule_id, by=by)
    if identity is None:
        return False
    await linker.relink_identities(connection, [identity], by=by, at_once=AT_ONCE)
    return True


# --- One entry --------------------------------------------------------------------------------------------------------


async def decide_entry(
    connection: AsyncConnection, entry: Interaction, state: LinkState, *, login: str, name: str, card_id: int | None
) -> None:
    """This one entry belongs there, whatever the rules say of others."""
    decision = Link(
        interaction_id=entry.id,
        card_id=card_id,
        started=entry.started,
        state=state,
        reason=f"chosen by {name}",
        decided_by=login,
    )
    await links.decide_link(connection, decision)


async def undecide_entry(connection: AsyncConnection, linker: Relinker, entry_id: int) -> None:
    """The rules decide about it again."""
    await links.forget_decision(connection, entry_id)
    await linker.link_within(connection, [entry_id])


# --- Cards ------------------------------------------------------------------------------------------------------------


async def remove_contact_point(
    connection: AsyncConnection, linker: Relinker, card_id: int, point_id: int, *, by: str
) -> Identity | None:
    """It is not this client's: entries that were here by it are decided without it. None where there is none such."""
    await linking.lock_knowledge(connection)
    identity = await cards.remove_contact_point(connection, card_id, point_id)
    if identity is not None:
        await linker.relink_identities(connection, [identity], card_id=card_id, by=by, at_once=AT_ONCE)
    return identity


async def merge_cards(
    connection: AsyncConnection, linker: Relinker, kept_id: int, gone_id: int, *, by: str
) -> int | None:
    """Two cards are one client. What they shared is ambiguous no more. Returns the merge's id, None where it cannot be
    done."""
    await linking.lock_knowledge(connection)
    identities = await cardmerges.list_identities(connection, kept_id, gone_id)
    merge_id = await cardmerges.merge_cards(connection, kept_id, gone_id, by=by)
    if merge_id is not None and identities:
        await linker.relink_identities(connection, identities, card_id=kept_id, by=by)
    return merge_id


async def undo_merge(connection: AsyncConnection, linker: Relinker, merge_id: int, *, by: str) -> int | None:
    """They are two again; entries follow their numbers. Returns the card that is back, None where there is none."""
    await linking.lock_knowledge(connection)
    merge = await cardmerges.undo_merge(connection, merge_id, by=by)
    if merge is None:
        return None
    identities = await cardmerges.list_identities(connection, merge.kept_id, merge.gone_id)
    if identities:
        await linker.relink_identities(connection, identities, card_id=merge.kept_id, by=by)
    return merge.gone_id


async def split_card(
    connection: AsyncConnection, linker: Relinker, card_id: int, point_ids: Sequence[int], name: str, *, by: str
) -> int | None:
    """Some of a card's contact points are another client's: he gets a card, and his entries follow. Merging the two
    takes it back. None where none of these is the card's."""
    await linking.lock_knowledge(connection)
    card = await cards.find_card(connection, card_id)
    own = {one.id for one in card.contact_points} if card is not None else set()
    if card is None or not own & set(point_ids):
        return None
    new_id = await cards.insert_card(connection, name, kind=card.kind, responsible_id=card.responsible_id)
    moved = await cardmerges.move_contact_points(connection, point_ids, card_id, new_id)
    await linker.relink_identities(connection, moved, card_id=new_id, by=by, at_once=AT_ONCE)
    return new_id
