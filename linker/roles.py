"""Who is who in an interaction, and which way it went; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from agent.model import Direction, Identity, IdentityKind, InteractionKind, Role
from agent.store.cards import Candidate
from agent.store.employees import EmployeeIdentity
from agent.store.interactions import Party
from linker.knowledge import Knowledge
from linker.normalize import company_domain, is_login, normalize_login, without_tag

CONTACT_WORDS = {
    IdentityKind.PHONE: "phone",
    IdentityKind.EXTENSION: "extension",
    IdentityKind.LOGIN: "login",
    IdentityKind.ADDRESS: "address",
    IdentityKind.DOMAIN: "mail domain",
}
ASIDE = ("envelope", "reply_to")  # whom only the envelope or Reply-To names may be a door: journal@, noreply@
FLAG_PATTERNS = (
    "extension % belongs to no employee",
    "% is shared%: nobody is credited",
    "nobody of ours was recognised",
)
"""What the flags made here look like (LIKE), so that each decision takes back those of the one before."""

_OURS = re.compile("|".join(re.escape(one).replace("%", ".*") for one in FLAG_PATTERNS), re.DOTALL)
MOST_NAMES = 5
_WHOLE = (IdentityKind.PHONE, IdentityKind.EXTENSION, IdentityKind.DOMAIN)
_BEGINNERS = ("caller", "from", "organizer")


def is_flag_of_ours(flag: str) -> bool:
    """Whether a flag was made here, by the decision before."""
    return _OURS.fullmatch(flag) is not None


def widened(identity: Identity | None) -> list[Identity]:
    """An identity, then what it is a part of: ``anna+shop@…`` is Anna's, and anybody at a company's domain is of it."""
    if identity is None:
        return []
    if identity.kind in _WHOLE:
        return [identity]
    if identity.kind is IdentityKind.LOGIN:
        user = identity.value.partition("@")[0]
        return list(dict.fromkeys((identity, Identity(kind=IdentityKind.LOGIN, value=user))))
    domain = company_domain(identity)
    return list(dict.fromkeys((identity, without_tag(identity), *((domain,) if domain is not None else ()))))


def resolve(
    parties: Sequence[Party],
    kind: InteractionKind,
    at: datetime,
    knowledge: Knowledge,
    normalize: Callable[[Party], Identity | None],
    *,
    aside: Sequence[str] = ASIDE,
) -> tuple[Party, ...]:
    """Each party with identity, role and employee; those who are no side have no role."""
    resolved = [_resolve(party, at, knowledge, normalize(party)) for party in parties]
    if kind is InteractionKind.CALL:
        return _set_machines_aside(resolved)
    return _set_doors_aside(resolved, knowledge, aside=aside)


def _resolve(party: Party, at: datetime, knowledge: Knowledge, identity: Identity | None) -> Party:
    if identity is None and party.kind is IdentityKind.PHONE and (login := normalize_login(party.value)) is not None:
        identity = next((one for one in widened(login) if _is_known(one, at, knowledge)), None)
    held = _held(identity, at, knowledge)
    is_inside = bool(held) or (identity is not None and identity.kind is IdentityKind.EXTENSION)
    return replace(
        party,
        identity=identity,
        role=Role.EMPLOYEE if is_inside else Role.CLIENT,
        employee_id=party.employee_id if party.credited_by else _credited(held),
    )


def _is_known(identity: Identity, at: datetime, knowledge: Knowledge) -> bool:
    return any(one.is_valid(at) for one in knowledge.holders.get(identity, ())) or bool(
        knowledge.candidates.get(identity) or knowledge.rules.get(identity)
    )


def _held(identity: Identity | None, at: datetime, knowledge: Knowledge) -> list[EmployeeIdentity]:
    """Whoever had it then: the identity itself, else the address without its tag, else the whole domain."""
    for one in widened(identity):
        if held := [each for each in knowledge.holders.get(one, ()) if each.is_valid(at)]:
            return held
    return []


def _credited(held: Sequence[EmployeeIdentity]) -> int | None:
    """Whoever holds it alone. A call of a shared phone is nobody's until a person says whose it was; of a shared
    address it is whoever was given it last."""
    holders = {one.employee_id for one in held}
    is_certain = len(holders) == 1 or (held and held[-1].identity.kind is IdentityKind.ADDRESS)
    return held[-1].employee_id if is_certain else None


def _set_machines_aside(parties: Sequence[Party]) -> tuple[Party, ...]:
    """A number called a login of the PBX that is nobody's, and nobody of ours was there: a voice menu, a queue, the
    announcement after hours. It is no side, least of all a client."""
    beginners = [one for one in parties if one.position in _BEGINNERS]
    if any(one.role is Role.EMPLOYEE for one in parties) or not any(one.identity for one in beginners):
        return tuple(parties)
    return tuple(
        replace(one, role=None)
        if one.position not in _BEGINNERS and one.identity is None and is_login(one.value)
        else one
        for one in parties
    )


def _set_doors_aside(parties: Sequence[Party], knowledge: Knowledge, *, aside: Sequence[str]) -> tuple[Party, ...]:
    """Where the header names both sides, strangers of the envelope or Reply-To are no side: they get no role.

    Otherwise the mailbox that takes the journal would make every internal mail one with an unknown client.
    """
    named = [one for one in parties if one.position not in aside]
    if len(named) < 2:
        return tuple(parties)
    return tuple(
        replace(one, role=None)
        if one.position in aside and one.role is Role.CLIENT and not candidates_of(one.identity, knowledge)
        else one
        for one in parties
    )


def candidates_of(identity: Identity | None, knowledge: Knowledge) -> list[Candidate]:
    """Cards with the identity itself, each once; only where there is none, those with the address without its tag, and
    then those with its mail domain."""
    for one in widened(identity):
        if found := knowledge.candidates.get(one, ()):
            return list({each.card_id: each for each in found}.values())
    return []


def direction_of(sides: Sequence[Party], kind: InteractionKind, is_known: Callable[[Party], bool]) -> Direction | None:
    """From who began it; None when nobody is known to be ours, which is said as a flag rather than guessed.

    Of a call it is told by the side that is certainly a client: whoever else there was is ours, a voice menu or a
    number of the company that nobody has told us of. ``is_known`` says of a party whether it is on a card.
    """
    if any(one.role is Role.EMPLOYEE for one in sides):
        if is_internal(sides):
            return Direction.INTERNAL
        begun_by = [one.role for one in sides if one.position in _BEGINNERS]
        return Direction.OUTBOUND if Role.EMPLOYEE in begun_by else Direction.INBOUND
    if kind is not InteractionKind.CALL or not sides:
        return None
    began = {one.position in _BEGINNERS for one in sides}
    certain = {one.position in _BEGINNERS for one in sides if is_known(one)}
    for places in (began, certain):
        if len(places) == 1:
            return Direction.INBOUND if True in places else Direction.OUTBOUND
    return None


def is_internal(parties: Sequence[Party]) -> bool:
    """One party alone is half a conversation: the source has not named the other side."""
    return len(parties) > 1 and all(one.role is Role.EMPLOYEE for one in parties)


def flags_of(sides: Sequence[Party], at: datetime, knowledge: Knowledge, direction: Direction | None) -> list[str]:
    """What a person should put right, or would wonder at; each looks like one of `FLAG_PATTERNS`."""
    flags = [
        flag
        for one in sides
        if one.identity and one.employee_id is None and (flag := _why_uncredited(one.identity, at, knowledge))
    ]
    is_ours = any(one.role is Role.EMPLOYEE for one in sides)
    if sides and not is_ours and (direction is None or len(sides) > 1):
        flags.append("nobody of ours was recognised")
    return flags


def _why_uncredited(identity: Identity, at: datetime, knowledge: Knowledge) -> str:
    held = [one for one in knowledge.holders.get(identity, ()) if one.is_valid(at)]
    if not held:
        is_ours = identity.kind is IdentityKind.EXTENSION
        return f"extension {identity.value} belongs to no employee" if is_ours else ""
    names = sorted({one.name for one in held if one.name})
    labels = sorted({one.label for one in held if one.label})
    who = f" by {', '.join(names[:MOST_NAMES])}" if names else f" ({', '.join(labels)})" if labels else ""
    return f"{CONTACT_WORDS[identity.kind]} {identity.value} is shared{who}: nobody is credited"
