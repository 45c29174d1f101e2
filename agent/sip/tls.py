"""TLS for SIP (RFC 3261, 26.2.1; RFC 5246, RFC 8446): who may connect, with which certificate, checked how.

A stranger's connection is closed before the handshake, which is what costs. A renewed certificate is taken by the next
connection without a restart.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from agent.certificates import Certificates, reason_of
from agent.errors import Misconfigured
from agent.quiet import Quiet
from agent.settings import SiprecSettings

log = structlog.get_logger()

HANDSHAKE_S = 10.0
MAX_HANDSHAKES = 64  # at the same time; whoever is past it tries again, as SIP clients do
MAX_OF_ONE = 16  # of them from one address: a client that never finishes one must not keep the others out
BACKLOG = 128


def certificates_of(settings: SiprecSettings) -> Certificates | None:
    """What TLS needs, or None where it is not wanted. Blocks.

    Raises:
        Misconfigured: a file is missing or cannot be used; the text names the setting.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        return None
    if key is None:
        raise Misconfigured("siprec.tls_certificate is set, and siprec.tls_key is not.")
    return Certificates(certificate, key, settings.tls_client_ca, section="siprec")


class TlsListener:
    """Accepts connections, turns strangers away, and shakes hands with the others."""

    def __init__(
        self,
        sock: socket.socket,
        certificates: Certificates,
        protocol: Callable[[], asyncio.Protocol],
        welcome: Callable[[str], bool],
    ) -> None:
        self._socket, self._certificates = sock, certificates
        self._protocol, self._welcome = protocol, welcome
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._quiet = Quiet()
        self._handshakes: dict[asyncio.Task[None], str] = {}  # and from where
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name="siprec-tls")

    async def stop(self) -> None:
        """Accept no more and break off handshakes; connections that stand are their protocol's affair."""
        tasks = [self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._socket)
            except OSError:  # the client went, or no descriptor is free
                await asyncio.sleep(0.1)
                continue
            if not self._welcome(peer[0]) or self._are_too_many(peer[0]):
                connection.close()
                continue
            task = loop.create_task(self._shake_hands(connection, peer[0]))
            self._handshakes[task] = peer[0]
            task.add_done_callback(self._handshakes.pop)

    def _are_too_many(self, peer: str) -> bool:
        """Whether as many handshakes as there may be are under way, of all or of this address."""
        if len(self._handshakes) >= MAX_HANDSHAKES:
            return True
        return sum(one == peer for one in self._handshakes.values()) >= MAX_OF_ONE

    async def _shake_hands(self, connection: socket.socket, peer: str) -> None:
        connection.setblocking(False)
        context = await asyncio.to_thread(self._certificates.context)
        try:  # from here on the socket is the loop's, which closes it when the handshake fails
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:  # ssl.SSLError is one
            if (hidden := self._quiet.lets(peer)) is not None:
                log.warning("siprec_tls_refused", peer=peer, problem=reason_of(error), like_it=hidden)
