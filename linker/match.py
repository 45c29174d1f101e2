"""Identity and candidates to a decision with its reason; pure.

The linker loads what is known, this module decides, the linker saves. A shared number gives *ambiguous* and never two
entries: one conversation belongs to one client unless several clients really take part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agent.model import Direction, Identity, IdentityKind, InteractionKind, LinkState, Role
from agent.store.cards import Candidate
from agent.store.employees import EmployeeIdentity
from agent.store.interactions import Interaction, Party
from agent.store.links import Link
from linker.normalize import company_domain

_CONTACT_WORDS = {
    IdentityKind.PHONE: "phone",
    IdentityKind.EXTENSION: "extension",
    IdentityKind.ADDRESS: "address",
    IdentityKind.DOMAIN: "mail domain",
}


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
) -> Decision:
    """Who is who, which way it went, and on which card it belongs."""
    resolved = tuple(_resolve(party, interaction.started, knowledge, normalize(party)) for party in parties)
    return Decision(
        direction=_direction(resolved),
        parties=resolved,
        links=_links(interaction, resolved, knowledge),
        flags=tuple(_strange_extensions(resolved)),
    )


def _resolve(party: Party, at: datetime, knowledge: Knowledge, identity: Identity | None) -> Party:
    held = [one for one in knowledge.holders.get(identity, ()) if one.is_valid(at)] if identity is not None else []
    is_inside = bool(held) or (identity is not None and identity.kind is IdentityKind.EXTENSION)
    return replace(
        party,
        identity=identity,
        role=Role.EMPLOYEE if is_inside else Role.CLIENT,
        employee_id=held[-1].employee_id if held else None,
    )


def _direction(parties: Sequence[Party]) -> Direction | None:
    """From who began it; None when nobody is known to be ours, which is said as a flag rather than guessed."""
    begun_by = [one.role for one in parties if one.position in ("caller", "from")]
    if all(one.role is Role.EMPLOYEE for one in parties):
        return Direction.INTERNAL if parties else None
    if Role.EMPLOYEE in begun_by:
        return Direction.OUTBOUND
    return Direction.INBOUND


def _strange_extensions(parties: Sequence[Party]) -> list[str]:
    return [
        f"extension {one.identity.value} belongs to no employee"
        for one in parties
        if one.identity and one.identity.kind is IdentityKind.EXTENSION and one.employee_id is None
    ]


def _links(interaction: Interaction, parties: Sequence[Party], knowledge: Knowledge) -> tuple[Link, ...]:
    clients = [one for one in parties if one.role is Role.CLIENT]
    if not clients:
        reason = "only employees took part" if parties else "the source named nobody"
        state = LinkState.INTERNAL if parties else LinkState.UNKNOWN
        return (_link(interaction, state, reason),)
    found = [_link_of_party(interaction, one, knowledge) for one in clients]
    for state in (LinkState.LINKED, LinkState.AMBIGUOUS):
        chosen = _one_a_card([one for one in found if one.state is state])
        if chosen:
            return chosen if state is LinkState.LINKED else chosen[:1]
    return tuple(found[:1])


def _link_of_party(interaction: Interaction, party: Party, knowledge: Knowledge) -> Link:
    if party.identity is None:
        who = party.value or party.name or "the other side"
        hidden = interaction.kind is InteractionKind.CALL
        reason = "the number was hidden" if hidden else f"{who} is no usable address"
        return _link(interaction, LinkState.UNKNOWN, reason)
    for identity in (party.identity, _domain_of(party.identity)):
        candidates = _one_candidate_a_card(knowledge.candidates.get(identity, ())) if identity is not None else []
        if len(candidates) == 1:
            return _link(interaction, LinkState.LINKED, _reason(candidates[0]), card_id=candidates[0].card_id)
        if candidates:
            names = ", ".join(sorted(one.card_name for one in candidates))
            return _link(interaction, LinkState.AMBIGUOUS, f"{identity} is on {len(candidates)} cards: {names}")
    return _link(interaction, LinkState.UNKNOWN, f"{party.identity} is on no card")


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
