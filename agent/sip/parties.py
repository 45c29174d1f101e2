"""Who takes part in a recorded call, and on which channel: from recording metadata and SIP headers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.model import CapturedParty, IdentityKind
from agent.sip.identities import is_hidden, is_number, name_in, number_of, uri_in
from agent.sip.message import Request
from agent.sip.metadata import Metadata, Participant

POSITIONS = ("caller", "callee")


def channels(labels: dict[int, str], metadata: Metadata | None) -> dict[int, int]:
    """Log index to channel: that of whoever sends on the stream; streams nobody claims take what is free, in order."""
    senders = _senders(metadata) if metadata else {}
    ranks = _ranks(metadata) if metadata else {}
    found = {index: ranks[senders[label]] for index, label in labels.items() if senders.get(label) in ranks}
    for index in sorted(labels):
        if index not in found:
            free = (number for number in range(len(labels) + len(ranks) + 1) if number not in found.values())
            found[index] = next(free)
    return found


def _senders(metadata: Metadata) -> dict[str, str]:
    """Label of an m-line to the participant who speaks there first."""
    labels = {stream.id: stream.label for stream in metadata.streams}
    found: dict[str, str] = {}
    for participant in metadata.participants:
        for stream in participant.sends:
            if labels.get(stream):
                found.setdefault(labels[stream], participant.id)
    return found


def _ranks(metadata: Metadata) -> dict[str, int]:
    """Participant to channel. Whoever takes over the stream of another one speaks on the same channel."""
    labels = {stream.id: stream.label for stream in metadata.streams if stream.label}
    taken: dict[str, int] = {}
    ranks: dict[str, int] = {}
    for participant in metadata.participants:
        names = [labels.get(stream, f"id:{stream}") for stream in participant.sends]
        shared = next((taken[name] for name in names if name in taken), None)
        ranks[participant.id] = len(set(ranks.values())) if shared is None else shared
        for name in names:
            taken.setdefault(name, ranks[participant.id])
    return ranks


def call_parties(
    metadata: Metadata | None, invite: Request | None, *, recorded: bool, flags: list[str]
) -> tuple[CapturedParty, ...]:
    """All who ever took part, in the order the client named them. What had to be guessed is added to ``flags``."""
    people = [one for one in metadata.participants if one.aor or one.name or one.sends] if metadata else []
    if metadata is None or not people:
        return _sip_parties(invite, flags)
    if recorded and not any(one.sends for one in people):
        flags.append("the metadata does not say who sends on which stream; they were taken in order")
    ranks, values, positions = _ranks(metadata), _values(metadata, people), _positions(metadata, people)
    asserted = _asserted(invite)
    for one in people:
        if positions[one.id] == POSITIONS[0] and is_hidden(values[one.id]) and asserted:
            values[one.id] = asserted
            flags.append("the caller's number was taken from P-Asserted-Identity")
    return tuple(
        CapturedParty(
            position=positions[one.id],
            kind=IdentityKind.PHONE,
            value=values[one.id],
            name=one.name,
            channel=ranks[one.id],
            joined=one.joined,
            left=one.left,
        )
        for one in people
    )


def _values(metadata: Metadata, people: Sequence[Participant]) -> dict[str, str]:
    """Each one's number. A switch that knows its users by login tells their numbers beside them (BroadWorks)."""
    values = {one.id: number_of(one.aor) for one in people}
    told = [number for number in (metadata.calling, metadata.called) if is_number(number)]
    missing = [number for number in told if number not in values.values()]
    logins = [known for known, value in values.items() if value and not is_number(value)]
    if len(told) == 2 and len(missing) == 1 and logins:
        values[logins[0]] = missing[0]
    return values


def _positions(metadata: Metadata, people: Sequence[Participant]) -> dict[str, str]:
    """Who called whom: as the client says it, else the first named called the second."""
    values = _values(metadata, people)
    caller = next((one.id for one in people if one.calling), "")
    if not caller and is_number(metadata.calling):
        caller = next((known for known, value in values.items() if value == metadata.calling), "")
    order = sorted((one.id for one in people), key=lambda known: known != (caller or people[0].id))
    return {known: POSITIONS[at] if at < len(POSITIONS) else "participant" for at, known in enumerate(order)}


def _asserted(invite: Request | None) -> str:
    """The number the client's network vouches for (RFC 3325, 9.1), which a caller who hides his cannot forge."""
    values = invite.headers.get("p-asserted-identity") if invite else []
    numbers = [number_of(uri_in(part)) for value in values for part in value.split(",")]
    return next((number for number in numbers if is_number(number)), "")


def _sip_parties(invite: Request | None, flags: list[str]) -> tuple[CapturedParty, ...]:
    """Without metadata only the SIP headers are left; they are believed where they hold numbers."""
    headers = {name: invite.header(name) if invite else "" for name in ("From", "To")}
    values = [_asserted(invite) or number_of(uri_in(headers["From"])), number_of(uri_in(headers["To"]))]
    parties = tuple(
        CapturedParty(position=position, kind=IdentityKind.PHONE, value=value, name=name_in(header), channel=channel)
        for channel, (position, value, header) in enumerate(zip(POSITIONS, values, headers.values(), strict=True))
        if is_number(value)
    )
    if parties:
        flags.append("the parties were taken from the SIP headers From and To")
    return parties


def diverted_from(invite: Request | None) -> tuple[str, ...]:
    """Numbers that were called first, before the call was diverted, the newest first (RFC 5806)."""
    values = invite.headers.get("diversion") if invite else []
    numbers = [number_of(uri_in(part)) for value in values for part in value.split(",")]
    return tuple(dict.fromkeys(number for number in numbers if number))
