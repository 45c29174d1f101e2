"""The recording sessions of a server: how each begins, changes and ends, and what of it goes into its journal.

A call's way: INVITE → journal → sockets of its streams → 200, all without waiting; the database learns of it later
through the courier.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from agent.settings import SiprecSettings
from agent.sip.answers import ABILITIES, Answers
from agent.sip.body import read_body
from agent.sip.calls import SOURCE, conversation_of
from agent.sip.dialogs import Dialog, DialogId, StreamOpener
from agent.sip.journal import ACKED, ANSWERED, CLOSED, NO_MEDIA, OPENED, UNACKED, Journal, read_journal
from agent.sip.message import Request, response_target
from agent.sip.outgoing import Outgoing
from agent.sip.sdp import Media, our_offer, read_offer
from agent.sip.sessiontimer import MIN_SE_S, agreed_timer, asks_too_little, timer_headers
from agent.sip.transactions import Repeater
from agent.sip.transport import Arrival
from agent.sip.watch import Watch

log = structlog.get_logger()

STOP_S = 10.0
_REPLACES = re.compile(r"^\s*([^;\s]+)\s*;(.*)$")


class Recorder(StreamOpener, Protocol):
    """What of `agent.sip.recorder.Recorder` is needed here."""

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


class Sessions:
    """All sessions that go on. Its methods belong to the event loop's thread and never wait, but for `stop`."""

    def __init__(
        self,
        settings: SiprecSettings,
        recorder: Recorder,
        courier: Teller,
        captures: Path,
        *,
        answers: Answers,
        outgoing: Outgoing,
    ) -> None:
        self._settings, self._recorder, self._courier, self._captures = settings, recorder, courier, captures
        self._answers, self._outgoing = answers, outgoing
        self._dialogs: dict[DialogId, Dialog] = {}
        self._captured: dict[str, Dialog] = {}
        self._invites: set[tuple[str, str, int]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._watch = Watch(self, outgoing, answers, silent_s=settings.silent_minutes * 60)

    def __len__(self) -> int:
        return len(self._dialogs)

    def start(self) -> None:
        """Begin to look after sessions."""
        self._watch.start()

    async def stop(self, goodbye_s: float) -> None:
        """Leave every session (its record says that it was cut short); our BYEs have so long to be answered."""
        for dialog in list(self._dialogs.values()):
            self._leave(dialog, by="shutdown", reason="Recording server stops", truncated=True)
        if self._closing:
            await asyncio.wait(self._closing, timeout=STOP_S)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes, timeout=goodbye_s)
        for task in tuple(self._goodbyes):
            task.cancel()
        await asyncio.gather(*self._goodbyes, return_exceptions=True)
        await self._watch.stop()

    def find(self, request: Request) -> Dialog | None:
        """The session that a request belongs to."""
        return self._dialogs.get((request.call_id, request.from_tag, request.to_tag))

    def is_merged(self, request: Request) -> bool:
        """Whether the same INVITE came before on another way (RFC 3261, 8.2.2.2)."""
        return (request.call_id, request.from_tag, request.cseq) in self._invites

    def first_packet(self, capture_id: str, index: int) -> None:
        """The recorder heard the first packet of a stream."""
        if dialog := self._captured.get(capture_id):
            dialog.heard.add(index)

    # A new session

    def begin(self, request: Request, arrival: Arrival, offer: Sequence[Media]) -> None:
        """Take a session, or answer why not now. An INVITE without an offer gets ours (RFC 3261, 13.3.1.4): RFC 7866
        has the client offer, but refusing would lose the call for certain."""
        if asks_too_little(request):
            self._answers.send(request, arrival, 422, headers=[("Min-SE", str(MIN_SE_S))])
            return
        try:
            self._begin(request, arrival, offer)
        except OSError:
            log.exception("siprec_cannot_record", peer=arrival.source[0])
            self._answers.retry_later(request, arrival)

    def _begin(self, request: Request, arrival: Arrival, offer: Sequence[Media]) -> None:
        """Nothing of the metadata is read before the answer is out: they are in the journal."""
        journal = Journal.create(self._captures)
        dialog = Dialog(request, journal, arrival, self._settings.advertise or arrival.local)
        replaced = self._replaced(request)
        peer = f"{arrival.source[0]}:{arrival.source[1]}"
        try:
            with journal.together():
                journal.write(
                    OPENED,
                    raw=request.raw,
                    source=SOURCE,
                    call_id=request.call_id,
                    from_tag=request.from_tag,
                    to_tag=dialog.local_tag,
                    peer=peer,
                    transport=arrival.transport,
                    conversation=conversation_of(read_journal(replaced.journal.folder)) if replaced else "",
                )
                dialog.accept(offer or our_offer(()), self._recorder)
                if not offer:
                    dialog.offer()
                journal.write(ANSWERED, raw=dialog.answer)
        except OSError:
            self._finish(dialog, by="server", truncated=True)
            raise
        dialog.described, dialog.offering = bool(offer), not offer
        self._dialogs[dialog.id] = self._captured[journal.capture_id] = dialog
        self._invites.add((dialog.call_id, dialog.remote_tag, dialog.first_cseq))
        self._watch.agree(dialog, agreed_timer(request))
        self._answer_offer(dialog, request, arrival)
        self._courier.tell(journal.capture_id)
        log.info("siprec_call_began", capture_id=journal.capture_id, peer=peer, streams=len(dialog.streams))
        if replaced:
            self._leave(replaced, by="replaced", reason="Replaced", truncated=False)

    def _replaced(self, request: Request) -> Dialog | None:
        """The session that this one continues (RFC 3891); one that is unknown is no reason to refuse the call."""
        found = _REPLACES.match(request.header("replaces"))
        if not found:
            return None
        tags = dict(part.strip().partition("=")[::2] for part in found[2].split(";"))
        return self._dialogs.get((found[1], tags.get("from-tag", ""), tags.get("to-tag", "")))

    # Inside a session

    def update(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        """re-INVITE or UPDATE, with an offer, with metadata only, or empty to refresh the session."""
        body = read_body(request.header("content-type"), request.body)
        offer = read_offer(body.sdp or b"")
        if request.cseq <= dialog.remote_cseq:
            self._busy(request, arrival)  # out of order (RFC 3261, 12.2.2)
            return
        if self._glares(dialog, request, offer):
            self._answers.send(request, arrival, 491)
            return
        if asks_too_little(request):
            self._answers.send(request, arrival, 422, headers=[("Min-SE", str(MIN_SE_S))])
            return
        dialog.remote_cseq = request.cseq
        dialog.heard_from(request, arrival)
        try:
            is_news = dialog.note_update(request)
            if offer:
                dialog.accept(offer, self._recorder)
                dialog.described = True
        except OSError:
            log.exception("siprec_update_failed", capture_id=dialog.journal.capture_id)
            self._busy(request, arrival)
            return
        self._watch.agree(dialog, agreed_timer(request))
        if request.method == "INVITE":
            dialog.offering = not offer
            if not offer:  # it asks for our offer (RFC 3261, 14.2)
                dialog.offer()
        if offer or request.method == "INVITE":
            self._answer_offer(dialog, request, arrival)
        else:
            headers = [self._answers.contact(dialog), *ABILITIES, *timer_headers(request, dialog.timer)]
            self._answers.send(request, arrival, 200, headers=headers)
        if is_news:
            self._courier.tell(dialog.journal.capture_id)

    def _busy(self, request: Request, arrival: Arrival) -> None:
        self._answers.send(request, arrival, 500, headers=[("Retry-After", "1")])

    def _glares(self, dialog: Dialog, request: Request, offer: Sequence[Media]) -> bool:
        """Whether an offer of ours waits for its answer (RFC 3261, 14.2; RFC 3311, 5.2)."""
        if request.method == "UPDATE" and not offer:
            return False
        return dialog.inviting or bool(dialog.repeater and dialog.offering)

    def _answer_offer(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        headers = [self._answers.contact(dialog), *ABILITIES, *timer_headers(request, dialog.timer)]
        headers.append(("Content-Type", "application/sdp"))
        answer = self._answers.send(request, arrival, 200, headers=headers, body=dialog.answer, to_tag=dialog.local_tag)
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

    def acked(self, request: Request) -> None:
        """An ACK; that of an offer of ours brings the answer (RFC 3261, 13.2.2.4)."""
        dialog = self.find(request)
        if dialog is None or dialog.repeater is None or request.cseq != dialog.repeater.cseq:
            return
        dialog.repeater.stop()
        dialog.repeater = None
        answer = read_offer(read_body(request.header("content-type"), request.body).sdp or b"")
        dialog.acked = True
        self.note(dialog, ACKED)
        if dialog.offering and answer:
            try:
                dialog.answered(answer, self._recorder)
                dialog.described = True
            except OSError:
                log.exception("siprec_update_failed", capture_id=dialog.journal.capture_id)
        dialog.offering = False
        if not dialog.described:
            self._leave(dialog, by="server", reason="No answer to our offer", truncated=False)
            return
        if answer:
            self._courier.tell(dialog.journal.capture_id)
        self._watch.expect_media(dialog)

    def _unacked(self, dialog: Dialog) -> None:
        """Our 2xx was never acknowledged (RFC 3261, 13.3.1.4: leave, unless sound comes all the same)."""
        dialog.repeater = None
        dialog.offering = False
        log.error("siprec_never_acknowledged", capture_id=dialog.journal.capture_id, peer=dialog.arrival.source[0])
        self.note(dialog, UNACKED)
        if not dialog.heard and not dialog.acked:
            self._leave(dialog, by="server", reason="No ACK", truncated=True)

    def end(self, dialog: Dialog, request: Request, arrival: Arrival) -> None:
        """The client says goodbye."""
        reasons = ", ".join(request.headers.get("reason"))
        self._finish(dialog, by="client", reason=reasons, raw=request.raw)
        self._answers.send(request, arrival, 200)

    # What the watch sees and does

    def open_dialogs(self) -> Collection[Dialog]:
        """All sessions that go on."""
        return tuple(self._dialogs.values())

    def is_open(self, dialog: Dialog) -> bool:
        """Whether this one goes on."""
        return self._dialogs.get(dialog.id) is dialog

    def refreshed(self, dialog: Dialog, sdp: bytes) -> None:
        """The client answered a re-INVITE of ours."""
        if answer := read_offer(sdp):
            dialog.answered(answer, self._recorder)

    def no_media(self, dialog: Dialog) -> None:
        """Say loudly that nothing is heard."""
        log.error(
            "siprec_no_media",
            capture_id=dialog.journal.capture_id,
            peer=dialog.arrival.source[0],
            told=f"{dialog.address}:{sorted(dialog.ports.values())}",
            remedy="Check that the client reaches these ports (firewall, siprec.advertise).",
        )
        self.note(dialog, NO_MEDIA)
        self._courier.tell(dialog.journal.capture_id)

    def give_up(self, dialog: Dialog, *, by: str, at: datetime) -> None:
        """End a session whose client is gone, as of its last sign of life: nothing of its sound is cut off."""
        self._leave(dialog, by=by, reason="Session expired", truncated=False, at=at)

    # The end of a session

    def _leave(self, dialog: Dialog, *, by: str, reason: str, truncated: bool, at: datetime | None = None) -> None:
        """Say goodbye, again and again until it is answered, and end the session here at once."""
        goodbye = self._outgoing.ask(dialog, "BYE", headers=[("Reason", f'SIP;cause=503;text="{reason}"')])
        self._background(self._said(goodbye, dialog), self._goodbyes)
        self._finish(dialog, by=by, truncated=truncated, at=at)

    async def _said(self, goodbye: Coroutine[Any, Any, object], dialog: Dialog) -> None:
        if await goodbye is None:
            log.warning("siprec_goodbye_unanswered", peer=dialog.arrival.source[0], call_id=dialog.call_id)

    def _finish(
        self,
        dialog: Dialog,
        *,
        by: str,
        reason: str = "",
        raw: bytes | None = None,
        truncated: bool = False,
        at: datetime | None = None,
    ) -> None:
        if dialog.repeater:
            dialog.repeater.stop()
            dialog.repeater = None
        self._watch.forget(dialog)
        self._dialogs.pop(dialog.id, None)
        self._captured.pop(dialog.journal.capture_id, None)
        self._invites.discard((dialog.call_id, dialog.remote_tag, dialog.first_cseq))
        self.note(dialog, CLOSED, by=by, reason=reason, truncated=truncated, raw=raw, at=at)
        self._background(self._flush(dialog.journal.capture_id), self._closing)
        log.info("siprec_call_ended", capture_id=dialog.journal.capture_id, by=by)

    async def _flush(self, capture_id: str) -> None:
        try:
            await self._recorder.close_capture(capture_id)
        except Exception:  # what is on the disk is assembled all the same
            log.exception("capture_not_closed", capture_id=capture_id)
        self._courier.tell_ended(capture_id)

    def note(self, dialog: Dialog, kind: str, **data: Any) -> None:
        """A fact whose answer must go out even where the disk is full; recovery makes up for a lost one."""
        try:
            dialog.journal.write(kind, **data)
        except OSError:
            log.exception("journal_not_written", capture_id=dialog.journal.capture_id, fact=kind)

    @staticmethod
    def _background(work: Coroutine[Any, Any, None], kept: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        kept.add(task)
        task.add_done_callback(kept.discard)
