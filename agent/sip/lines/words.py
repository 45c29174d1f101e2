"""What the service and the process of a line say to each other: one JSON object a line. Pure.

The service orders (``{"do": …}``) on the process' standard input, so that no secret stands in arguments or the
environment; the process tells what happened (``{"fact": …}``), and when, on its standard output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# Orders
CONFIGURE = "configure"  # the first one: the account, once
SOURCES = "sources"  # the networks that calls may come from, as often as they change
RECORD = "record"  # where the sound of a call goes; an empty folder: nowhere
PAUSE = "pause"
RESUME = "resume"

# Facts
READY = "ready"  # the SIP stack runs, on this port
ALIVE = "alive"  # nothing else, every `SIGN_S` seconds
REGISTERED = "registered"  # an answer of the registrar, good or bad
RINGING = "ringing"  # a call has come
REFUSED = "refused"  # a call was not taken
RECORDING = "recording"  # the sound of one side is written from now on
HELD = "held"  # one side sends nothing, or sends again
KEY = "key"  # somebody pressed a key
ANSWERED = "answered"
ENDED = "ended"  # the call is over and its sound files are complete
WRONG = "wrong"  # something failed that the call survived

CALLER, CALLEE = "caller", "callee"
CHANNELS = {CALLER: 0, CALLEE: 1}  # as `agent.model.CapturedParty` has it
SIGN_S = 5.0
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFact:
    """Something that happened at a line; ``call`` names the call it concerns, if any."""

    kind: str
    at: datetime
    call: str = ""
    data: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A value that is a string, empty where it is none."""
        found = self.data.get(name, "")
        return found if isinstance(found, str) else ""

    def number(self, name: str) -> int:
        """A value that is a whole number, 0 where it is none."""
        found = self.data.get(name, 0)
        return found if isinstance(found, int) else 0


def write_fact(kind: str, at: float, *, call: str = "", **data: Any) -> bytes:
    """A fact as it goes through the pipe; ``at`` in seconds since the epoch."""
    return _line({"fact": kind, "at": at, "call": call, **data})


def read_fact(line: bytes) -> LineFact | None:
    """The fact in a line; None where there is none that can be read."""
    data = _read(line)
    try:
        kind, at, call = data.pop("fact"), data.pop("at"), data.pop("call")
        moment = datetime.fromtimestamp(at, UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    return LineFact(kind=str(kind), at=moment, call=str(call), data=data)


def write_order(kind: str, **data: Any) -> bytes:
    """An order as it goes through the pipe."""
    return _line({"do": kind, **data})


def read_order(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """The order in a line and its values; an empty name where there is none that can be read."""
    data = _read(line)
    return str(data.pop("do", "")), data


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _read(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
