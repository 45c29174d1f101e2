"""Keys pressed that a recording client tells by INFO instead of in the sound, as codes that pause the recording.

The bodies are older than any standard (RFC 6086, 2): ``application/dtmf-relay`` has lines ``Signal=5`` and
``Duration=160``, ``application/dtmf`` the key alone. RFC 7866 says nothing of keys. A client whose call has its keys so
may relay them into the recording session, as INFO is relayed in other dialogs. What is pressed is written down nowhere:
INFO does not say by whom, and it may be a card number.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import UTC, datetime

from agent.sip.lines.codes import Codes
from agent.sip.lines.linecalls import KeyRules
from agent.sip.message import Request

RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"
TYPES = (RELAY, PLAIN)
_KEYS = "0123456789*#ABCD"  # by the number of their event (RFC 4733, 3.2), which some write instead
_SIGNAL = re.compile(rb"^[ \t]*Signal[ \t]*=[ \t]*(\S{1,2})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_LONGEST = 512  # bytes of such a body
_MOST_CALLS = 4096  # whose last keys are remembered


def kind_of(request: Request) -> str:
    """The type of its body, without parameters."""
    return request.header("content-type").split(";")[0].strip().lower()


def key_of(request: Request) -> str:
    """The key that an INFO tells; empty where it tells none that a telephone has."""
    body = request.body[:_LONGEST]
    if kind_of(request) == RELAY:
        found = _SIGNAL.search(body)
        body = found[1] if found else b""
    told = body.strip().decode("latin-1").upper()
    if told.isascii() and told.isdecimal() and len(told) == 2:
        number = int(told)
        return _KEYS[number] if 10 <= number < len(_KEYS) else ""
    return told if len(told) == 1 and told in _KEYS else ""


class InfoKeys:
    """Finds codes in what is pressed in each session, whoever of its two parties presses."""

    def __init__(self, rules: KeyRules) -> None:
        self._rules = rules
        self._calls: OrderedDict[str, tuple[Codes, int]] = OrderedDict()  # and the number of the last key's request

    def take(self, capture_id: str, request: Request) -> None:
        """An INFO of this session. One that was overtaken by a later one is no key any more."""
        key = key_of(request)
        if not key or not self._rules.codes:
            return
        codes, last = self._calls.get(capture_id) or (Codes(self._rules.codes), -1)
        if request.cseq <= last:
            return
        self._calls[capture_id] = codes, request.cseq
        self._calls.move_to_end(capture_id)
        if len(self._calls) > _MOST_CALLS:
            self._calls.popitem(last=False)
        now = datetime.now(UTC)
        if (name := codes.press(key, now)) is not None:
            self._rules.on_code(capture_id, name, now)

    def forget(self, capture_id: str) -> None:
        """The session has ended."""
        self._calls.pop(capture_id, None)
