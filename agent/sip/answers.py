"""How the recording server answers: what every response of ours carries, and how loudly a stranger is complained of."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2s

import structlog

from agent.quiet import Quiet
from agent.sip.dialogs import Dialog
from agent.sip.message import Request, build_response, response_target
from agent.sip.transactions import ServerTransactions
from agent.sip.transport import Arrival

log = structlog.get_logger()

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO"
ACCEPT = "application/sdp, application/rs-metadata, application/rs-metadata+xml, multipart/mixed"
SUPPORTED = "siprec, timer, replaces"
RETRY_AFTER_S = 10
# What a client may require of us. 100rel is met by answering without any provisional response (RFC 3262, 3)
KNOWN_OPTIONS = frozenset({"siprec", "timer", "replaces", "100rel"})
ABILITIES = [("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", SUPPORTED)]


class Answers:
    """Builds, keeps and sends responses. ``port`` says where we listen for a transport."""

    def __init__(self, port: Callable[[str], int]) -> None:
        self._port = port
        self._transactions = ServerTransactions()
        self._quiet = Quiet()
        self._secret = secrets.token_bytes(16)
        self.failures = 0  # messages at which our own code failed

    def repeated(self, request: Request, arrival: Arrival) -> bool:
        """Whether this very request was answered before; then it gets that answer again."""
        stored = self._transactions.answer_to(request)
        if stored is None:
            return False
        arrival.send(stored, response_target(request, arrival.source))
        return True

    def knows(self, request: Request) -> bool:
        """Whether the request's transaction (for a CANCEL: its INVITE) was answered and is remembered."""
        return self._transactions.answer_to(request) is not None

    def send(
        self,
        request: Request,
        arrival: Arrival,
        status: int,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        to_tag: str = "",
        keep: bool = True,
    ) -> bytes:
        """Send a response back the way the request came; kept ones are sent again when the request is repeated."""
        tag = to_tag or blake2s(repr(request.transaction).encode(), key=self._secret, digest_size=8).hexdigest()
        date = ("Date", datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"))
        answer = build_response(request, status, to_tag=tag, source=arrival.source, headers=[*headers, date], body=body)
        if keep:
            self._transactions.keep(request, answer)
        arrival.send(answer, response_target(request, arrival.source))
        return answer

    def retry_later(self, request: Request, arrival: Arrival) -> None:
        """503: not now; a client with a second recorder goes there (RFC 3261, 21.5.4)."""
        self.send(request, arrival, 503, keep=False, headers=[("Retry-After", str(RETRY_AFTER_S))])

    def contact(self, dialog: Dialog) -> tuple[str, str]:
        """Where we are reached in this dialog; by sips where the client asked for that (RFC 3261, 12.1.1)."""
        host = f"[{dialog.address}]" if ":" in dialog.address else dialog.address
        transport = dialog.arrival.transport
        secure = transport == "tls" and dialog.invite.uri.lower().startswith("sips:")
        where = f"{host}:{self._port(transport)};transport={'tcp' if secure else transport}"
        return ("Contact", f"<{'sips' if secure else 'sip'}:cardline@{where}>;+sip.srs")

    def complain(self, event: str, arrival: Arrival, **facts: object) -> None:
        """Log what a stranger can cause, once a minute and source; the number kept back goes with the next."""
        hidden = self._quiet.lets(f"{event} {arrival.source[0]}")
        if hidden is not None:
            log.warning(event, peer=arrival.source[0], transport=arrival.transport, like_it=hidden, **facts)

    def failed(self, arrival: Arrival) -> None:
        """Log an error of ours with its trace, at the same rate; called while it is handled."""
        self.failures += 1
        if (hidden := self._quiet.lets("failed")) is not None:
            log.exception("sip_message_failed", peer=arrival.source[0], like_it=hidden)


def unknown_options(request: Request) -> list[str]:
    """What the client requires and we do not know (RFC 3261, 8.2.2.3)."""
    options = [one.strip() for value in request.headers.get("require") for one in value.split(",")]
    return [one for one in options if one and one.lower() not in KNOWN_OPTIONS]
