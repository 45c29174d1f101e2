"""From what a line's process tells to what a person sees: calls, and the state of the line. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind, SourceState
from agent.sip.lines.words import CALLEE, CALLER, CHANNELS, LineFact

MOST_CALLS = 2  # bridged ones: pjsua2 from PyPI has four calls a process, and a bridged call takes two
_BUSY, _NOT_REACHED = (486, 600, 603), (408, 480, 487)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LOGIN_PAUSE_S = 1.0, 60.0, 60.0
_TOLD = ("call_id", "dialled", "peer", "user_agent", "diverted")
NOT_RECORDED = "this call is not recorded: there was no place for its sound in time"


def source_of(line: str) -> str:
    """The name of a line as a source of calls."""
    return f"line:{line}"


def ringing_call(line: str, fact: LineFact) -> CapturedCall:
    """A call that has come to a line."""
    parties = (
        _party(CALLER, fact.text("caller"), fact.text("caller_name"), joined=fact.at),
        _party(CALLEE, fact.text("callee"), ""),
    )
    details = {
        name: fact.data[name]
        for name in ("call_id", "dialled", "peer", "user_agent", "diverted")
        if fact.data.get(name)
    }
    return CapturedCall(
        source=source_of(line),
        key=fact.call,
        started=fact.at,
        parties=tuple(one for one in parties if one.value or one.position == CALLEE),
        details={"line": line, **details},
    )


def answered_call(call: CapturedCall, at: datetime) -> CapturedCall:
    """The callee has answered."""
    joined = tuple(replace(one, joined=at) if one.position == CALLEE else one for one in call.parties)
    return replace(call, answered=at, parties=joined)


def ended_call(call: CapturedCall, fact: LineFact) -> CapturedCall:
    """The call is over, truly so."""
    status = fact.number("status")
    details = {**call.details, "ended_by": fact.text("by"), "status": status, "reason": fact.text("reason")[:200]}
    return replace(_left(call, fact.at), disposition=_disposition(call, status), details=details)


def lost_call(call: CapturedCall, at: datetime) -> CapturedCall:
    """The process that carried the call is gone, and the call with it."""
    disposition = Disposition.ANSWERED if call.answered else Disposition.FAILED
    flags = (*call.flags, "the process of the line ended during this call")
    return replace(_left(call, at), disposition=disposition, truncated=True, flags=flags)


def flagged(call: CapturedCall, flag: str) -> CapturedCall:
    """Something went wrong that the call survived."""
    return call if flag in call.flags else replace(call, flags=(*call.flags, flag))


def _left(call: CapturedCall, at: datetime) -> CapturedCall:
    at = max(at, call.answered or call.started)
    return replace(call, ended=at, parties=tuple(replace(one, left=at) if one.joined else one for one in call.parties))


def _disposition(call: CapturedCall, status: int) -> Disposition:
    if call.answered is not None:
        return Disposition.ANSWERED
    if status in _BUSY:
        return Disposition.BUSY
    return Disposition.NO_ANSWER if status in _NOT_REACHED else Disposition.FAILED


def _party(position: str, value: str, name: str, *, joined: datetime | None = None) -> CapturedParty:
    return CapturedParty(
        position=position,
        kind=IdentityKind.PHONE,
        value=value,
        name=name,
        channel=CHANNELS[position],
        joined=joined,
    )


def registration_state(fact: LineFact, registrar: str) -> tuple[SourceState, str]:
    """What a person sees after an answer of the registrar: who must act, and how."""
    status, reason = fact.number("status"), fact.text("reason")[:200]
    if 200 <= status < 300:
        return SourceState.RUNNING, ""
    if is_refused(status):
        said = f"{registrar} refuses the login ({status} {reason})."
        return SourceState.LOGIN_FAILED, f"{said} Check user, auth_user and secret of this line in cardline.toml."
    said = f"{registrar} cannot be reached or does not take registrations ({status} {reason})."
    return SourceState.UNREACHABLE, f"{said} It is tried again by itself; check registrar and transport of this line."


def is_refused(status: int) -> bool:
    """Whether the registrar does not know the account, or not with this secret."""
    return status in (401, 403, 404, 407)


def registration_pause(status: int, failures: int) -> float:
    """Seconds before the next attempt after so many in vain: many refused logins lock an account."""
    if is_refused(status):
        return _LOGIN_PAUSE_S
    return float(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures, 10)))


def occupancy(calls: int) -> str:
    """Said plainly when no further call can be taken, else nothing."""
    return f"{calls} of {MOST_CALLS} calls, full" if calls >= MOST_CALLS else ""
