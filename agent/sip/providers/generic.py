"""Any PBX that can send a request with fields of our names, or of its own that the settings name.

The fields stand in docs/providers/generic.md. Form, query and JSON are understood. A request is believed by the token
in the address; with a ``secret`` also by a signature: ``X-Signature: sha256=<hex of HMAC-SHA256 over the body>``.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import tzinfo

from agent.model import Direction, Disposition
from agent.sip.providers.fields import (
    Table,
    Words,
    count,
    fill,
    form_of,
    link,
    moment,
    needed,
    number,
    object_of,
    seconds,
    text,
    words_of,
)
from agent.sip.providers.notification import EventKind, Hook, Notification, RecordingReference, UnreadableNotification
from agent.sip.providers.preset import Keys, Preset, Verdict, verify_token

_EVENTS = {
    "start": EventKind.RINGING,
    "answer": EventKind.ANSWERED,
    "end": EventKind.ENDED,
    "record": EventKind.RECORDED,
}
_DIRECTIONS = {
    "in": Direction.INBOUND,
    "inbound": Direction.INBOUND,
    "out": Direction.OUTBOUND,
    "outbound": Direction.OUTBOUND,
    "internal": Direction.INTERNAL,
}
_STATES = {
    "answered": Disposition.ANSWERED,
    "no answer": Disposition.NO_ANSWER,
    "busy": Disposition.BUSY,
    "failed": Disposition.FAILED,
}
_TABLE: Table = {
    "parent_key": (("parent_id",), text),
    "leg_key": (("leg_id",), text),
    "outside": (("outside",), number),
    "outside_name": (("outside_name",), text),
    "ours": (("ours",), number),
    "extension": (("extension",), number),
    "employee": (("employee",), text),
    "started": (("started",), moment),
    "answered": (("answered",), moment),
    "ended": (("ended",), moment),
    "talk": (("talk_seconds",), seconds),
    "at": (("at",), moment),
    "sequence": (("sequence",), count),
}
NAMES = frozenset(
    {"event", "call_id", "direction", "status", "recording_id", "recording_url"}
    | {name for names, _ in _TABLE.values() for name in names}
)


def verify(hook: Hook, keys: Keys) -> Verdict:
    """The token, and where there is a secret the signature too."""
    verdict = verify_token(hook, keys)
    if verdict is not Verdict.ACCEPTED or not keys.secret:
        return verdict
    expected = hmac.new(keys.secret.encode(), hook.body, hashlib.sha256).hexdigest()
    given = hook.signature.removeprefix("sha256=").lower()
    return verdict if hmac.compare_digest(given.encode(), expected.encode()) else Verdict.REFUSED


def read(hook: Hook, keys: Keys, zone: tzinfo) -> Notification | None:
    """One event. What the settings call otherwise is brought back to our names first."""
    words = _words(hook)
    words = {**words, **{ours: words[theirs] for ours, theirs in keys.fields.items() if theirs in words}}
    kind = _EVENTS.get(needed(words, "event").lower())
    if kind is None:
        raise UnreadableNotification("The event is none of start, answer, end, record.")
    key = needed(words, "call_id")
    return Notification(
        kind=kind,
        call_key=key,
        direction=_DIRECTIONS.get(words.get("direction", "").strip().lower()),
        status=_STATES.get(words.get("status", "").strip().lower().replace("_", " ")),
        recordings=_recordings(words, key, zone),
        **fill(_TABLE, words, zone),
    )


def _words(hook: Hook) -> Words:
    if "json" in hook.content_type or hook.body.lstrip()[:1] == b"{":
        return {**form_of(Hook(query=hook.query)), **words_of(object_of(hook.body), paths=True)}
    return form_of(hook)


def _recordings(words: Words, key: str, zone: tzinfo) -> tuple[RecordingReference, ...]:
    address = link(words.get("recording_url", ""), zone)
    return (RecordingReference(reference=words.get("recording_id") or key, url=address),) if address else ()


GENERIC = Preset(
    name="generic",
    title="any PBX",
    verify=verify,
    read=read,
    in_address=True,
    cabinet="wherever it sends events of calls to",
    stereo="Let the PBX record each side on a channel of its own.",
)
