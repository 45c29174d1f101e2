"""An SMTP session that takes messages: each gets its 250 only after the commit.

aiosmtpd answers 500 to every fault of its handler and to long lines, and a sender gives up on a 500. So here every
fault of ours is a 451 (RFC 5321, 4.2.1: try again), lines may be as long as the whole message, and an address that
the strict parser refuses is taken as it stands. What follows DATA is taken without the library, which would hold it
several times over and line by line.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import structlog
from aiosmtpd.smtp import Envelope, Session

from agent.errors import Unavailable
from agent.mail.smtp.accounts import MECHANISMS
from agent.mail.smtp.data import DataState, MessageData
from agent.mail.smtp.guarded import TRY_AGAIN
from agent.mail.smtp.hall import Hall
from agent.mail.smtp.secure import SecureSession
from agent.mail.text import clean
from agent.model import CapturedMail

log = structlog.get_logger()

SOURCE = "smtp"

_NO_ROOM = "452 4.3.1 Too much mail is under way, try again later"
_TOO_LARGE = "552 5.3.4 The message is larger than this server takes"
_MOST_RECIPIENTS = 1000  # RFC 5321, 4.5.3.1.8 wants at least 100
_ROOM_SECONDS = 30.0  # RFC 5321, 4.5.3.2.4: a client waits two minutes for the answer to DATA
_FIRST_BYTES = 64 * 1024  # room for a message that does not say its size
_SLOW_SECONDS = 300.0  # from here on a message must come …
_SLOWEST = 500.0  # … at so many bytes a second on average


class _Handler:
    """What aiosmtpd asks: it calls ``handle_…`` by name, with the connection as ``server``."""

    def __dir__(self) -> list[str]:
        return ["handle_EHLO", "handle_MAIL", "handle_RCPT"]

    async def handle_EHLO(  # noqa: N802 - the library's name
        self, server: Connection, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offered = [one for one in responses[:-1] if not one.startswith("250-AUTH")]
        if server.may_log_in():
            offered.append(f"250-AUTH {' '.join(MECHANISMS)}")
        # as one string it leaves in one packet
        return ["\r\n".join([*offered, "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]])]

    async def handle_MAIL(  # noqa: N802
        self, server: Connection, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = server.begin_message()
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Connection, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if server.hall.doors.find(clean(address)) is None:
            return "550 5.7.1 No mail is taken for this address, and none is relayed"
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients, send the rest in another message"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"


class Connection(SecureSession):
    """One SMTP session of ours."""

    def __init__(self, hall: Hall, *, implicit_tls: bool = False) -> None:
        super().__init__(hall, _Handler(), implicit_tls=implicit_tls)
        self._data: MessageData | None = None
        self._data_began = 0.0
        self._ended: asyncio.Future[None] | None = None
        self._reserved = 0

    def begin_message(self) -> str | None:
        """Why no message may begin now, if so."""
        return self.hall.sources.begin_message(self._peer)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - the library's name
        """Take a message and answer once it is stored."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        if not self._envelope().rcpt_tos:
            await self.push("503 5.5.1 Nobody to deliver to: RCPT first")
            return
        if not await self._make_room():
            await self._refuse_data(_NO_ROOM)
            return
        try:
            if self._unread():  # sent before it was asked for: not a mail server, or one that is made use of
                await self._hang_up("554 5.5.0 Wait for the answer to DATA (RFC 2920, 3.1)")
            await self._take_message()
        finally:
            self._release()
            self._data = None

    def _release(self) -> None:
        self.hall.budget.release(self._reserved)
        self._reserved = 0

    async def _make_room(self) -> bool:
        declared = next((one[5:] for one in self._envelope().mail_options if one.startswith("SIZE=")), "")
        size = min(int(declared), self.hall.settings.max_bytes) if declared.isdigit() else 0
        size = max(size, _FIRST_BYTES)
        if not await self.hall.budget.reserve(size, seconds=_ROOM_SECONDS):
            return False
        self._reserved = size
        return True

    async def _refuse_data(self, status: str) -> None:
        """Where the message is on its way already, its lines would be taken for commands: then hang up."""
        self.envelope = self._create_envelope()
        if self._unread():
            await self._hang_up(status.replace("452", "421", 1))
        await self.push(status)

    async def _take_message(self) -> None:
        self._data = data = MessageData(largest=self.hall.settings.max_bytes, grow=self._grow)
        self._data_began = time.monotonic()
        self._ended = asyncio.get_running_loop().create_future()
        await super().push("354 End data with <CR><LF>.<CR><LF>")
        await self._ended
        self.hall.sources.find(self._peer).size += data.received
        envelope, self.envelope = self._envelope(), self._create_envelope()
        if data.state is DataState.TOO_LARGE:
            await self.push(_TOO_LARGE)
        elif data.state is DataState.NO_ROOM:
            await self.push(_NO_ROOM)
        else:
            await self.push(await self._store(self._captured(envelope, data.content())))

    def _grow(self, size: int) -> bool:
        """Room for a chunk: of what was reserved at first, then as long as there is some."""
        assert self._data is not None
        missing = self._data.received - self._reserved
        if missing <= 0:
            return True
        if not self.hall.budget.grow(missing):
            return False
        self._reserved += missing
        return True

    def data_received(self, data: bytes) -> None:
        """Commands go to the library's reader, a message to us. Only there each byte is a sign of life."""
        if self._data is None or self._ended is None:
            super().data_received(data)
            return
        self._reset_timeout()
        rest = self._data.feed(data)
        if rest is not None:
            self._data = None
            if not self._ended.done():
                self._ended.set_result(None)
            if rest:
                super().data_received(rest)
            return
        if self._data.state is not DataState.TAKING:
            self._release()
        if self._is_too_slow(self._data.received):
            log.warning("smtp_message_too_slow", peer=self._peer, received=self._data.received)
            self.disconnect()

    def _is_too_slow(self, received: int) -> bool:
        seconds = time.monotonic() - self._data_began
        return seconds > _SLOW_SECONDS and received < seconds * _SLOWEST

    async def _store(self, mail: CapturedMail) -> str:
        """The room is given back by whoever has the message last: nobody fills it and hangs up, again and again."""
        room, self._reserved = self._reserved, 0
        try:
            await self.hall.batches.store(mail, leave=partial(self.hall.budget.release, room))
        except Unavailable as error:
            log.warning("smtp_message_deferred", key=mail.key, reason=str(error))
            return TRY_AGAIN
        except Exception:
            log.exception("smtp_message_deferred", key=mail.key, reason="a fault of ours")
            return TRY_AGAIN
        self._replies = 0
        recipients = len(mail.envelope["rcpt_to"])
        log.info("smtp_message_stored", key=mail.key, size=len(mail.raw), recipients=recipients, peer=self._peer)
        return f"250 2.0.0 Stored as {mail.key}"

    def _captured(self, envelope: Envelope, raw: bytes) -> CapturedMail:
        """The delivery as evidence. Its key is new each time: a retry after a lost 250 is merged by logical key."""
        recipients = [clean(address) for address in envelope.rcpt_tos]
        tls: Any = self._session().ssl
        return CapturedMail(
            source=SOURCE,
            key=str(uuid4()),
            raw=raw,
            received=datetime.now(UTC),
            envelope={
                "mail_from": clean("" if envelope.mail_from == "<>" else envelope.mail_from or ""),
                "rcpt_to": recipients,
                "mail_options": [clean(option) for option in envelope.mail_options],
                "helo": clean(self._session().host_name or ""),
                "esmtp": self._session().extended_smtp,
                "peer": self._peer,
                **({"tls": tls.version()} if tls is not None else {}),
                **self.hall.doors.envelope(recipients),
            },
        )
