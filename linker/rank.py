"""Cards that one number could mean, ranked: each with the signs that speak for it, and how sure they make. Pure.

A number alone on one card is as good as certain. A shared one starts at even chances, and each sign adds its weight
where it tells the cards apart, which is where one card only has it. A card is chosen when it is sure enough and far
enough ahead of the next; signs that contradict each other therefore leave the question to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.model import IdentityKind
from agent.store.cards import Candidate
from linker.knowledge import NO_SIGNS, Bond, Signs
from linker.names import is_same_name

SHARED, ALONE, ALONE_BY_DOMAIN = 50, 95, 80
ENOUGH, AHEAD, MOST = 65, 10, 95
TALK_DAYS = 90
SHARED_BY_MANY = 50
"""Cards with one number, past which it is nobody's: no sign chooses among them, and they are not even counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known of the interaction beside the number: who of us took part, what the other side calls itself, on
    which cards its thread or conversation stands, and the signs of the store."""

    at: datetime
    employee_ids: frozenset[int] = frozenset()
    name: str = ""
    bonds: Mapping[int, Bond] | None = None
    signs: Signs = NO_SIGNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A card, how sure it is in per cent, and why."""

    candidate: Candidate
    confidence: int
    reasons: tuple[str, ...] = ()


def rank(candidates: Sequence[Candidate], by: Circumstances) -> list[Ranked]:
    """The cards of one number, each once, the best first."""
    if len(candidates) == 1:
        is_domain = candidates[0].contact_point.identity.kind is IdentityKind.DOMAIN
        return [Ranked(candidate=candidates[0], confidence=ALONE_BY_DOMAIN if is_domain else ALONE)]
    spoken: dict[int, list[tuple[int, str]]] = {one.card_id: [] for one in candidates}
    if len(candidates) <= SHARED_BY_MANY:
        for sign in (_bonds, _names, _deals, _responsible, _talks):
            for card_id, weight, words in sign(candidates, by):
                spoken[card_id].append((weight, words))
    ranked = [
        Ranked(
            candidate=one,
            confidence=min(SHARED + sum(weight for weight, _ in spoken[one.card_id]), MOST),
            reasons=tuple(words for _, words in spoken[one.card_id]),
        )
        for one in candidates
    ]
    return sorted(ranked, key=lambda one: -one.confidence)


def choose(ranked: Sequence[Ranked]) -> Ranked | None:
    """The one that is meant; None where nothing tells the cards apart, or the signs contradict each other."""
    best = ranked[0]
    if len(ranked) == 1:
        return best
    if best.confidence >= ENOUGH and best.confidence - ranked[1].confidence >= AHEAD:
        return best
    return None if best.confidence > SHARED else _company_of(ranked)


def _company_of(ranked: Sequence[Ranked]) -> Ranked | None:
    """The company, where everybody else with the number is of it: a switchboard is the company's."""
    for one in ranked:
        others = [each.candidate for each in ranked if each is not one]
        if one.candidate.card_kind == "company" and all(each.company_id == one.candidate.card_id for each in others):
            why = "it is the company of all others"
            return Ranked(candidate=one.candidate, confidence=75, reasons=(why,))
    return None


Sign = Sequence[tuple[int, int, str]]
"""Cards for which something speaks: id, weight, in words."""


def _bonds(candidates: Sequence[Candidate], by: Circumstances) -> Sign:
    bonds = by.bonds or {}
    words = {Bond.THREAD: "its thread is on this card", Bond.CONVERSATION: "its conversation is on this card"}
    return [(one.card_id, 45, words[bonds[one.card_id]]) for one in candidates if one.card_id in bonds]


def _names(candidates: Sequence[Candidate], by: Circumstances) -> Sign:
    if not by.name:
        return []
    return _only(candidates, lambda one: is_same_name(by.name, one.card_name), 35, "it has the name of the other side")


def _deals(candidates: Sequence[Candidate], by: Circumstances) -> Sign:
    deals = by.signs.deals
    found = _only(candidates, lambda one: one.card_id in deals, 25, "it alone has an open deal")
    return found or _only(
        candidates,
        lambda one: bool(deals.get(one.card_id, frozenset()) & by.employee_ids),
        25,
        "it alone has an open deal of the employee who took part",
    )


def _responsible(candidates: Sequence[Candidate], by: Circumstances) -> Sign:
    words = "the employee who took part is responsible for it"
    return _only(candidates, lambda one: one.responsible_id in by.employee_ids, 20, words)


def _talks(candidates: Sequence[Candidate], by: Circumstances) -> Sign:
    """With whom we talked last, and rather with whom the same employee did."""
    since = by.at - timedelta(days=TALK_DAYS)
    talks = {card: one for card, one in by.signs.talks.items() if since <= one.at < by.at}
    own = {card: one for card, one in talks.items() if one.employee_ids & by.employee_ids}
    known = {one.card_id for one in candidates}
    for found, weight, words in (
        (own, 20, "the same employee talked with it last"),
        (talks, 10, "the last talk was with it"),
    ):
        newest = sorted(((one.at, card) for card, one in found.items() if card in known), reverse=True)
        if newest and (len(newest) == 1 or newest[0][0] > newest[1][0]):
            return [(newest[0][1], weight, words)]
    return []


def _only(candidates: Sequence[Candidate], has: Callable[[Candidate], bool], weight: int, words: str) -> Sign:
    """A sign counts where exactly one of the cards has it."""
    found = [one for one in candidates if has(one)]
    return [(found[0].card_id, weight, words)] if len(found) == 1 else []
