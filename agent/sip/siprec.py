"""The SIPREC recording server (RFC 7866): the door at which every SIP message arrives, and who may pass.

What is odd about a call is flagged, never a reason to refuse it; nothing that can fail stands before sound.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from pathlib import Path

import structlog

from agent.errors import Misconfigured
from agent.settings import SiprecSettings
from agent.sip.answers import ABILITIES, ALLOW, Answers, unknown_options
from agent.sip.body import read_body
from agent.sip.dialogs import Dialog
from agent.sip.infokeys import TYPES, InfoKeys, kind_of
from agent.sip.lines.linecalls import KeyRules
from agent.sip.message import MalformedRequest, Request, read_request, read_response
from agent.sip.outgoing import Outgoing
from agent.sip.sdp import only_encrypted, read_offer
from agent.sip.sessions import Recorder, Sessions, Teller
from agent.sip.tls import certificates_of
from agent.sip.transport import Address, Arrival, Listeners

log = structlog.get_logger()

GOODBYE_S = 4.0  # how long a stop waits for answers to our BYEs


class RecordingServer:
    """Listens for recording sessions on UDP, TCP and TLS. All its methods belong to the event loop's thread."""

    def __init__(
        self,
        settings: SiprecSettings,
        recorder: Recorder,
        courier: Teller,
        data_dir: Path,
        *,
        keys: KeyRules = KeyRules(),  # noqa: B008 - frozen
    ) -> None:
        """``keys``: what is done about keys that come by INFO."""
        self._settings = settings
        self._keys = InfoKeys(keys)
        self._allowed = tuple(ip_network(network) for network in settings.allow)
        self._listeners = Listeners()
        self._answers = Answers(self._port)
        self._outgoing = Outgoing(self._listeners.reach, self._port)
        self._sessions = Sessions(
            settings, recorder, courier, data_dir / "captures", answers=self._answers, outgoing=self._outgoing
        )

    @property
    def address(self) -> Address:
        """Where it listens for UDP and TCP, with the real port."""
        return self._listeners.address

    @property
    def tls_address(self) -> Address | None:
        """Where it listens for TLS; None without a certificate."""
        return self._listeners.tls_address

    @property
    def calls(self) -> int:
        """Recording sessions that go on."""
        return len(self._sessions)

    @property
    def failures(self) -> int:
        """Messages at which our own code failed; each stands in the log."""
        return self._answers.failures

    async def start(self) -> None:
        """Listen.

        Raises:
            Misconfigured: the address is not ours, a port is taken, or the certificate cannot be used.
        """
        settings = self._settings
        certificates = await asyncio.to_thread(certificates_of, settings)
        try:
            await self._listeners.start(
                settings.listen,
                settings.port,
                self.receive,
                self._welcomes,
                tls=certificates,
                tls_port=settings.tls_port,
            )
        except OSError as error:
            ports = f"port {settings.port}" + (f" or {settings.tls_port}" if certificates is not None else "")
            raise Misconfigured(
                f"Cannot listen for recording sessions on {settings.listen} {ports}: {error.strerror}.",
                remedy="Change siprec.listen, siprec.port or siprec.tls_port in cardline.toml, or stop the program "
                "that has the port.",
            ) from error
        self._sessions.start()
        host, port = self.address
        log.info("siprec_listens", address=host, port=port, tls_port=self.tls_address[1] if self.tls_address else None)

    async def stop(self, *, goodbye_s: float = GOODBYE_S) -> None:
        """End every session (its record says that it was cut short) and stop listening."""
        await self._sessions.stop(goodbye_s)
        await self._listeners.stop()

    def first_packet(self, capture_id: str, index: int) -> None:
        """The recorder heard the first packet of a stream."""
        self._sessions.first_packet(capture_id, index)

    def receive(self, arrival: Arrival) -> None:
        """Take one message from the network; whatever it is, nothing escapes into the event loop."""
        try:
            self._receive(arrival)
        except MalformedRequest as error:
            self._answers.complain("sip_message_broken", arrival, problem=error.what)
            if error.answerable and error.answerable.method != "ACK" and self._welcomes(arrival.source[0]):
                self._answers.send(error.answerable, arrival, error.status, keep=False)
        except Exception:
            self._answers.failed(arrival)

    def _receive(self, arrival: Arrival) -> None:
        if not arrival.data.strip(b"\r\n\0"):
            return  # a keep-alive
        request = read_request(arrival.data)
        if not self._welcomes(arrival.source[0]):
            self._refuse(request, arrival)
        elif request is None:
            if response := read_response(arrival.data):
                self._outgoing.received(response)
        elif request.method in ("ACK", "CANCEL") or not self._answers.repeated(request, arrival):
            self._dispatch(request, arrival)

    def _refuse(self, request: Request | None, arrival: Arrival) -> None:
        self._answers.complain(
            "siprec_source_refused", arrival, remedy="Add its network to siprec.allow if it is yours."
        )
        if request is not None and request.method != "ACK":
            self._answers.send(request, arrival, 403, keep=False)

    def _dispatch(self, request: Request, arrival: Arrival) -> None:
        method, answers = request.method, self._answers
        if method == "ACK":
            self._sessions.acked(request)
        elif method == "CANCEL":  # an INVITE of ours is answered at once, so there is never anything to cancel
            answers.send(request, arrival, 200 if answers.knows(request) else 481, keep=False)
        elif method not in ("INVITE", "UPDATE", "BYE", "OPTIONS", "INFO"):
            answers.send(request, arrival, 405, keep=False, headers=[("Allow", ALLOW)])
        elif method != "BYE" and (unknown := unknown_options(request)):
            answers.complain("siprec_option_unknown", arrival, options=unknown, remedy="Switch it off at the client.")
            answers.send(request, arrival, 420, headers=[("Unsupported", ", ".join(unknown))])
        elif method == "INVITE" and not request.to_tag:
            self._invited(request, arrival)
        elif method == "OPTIONS" and not request.to_tag:
            answers.send(request, arrival, 200, keep=False, headers=ABILITIES)
        else:
            self._within(request, arrival)

    def _within(self, request: Request, arrival: Arrival) -> None:
        """A request inside a session. One that we do not know, perhaps from before a restart, gets 481 (RFC 3261,
        12.2.2): what was recorded of it is closed already, and the client begins anew."""
        dialog = self._sessions.find(request)
        if dialog is None:
            self._answers.send(request, arrival, 481, keep=False)
        elif request.method == "OPTIONS":
            dialog.heard_from(request, arrival)
            self._answers.send(request, arrival, 200, keep=False, headers=ABILITIES)
        elif request.method == "BYE":
            self._keys.forget(dialog.journal.capture_id)
            self._sessions.end(dialog, request, arrival)
        elif request.method == "INFO":
            dialog.heard_from(request, arrival)
            self._informed(dialog, request, arrival)
        else:
            self._sessions.update(dialog, request, arrival)

    def _informed(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        """A key, or nothing at all, which is a sign of life; packages of RFC 6086 we have none."""
        if request.header("info-package"):
            self._answers.send(request, arrival, 469, headers=[("Recv-Info", "")])
        elif request.body.strip() and kind_of(request) not in TYPES:
            self._answers.send(request, arrival, 415, headers=[("Accept", ", ".join(TYPES))])
        else:
            self._answers.send(request, arrival, 200)
            self._keys.take(dialog.journal.capture_id, request)

    def _invited(self, request: Request, arrival: Arrival) -> None:
        answers = self._answers
        if self._sessions.is_merged(request):
            answers.send(request, arrival, 482)
            return
        if self.calls >= self._settings.max_calls:
            answers.complain("siprec_full", arrival, calls=self.calls, remedy="Raise siprec.max_calls.")
            answers.retry_later(request, arrival)
            return
        body = read_body(request.header("content-type"), request.body)
        offer = read_offer(body.sdp or b"")
        audio = any(media.kind == "audio" and media.formats for media in offer)
        if (body.sdp is not None and not audio) or only_encrypted(offer):
            why = "media encrypted without keys" if only_encrypted(offer) else "no audio that can be read"
            answers.complain(
                "siprec_nothing_to_record",
                arrival,
                problem=why,
                remedy="Offer audio as RTP/AVP, or SAVP with a=crypto.",
            )
            answers.send(request, arrival, 488)
            return
        self._sessions.begin(request, arrival, offer)

    def _port(self, transport: str) -> int:
        at = self.tls_address if transport == "tls" else None
        return (at or self.address)[1]

    def _welcomes(self, address: str) -> bool:
        source = ip_address(address)
        return any(source in network for network in self._allowed)
