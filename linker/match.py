"""Identities and candidates to a decision with its reason; pure.

The linker loads what is known, this module decides, the linker saves. A shared number gives *ambiguous* and never two
entries: one conversation belongs to one client unless several clients really take part in it. What a person has said
of a number goes before everything that is worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.model import Direction, Identity, IdentityKind, InteractionKind, LinkState, Role
from agent.store.interactions import Interaction, Party
from agent.store.linkrules import LinkRule, RuleDecision, UnknownPolicy
from agent.store.links import Link
from linker.kinship import CONVERSATION_SURE, THREAD_SURE, bonds_of, inherited
from linker.knowledge import NO_SIGNS, Bond, Decision, Knowledge, NewCard, Relative
from linker.normalize import is_hidden
from linker.rank import SHARED_BY_MANY, Circumstances, Ranked, choose, rank
from linker.roles import (
    ASIDE,
    CONTACT_WORDS,
    FLAG_PATTERNS,
    MOST_NAMES,
    candidates_of,
    direction_of,
    flags_of,
    is_internal,
    resolve,
    widened,
)

__all__ = ["FLAG_PATTERNS", "Decision", "Knowledge", "decide"]

_LONGEST_QUOTED = 80
_MOST_CANDIDATES = 10  # that an ambiguous one keeps, the best


def decide(
    interaction: Interaction,
    parties: Sequence[Party],
    knowledge: Knowledge,
    *,
    normalize: Callable[[Party], Identity | None],
    is_from_list: bool = False,
) -> Decision:
    """Who is who, which way it went, and on which card it belongs.

    ``is_from_list``: a mailing list has put itself into From, and Reply-To names who wrote.
    """
    aside = ("envelope",) if is_from_list else ASIDE
    at = interaction.started
    resolved = resolve(parties, interaction.kind, at, knowledge, normalize, aside=aside)
    sides = [one for one in resolved if one.role is not None]
    direction = direction_of(sides, interaction.kind, lambda party: _is_known(party, knowledge))
    links = _links(interaction, resolved, direction, knowledge)
    links, new_card = _by_policy(interaction, resolved, links, knowledge)
    return Decision(
        direction=direction,
        parties=resolved,
        links=links,
        flags=tuple(flags_of(sides, at, knowledge, direction)),
        new_card=new_card,
    )


def _links(
    interaction: Interaction, parties: Sequence[Party], direction: Direction | None, knowledge: Knowledge
) -> tuple[Link, ...]:
    sides = [one for one in parties if one.role is not None]
    clients = [one for one in sides if one.role is Role.CLIENT]
    if private := _private(parties, knowledge):
        return (_by_rule(interaction, LinkState.PRIVATE, private),)
    if is_internal(sides):
        return (_link(interaction, LinkState.INTERNAL, "only employees took part"),)
    relatives = knowledge.relatives.get(interaction.id, ())
    found = [_link_of_party(interaction, one, parties, knowledge) for one in clients]
    for state in (LinkState.LINKED, LinkState.AMBIGUOUS):
        if chosen := _one_a_card([one for one in found if one.state is state]):
            return chosen if state is LinkState.LINKED else chosen[:1]
    if all(one.state is LinkState.IGNORED for one in found) and found:
        return tuple(found[:1])
    outside = [one.identity for one in clients if one.identity is not None]
    if heirloom := inherited(relatives, outside, direction):
        return (_inherit(interaction, heirloom),)
    if not clients:
        reason = "the source named only our side" if sides else "the source named nobody"
        return (_link(interaction, LinkState.UNKNOWN, reason, confidence=0),)
    return tuple([one for one in found if one.state is LinkState.UNKNOWN][:1])


# --- What a person said -----------------------------------------------------------------------------------------------


def _private(parties: Sequence[Party], knowledge: Knowledge) -> LinkRule | None:
    """Whoever of the outside is on the list makes the whole of it private, also one whom only the envelope names."""
    for party in parties:
        if party.role is not Role.EMPLOYEE:
            for one in widened(party.identity):
                rule = knowledge.rules.get(one)
                if rule is not None and rule.decision is RuleDecision.PRIVATE:
                    return rule
    return None


def _is_known(party: Party, knowledge: Knowledge) -> bool:
    return bool(_rule_of(party.identity, knowledge) or candidates_of(party.identity, knowledge))


def _rule_of(identity: Identity | None, knowledge: Knowledge) -> LinkRule | None:
    """What a person said of it, or of what it is a part of, unless a card has it more exactly."""
    for one in widened(identity):
        if (rule := knowledge.rules.get(one)) is not None:
            return rule
        if knowledge.candidates.get(one):
            return None
    return None


def _by_rule(interaction: Interaction, state: LinkState, rule: LinkRule) -> Link:
    words = {
        RuleDecision.CARD: "is this client's",
        RuleDecision.PRIVATE: "is private",
        RuleDecision.IGNORE: "concerns nobody",
    }[rule.decision]
    reason = f"{rule.made_by} has said that {rule.identity} {words}"
    card_id = rule.card_id if state is LinkState.LINKED else None
    return replace(_link(interaction, state, reason, card_id=card_id), rule_id=rule.id)


# --- By party ---------------------------------------------------------------------------------------------------------


def _link_of_party(interaction: Interaction, party: Party, parties: Sequence[Party], knowledge: Knowledge) -> Link:
    if party.identity is None:
        return _link(interaction, LinkState.UNKNOWN, _why_nobody(party), confidence=0)
    if (rule := _rule_of(party.identity, knowledge)) is not None:
        state = LinkState.LINKED if rule.decision is RuleDecision.CARD else LinkState.IGNORED
        return _by_rule(interaction, state, rule)
    candidates = candidates_of(party.identity, knowledge)
    if not candidates:
        return _link(interaction, LinkState.UNKNOWN, f"{party.identity} is on no card", confidence=0)
    circumstances = Circumstances(
        at=interaction.started,
        employee_ids=frozenset(one.employee_id for one in parties if one.employee_id is not None),
        name=party.name,
        bonds=bonds_of(knowledge.relatives.get(interaction.id, ())),
        signs=knowledge.signs.get(interaction.id, NO_SIGNS),
    )
    ranked = rank(candidates, circumstances)
    chosen = choose(ranked)
    if chosen is None:
        return _ambiguous(interaction, ranked)
    reason = _reason(chosen, len(ranked))
    return _link(interaction, LinkState.LINKED, reason, card_id=chosen.candidate.card_id, confidence=chosen.confidence)


def _ambiguous(interaction: Interaction, ranked: Sequence[Ranked]) -> Link:
    names = sorted(one.candidate.card_name for one in ranked)
    more = ", …" if len(names) > MOST_NAMES else ""
    many = f"more than {SHARED_BY_MANY}" if len(names) > SHARED_BY_MANY else str(len(names))
    identity = ranked[0].candidate.contact_point.identity
    reason = f"{identity} is on {many} cards: {', '.join(names[:MOST_NAMES])}{more}"
    best = tuple((one.candidate.card_id, one.confidence, one.reasons) for one in ranked[:_MOST_CANDIDATES])
    link = _link(interaction, LinkState.AMBIGUOUS, reason, confidence=ranked[0].confidence)
    return replace(link, candidates=best)


def _reason(chosen: Ranked, among: int) -> str:
    point = chosen.candidate.contact_point
    label = f" «{point.label}»" if point.label else ""
    reason = f"{CONTACT_WORDS[point.identity.kind]} {point.identity} is the card's{label}"
    return reason if among == 1 else f"{reason}; of {among} cards with it: {', '.join(chosen.reasons)}"


def _why_nobody(party: Party) -> str:
    if party.kind is IdentityKind.PHONE and is_hidden(party.value):
        return "the number was hidden"
    who = " ".join((party.value or party.name or "the other side").split())[:_LONGEST_QUOTED]
    return f"{who} is no usable {'number' if party.kind is IdentityKind.PHONE else 'address'}"


def _inherit(interaction: Interaction, relative: Relative) -> Link:
    is_thread = relative.bond is Bond.THREAD
    what = "thread" if is_thread else "conversation"
    return _link(
        interaction,
        LinkState.LINKED,
        f"inherited: its {what} is on the card (No. {relative.interaction_id})",
        card_id=relative.card_id,
        confidence=THREAD_SURE if is_thread else CONVERSATION_SURE,
    )


# --- Unknown numbers --------------------------------------------------------------------------------------------------


def _by_policy(
    interaction: Interaction, parties: Sequence[Party], links: tuple[Link, ...], knowledge: Knowledge
) -> tuple[tuple[Link, ...], NewCard | None]:
    """What our line says of unknown numbers; meetings and what has no number to remember are left to people."""
    if interaction.kind is InteractionKind.MEETING or not links or links[0].state is not LinkState.UNKNOWN:
        return links, None
    line = next((one.identity for one in parties if one.identity in knowledge.policies), None)
    default = knowledge.unknown_calls if interaction.kind is InteractionKind.CALL else knowledge.unknown_mails
    policy = knowledge.policies[line] if line is not None else default
    ours = [one for one in parties if one.role is Role.EMPLOYEE or (line is not None and one.identity == line)]
    strangers = [one for one in parties if one.role is Role.CLIENT and one not in ours]
    if policy is UnknownPolicy.IGNORE and strangers:
        where = f" at {line}" if line is not None else ""
        return (_link(interaction, LinkState.IGNORED, f"unknown numbers{where} are ignored"),), None
    made_of = [one for one in strangers if one.identity is not None and one.identity.kind in _NAMEABLE]
    if policy is not UnknownPolicy.CREATE or not made_of or not ours:
        return links, None
    first = made_of[0]
    assert first.identity is not None
    name = " ".join(first.name.split())[:_LONGEST_QUOTED] or first.identity.value
    responsible = next((one.employee_id for one in ours if one.employee_id is not None), None)
    return links, NewCard(identity=first.identity, name=name, responsible_id=responsible)


_NAMEABLE = (IdentityKind.PHONE, IdentityKind.ADDRESS)


def _one_a_card(links: Sequence[Link]) -> tuple[Link, ...]:
    return tuple({one.card_id: one for one in reversed(links)}.values())


def _link(
    interaction: Interaction, state: LinkState, reason: str, *, card_id: int | None = None, confidence: int = 100
) -> Link:
    return Link(
        interaction_id=interaction.id,
        card_id=card_id,
        started=interaction.started,
        state=state,
        reason=reason,
        confidence=confidence,
    )
