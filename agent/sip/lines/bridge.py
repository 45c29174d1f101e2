"""What a line does with one call: whom it calls, what it answers, whom it hangs up on. Pure.

Two legs, the caller's and that of the callee behind the line. What one side does is handed to the other truly: ringing,
early media, the answer, busy, no answer, the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.sip.lines.words import CALLEE, CALLER

LOGIN_WANTED = (401, 407)
_UNAVAILABLE, _NOT_NOW = 503, 480  # RFC 3261, 21.5.4 and 21.4.18
REQUEST_TERMINATED = 487


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Call the callee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer the caller with this status: 180 and 183 while it rings, 200 once."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """End the leg of this side: CANCEL, BYE, or a refusal with this status where the caller waits for an answer."""

    side: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """The call is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The call has ended: by whom, and the SIP status that says how."""

    by: str
    status: int
    reason: str


Action = Dial | Answer | HangUp | Talk | Over


class Bridge:
    """The state of one call. Each method takes what happened and returns what is to be done, in this order."""

    def __init__(self) -> None:
        self.is_dialled = self.is_answered = self.is_over = False
        self._told = 100
        self._left: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether neither side is there any more, so that its place is free."""
        return CALLER in self._left and (CALLEE in self._left or not self.is_dialled)

    def dial(self) -> Sequence[Action]:
        """It is known where the sound goes."""
        if self.is_dialled or self.is_over:
            return ()
        self.is_dialled = True
        return (Dial(),)

    def rings(self, status: int, *, with_sound: bool) -> Sequence[Action]:
        """The callee's side is ringing, queueing or announcing; ``with_sound``: and we hear it."""
        told = 183 if with_sound or status == 183 else status
        if self.is_over or self.is_answered or not 100 < told < 200 or told == self._told:
            return ()
        if self._told == 183 and told == 180:  # what is heard says more; ringing after it would make the caller's own
            return ()
        self._told = told
        return (Answer(status=told),)

    def answers(self) -> Sequence[Action]:
        """The callee has answered; also when the caller had gone already, whom nobody can connect any more."""
        if self.is_over or self.is_answered:
            return ()
        self.is_answered = True
        return (Answer(status=200), Talk())

    def leaves(self, side: str, status: int, reason: str) -> Sequence[Action]:
        """The leg of a side has ended, with the status of its INVITE (200 after an answer)."""
        self._left.add(side)
        if self.is_over:
            return ()
        self.is_over = True
        other = CALLEE if side == CALLER else CALLER
        back = handed_back(status) if side == CALLEE and not self.is_answered else REQUEST_TERMINATED
        over = Over(by=side, status=200 if self.is_answered else status if side == CALLEE else back, reason=reason)
        return (HangUp(side=other, status=back), over) if other == CALLER or self.is_dialled else (over,)

    def give_up(self, status: int, reason: str) -> Sequence[Action]:
        """The line itself ends the call: it is stopped, or nobody answers for ever."""
        if self.is_over:
            return ()
        self.is_over = True
        sides = [CALLER, CALLEE] if self.is_dialled else [CALLER]
        over = Over(by="line", status=200 if self.is_answered else status, reason=reason)
        return (*(HangUp(side=side, status=status) for side in sides), over)


def handed_back(status: int) -> int:
    """The status with which the caller is refused when the callee's leg ended like this.

    A wrong password of the line is no fault of the caller's, and a redirection cannot be followed by him.
    """
    if status in LOGIN_WANTED or status < 300:
        return _UNAVAILABLE
    return _NOT_NOW if status < 400 else status
