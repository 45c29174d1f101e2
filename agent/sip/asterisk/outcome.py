"""How a call ended, from what dialling came to and the causes of hanging up (Q.850). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.model import Disposition
from agent.sip.asterisk.channels import Channel
from agent.sip.asterisk.facts import Facts

_RANG = {"NOANSWER", "CANCEL", "ANSWER", "DONTCALL", "TORTURE"}
_BUSY_CAUSE = 17
_ENDED_WELL = {None, 0, 16, 18, 19, 26, 127}  # hung up, nobody answered, answered elsewhere, interworking


def outcome(facts: Facts, tree: Sequence[Channel], *, was_answered: bool, is_inbound: bool) -> Disposition:
    """Of a call that is over. A client who was not connected missed us, whatever the reason was on our side; one of
    ours learns why: busy, no answer, or no way to get there."""
    if was_answered:
        return Disposition.ANSWERED
    ids = {one.id for one in tree}
    diallings = [one for pair, one in facts.diallings.items() if set(pair) <= ids and facts.channels[one.peer].is_real]
    statuses = [one.status for one in diallings]
    told = {one for one in statuses if one}
    if is_inbound:
        all_busy = bool(told) and told == {"BUSY"} and len(statuses) == len([one for one in statuses if one])
        return Disposition.BUSY if all_busy else Disposition.NO_ANSWER
    if told & _RANG:
        return Disposition.NO_ANSWER
    if "BUSY" in told or (not told and tree[0].cause == _BUSY_CAUSE):
        return Disposition.BUSY
    return Disposition.NO_ANSWER if not told and tree[0].cause in _ENDED_WELL else Disposition.FAILED
