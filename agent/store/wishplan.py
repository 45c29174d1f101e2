"""Which wishes of CRMs agree with the links of interactions, and what to change where they do not. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A row as far as the plan is concerned."""

    id: int
    connector_id: int
    interaction_id: int
    card_id: int | None
    withdrawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWish:
    """A row that is not there yet."""

    connector_id: int
    interaction_id: int
    card_id: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do so that wishes agree with links: rows by id, with the card each belongs to, or None to withdraw."""

    changes: Mapping[int, int | None]
    new: tuple[NewWish, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An interaction stands on these cards."""

    interaction_id: int
    started: datetime
    card_ids: tuple[int, ...]


def plan(standings: Sequence[Standing], wishes: Sequence[Wish], since: Mapping[int, datetime]) -> Plan:
    """``since`` has the connectors that tell, each with the moment from which on it does.

    A wish whose card is no longer right goes over to a card that is new, so that a CRM moves what it has; only what is
    left is withdrawn. An interaction that a CRM knows of stays known there, also if it is older than ``since``.
    """
    changes: dict[int, int | None] = {}
    new: list[NewWish] = []
    known: defaultdict[int, defaultdict[int, list[Wish]]] = defaultdict(lambda: defaultdict(list))
    for wish in wishes:
        known[wish.interaction_id][wish.connector_id].append(wish)
    for one in standings:
        for number in {*since, *known[one.interaction_id]}:
            own = known[one.interaction_id][number]
            right = {each.card_id: each.id for each in own if each.card_id in one.card_ids}
            missing = [card for card in one.card_ids if card not in right]
            changes |= {row: card for card, row in right.items()}
            for each in own:
                if each.card_id not in one.card_ids and not each.withdrawn:
                    changes[each.id] = missing.pop(0) if missing else None
            if number in since and (own or one.started >= since[number]):
                new += [_new(number, one, card) for card in missing]
    return Plan(changes=changes, new=tuple(new))


def _new(connector_id: int, one: Standing, card_id: int) -> NewWish:
    return NewWish(connector_id=connector_id, interaction_id=one.interaction_id, card_id=card_id, started=one.started)
