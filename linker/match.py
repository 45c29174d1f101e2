"""Identity and candidates to a decision with its reason; pure.

The linker loads what is known, this module decides, the linker saves. A shared number gives *ambiguous* and never two
entries: one conversation belongs to one client unless several clients really take part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agent.model import Direction, Identity, IdentityKind, LinkState, Role
from agent.store.cards import Candidate
from agent.store.employees import EmployeeIdentity
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from linker.normalize import company_domain, is_hidden, without_tag

_CONTACT_WORDS = {
    IdentityKind.PHONE: "phone",
    IdentityKind.EXTENSION: "extension",
    IdentityKind.ADDRESS: "address",
    IdentityKind.DOMAIN: "mail domain",
}
_ASIDE = ("envelope", "reply_to")  # whom only the envelope or Reply-To names may be a door: journal@, noreply@
FLAG_PATTERNS = (
    "extension % belongs to no employee",
    "% is shared%: nobody is credited",
    "nobody of ours was recognised",
)
"""What the flags made here look like (LIKE), so that each decision takes back those of the one before."""

_LONGEST_QUOTED = 80
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the store knows of the identities in a batch."""

    holders: Mapping[Identity, Sequence[EmployeeIdentity]]
    candidates: Mapping[Identity, Sequence[Candidate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided of one interaction."""

    direction: Direction | None
    parties: tuple[Party, ...]
    links: tuple[Link, ...]
    flags: tuple[str, ...] = ()


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
    resolved = _set_doors_aside(
        [_resolve(party, interaction.started, knowledge, normalize(party)) for party in parties],
        knowledge,
        aside=("envelope",) if is_from_list else _ASIDE,
    )
    sides = [one for one in resolved if one.role is not None]
    return Decision(
        direction=_direction(sides),
        parties=resolved,
        links=_links(interaction, sides, knowledge),
        flags=tuple(_flags(sides, interaction.started, knowledge)),
    )


def _resolve(party: Party, at: datetime, knowledge: Knowledge, identity: Identity | None) -> Party:
    held = _held(identity, at, knowledge)
    is_inside = bool(held) or (identity is not None and identity.kind is IdentityKind.EXTENSION)
    return replace(
        party,
        identity=identity,
        role=Role.EMPLOYEE if is_inside else Role.CLIENT,
        employee_id=party.employee_id if party.credited_by else _credited(held),
    )


def _held(identity: Identity | None, at: datetime, knowledge: Knowledge) -> list[EmployeeIdentity]:
    """Whoever had it then: the identity itself, else the address without its tag, else the whole domain."""
    for one in _widened(identity):
        if held := [each for each in knowledge.holders.get(one, ()) if each.is_valid(at)]:
            return held
    return []


def _widened(identity: Identity | None) -> list[Identity]:
    """An identity, then what it is a part of: ``anna+shop@…`` is Anna's, and anybody at a company's domain is of it."""
    if identity is None:
        return []
    domain = _domain_of(identity)
    return list(dict.fromkeys((identity, without_tag(identity), *((domain,) if domain is not None else ()))))


def _credited(held: Sequence[EmployeeIdentity]) -> int | None:
    """Whoever holds it alone. A call of a shared phone is nobody's until a person says whose it was; of a shared
    address it is whoever was given it last."""
    holders = {one.employee_id for one in held}
    is_certain = len(holders) == 1 or (held and held[-1].identity.kind is IdentityKind.ADDRESS)
    return held[-1].employee_id if is_certain else None


def _set_doors_aside(
    parties: Sequence[Party], knowledge: Knowledge, *, aside: Sequence[str] = _ASIDE
) -> tuple[Party, ...]:
    """Where the header names both sides, strangers of the envelope or Reply-To are no side: they get no role.

    Otherwise the mailbox that takes the journal would make every internal mail one with an unknown client.
    """
    named = [one for one in parties if one.position not in aside]
    if len(named) < 2:
        return tuple(parties)
    return tuple(
        replace(one, role=None)
        if one.position in aside and one.role is Role.CLIENT and not _candidates(one.identity, knowledge)
        else one
        for one in parties
    )


def _direction(parties: Sequence[Party]) -> Direction | None:
    """From who began it; None when nobody is known to be ours, which is said as a flag rather than guessed."""
    if not any(one.role is Role.EMPLOYEE for one in parties):
        return None
    if _is_internal(parties):
        return Direction.INTERNAL
    begun_by = [one.role for one in parties if one.position in ("caller", "from", "organizer")]
    return Direction.OUTBOUND if Role.EMPLOYEE in begun_by else Direction.INBOUND


def _is_internal(parties: Sequence[Party]) -> bool:
    """One party alone is half a conversation: the source has not named the other side."""
    return len(parties) > 1 and all(one.role is Role.EMPLOYEE for one in parties)


def _flags(parties: Sequence[Party], at: datetime, knowledge: Knowledge) -> list[str]:
    """What a person should put right, or would wonder at; each looks like one of `FLAG_PATTERNS`."""
    flags = [
        flag
        for one in parties
        if one.identity and one.employee_id is None and (flag := _why_uncredited(one.identity, at, knowledge))
    ]
    if parties and not any(one.role is Role.EMPLOYEE for one in parties):
        flags.append("nobody of ours was recognised")
    return flags


def _why_uncredited(identity: Identity, at: datetime, knowledge: Knowledge) -> str:
    held = [one for one in knowledge.holders.get(identity, ()) if one.is_valid(at)]
    if not held:
        is_ours = identity.kind is IdentityKind.EXTENSION
        return f"extension {identity.value} belongs to no employee" if is_ours else ""
    names = sorted({one.name for one in held if one.name})
    labels = sorted({one.label for one in held if one.label})
    who = f" by {', '.join(names[:_MOST_NAMES])}" if names else f" ({', '.join(labels)})" if labels else ""
    return f"{_CONTACT_WORDS[identity.kind]} {identity.value} is shared{who}: nobody is credited"


def _links(interaction: Interaction, parties: Sequence[Party], knowledge: Knowledge) -> tuple[Link, ...]:
    clients = [one for one in parties if one.role is Role.CLIENT]
    if _is_internal(parties):
        return (_link(interaction, LinkState.INTERNAL, "only employees took part"),)
    if not clients:
        reason = "the source named only our side" if parties else "the source named nobody"
        return (_link(interaction, LinkState.UNKNOWN, reason),)
    found = [_link_of_party(interaction, one, knowledge) for one in clients]
    for state in (LinkState.LINKED, LinkState.AMBIGUOUS):
        chosen = _one_a_card([one for one in found if one.state is state])
        if chosen:
            return chosen if state is LinkState.LINKED else chosen[:1]
    return tuple(found[:1])


def _link_of_party(interaction: Interaction, party: Party, knowledge: Knowledge) -> Link:
    if party.identity is None:
        return _link(interaction, LinkState.UNKNOWN, _why_nobody(party))
    candidates = _candidates(party.identity, knowledge)
    if len(candidates) == 1:
        return _link(interaction, LinkState.LINKED, _reason(candidates[0]), card_id=candidates[0].card_id)
    if candidates:
        return _link(interaction, LinkState.AMBIGUOUS, _why_ambiguous(candidates))
    return _link(interaction, LinkState.UNKNOWN, f"{party.identity} is on no card")


def _candidates(identity: Identity | None, knowledge: Knowledge) -> list[Candidate]:
    """Cards with the identity itself, each once; only where there is none, those with the address without its tag, and
    then those with its mail domain."""
    for one in _widened(identity):
        if found := _one_candidate_a_card(knowledge.candidates.get(one, ())):
            return found
    return []


def _why_nobody(party: Party) -> str:
    if party.kind is IdentityKind.PHONE and is_hidden(party.value):
        return "the number was hidden"
    who = " ".join((party.value or party.name or "the other side").split())[:_LONGEST_QUOTED]
    return f"{who} is no usable {'number' if party.kind is IdentityKind.PHONE else 'address'}"


def _why_ambiguous(candidates: Sequence[Candidate]) -> str:
    names = sorted(one.card_name for one in candidates)
    more = ", …" if len(names) > _MOST_NAMES else ""
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{candidates[0].contact_point.identity} is on {len(candidates)} cards: {shown}{more}"


def _domain_of(identity: Identity) -> Identity | None:
    return company_domain(identity) if identity.kind is IdentityKind.ADDRESS else None


def _reason(candidate: Candidate) -> str:
    point = candidate.contact_point
    label = f" «{point.label}»" if point.label else ""
    return f"{_CONTACT_WORDS[point.identity.kind]} {point.identity} is the card's{label}"


def _one_candidate_a_card(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({one.card_id: one for one in candidates}.values())


def _one_a_card(links: Sequence[Link]) -> tuple[Link, ...]:
    return tuple({one.card_id: one for one in reversed(links)}.values())


def _link(interaction: Interaction, state: LinkState, reason: str, *, card_id: int | None = None) -> Link:
    return Link(interaction_id=interaction.id, card_id=card_id, started=interaction.started, state=state, reason=reason)
