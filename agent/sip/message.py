"""From bytes to a SIP request we can act on, and from a request to the bytes of its response. Pure.

aiosipua splits and unfolds the headers (RFC 3261, 7.3); everything a response must echo is kept exactly as it came.
Headers are carried as Latin-1, so that any byte survives the way back; bodies stay bytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiosipua.headers import CaseInsensitiveDict, parse_address, parse_via
from aiosipua.message import SipMessage, SipRequest

from agent.errors import Unreadable

# It warns of each body that is not as long as Content-Length says: anybody could fill the disk with that
logging.getLogger("aiosipua.message").setLevel(logging.ERROR)

ECHOED = ("Via", "From", "To", "Call-ID", "CSeq")
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    469: "Bad Info Package",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    505: "Version Not Supported",
}
_START_LINE = re.compile(rb"^([!-~]+)[ \t]+(\S.*?)[ \t]+SIP/(\d+\.\d+)[ \t]*$")
_STATUS_LINE = re.compile(rb"^SIP/2\.0[ \t]+(\d{3})(?:[ \t]|$)")
_CSEQ = re.compile(r"^(\d{1,10})\s+(\S+)$")
_TAG = re.compile(r"^[\w.!%*+`'~^/:=@$&|\"(){}\[\]?-]{1,256}$")


class MalformedRequest(Unreadable):
    """A SIP request that breaks RFC 3261; ``answerable`` holds what a 4xx can be built from, if anything."""

    remedy = "Look at the sender's SIP configuration; the log line says from where it came."

    def __init__(self, what: str, *, status: int = 400, answerable: Request | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.answerable = answerable


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A SIP request: the parts that decide what happens to it, and all its headers as they came."""

    method: str
    uri: str
    headers: CaseInsensitiveDict
    body: bytes
    raw: bytes
    call_id: str
    from_tag: str
    to_tag: str
    cseq: int
    branch: str
    sent_by: str
    sent_by_port: int
    rport: bool

    def header(self, name: str) -> str:
        """First value of a header, empty when it is absent."""
        return self.headers.get_first(name) or ""

    @property
    def transaction(self) -> tuple[str, ...]:
        """What makes two requests the same one (RFC 3261, 17.2.3); the dialog's names are added, since some senders
        repeat branches (RFC 2543 elements have none at all). An ACK or CANCEL names the INVITE it belongs to."""
        method = "INVITE" if self.method in ("ACK", "CANCEL") else self.method
        return (self.branch, self.sent_by, str(self.sent_by_port), method, self.call_id, self.from_tag, str(self.cseq))


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A SIP response to a request of ours: what decides about it, and all its headers."""

    status: int
    headers: CaseInsensitiveDict
    body: bytes
    branch: str
    method: str

    def header(self, name: str) -> str:
        """First value of a header, empty when it is absent."""
        return self.headers.get_first(name) or ""


def read_response(data: bytes) -> Response | None:
    """Read a response; None where it is none or cannot be read: nobody could be told."""
    head, separator, body = _split(data)
    start = _STATUS_LINE.match(head.partition(b"\n")[0].rstrip(b"\r"))
    if not start or not separator:
        return None
    try:
        message = SipMessage.parse(head.decode("latin-1") + "\r\n\r\n")
    except ValueError:
        return None
    cseq = _CSEQ.match(message.headers.get_first("cseq") or "")
    via = parse_via(message.headers.get_first("via") or "")
    return Response(
        status=int(start[1]),
        headers=message.headers,
        body=_trimmed(message.headers, body),
        branch=via.branch or "",
        method=cseq[2] if cseq else "",
    )


def read_request(data: bytes) -> Request | None:
    """Read one message; None for a response (`read_response`).

    Raises:
        MalformedRequest: it breaks RFC 3261; ``answerable`` is set where enough is there for a 400.
    """
    head, separator, body = _split(data)
    first, _, _ = head.partition(b"\n")
    first = first.rstrip(b"\r")
    if first.startswith(b"SIP/"):
        return None
    start = _START_LINE.match(first)
    if not start or not separator:
        raise MalformedRequest("This is not a SIP message.")
    method, uri, version = (part.decode("latin-1") for part in start.groups())
    try:
        message = SipMessage.parse(head.decode("latin-1") + "\r\n\r\n")
    except ValueError as error:
        raise MalformedRequest(f"The SIP headers cannot be read: {error}.") from None
    if not isinstance(message, SipRequest):
        return None
    request = _request(method, uri, message.headers, body, data)
    problem = _problem(request)
    if version != "2.0":
        raise MalformedRequest(f"SIP version {version}.", status=505, answerable=request)
    if problem:
        raise MalformedRequest(problem, answerable=request if request.header("via") else None)
    return request


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, separator and body; whichever line ends the sender uses (RFC 3261, 7.5: leading line ends are skipped)."""
    data = data.lstrip(b"\r\n")
    found = [(data.find(blank), blank) for blank in (b"\r\n\r\n", b"\n\n", b"\n\r\n")]
    found = [item for item in found if item[0] >= 0]
    if not found:
        return data, b"", b""
    at, blank = min(found)
    return data[:at], blank, data[at + len(blank) :]


def _request(method: str, uri: str, headers: CaseInsensitiveDict, body: bytes, raw: bytes) -> Request:
    via = parse_via(headers.get_first("via") or "")
    cseq = _CSEQ.match(headers.get_first("cseq") or "")
    return Request(
        method=method,
        uri=uri,
        headers=headers,
        body=_trimmed(headers, body),
        raw=raw,
        call_id=headers.get_first("call-id") or "",
        from_tag=_tag(headers.get_first("from") or ""),
        to_tag=_tag(headers.get_first("to") or ""),
        cseq=int(cseq[1]) if cseq else -1,
        branch=via.branch or "",
        sent_by=via.host,
        sent_by_port=via.port if via.port is not None and 0 < via.port < 65536 else 5060,
        rport="rport" in via.params,
    )


def _trimmed(headers: CaseInsensitiveDict, body: bytes) -> bytes:
    """A multipart body ends where its closing boundary stands, whatever Content-Length says; others are cut by it."""
    declared = (headers.get_first("content-length") or "").strip()
    if "multipart" in (headers.get_first("content-type") or "").lower():
        return body
    return body[: int(declared)] if re.fullmatch(r"\d{1,9}", declared) else body


def _tag(value: str) -> str:
    tag = parse_address(value).tag or ""
    return tag if _TAG.match(tag) else ""


def _problem(request: Request) -> str:
    missing = [name for name in ECHOED if not request.header(name)]
    if missing:
        return f"No {', '.join(missing)} header."
    cseq = _CSEQ.match(request.header("cseq"))
    if not cseq or request.cseq >= 2**31:
        return "The CSeq cannot be read."
    if cseq[2] != request.method:
        return "The method of the CSeq is another one than that of the request."
    if any(len(request.headers.get(name)) > 1 for name in ECHOED[1:]):
        return "A header that may stand once stands twice."
    if re.search(r"\s", request.uri) or request.uri.startswith("<"):
        return "The request line has a URI with spaces or brackets."
    if not re.fullmatch(r"(\d{1,9})?", request.header("content-length").strip()):
        return "The Content-Length is not a number."
    if not request.sent_by:
        return "The Via names no sender."
    return ""


def build_response(
    request: Request,
    status: int,
    *,
    to_tag: str,
    source: tuple[str, int],
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """The response in wire form: Via with ``received`` and ``rport`` (RFC 3581, 4), To with our tag (8.2.6.2)."""
    lines = [f"SIP/2.0 {status} {REASONS.get(status, 'Unknown')}"]
    vias = request.headers.get("via")
    lines += [f"Via: {_answered_via(via, source) if at == 0 else via}" for at, via in enumerate(vias)]
    lines += [f"Record-Route: {route}" for route in request.headers.get("record-route")] if status == 200 else []
    for name in ECHOED[1:]:
        value = request.header(name)
        if name == "To" and value and not request.to_tag and status != 100:
            value = f"{value};tag={to_tag}"
        lines += [f"{name}: {value}"] if value else []
    lines += [f"{name}: {value}" for name, value in headers]
    lines += ["Server: Cardline", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _answered_via(via: str, source: tuple[str, int]) -> str:
    """The topmost Via as a response carries it; everything we do not set stays letter by letter."""
    address, port = source
    sent_by, *params = via.split(";")
    kept = [param for param in params if param.split("=")[0].strip().lower() not in ("rport", "received")]
    if len(kept) != len(params) or parse_via(via).host.strip("[]") != address:
        kept.append(f"received={address}")
    if any(param.strip().lower().startswith("rport") for param in params):
        kept.append(f"rport={port}")
    return ";".join([sent_by, *kept])


def response_target(request: Request, source: tuple[str, int]) -> tuple[str, int]:
    """Where a UDP response goes: the source when ``rport`` asks for it, else the port of the Via (RFC 3581, 4)."""
    return source if request.rport else (source[0], request.sent_by_port)
