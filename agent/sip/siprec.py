"""The SIPREC recording server (RFC 7866): takes recording sessions and lets nothing that can fail stand before sound.

A call's way: INVITE → journal → sockets of its streams → 200, all without waiting; the database learns of it later
through the courier. What is odd about a call is flagged, never a reason to refuse it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2s
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol

import structlog

from agent.settings import SiprecSettings
from agent.sip.body import Body, read_body
from agent.sip.calls import SOURCE, session_key
from agent.sip.dialogs import Dialog, DialogId
from agent.sip.journal import ACKED, ANSWERED, CLOSED, NO_MEDIA, OPENED, UNACKED, UPDATED, Journal
from agent.sip.message import MalformedRequest, Request, build_response, read_request, response_target
from agent.sip.quiet import Quiet
from agent.sip.sdp import Media, only_encrypted, read_offer
from agent.sip.transactions import Repeater, ServerTransactions
from agent.sip.transport import Address, Arrival, Listeners

log = structlog.get_logger()

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"
ACCEPT = "application/sdp, application/rs-metadata, application/rs-metadata+xml, multipart/mixed"
RETRY_AFTER_S = 10
MEDIA_AWAITED_S = 2.0
STOP_S = 10.0
KNOWN_KEYS = 100_000


class Recorder(Protocol):
    """What of `agent.sip.recorder.Recorder` is needed here."""

    def open_stream(self, capture_id: str, index: int) -> int:
        """Open the socket of a stream, have it recorded, and return its port; never waits."""
        ...

    async def close_capture(self, capture_id: str) -> None:
        """Close a call's streams; returns when its packet logs are complete on the disk."""
        ...


class Teller(Protocol):
    """What of `agent.sip.courier.Courier` is needed here; both return at once."""

    def tell(self, capture_id: str) -> None:
        """The journal has something new."""
        ...

    def tell_ended(self, capture_id: str) -> None:
        """The call has ended and its packet logs are complete."""
        ...


class RecordingServer:
    """Listens for recording sessions on UDP and TCP. All its methods belong to the event loop's thread."""

    def __init__(self, settings: SiprecSettings, recorder: Recorder, courier: Teller, data_dir: Path) -> None:
        self._settings, self._recorder, self._courier = settings, recorder, courier
        self._captures = data_dir / "captures"
        self._allowed = tuple(ip_network(network) for network in settings.allow)
        self._listeners = Listeners()
        self._transactions = ServerTransactions()
        self._dialogs: dict[DialogId, Dialog] = {}
        self._captured: dict[str, Dialog] = {}
        self._invites: set[tuple[str, str, int]] = set()
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._quiet = Quiet()
        self._secret = secrets.token_bytes(16)

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""
        return self._listeners.address

    @property
    def calls(self) -> int:
        """Recording sessions that go on."""
        return len(self._dialogs)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is not ours or the port is taken.
        """
        await self._listeners.start(self._settings.listen, self._settings.port, self.receive, self._welcomes)
        host, port = self.address
        log.info("siprec_listens", address=host, port=port)

    async def stop(self) -> None:
        """End every session (its record says that it was cut short) and stop listening."""
        for dialog in list(self._dialogs.values()):
            self._leave(dialog, by="shutdown")
        if self._closing:
            await asyncio.wait(self._closing, timeout=STOP_S)
        for timer in self._timers:
            timer.cancel()
        await self._listeners.stop()

    def first_packet(self, capture_id: str, index: int) -> None:
        """The recorder heard the first packet of a stream."""
        if dialog := self._captured.get(capture_id):
            dialog.heard.add(index)

    def receive(self, arrival: Arrival) -> None:
        """Take one message from the network; whatever it is, nothing escapes into the event loop."""
        try:
            self._receive(arrival)
        except MalformedRequest as error:
            self._complain("sip_message_broken", arrival, problem=error.what)
            if error.answerable and error.answerable.method != "ACK" and self._allows(arrival):
                self._answer(error.answerable, arrival, error.status, keep=False)
        except Exception:
            if (hidden := self._quiet.lets("failed")) is not None:
                log.exception("sip_message_failed", peer=arrival.source[0], like_it=hidden)

    def _receive(self, arrival: Arrival) -> None:
        if not arrival.data.strip(b"\r\n\0"):
            return  # a keep-alive
        request = read_request(arrival.data)
        if request is None:
            return
        if not self._allows(arrival):
            self._complain("siprec_source_refused", arrival, remedy="Add its network to siprec.allow if it is yours.")
            if request.method != "ACK":
                self._answer(request, arrival, 403, keep=False)
            return
        if request.method not in ("ACK", "CANCEL") and (stored := self._transactions.answer_to(request)):
            arrival.send(stored, response_target(request, arrival.source))
            return
        self._dispatch(request, arrival)

    def _dispatch(self, request: Request, arrival: Arrival) -> None:
        method = request.method
        if method == "ACK":
            self._acked(request)
        elif method == "CANCEL":  # an INVITE of ours is answered at once, so there is never anything to cancel
            known = self._transactions.answer_to(request) is not None
            self._answer(request, arrival, 200 if known else 481, keep=False)
        elif method == "INVITE" and not request.to_tag:
            self._invited(request, arrival)
        elif method not in ("INVITE", "UPDATE", "BYE", "OPTIONS"):
            self._answer(request, arrival, 405, keep=False, headers=[("Allow", ALLOW)])
        elif method == "OPTIONS" and not request.to_tag:
            self._answer(request, arrival, 200, keep=False, headers=self._abilities())
        elif (dialog := self._dialog(request)) is None:
            self._answer(request, arrival, 481, keep=False)
        elif method == "OPTIONS":
            self._answer(request, arrival, 200, keep=False, headers=self._abilities())
        elif method == "BYE":
            self._ended(dialog, request, arrival)
        else:
            self._updated(dialog, request, arrival)

    # A new session

    def _invited(self, request: Request, arrival: Arrival) -> None:
        if (request.call_id, request.from_tag, request.cseq) in self._invites:
            self._answer(request, arrival, 482)  # the same INVITE came on two ways (RFC 3261, 8.2.2.2)
            return
        if len(self._dialogs) >= self._settings.max_calls:
            self._complain("siprec_full", arrival, calls=len(self._dialogs), remedy="Raise siprec.max_calls.")
            self._answer(request, arrival, 503, keep=False, headers=[("Retry-After", str(RETRY_AFTER_S))])
            return
        body = read_body(request.header("content-type"), request.body)
        offer = read_offer(body.sdp or b"")
        if not any(media.kind == "audio" and media.formats for media in offer) or only_encrypted(offer):
            why = "encrypted media" if only_encrypted(offer) else "no audio that can be read"
            self._complain("siprec_nothing_to_record", arrival, problem=why, remedy="Offer RTP/AVP audio in the SDP.")
            self._answer(request, arrival, 488)
            return
        try:
            self._begin(request, arrival, body, offer)
        except OSError:
            log.exception("siprec_cannot_record", peer=arrival.source[0])
            self._answer(request, arrival, 503, keep=False, headers=[("Retry-After", str(RETRY_AFTER_S))])

    def _begin(self, request: Request, arrival: Arrival, body: Body, offer: Sequence[Media]) -> None:
        journal = Journal.create(self._captures)
        dialog = Dialog(request, journal, arrival, self._settings.advertise or arrival.local)
        try:
            peer = f"{arrival.source[0]}:{arrival.source[1]}"
            journal.write(
                OPENED,
                raw=request.raw,
                source=SOURCE,
                key=self._key(request, body),
                call_id=request.call_id,
                from_tag=request.from_tag,
                to_tag=dialog.local_tag,
                peer=peer,
                transport=arrival.transport,
            )
            dialog.accept(offer, self._recorder)
            journal.write(ANSWERED, raw=dialog.answer)
        except OSError:
            self._finish(dialog, by="server", truncated=True)
            raise
        self._dialogs[dialog.id] = self._captured[journal.capture_id] = dialog
        self._invites.add((dialog.call_id, dialog.remote_tag, dialog.first_cseq))
        self._answer_offer(dialog, request, arrival)
        self._courier.tell(journal.capture_id)
        log.info("siprec_call_began", capture_id=journal.capture_id, peer=peer, streams=len(dialog.streams))

    def _key(self, request: Request, body: Body) -> str:
        """The call's name. A second recording of the same conversation gets one of its own, so none hides the other."""
        key = session_key(request, body)
        if key in self._keys:
            key = f"{key};{request.call_id};{request.from_tag}"
        self._keys[key] = None
        if len(self._keys) > KNOWN_KEYS:
            self._keys.popitem(last=False)
        return key

    # Inside a session

    def _updated(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        """re-INVITE or UPDATE, with an offer, with metadata only, or empty to refresh the session."""
        body = read_body(request.header("content-type"), request.body)
        offer = read_offer(body.sdp or b"")
        if request.cseq <= dialog.remote_cseq:
            self._answer(request, arrival, 500, headers=[("Retry-After", "1")])  # out of order (RFC 3261, 12.2.2)
            return
        if dialog.repeater and dialog.offering and (request.method == "INVITE" or offer):
            self._answer(request, arrival, 491)  # our own offer waits for its answer (RFC 3261, 14.2; RFC 3311, 5.2)
            return
        dialog.remote_cseq, dialog.arrival = request.cseq, arrival
        try:
            dialog.journal.write(UPDATED, raw=request.raw, method=request.method)
            if offer:
                dialog.accept(offer, self._recorder)
        except OSError:
            log.exception("siprec_update_failed", capture_id=dialog.journal.capture_id)
            self._answer(request, arrival, 500, headers=[("Retry-After", "1")])
            return
        dialog.offering = request.method == "INVITE" and not offer
        if offer or request.method == "INVITE":  # a re-INVITE without an offer asks for ours (RFC 3261, 14.2)
            self._answer_offer(dialog, request, arrival)
        else:
            self._answer(request, arrival, 200, headers=[self._contact(dialog)])
        self._courier.tell(dialog.journal.capture_id)

    def _answer_offer(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        headers = [self._contact(dialog), *self._abilities(), ("Content-Type", "application/sdp")]
        answer = self._answer(request, arrival, 200, headers=headers, body=dialog.answer, to_tag=dialog.local_tag)
        if request.method != "INVITE":
            return
        if dialog.repeater:  # whoever goes on has our last answer; only the ACK got lost
            dialog.repeater.stop()
        target = response_target(request, arrival.source)
        dialog.repeater = Repeater(
            lambda: arrival.send(answer, target),
            lambda: self._unacked(dialog),
            cseq=request.cseq,
            reliable=arrival.transport != "udp",
        )

    def _acked(self, request: Request) -> None:
        dialog = self._dialog(request)
        if dialog is None or dialog.repeater is None or request.cseq != dialog.repeater.cseq:
            return
        dialog.repeater.stop()
        dialog.repeater = None
        self._note(dialog, ACKED)
        if offer := read_offer(read_body(request.header("content-type"), request.body).sdp or b""):
            dialog.accept(offer, self._recorder)  # the answer to an offer of ours
        dialog.acked = True
        if dialog.active and not dialog.heard:
            self._later(MEDIA_AWAITED_S, dialog)

    def _later(self, delay: float, dialog: Dialog) -> None:
        def look() -> None:
            self._timers.discard(timer)
            self._look_for_media(dialog)

        timer = asyncio.get_running_loop().call_later(delay, look)
        self._timers.add(timer)

    def _look_for_media(self, dialog: Dialog) -> None:
        """A healthy dialog that nobody speaks into is a fault of the route or of the answer; say so while it lasts."""
        if dialog.id not in self._dialogs or dialog.heard or not dialog.active:
            return
        log.error(
            "siprec_no_media",
            capture_id=dialog.journal.capture_id,
            peer=dialog.arrival.source[0],
            told=f"{dialog.address}:{sorted(dialog.ports.values())}",
            remedy="Check that the client reaches these ports (firewall, siprec.advertise).",
        )
        self._note(dialog, NO_MEDIA)
        self._courier.tell(dialog.journal.capture_id)

    def _unacked(self, dialog: Dialog) -> None:
        """Our 2xx was never acknowledged (RFC 3261, 13.3.1.4: leave, unless sound comes all the same)."""
        dialog.repeater = None
        log.error("siprec_never_acknowledged", capture_id=dialog.journal.capture_id, peer=dialog.arrival.source[0])
        self._note(dialog, UNACKED)
        if not dialog.heard and not dialog.acked:
            self._leave(dialog, by="server")

    def _ended(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        reasons = ", ".join(request.headers.get("reason"))
        self._finish(dialog, by="client", reason=reasons, raw=request.raw)
        self._answer(request, arrival, 200)

    # The end of a session

    def _leave(self, dialog: Dialog, *, by: str) -> None:
        host = dialog.address if ":" not in dialog.address else f"[{dialog.address}]"
        dialog.arrival.send(dialog.bye(host, self.address[1]), dialog.arrival.source)
        self._finish(dialog, by=by, truncated=True)

    def _finish(
        self, dialog: Dialog, *, by: str, reason: str = "", raw: bytes | None = None, truncated: bool = False
    ) -> None:
        if dialog.repeater:
            dialog.repeater.stop()
            dialog.repeater = None
        self._dialogs.pop(dialog.id, None)
        self._captured.pop(dialog.journal.capture_id, None)
        self._invites.discard((dialog.call_id, dialog.remote_tag, dialog.first_cseq))
        self._note(dialog, CLOSED, by=by, reason=reason, truncated=truncated, raw=raw)
        task = asyncio.get_running_loop().create_task(self._flush(dialog.journal.capture_id))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        log.info("siprec_call_ended", capture_id=dialog.journal.capture_id, by=by)

    async def _flush(self, capture_id: str) -> None:
        try:
            await self._recorder.close_capture(capture_id)
        except Exception:  # what is on the disk is assembled all the same
            log.exception("capture_not_closed", capture_id=capture_id)
        self._courier.tell_ended(capture_id)

    def _note(self, dialog: Dialog, kind: str, *, raw: bytes | None = None, **data: Any) -> None:
        """A fact whose answer must go out even where the disk is full; recovery makes up for a lost one."""
        try:
            dialog.journal.write(kind, raw=raw, **data)
        except OSError:
            log.exception("journal_not_written", capture_id=dialog.journal.capture_id, fact=kind)

    # Small things

    def _dialog(self, request: Request) -> Dialog | None:
        return self._dialogs.get((request.call_id, request.from_tag, request.to_tag))

    def _allows(self, arrival: Arrival) -> bool:
        return self._welcomes(arrival.source[0])

    def _welcomes(self, address: str) -> bool:
        source = ip_address(address)
        return any(source in network for network in self._allowed)

    def _abilities(self) -> list[tuple[str, str]]:
        return [("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", "siprec")]

    def _contact(self, dialog: Dialog) -> tuple[str, str]:
        host = f"[{dialog.address}]" if ":" in dialog.address else dialog.address
        transport = dialog.arrival.transport
        return ("Contact", f"<sip:cardline@{host}:{self.address[1]};transport={transport}>;+sip.srs")

    def _answer(
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

    def _complain(self, event: str, arrival: Arrival, **facts: object) -> None:
        """Log what a stranger can cause, once a minute and source; the number kept back goes with the next."""
        hidden = self._quiet.lets(f"{event} {arrival.source[0]}")
        if hidden is not None:
            log.warning(event, peer=arrival.source[0], transport=arrival.transport, like_it=hidden, **facts)
