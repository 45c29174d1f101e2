"""Server transactions (RFC 3261, 17.2): a repeated request gets the same answer, and nothing happens twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from agent.sip.message import Request

T1_S = 0.5
T2_S = 4.0
LIFETIME_S = 64 * T1_S


class ServerTransactions:
    """The final answers of the last 32 s, to be sent again."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], bytes] = {}
        self._expiry: deque[tuple[float, tuple[str, ...]]] = deque()

    def answer_to(self, request: Request) -> bytes | None:
        """What was answered to this very request before."""
        return self._answers.get(request.transaction)

    def keep(self, request: Request, answer: bytes) -> None:
        """Remember an answer."""
        now = asyncio.get_running_loop().time()
        while self._expiry and self._expiry[0][0] < now:
            self._answers.pop(self._expiry.popleft()[1], None)
        self._answers[request.transaction] = answer
        self._expiry.append((now + LIFETIME_S, request.transaction))


class Repeater:
    """Sends a 2xx to an INVITE again until its ACK comes (RFC 3261, 13.3.1.4).

    Over a reliable transport nothing is repeated, but a missing ACK is noticed all the same.
    """

    def __init__(self, send: Callable[[], object], given_up: Callable[[], None], *, cseq: int, reliable: bool) -> None:
        self.cseq = cseq
        self._send, self._given_up = send, given_up
        self._interval, self._elapsed = (LIFETIME_S if reliable else T1_S), 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def stop(self) -> None:
        """The ACK is there."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)

    def _due(self) -> None:
        self._elapsed += self._interval
        if self._elapsed >= LIFETIME_S:
            self._timer = None
            self._given_up()
            return
        self._send()
        self._interval = min(self._interval * 2, T2_S)
        self._wait()
