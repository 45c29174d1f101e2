"""New calls at a steady rate over real SIP, each with RTP for some seconds; prints how long each INVITE waited for 200.

`python -m tests.bench._call_setup_load HOST:PORT[,HOST:PORT…] --rate 50 --seconds 20 --talk 4 [--plain] [--name NAME]`

Several addresses are called in turn. With ``--plain`` an INVITE has one ordinary stream instead of a SIPREC offer with
two, for peers that know no SIPREC. The sound is sent by a child of its own, so that it never delays an answer's clock.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

FRAME_S = 0.02
T1_S = 0.5
GIVE_UP_S = 32.0
ORDER = re.compile(rb"a=label:1\r\n.*a=recvonly.*a=label:2\r\n.*a=recvonly", re.DOTALL)
PORTS = re.compile(rb"^m=audio (\d+)", re.MULTILINE)


@dataclass(slots=True)
class Call:
    """A call as its client sees it."""

    number: int
    server: tuple[str, int]
    sent: float = 0.0
    tag: str = ""
    ended: bool = False
    answered: dict[str, float] = field(default_factory=dict)


def _sdp(host: str, *, plain: bool) -> str:
    lines = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    for label in (1,) if plain else (1, 2):
        lines += ["m=audio 9000 RTP/AVP 8 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000"]
        lines += ["a=fmtp:101 0-15", *([] if plain else [f"a=label:{label}"]), "a=sendonly"]
    return "\r\n".join([*lines, ""])


def _metadata(name: str, number: int) -> str:
    session = f"{name}-session-{number:08}"
    people = "".join(
        f'<participant participant_id="p{at}"><nameID aor="sip:{user}@pbx.example.com"/></participant>'
        for at, user in enumerate((f"+7495000{number % 10000:04}", "101"))
    )
    streams = "".join(
        f'<stream stream_id="s{at}" session_id="{session}"><label>{at + 1}</label></stream>'
        f'<participantstreamassoc participant_id="p{at}"><send>s{at}</send></participantstreamassoc>'
        for at in range(2)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><recording xmlns="urn:ietf:params:xml:ns:recording:1">'
        f'<datamode>complete</datamode><session session_id="{session}"/>{people}{streams}</recording>'
    )


class Load:
    """All calls of a run, from one socket, as a border controller sends them."""

    def __init__(self, servers: list[tuple[str, int]], *, name: str, talk_s: float, plain: bool) -> None:
        self._name, self._talk_s, self._plain, self._servers = name, talk_s, plain, servers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((servers[0][0], 0))
        self._socket.setblocking(False)
        self._host, self._port = self._socket.getsockname()
        self._calls: dict[str, Call] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._events = 0
        self.statuses: Counter[str] = Counter()
        self.repeated = 0
        self.wrong: list[str] = []
        ours, theirs = multiprocessing.Pipe()
        self._sound = ours
        self._speaker = multiprocessing.Process(target=speak, args=(theirs,), daemon=True)
        self._speaker.start()

    def run(self, rate: float, seconds: float) -> dict[str, object]:
        """Begin the calls on time and wait until the last one has ended."""
        began = time.monotonic() + 0.2
        count = round(rate * seconds)
        for number in range(count):
            self._at(began + number / rate, lambda number=number: self._invite(number))  # type: ignore[misc]
        deadline = began + seconds + self._talk_s + GIVE_UP_S
        while self._due and time.monotonic() < deadline:
            self._step()
            if len(self._calls) == count and all(call.ended for call in self._calls.values()):
                break
        self._sound.send(None)
        packets, late = self._sound.recv()
        waits = [call.answered["INVITE"] - call.sent for call in self._calls.values() if "INVITE" in call.answered]
        return {
            "calls": count,
            "statuses": dict(self.statuses),
            "repeated": self.repeated,
            "wrong": self.wrong[:5],
            "packets": packets,
            "packets_late_p99_ms": late,
            "waits_ms": [round(wait * 1000, 3) for wait in waits],
        }

    def _step(self) -> None:
        wait = max(0.0, self._due[0][0] - time.monotonic())
        if select.select([self._socket], [], [], min(wait, 1.0))[0]:
            try:
                while True:
                    data, source = self._socket.recvfrom(65535)
                    self._received(data, source, time.monotonic())
            except BlockingIOError:
                pass
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def _at(self, when: float, act: Callable[[], None]) -> None:
        self._events += 1
        heapq.heappush(self._due, (when, self._events, act))

    def _invite(self, number: int) -> None:
        call = Call(number=number, server=self._servers[number % len(self._servers)])
        self._calls[f"{self._name}-{number}"] = call
        body, kind = _sdp(self._host, plain=self._plain), "application/sdp"
        if not self._plain:
            parts = ((kind, body), ("application/rs-metadata+xml", _metadata(self._name, number)))
            body = "".join(f"--b\r\nContent-Type: {one}\r\n\r\n{text}\r\n" for one, text in parts) + "--b--\r\n"
            kind = "multipart/mixed;boundary=b"
        message = self._message(call, "INVITE", 1, (f"Content-Type: {kind}",), body)
        call.sent = time.monotonic()
        self._send(call, "INVITE", message)

    def _send(self, call: Call, method: str, message: bytes, pause: float = T1_S) -> None:
        """Send, and again until it is answered (RFC 3261, 17.1)."""
        if method in call.answered:
            return
        self.repeated += pause > T1_S
        self._socket.sendto(message, call.server)
        if pause < GIVE_UP_S:
            self._at(time.monotonic() + pause, lambda: self._send(call, method, message, pause * 2))

    def _received(self, data: bytes, source: tuple[str, int], now: float) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        values = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        call = self._calls.get(values.get("call-id", values.get("i", "")))
        if call is None or not lines[0].startswith("SIP/2.0 "):
            return
        status, method = int(lines[0].split()[1]), values["cseq"].split()[1]
        if status < 200 or method in call.answered:
            if status >= 200 and method == "INVITE":
                self._acknowledge(call)
            return
        call.answered[method] = now
        self.statuses[f"{method} {status}"] += 1
        if method == "BYE" or status >= 300:
            call.ended = True
            return
        call.tag = re.sub(r".*;tag=", "", values.get("to", values.get("t", ""))).split(";")[0]
        self._acknowledge(call)
        ports = [int(port) for port in PORTS.findall(body)]
        if len(ports) != (1 if self._plain else 2) or not all(ports) or not (self._plain or ORDER.search(body)):
            self.wrong.append(data.decode("latin-1"))
        self._sound.send((call.number, source[0], ports))
        self._at(now + self._talk_s, lambda: self._bye(call))

    def _acknowledge(self, call: Call) -> None:
        self._socket.sendto(self._message(call, "ACK", 1, (), ""), call.server)

    def _bye(self, call: Call) -> None:
        self._sound.send((call.number, "", []))
        self._send(call, "BYE", self._message(call, "BYE", 2, (), ""))

    def _message(self, call: Call, method: str, cseq: int, extra: tuple[str, ...], body: str) -> bytes:
        host, port = call.server
        lines = [
            f"{method} sip:recorder@{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._host}:{self._port};branch=z9hG4bK{method}{call.number}{self._name};rport",
            "Max-Forwards: 70",
            f"From: <sip:client@{self._host}>;tag=f{call.number}",
            f"To: <sip:recorder@{host}>{f';tag={call.tag}' if call.tag else ''}",
            f"Call-ID: {self._name}-{call.number}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:client@{self._host}:{self._port}>;+sip.src",
            *extra,
            f"Content-Length: {len(body.encode())}",
        ]
        return ("\r\n".join([*lines, "", ""]) + body).encode()


def speak(commands: Connection) -> None:
    """Send a packet each 20 ms to every port of the calls named over the pipe, until None comes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    calls: dict[int, list[tuple[str, int]]] = {}
    slices = 4  # calls do not begin at the same instant
    packets, lates, turn, due = 0, list[float](), 0, time.monotonic()
    payload = b"\xd5" * 160
    while True:
        while commands.poll():
            command = commands.recv()
            if command is None:
                lates.sort()
                commands.send((packets, round(lates[int(len(lates) * 0.99)] * 1000, 1) if lates else 0.0))
                return
            number, host, ports = command
            calls.pop(number, None)
            if ports:
                calls[number] = [(host, port) for port in ports]
        due += FRAME_S / slices
        time.sleep(max(0.0, due - time.monotonic()))
        lates.append(max(0.0, time.monotonic() - due))
        turn += 1
        for number, targets in calls.items():
            if number % slices == turn % slices:
                sequence = turn // slices
                head = b"\x80\x08" + (sequence & 0xFFFF).to_bytes(2, "big")
                head += (sequence * 160 & 0xFFFFFFFF).to_bytes(4, "big")
                for at, target in enumerate(targets):
                    sock.sendto(head + (number * 2 + at + 1).to_bytes(4, "big") + payload, target)
                    packets += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers")
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--talk", type=float, default=4)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--name", default="bench")
    given = parser.parse_args()
    servers = [(host, int(port)) for host, _, port in (one.rpartition(":") for one in given.servers.split(","))]
    load = Load(servers, name=given.name, talk_s=given.talk, plain=given.plain)
    print(json.dumps(load.run(given.rate, given.seconds)))


if __name__ == "__main__":
    main()
