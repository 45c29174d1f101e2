"""What a line needs of a telephone; `agent.sip.lines.line` is the one there is, made of pjsua2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from agent.errors import Unavailable

EARLY, TALKING, GONE = "early", "talking", "gone"  # what becomes of a leg

Sound = Any
"""Something that can be heard or can hear: a leg's sound, a file that is written or played, a tone."""


class PhoneFault(Unavailable):
    """The telephone could not do what was asked; the text says why in its own words."""

    remedy = "The call goes on without it, or ends if it cannot."


class Leg(Protocol):
    """One side of a call."""

    @property
    def is_active(self) -> bool:
        """Whether it is there still."""
        ...

    @property
    def is_held(self) -> bool:
        """Whether its side holds the call: it listens to nobody, and may send music or nothing."""
        ...

    def sound(self) -> Sound | None:
        """Its sound, while it has any; another one after each change of it."""
        ...

    def answer(self, status: int) -> None:
        """Answer its INVITE; nothing where it has gone."""
        ...

    def hang_up(self, status: int) -> None:
        """BYE, CANCEL, or this status; nothing where it has gone."""
        ...

    def press(self, digit: str) -> None:
        """Send a key, by RFC 4733 or else by INFO; nothing where neither can be."""
        ...


class Listener(Protocol):
    """Who hears of what happens at the telephone; ``at`` is in seconds since the epoch."""

    def registered(self, status: int, reason: str, expires: int) -> None:
        """The registrar has answered, or nobody has."""
        ...

    def invited(self, leg: Leg, raw: bytes, peer: str, at: float) -> None:
        """A call has come, with these bytes as its INVITE."""
        ...

    def leg_changed(self, leg: Leg, change: str, status: int, reason: str, at: float) -> None:
        """A leg is ringing (`EARLY`), answered (`TALKING`) or over (`GONE`)."""
        ...

    def leg_sounds(self, leg: Leg, at: float) -> None:
        """The sound of a leg has begun, changed or paused."""
        ...

    def leg_pressed(self, leg: Leg, digit: str, at: float) -> None:
        """A key was pressed at the far end."""
        ...


class Phone(Protocol):
    """The stack: one account, its legs, the sound between them."""

    def register(self) -> bool:
        """Try again to register; False where the last attempt is still under way."""
        ...

    def dial(self, target: str, *, shown: str, asserted: str) -> Leg:
        """Call a SIP URI. ``shown``: the display name; ``asserted``: a number to vouch for (RFC 3325).

        Raises:
            PhoneFault: it cannot be called.
        """
        ...

    def record(self, file: Path) -> Sound:
        """A new WAV file, into which silence flows from now on wherever nothing else does, so that it keeps time.

        Raises:
            PhoneFault: the file cannot be written.
        """
        ...

    def announcement(self, file: str) -> Sound:
        """A WAV file, played once.

        Raises:
            PhoneFault: the file cannot be read.
        """
        ...

    def beep(self) -> Sound:
        """A short tone.

        Raises:
            PhoneFault: there is no place for it.
        """
        ...

    def connect(self, source: Sound, sink: Sound) -> None:
        """Let one hear the other; again is once."""
        ...

    def disconnect(self, source: Sound, sink: Sound) -> None:
        """Let one no longer hear the other."""
        ...
