"""What an interaction inherits from its thread or conversation: the card of the others. Pure.

A thread belongs to a client, but people carry threads elsewhere: a manager forwards the client's mail to a supplier and
gets an answer. Whoever was in the thread keeps the card he was on there, or none; a newcomer who writes to us inherits
the card, and one whom we bring in does so only where he is at the company of somebody who is in already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.model import Direction, Identity, IdentityKind
from linker.knowledge import Bond, Relative
from linker.normalize import company_domain

THREAD_SURE, CONVERSATION_SURE = 70, 85


def bonds_of(relatives: Sequence[Relative]) -> Mapping[int, Bond]:
    """The cards on which the others stand."""
    return {one.card_id: one.bond for one in relatives if one.card_id is not None and not one.is_heir}


def inherited(
    relatives: Sequence[Relative], identities: Sequence[Identity], direction: Direction | None
) -> Relative | None:
    """The relative whose card this one inherits; None where there is none, or several.

    ``identities`` are those of the outside here, of whom none is on a card.
    """
    linked = [one for one in relatives if one.card_id is not None]
    roots = [one for one in linked if not one.is_heir]
    if len({one.card_id for one in roots}) != 1:
        return None
    nearest = roots[-1]
    if nearest.bond is Bond.CONVERSATION:
        return nearest
    on_card = {each for one in linked for each in one.identities}
    elsewhere = {each for one in relatives if one.card_id is None for each in one.identities}
    if any(one in on_card for one in identities):
        return nearest
    if any(one in elsewhere for one in identities):
        return None
    if direction is not Direction.OUTBOUND or _companies(identities) & _companies(on_card):
        return nearest
    return None


def _companies(identities: Sequence[Identity] | set[Identity]) -> set[Identity]:
    found = {company_domain(one) for one in identities if one.kind is IdentityKind.ADDRESS}
    return {one for one in found if one is not None}
