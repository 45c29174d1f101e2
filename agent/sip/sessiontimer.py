"""Session timers (RFC 4028): how long a recording session lasts unless somebody refreshes it, and who does. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.sip.message import Request, Response

MIN_SE_S = 90  # RFC 4028, 4: the smallest interval anybody may ask for
LONGEST_S = 24 * 3600
_VALUE = re.compile(r"^\s*(\d{1,9})\s*(?:;(.*))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimer:
    """What was agreed. ``ours`` says that we refresh; else the client does."""

    interval_s: int
    ours: bool

    def header(self, *, request: bool = False) -> tuple[str, str]:
        """Session-Expires of our answer, or of a ``request`` of ours: "uac" is whoever sent the request."""
        return "Session-Expires", f"{self.interval_s};refresher={'uac' if self.ours is request else 'uas'}"


def asked_interval(request: Request) -> int | None:
    """Session-Expires in seconds; None where there is none that can be read."""
    found = _VALUE.match(_session_expires(request))
    return int(found[1]) if found else None


def asks_too_little(request: Request) -> bool:
    """Whether the answer must be 422 with our Min-SE (RFC 4028, 9)."""
    interval = asked_interval(request)
    return interval is not None and interval < MIN_SE_S


def agreed_timer(request: Request) -> SessionTimer | None:
    """What we agree to: the client refreshes unless it says that we shall, or cannot (RFC 4028, 9, table 2)."""
    interval = asked_interval(request)
    if interval is None:
        return None
    refresher = _refresher(_session_expires(request))
    ours = refresher == "uas" or (not refresher and not supports_timer(request))
    return SessionTimer(interval_s=min(max(interval, MIN_SE_S), LONGEST_S), ours=ours)


def timer_headers(request: Request, timer: SessionTimer | None) -> list[tuple[str, str]]:
    """What of it goes into our answer; the client is to know that the timer counts where it is to refresh."""
    if timer is None:
        return []
    required = [("Require", "timer")] if not timer.ours and supports_timer(request) else []
    return [timer.header(), *required]


def refreshed_timer(asked: SessionTimer, answer: Response) -> SessionTimer | None:
    """What holds after the 2xx to a refresh of ours; without the header nothing expires any more (RFC 4028, 7.2)."""
    found = _VALUE.match(_session_expires(answer))
    if not found:
        return asked  # a client that does not know timers: we keep asking, so a dead one is noticed
    interval = min(max(int(found[1]), MIN_SE_S), LONGEST_S)
    return SessionTimer(interval_s=interval, ours=_refresher(found[0]) != "uas")


def smallest_allowed(answer: Response) -> int:
    """Min-SE of a 422, in seconds."""
    found = _VALUE.match(answer.header("min-se"))
    return min(max(int(found[1]) if found else MIN_SE_S, MIN_SE_S), LONGEST_S)


def supports_timer(request: Request) -> bool:
    """Whether the client says that it knows session timers."""
    options = ",".join([*request.headers.get("supported"), *request.headers.get("require")])
    return "timer" in {option.strip().lower() for option in options.split(",")}


def _session_expires(message: Request | Response) -> str:
    return message.header("session-expires") or message.header("x")  # its compact form (RFC 4028, 4)


def _refresher(value: str) -> str:
    found = re.search(r";\s*refresher\s*=\s*\"?(uac|uas)\b", value, re.IGNORECASE)
    return found[1].lower() if found else ""
