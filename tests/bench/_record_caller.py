"""A client that opens sessions one after the other, over UDP: SIPREC with two streams, or ordinary calls with one."""

from __future__ import annotations

import re
import secrets
import socket

HOST = "127.0.0.1"
ANSWER_S, REPEAT_S = 20.0, 0.5
_PORTS = re.compile(rb"^m=audio (\d+)", re.MULTILINE)
_TAG = re.compile(rb"^To:.*;tag=([^;\s]+)", re.MULTILINE | re.IGNORECASE)


class Caller:
    """One session. Every answer but a 200 ends the benchmark."""

    def __init__(self, server: tuple[str, int], number: int, *, siprec: bool) -> None:
        self._server, self._number, self._siprec = server, number, siprec
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HOST, 0))
        self._call_id, self._tag, self._to = f"{secrets.token_hex(8)}@{HOST}", secrets.token_hex(4), ""

    def invite(self) -> list[int]:
        """Begin; the RTP ports of the answer."""
        kind, body = self._offer()
        answer = self._ask("INVITE", 1, [f"Content-Type: {kind}"], body)
        self._sock.sendto(self._request("ACK", 1, [], ""), self._server)
        return [int(port) for port in _PORTS.findall(answer)]

    def bye(self) -> None:
        """End."""
        self._ask("BYE", 2, [], "")
        self._sock.close()

    def _ask(self, method: str, number: int, headers: list[str], body: str) -> bytes:
        request = self._request(method, number, headers, body)
        self._sock.settimeout(REPEAT_S)
        for _ in range(int(ANSWER_S / REPEAT_S)):
            self._sock.sendto(request, self._server)
            try:
                while True:
                    answer = self._sock.recv(65535)
                    status = answer.split(b" ", 2)[1]
                    if f"CSeq: {number} {method}".encode() in answer and status >= b"200":
                        if status != b"200":
                            raise SystemExit(f"{method} was answered {status.decode()}")
                        self._to = _TAG.findall(answer)[0].decode()
                        return answer
            except TimeoutError:
                continue
        raise SystemExit(f"{method} was not answered")

    def _request(self, method: str, number: int, headers: list[str], body: str) -> bytes:
        host, port = self._sock.getsockname()
        lines = [
            f"{method} sip:recorder@{self._server[0]}:{self._server[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{method}{self._tag};rport",
            "Max-Forwards: 70",
            f"From: <sip:client@{host}>;tag={self._tag}",
            f"To: <sip:recorder@{self._server[0]}>" + (f";tag={self._to}" if self._to else ""),
            f"Call-ID: {self._call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:client@{host}:{port}>" + (";+sip.src" if self._siprec else ""),
            *headers,
            f"Content-Length: {len(body.encode())}",
        ]
        return "\r\n".join([*lines, "", body]).encode()

    def _offer(self) -> tuple[str, str]:
        lines = ["v=0", f"o=- 1 1 IN IP4 {HOST}", "s=-", f"c=IN IP4 {HOST}", "t=0 0"]
        for label in (1, 2)[: 2 if self._siprec else 1]:
            lines += ["m=audio 9 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", f"a=label:{label}", "a=sendonly"]
        sdp = "\r\n".join([*lines, ""])
        if not self._siprec:
            return "application/sdp", sdp
        parts = (("application/sdp", sdp), ("application/rs-metadata+xml", self._metadata()))
        body = "".join(f"--part\r\nContent-Type: {kind}\r\n\r\n{text}\r\n" for kind, text in parts) + "--part--\r\n"
        return 'multipart/mixed;boundary="part"', body

    def _metadata(self) -> str:
        session = f"bench-{self._number}"
        people = "".join(
            f'<participant participant_id="p{at}"><nameID aor="sip:{user}@pbx.example.com"/></participant>'
            f'<stream stream_id="s{at}" session_id="{session}"><label>{at}</label></stream>'
            f'<participantstreamassoc participant_id="p{at}"><send>s{at}</send></participantstreamassoc>'
            for at, user in ((1, f"+7495000{self._number % 10000:04}"), (2, "101"))
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><recording xmlns="urn:ietf:params:xml:ns:recording:1">'
            f'<datamode>complete</datamode><session session_id="{session}"/>{people}</recording>'
        )
