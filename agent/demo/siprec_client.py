"""A small, real SIPREC client (RFC 7866): plays two-sided calls into a recording server over SIP and RTP.

The demo and the tests use it where a PBX would stand. It sends what a session border controller sends: a multipart
INVITE with SDP and recording metadata, a stream a party at a true 20 ms pace, re-INVITEs for hold, and BYE.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

import structlog

from agent.demo.channels import Tcp, Udp, header_of
from agent.demo.speaker import EVENT_TYPE, FRAME_BYTES, FRAME_S, Speaker
from agent.errors import Unavailable

log = structlog.get_logger()

T1_S = 0.5
ANSWER_S = 32.0
BOUNDARY = "cardline-demo"


class CallRefused(Unavailable):
    """The recording server did not take the call."""

    remedy = "Look into the log of the recording server; `cardline doctor` checks it."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedCall:
    """A call to be played. Sounds are A-law at 8 kHz without a header; times are seconds.

    ``ring_s`` passes with inactive streams before the call is answered or given up. A hold (start, length), measured
    from the answer, makes the streams inactive; what is said meanwhile is not sent. ``keys`` are what the callee
    presses and from when on, measured the same way.
    """

    caller: str
    callee: str
    caller_name: str = ""
    callee_name: str = ""
    caller_sound: bytes = b""
    callee_sound: bytes = b""
    answered: bool = True
    ring_s: float = 0.0
    holds: tuple[tuple[float, float], ...] = ()
    keys: tuple[tuple[float, str], ...] = ()
    reason: str = 'Q.850;cause=19;text="No answer"'
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    group_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What happened: the aware times at which the call began, its sound began and it ended.

    ``waited_s`` is how long the answers to the active offer and to the BYE took: within this both sides may differ
    about when the call was.
    """

    session_id: str
    started: datetime
    answered: datetime | None
    ended: datetime
    packets: int
    waited_s: float


async def play_call(
    server: tuple[str, int], call: PlayedCall, transport: str = "udp", *, tls: ssl.SSLContext | None = None
) -> Played:
    """Play one call from its first INVITE to its BYE; ``tls`` is needed for the transport of that name.

    Raises:
        CallRefused: the server refused it or did not answer.
    """
    client = await SiprecClient.connect(server, transport, tls=tls)
    try:
        return await _play(client, call)
    finally:
        client.close()


async def _play(client: SiprecClient, call: PlayedCall) -> Played:
    started = datetime.now(UTC)
    answered: datetime | None = None
    packets = 0
    at_once = call.answered and not call.ring_s
    asked = time.monotonic()
    await client.invite(call, active=at_once)
    if not at_once:
        await asyncio.sleep(call.ring_s)
        if call.answered:
            asked = time.monotonic()
            await client.reinvite(call, active=True)
    waited = time.monotonic() - asked
    if call.answered:
        answered = datetime.now(UTC)
        packets = await client.talk(call)
    asked = time.monotonic()
    await client.bye(reason="" if call.answered else call.reason)
    return Played(
        session_id=call.session_id,
        started=started,
        answered=answered,
        ended=datetime.now(UTC),
        packets=packets,
        waited_s=waited + time.monotonic() - asked,
    )


class SiprecClient:
    """One recording session with a server."""

    def __init__(self, server: tuple[str, int], transport: str) -> None:
        self._server, self._transport = server, transport
        self._host, self._port = "", 0
        self._call_id, self._tag = f"{uuid.uuid4()}@cardline.example", secrets.token_hex(6)
        self._to_tag, self._cseq, self._version = "", 0, 0
        self._target = f"sip:recorder@{_in_uri(server[0])}:{server[1]}"
        self._channel: Udp | Tcp
        self._media = [_media_socket(server[0]) for _ in range(2)]
        self._ports: tuple[int, ...] = ()
        self._media_host = server[0]

    @classmethod
    async def connect(
        cls, server: tuple[str, int], transport: str = "udp", *, tls: ssl.SSLContext | None = None
    ) -> SiprecClient:
        """Open the signalling channel, ``udp``, ``tcp`` or ``tls``.

        Raises:
            CallRefused: nobody listens there.
        """
        client = cls(server, transport)
        channel: Udp | Tcp = Udp() if transport == "udp" else Tcp(tls if transport == "tls" else None)
        try:
            client._host, client._port = await channel.open(server)
        except OSError as error:
            client.close()
            raise CallRefused(f"No recording server answers at {server[0]}:{server[1]}: {error}.") from None
        client._channel = channel
        return client

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._media:
            sock.close()
        if hasattr(self, "_channel"):
            self._channel.close()

    async def invite(self, call: PlayedCall, *, active: bool = True) -> None:
        """Begin the recording session."""
        headers, body = self._offer(call, active=active)
        await self._request("INVITE", headers, body)

    async def reinvite(self, call: PlayedCall, *, active: bool) -> None:
        """Change the streams: hold, resume, or the answer after the ringing."""
        headers, body = self._offer(call, active=active)
        await self._request("INVITE", headers, body)

    async def bye(self, reason: str = "") -> None:
        """End the recording session."""
        await self._request("BYE", [f"Reason: {reason}"] if reason else [], b"")

    async def talk(self, call: PlayedCall) -> int:
        """Send both sounds side by side at their true pace, with the holds; returns the packets sent."""
        frames = max(-(-len(sound) // FRAME_BYTES) for sound in (call.caller_sound, call.callee_sound))
        loop = asyncio.get_running_loop()
        begin, sent, held = loop.time(), 0, False
        speakers = [Speaker(call.caller_sound), Speaker(call.callee_sound, call.keys)]
        holds = [(round(at / FRAME_S), round((at + length) / FRAME_S)) for at, length in call.holds]
        for frame in range(frames):
            await asyncio.sleep(max(0.0, begin + frame * FRAME_S - loop.time()))
            hold = any(first <= frame < last for first, last in holds)
            if hold != held:
                held = hold
                await self.reinvite(call, active=not hold)
            for speaker, sock, port in zip(speakers, self._media, self._ports, strict=True):
                packet = speaker.packet(frame)
                if not hold and port:
                    sock.sendto(packet, (self._media_host, port))
                    sent += 1
        await asyncio.sleep(max(0.0, begin + frames * FRAME_S - loop.time()))
        return sent

    def _offer(self, call: PlayedCall, *, active: bool) -> tuple[list[str], bytes]:
        self._version += 1
        parts = [
            ("application/sdp", "", self._sdp(active=active)),
            ("application/rs-metadata+xml", "Content-Disposition: recording-session\r\n", _metadata(call)),
        ]
        body = "".join(f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n{extra}\r\n{text}\r\n" for kind, extra, text in parts)
        headers = [
            f"Contact: <sip:client@{_in_uri(self._host)}:{self._port};transport={self._transport}>;+sip.src",
            "Require: siprec",
            f"Content-Type: multipart/mixed;boundary={BOUNDARY}",
        ]
        return headers, f"{body}--{BOUNDARY}--\r\n".encode()

    def _sdp(self, *, active: bool) -> str:
        where = f"IN {'IP6' if ':' in self._host else 'IP4'} {self._host}"
        lines = ["v=0", f"o=client {self._port} {self._version} {where}", "s=-", f"c={where}", "t=0 0"]
        for label, sock in enumerate(self._media, start=1):
            lines += [
                f"m=audio {sock.getsockname()[1]} RTP/AVP 8 {EVENT_TYPE}",
                "a=rtpmap:8 PCMA/8000",
                f"a=rtpmap:{EVENT_TYPE} telephone-event/8000",
                f"a=fmtp:{EVENT_TYPE} 0-15",
                f"a=label:{label}",
                "a=sendonly" if active else "a=inactive",
            ]
        return "\r\n".join([*lines, ""])

    async def _request(self, method: str, extra: list[str], body: bytes) -> None:
        self._cseq += 1
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        request = self._message(method, self._cseq, branch, extra, body)
        status, answer = await self._answered(request, branch)
        if method == "INVITE":
            self._to_tag = self._to_tag or _parameter(header_of(answer, "To"), "tag")
            ack_branch = branch if status >= 300 else f"z9hG4bK{secrets.token_hex(8)}"
            self._channel.send(self._message("ACK", self._cseq, ack_branch, [], b""))
        if status >= 300:
            raise CallRefused(f"The recording server answered {status} to {method}.")
        if method == "INVITE":
            self._ports = tuple(
                int(line.split()[1]) for line in answer.decode("utf-8", "replace").splitlines() if line[:2] == "m="
            )

    async def _answered(self, request: bytes, branch: str) -> tuple[int, bytes]:
        """Send, over UDP again and again (RFC 3261, 17.1), until the final answer to this request is there."""
        pause, waited = T1_S, 0.0
        while waited < ANSWER_S:
            if self._transport == "udp" or not waited:
                self._channel.send(request)
            try:
                async with asyncio.timeout(pause):
                    while True:
                        answer = await self._channel.receive()
                        status = answer.split(b" ", 2)[1:2]
                        if branch.encode() in answer and status and status[0].isdigit() and int(status[0]) >= 200:
                            return int(status[0]), answer
            except TimeoutError:
                waited, pause = waited + pause, min(pause * 2, 4.0)
            except OSError as error:
                raise CallRefused(f"The connection to the recording server broke: {error}.") from None
        raise CallRefused("The recording server did not answer.")

    def _message(self, method: str, cseq: int, branch: str, extra: list[str], body: bytes) -> bytes:
        host = _in_uri(self._host)
        to_tag = f";tag={self._to_tag}" if self._to_tag else ""
        lines = [
            f"{method} {self._target} SIP/2.0",
            f"Via: SIP/2.0/{self._transport.upper()} {host}:{self._port};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:client@{host}>;tag={self._tag}",
            f"To: <{self._target}>{to_tag}",
            f"Call-ID: {self._call_id}",
            f"CSeq: {cseq} {method}",
            "User-Agent: Cardline demo client",
            *extra,
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def _media_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("", 0))
    return sock


def _in_uri(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parameter(value: str, name: str) -> str:
    return next((part[len(name) + 1 :] for part in value.split(";") if part.startswith(f"{name}=")), "")


def _metadata(call: PlayedCall) -> str:
    """Complete metadata in the form of RFC 7865, 9."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    session, group = quoteattr(call.session_id), call.group_id
    parties = [("p1", call.caller, call.caller_name, "s1", "s2"), ("p2", call.callee, call.callee_name, "s2", "s1")]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<recording xmlns="urn:ietf:params:xml:ns:recording:1">',
        "<datamode>complete</datamode>",
        f"<group group_id={quoteattr(group)}><associate-time>{now}</associate-time></group>" if group else "",
        f"<session session_id={session}>{f'<group-ref>{escape(group)}</group-ref>' if group else ''}</session>",
    ]
    for known, number, name, *_ in parties:
        named = f'<name xml:lang="ru">{escape(name)}</name>' if name else ""
        aor = quoteattr(f"sip:{number}@pbx.example.com")
        lines.append(f'<participant participant_id="{known}"><nameID aor={aor}>{named}</nameID></participant>')
    for label, stream in enumerate(("s1", "s2"), start=1):
        lines.append(f'<stream stream_id="{stream}" session_id={session}><label>{label}</label></stream>')
    for known, _, _, sends, hears in parties:
        lines += [
            f'<participantsessionassoc participant_id="{known}" session_id={session}>'
            f"<associate-time>{now}</associate-time></participantsessionassoc>",
            f'<participantstreamassoc participant_id="{known}"><send>{sends}</send><recv>{hears}</recv>'
            "</participantstreamassoc>",
        ]
    return "\r\n".join(filter(None, [*lines, "</recording>"]))
