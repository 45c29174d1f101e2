"""What the tests of the SIP part share: a recorder with real sockets, an intake that can be away, and plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import DatabaseUnavailable
from agent.model import CapturedCall
from agent.settings import SiprecSettings
from agent.sip.courier import Courier
from agent.sip.lines.linecalls import KeyRules
from agent.sip.siprec import RecordingServer
from tests.certificates import KeyPair

DATA = Path(__file__).parents[1] / "data"
SCENARIOS = Path(__file__).parents[1] / "scenarios" / "siprec"


class SocketRecorder:
    """Opens real UDP ports and keeps what arrives in memory."""

    def __init__(self) -> None:
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        self.packets: dict[tuple[str, int], list[bytes]] = {}
        self.closed: list[str] = []
        self.events: dict[tuple[str, int], frozenset[int]] = {}
        self.expected: list[tuple[int, tuple[str, int] | None]] = []
        self.full = False

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        self.events[capture_id, index] = events
        if known := self.sockets.get((capture_id, index)):
            return int(known.getsockname()[1])
        if self.full:
            raise OSError(28, "no port is free")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        self.sockets[capture_id, index] = sock
        self.packets[capture_id, index] = []
        return int(sock.getsockname()[1])

    def expect(self, capture_id: str, index: int, peer: tuple[str, int] | None) -> None:
        self.expected.append((index, peer))

    async def close_capture(self, capture_id: str) -> None:
        for key in [key for key in self.sockets if key[0] == capture_id]:
            sock = self.sockets.pop(key)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.packets[key].append(sock.recv(2048))
            sock.close()
        self.closed.append(capture_id)

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


class MemoryIntake:
    """Keeps the newest snapshot of each call, as the database does; ``away`` times it is not there."""

    def __init__(self) -> None:
        self.calls: dict[str, CapturedCall] = {}
        self.events: list[tuple[str, str]] = []
        self.closed: list[CapturedCall] = []
        self.away = 0

    async def open_call(self, call: CapturedCall) -> int:
        return self._store("open", call)

    async def update_call(self, call: CapturedCall) -> int:
        return self._store("update", call)

    async def close_call(self, call: CapturedCall) -> int:
        return self._store("close", call)

    def _store(self, verb: str, call: CapturedCall) -> int:
        if self.away > 0:
            self.away -= 1
            raise DatabaseUnavailable("PostgreSQL does not answer.")
        self.events.append((verb, call.key))
        self.calls[call.key] = call
        if verb == "close":
            self.closed.append(call)
        return 1


async def until(holds: Callable[[], bool], timeout: float = 20) -> None:
    """Wait for something of which nobody tells."""
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Bench:
    """A running recording server with everything around it."""

    server: RecordingServer
    recorder: SocketRecorder
    intake: MemoryIntake
    courier: Courier
    data_dir: Path

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address

    @property
    def tls_address(self) -> tuple[str, int]:
        assert self.server.tls_address
        return self.server.tls_address

    @contextlib.asynccontextmanager
    async def phone(
        self, transport: str, tls: ssl.SSLContext | None = None, *, source: str = "127.0.0.1"
    ) -> AsyncIterator[Phone | TlsPhone]:
        """A plain client on any transport; for TLS with the ``tls`` context, from the address ``source``."""
        if transport != "tls":
            with Phone(self.address, transport) as phone:
                yield phone
            return
        reader, writer = await asyncio.open_connection(*self.tls_address, ssl=tls, local_addr=(source, 0))
        try:
            yield TlsPhone(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ended(self, count: int = 1) -> list[CapturedCall]:
        """Wait until so many calls were closed in the intake, then give them in the order they began."""
        await until(lambda: len(self.intake.closed) >= count)
        return sorted(self.intake.closed, key=lambda call: call.started)


def tls_settings(pair: KeyPair, client_ca: Path | None = None) -> SiprecSettings:
    """A server on free ports, TLS included."""
    return SiprecSettings(
        listen="127.0.0.1",
        port=0,
        tls_port=0,
        tls_certificate=pair.certificate,
        tls_key=pair.key,
        tls_client_ca=client_ca,
    )


@contextlib.asynccontextmanager
async def bench(
    data_dir: Path,
    settings: SiprecSettings | None = None,
    *,
    intake: MemoryIntake | None = None,
    keys: KeyRules = KeyRules(),  # noqa: B008 - frozen
) -> AsyncIterator[Bench]:
    settings = settings or SiprecSettings(listen="127.0.0.1", port=0)
    recorder, intake = SocketRecorder(), intake or MemoryIntake()
    courier = Courier(intake, data_dir / "captures", first_delay=0.01, longest_delay=0.05)
    server = RecordingServer(settings, recorder, courier, data_dir, keys=keys)
    await server.start()
    try:
        yield Bench(server, recorder, intake, courier, data_dir)
    finally:
        await server.stop(goodbye_s=0.1)
        await courier.drain(5)
        await courier.stop()
        recorder.close()


class Phone:
    """A plain socket that sends what it is told and reads whole answers."""

    def __init__(self, server: tuple[str, int], transport: str = "udp") -> None:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.transport = transport
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(server)
        self.socket.setblocking(False)
        self._rest = b""

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self, timeout: float = 5.0) -> bytes:
        """The next message."""
        async with asyncio.timeout(timeout):
            if self.transport == "udp":
                return await asyncio.get_running_loop().sock_recv(self.socket, 65535)
            while True:
                head, separator, body = self._rest.partition(b"\r\n\r\n")
                length = re.search(rb"Content-Length: (\d+)", head)
                if separator and length and len(body) >= int(length[1]):
                    self._rest = body[int(length[1]) :]
                    return head + separator + body[: int(length[1])]
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65535)
                if not data:
                    raise ConnectionResetError
                self._rest += data

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.receive()

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.receive(seconds)
        except TimeoutError:
            return True
        return False


class TlsPhone:
    """The same over TLS."""

    transport = "tls"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @property
    def port(self) -> int:
        return int(self._writer.get_extra_info("sockname")[1])

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, timeout: float = 5.0) -> bytes:
        """The next message."""
        async with asyncio.timeout(timeout):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                return head + await self._reader.readexactly(int(header(head, "Content-Length") or 0))
            except asyncio.IncompleteReadError:
                raise ConnectionResetError from None

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.receive()

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.receive(seconds)
        except TimeoutError:
            return True
        return False


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header(message: bytes, name: str) -> str:
    found = re.search(rf"^{name}: (.*?)\r$".encode(), message, re.MULTILINE | re.IGNORECASE)
    return found[1].decode("utf-8", "surrogateescape") if found else ""


def sdp_ports(answer: bytes) -> list[int]:
    return [int(port) for port in re.findall(rb"^m=audio (\d+)", answer, re.MULTILINE)]


def request(
    method: str,
    phone: Phone | TlsPhone,
    *,
    call_id: str = "call-1@client.example.com",
    cseq: int = 1,
    branch: str = "",
    to_tag: str = "",
    content_type: str = "",
    body: bytes = b"",
    extra: tuple[str, ...] = (),
    rport: bool = True,
) -> bytes:
    """A plain, valid request."""
    lines = [
        f"{method} sip:recorder@127.0.0.1 SIP/2.0",
        f"Via: SIP/2.0/{phone.transport.upper()} 127.0.0.1:{phone.port};branch={branch or f'z9hG4bK{method}{cseq}'}"
        + (";rport" if rport else ""),
        "From: <sip:client@127.0.0.1>;tag=from1",
        f"To: <sip:recorder@127.0.0.1>{f';tag={to_tag}' if to_tag else ''}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:client@127.0.0.1:{phone.port}>;+sip.src",
        "Max-Forwards: 70",
        *extra,
        *([f"Content-Type: {content_type}"] if content_type else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sdp(*media: str) -> bytes:
    """An offer of PCMA streams, each written ``label direction``."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    for line in media:
        label, direction = line.split()
        lines += ["m=audio 6000 RTP/AVP 8 101", f"a=label:{label}", "a=rtpmap:8 PCMA/8000"]
        lines += ["a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", f"a={direction}"]
    return "\r\n".join([*lines, ""]).encode()


def multipart(offer: bytes, metadata: bytes, boundary: str = "b1") -> tuple[str, bytes]:
    body = (
        f"--{boundary}\r\nContent-Type: application/sdp\r\n\r\n".encode()
        + offer
        + f"\r\n--{boundary}\r\nContent-Type: application/rs-metadata+xml\r\n\r\n".encode()
        + metadata
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return f"multipart/mixed;boundary={boundary}", body


def to_tag(answer: bytes) -> str:
    return header(answer, "To").rpartition("tag=")[2]


AnyPhone = Phone | TlsPhone
SDP = "application/sdp"
_ECHOED = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")


async def begin(phone: AnyPhone, *, call_id: str = "call-1@client.example.com", extra: tuple[str, ...] = ()) -> str:
    """Establish a session with two streams; the server's tag."""
    body = sdp("1 sendonly", "2 sendonly")
    answer = await phone.ask(request("INVITE", phone, call_id=call_id, content_type=SDP, body=body, extra=extra))
    assert status(answer) == 200, answer
    await phone.send(request("ACK", phone, call_id=call_id, to_tag=to_tag(answer), branch="z9hG4bKack"))
    return to_tag(answer)


def answer_to(message: bytes, code: int = 200, extra: tuple[str, ...] = (), body: bytes = b"") -> bytes:
    """A client's answer to a request of the server."""
    kept = [line for line in message.split(b"\r\n\r\n")[0].split(b"\r\n") if line.split(b":")[0] in _ECHOED]
    lines = [f"SIP/2.0 {code} Whatever".encode(), *kept, *(line.encode() for line in extra)]
    return b"\r\n".join([*lines, f"Content-Length: {len(body)}".encode(), b"", b""]) + body


async def next_request(phone: AnyPhone, method: str, timeout: float = 5.0) -> bytes:
    message = await phone.receive(timeout)
    assert message.startswith(method.encode() + b" "), message
    return message


def capture_folder(b: Bench) -> Path:
    return max((b.data_dir / "captures").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def log_sound(b: Bench, at: float) -> None:
    """Make it look as if the last packet came at a time."""
    log = capture_folder(b) / "0.rtpdump"
    log.write_bytes(b"x")
    os.utime(log, (at, at))
