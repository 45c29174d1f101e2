"""Requests of our own inside a recording session, and what comes back (client transactions: RFC 3261, 17.1).

A recording server asks little: OPTIONS to see whether a silent client is still there, UPDATE or re-INVITE to refresh a
session that is ours to refresh, BYE to leave.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from agent.sip.dialogs import Dialog
from agent.sip.message import Response
from agent.sip.transactions import LIFETIME_S, T1_S, T2_S
from agent.sip.transport import Address, Arrival

Reach = Callable[[Address, str], Awaitable[Arrival | None]]
_URI = re.compile(r"^sips?:(?:[^@]*@)?(\[[0-9a-f:.]+\]|[^:;?>\s]+)(?::(\d{1,5}))?", re.IGNORECASE)


class Outgoing:
    """Sends requests and waits for their final responses. ``port`` is what our Via says for a transport."""

    def __init__(self, reach: Reach, port: Callable[[str], int]) -> None:
        self._reach, self._port = reach, port
        self._waiting: dict[str, asyncio.Queue[Response]] = {}
        self._acks: dict[str, Callable[[], object]] = {}

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._waiting)

    def received(self, response: Response) -> None:
        """A response came; one that nobody waits for is dropped, but a repeated 2xx to an INVITE gets its ACK again."""
        if queue := self._waiting.get(response.branch):
            queue.put_nowait(response)
        elif acknowledge := self._acks.get(response.branch):
            acknowledge()

    async def ask(
        self,
        dialog: Dialog,
        method: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response | None:
        """Send a request, over UDP again and again, until its final response; None: none came or nobody is there."""
        branch = f"z9hG4bK{secrets.token_hex(12)}"
        message = dialog.request(method, self._via(dialog, branch), headers=headers, body=body)
        cseq = dialog.local_cseq
        queue = self._waiting[branch] = asyncio.Queue()
        try:
            async with asyncio.timeout(LIFETIME_S):
                if not dialog.arrival.send(message, dialog.arrival.source):
                    if not await self._reconnected(dialog):
                        return None
                    dialog.arrival.send(message, dialog.arrival.source)
                response = await self._final(dialog, message, queue)
        except TimeoutError:
            return None
        finally:
            del self._waiting[branch]
        if method == "INVITE":
            self._acknowledge(dialog, cseq, branch, response)
        return response

    async def _final(self, dialog: Dialog, message: bytes, queue: asyncio.Queue[Response]) -> Response:
        """The final response; a provisional one slows the repetitions down."""
        pause = T1_S
        while True:
            try:
                async with asyncio.timeout(pause if dialog.arrival.transport == "udp" else None):
                    response = await queue.get()
            except TimeoutError:
                dialog.arrival.send(message, dialog.arrival.source)
                pause = min(pause * 2, T2_S)
                continue
            if response.status >= 200:
                return response
            pause = T2_S

    async def _reconnected(self, dialog: Dialog) -> bool:
        """The client's connection is gone: connect to where it says that it listens."""
        where = address_of(dialog.target)
        arrival = await self._reach(where, dialog.arrival.transport) if where else None
        if arrival is not None:
            dialog.arrival = arrival
        return arrival is not None

    def _acknowledge(self, dialog: Dialog, cseq: int, branch: str, response: Response) -> None:
        own = f"z9hG4bK{secrets.token_hex(12)}" if response.status < 300 else branch
        ack = dialog.request("ACK", self._via(dialog, own), cseq=cseq)
        arrival = dialog.arrival

        def send() -> None:
            arrival.send(ack, arrival.source)

        send()
        self._acks[branch] = send
        asyncio.get_running_loop().call_later(LIFETIME_S, self._acks.pop, branch, None)

    def _via(self, dialog: Dialog, branch: str) -> str:
        transport = dialog.arrival.transport
        host = f"[{dialog.address}]" if ":" in dialog.address else dialog.address
        return f"SIP/2.0/{transport.upper()} {host}:{self._port(transport)};branch={branch};rport"


def address_of(uri: str) -> Address | None:
    """Host and port of a SIP URI; None where the host is a name: we ask no name server where recordings go on."""
    found = _URI.match(uri)
    if not found:
        return None
    try:
        host = str(ip_address(found[1].strip("[]")))
    except ValueError:
        return None
    port = int(found[2] or 5060)
    return (host, port) if 0 < port < 65536 else None
