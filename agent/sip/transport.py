"""SIP over UDP, TCP and TLS: bytes in, and the way back for the answer. Knows nothing of what the bytes mean.

A response goes back over the connection its request came by (RFC 3261, 18.2.2). The UDP socket learns from the kernel
which of our addresses was reached (IP_PKTINFO) and answers from that one, so several addresses and a moving cluster
address work while listening on all.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

import structlog

from agent.certificates import Certificates
from agent.sip.framing import PING, Framer, StreamBroken
from agent.sip.tls import TlsListener

log = structlog.get_logger()

Address = tuple[str, int]
IP_PKTINFO = 8  # linux/in.h; the socket module has no name for it before Python 3.14
DATAGRAMS_A_TURN = 64
MAX_CONNECTIONS = 1000
MAX_STRANGERS = 16  # connections from networks that are not ours; they must not keep the others out
STRANGER_S = 5.0
REACH_S = 5.0
MAX_UNSENT = 1024 * 1024
UNFINISHED_S = 0.5  # how long a message with too large a Content-Length is waited for
STALLED_S = 32.0  # half a message and nothing more: 64*T1 (RFC 3261, 17.1.1.1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came. ``send(data, target)`` goes back the same way; ``target`` matters for UDP only.

    ``send`` says whether the bytes were handed to the kernel: False where the connection is closed meanwhile.
    """

    data: bytes
    source: Address
    local: str
    transport: str
    send: Callable[[bytes, Address], bool]


Receive = Callable[[Arrival], None]
Welcome = Callable[[str], bool]


def plain_address(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket, as IPv4; without a zone."""
    found = ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


class UdpListener:
    """The UDP socket of a SIP server."""

    def __init__(self, sock: socket.socket, receive: Receive) -> None:
        self._socket, self._receive = sock, receive
        self._v6 = sock.family == socket.AF_INET6
        if self._v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_A_TURN):
            try:
                data, ancillary, _, source = self._socket.recvmsg(65535, 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP error of an earlier answer
                continue
            local = self._local(ancillary)
            arrival = Arrival(
                data=data,
                source=(plain_address(source[0]), source[1]),
                local=local,
                transport="udp",
                send=lambda answer, target, local=local: self._send(answer, target, local),  # type: ignore[misc]
            )
            self._receive(arrival)

    def _local(self, ancillary: list[tuple[int, int, bytes]]) -> str:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                return socket.inet_ntop(socket.AF_INET, data[8:12])
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                return plain_address(socket.inet_ntop(socket.AF_INET6, data[:16]))
        return plain_address(self._socket.getsockname()[0])

    def _send(self, data: bytes, target: Address, local: str) -> bool:
        host, port = target
        try:
            if self._v6:
                host, local = (f"::ffff:{text}" if "." in text else text for text in (host, local))
                info = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, local), 0)
                ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
            else:
                info = struct.pack("=I4s4s", 0, socket.inet_aton(local), b"\0" * 4)
                ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, info)]
            self._socket.sendmsg([data], ancillary, 0, (host, port))
        except OSError as error:  # also a full buffer: the client repeats its request, and the answer is stored
            log.warning("sip_answer_not_sent", target=f"{host}:{port}", problem=str(error))
            return False
        return True


class TcpConnection(asyncio.Protocol):
    """One connection of a client, or of many clients behind a proxy; ``transport`` is ``tcp`` or ``tls``."""

    def __init__(
        self, receive: Receive, welcome: Welcome, connections: dict[TcpConnection, None], *, transport: str = "tcp"
    ) -> None:
        self.spoke = False  # whether a whole message ever came
        self._receive, self._welcome, self._connections = receive, welcome, connections
        self._kind = transport
        self._framer = Framer()
        self._timer: asyncio.TimerHandle | None = None
        self._waited = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport: asyncio.Transport = transport
        peer, name = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not name:  # gone already
            transport.abort()
            return
        self._source: Address = (plain_address(peer[0]), int(peer[1]))
        self._local = plain_address(name[0])
        self.known = self._welcome(self._source[0])
        if not self._has_place():
            transport.abort()
            return
        self._connections[self] = None
        if not self.known:  # time enough to be told 403, and no more
            asyncio.get_running_loop().call_later(STRANGER_S, transport.abort)

    def _has_place(self) -> bool:
        """Whether one more may be; where there are too many, the oldest that never said anything makes room."""
        others = [other for other in self._connections if other.known is self.known]
        if len(others) < (MAX_CONNECTIONS if self.known else MAX_STRANGERS):
            return True
        silent = next((other for other in others if self.known and not other.spoke), None)
        if silent is not None:
            silent.drop()
        return silent is not None

    def drop(self) -> None:
        """Hang up at once."""
        self._stop_timer()
        self._connections.pop(self, None)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            messages = self._framer.feed(data)
        except StreamBroken as error:
            log.warning("sip_stream_broken", peer=self._source[0], problem=str(error))
            self._transport.abort()
            return
        self._stop_timer()
        for message in messages:
            self._deliver(message)
        if self._framer.pending:
            self._waited = 0.0
            self._timer = asyncio.get_running_loop().call_later(UNFINISHED_S, self._unfinished)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went; what it left half said is thrown away."""
        self._stop_timer()
        self._connections.pop(self, None)

    def close(self) -> None:
        """Hang up after what was written has gone."""
        self._stop_timer()
        self._transport.close()

    def _deliver(self, message: bytes) -> None:
        if message == PING:
            self._send(b"\r\n", self._source)  # the pong of RFC 5626, 4.4.1
            return
        self.spoke = True
        self._receive(self._arrival(message))

    def way(self) -> Arrival:
        """The way to the other side of this connection, without a message."""
        return self._arrival(b"")

    def _arrival(self, message: bytes) -> Arrival:
        return Arrival(data=message, source=self._source, local=self._local, transport=self._kind, send=self._send)

    def _send(self, data: bytes, target: Address) -> bool:
        if self._transport.is_closing():
            log.warning("sip_answer_not_sent", target=f"{target[0]}:{target[1]}", problem="the connection is closed")
            return False
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            self._transport.abort()
        return True

    def _unfinished(self) -> None:
        """Nothing more came of a message: take it if only its Content-Length is wrong, or give up in time."""
        message = self._framer.rest()
        if message is not None:
            self._deliver(message)
        self._waited += UNFINISHED_S
        if self._framer.pending and self._waited >= STALLED_S:
            self._transport.abort()
        elif self._framer.pending:
            self._timer = asyncio.get_running_loop().call_later(UNFINISHED_S, self._unfinished)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Listeners:
    """UDP and TCP on one port, and TLS on another where there is a certificate."""

    def __init__(self) -> None:
        self._udp: UdpListener | None = None
        self._tcp: asyncio.Server | None = None
        self._tls: TlsListener | None = None
        self._connections: dict[TcpConnection, None] = {}  # the oldest first
        self._receive: Receive = lambda arrival: None
        self._welcome: Welcome = lambda address: False
        self.address: Address = ("", 0)
        self.tls_address: Address | None = None

    async def start(
        self,
        host: str,
        port: int,
        receive: Receive,
        welcome: Welcome,
        *,
        tls: Certificates | None = None,
        tls_port: int = 0,
    ) -> None:
        """Listen; ``welcome`` tells an address of our networks from a stranger's.

        Raises:
            OSError: the address is not ours or a port is taken.
        """
        self._receive, self._welcome = receive, welcome
        tcp, udp = _bound(host, port)
        self.address = (host, tcp.getsockname()[1])
        self._udp = UdpListener(udp, receive)
        self._tcp = await asyncio.get_running_loop().create_server(self._connection, sock=tcp)
        if tls is not None:
            try:
                self._listen_tls(host, tls_port, tls)
            except OSError:
                await self.stop()
                raise

    def _listen_tls(self, host: str, port: int, certificates: Certificates) -> None:
        sock = _socket(host, port, socket.SOCK_STREAM)
        self.tls_address = (host, sock.getsockname()[1])
        protocol = partial(self._connection, "tls")
        self._tls = TlsListener(sock, certificates, protocol, lambda address: self._welcome(plain_address(address)))

    async def reach(self, target: Address, transport: str) -> Arrival | None:
        """A new connection to a client whose own one is gone (RFC 3261, 18.1.1); None where that fails, or over TLS,
        where we have no name to check the client's certificate against."""
        if transport != "tcp" or not self._welcome(target[0]):
            return None
        try:
            async with asyncio.timeout(REACH_S):
                _, connection = await asyncio.get_running_loop().create_connection(self._connection, *target)
        except OSError as error:  # TimeoutError is one
            log.warning("sip_client_unreachable", target=f"{target[0]}:{target[1]}", problem=str(error))
            return None
        return connection.way()

    async def stop(self) -> None:
        """Close everything."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()
        if self._tls:
            await self._tls.stop()
        for connection in list(self._connections):
            connection.close()
        self._udp = self._tcp = self._tls = None

    def _connection(self, transport: str = "tcp") -> TcpConnection:
        return TcpConnection(self._receive, self._welcome, self._connections, transport=transport)


def _bound(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on one port; a free one that only one of them could have is tried again elsewhere."""
    for attempt in range(20):
        tcp = _socket(host, port, socket.SOCK_STREAM)
        try:
            return tcp, _socket(host, tcp.getsockname()[1], socket.SOCK_DGRAM)
        except OSError:
            tcp.close()
            if port or attempt == 19:
                raise
    raise AssertionError("unreachable")


def _socket(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
