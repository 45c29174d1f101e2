"""The SMTP door: journals, Bcc copies and forwards come in here and get their 250 only after the commit.

aiosmtpd answers 500 to every fault of its handler and to long lines, and a sender gives up on a 500. So here every
fault of ours is a 451 (RFC 5321, 4.2.1: try again), lines may be as long as the whole message, and an address that
the strict parser refuses is taken as it stands.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from agent.errors import Misconfigured, Unavailable
from agent.mail.ports import EvidenceStore
from agent.mail.text import clean
from agent.model import CapturedMail
from agent.settings import SmtpSettings

log = structlog.get_logger()

SOURCE = "smtp"
_COMMAND_BYTES = 4096  # RFC 5321, 4.5.3.1.4 wants at least 512; SMTPUTF8 and VERP addresses are longer
_TRY_AGAIN = "451 4.3.0 Cannot take the message now, try again later"
_IDLE_SECONDS = 300.0  # RFC 5321, 4.5.3.2.7
_PARTING_SECONDS = 2.0


class SmtpServer:
    """Listens on the event loop it is started on; ``port`` tells the real one where the setting is 0."""

    def __init__(self, settings: SmtpSettings, intake: EvidenceStore) -> None:
        self._settings = settings
        self._intake = intake
        self._allowed = tuple(ip_network(network) for network in settings.allow)
        self._sessions: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Misconfigured: the address cannot be listened on.
        """
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # its lower levels write addresses and contents
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, self._settings.listen, self._settings.port)
        except OSError as error:
            raise Misconfigured(
                f"Cannot listen for mail on {self._settings.listen} port {self._settings.port}: {error.strerror}.",
                remedy="Change smtp.listen or smtp.port in cardline.toml, or stop the program that has the port.",
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("smtp_listening", address=self._settings.listen, port=self.port)

    async def stop(self) -> None:
        """Close the door; a sender in the middle of a message has no 250 and so sends it again."""
        if self._server is None:
            return
        self._server.close()
        for session in tuple(self._sessions):
            session.disconnect()
        await self._server.wait_closed()
        self._server = None

    def _connection(self) -> _Connection:
        return _Connection(
            _Handler(self._intake), settings=self._settings, allowed=self._allowed, sessions=self._sessions
        )


class _Handler:
    """What happens with a received message: aiosmtpd calls ``handle_…`` by name."""

    def __init__(self, intake: EvidenceStore) -> None:
        self._intake = intake

    async def handle_EHLO(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        mail = _captured(session, envelope)
        try:
            await self._intake.store_evidence([mail])
        except Unavailable as error:
            log.warning("smtp_message_deferred", key=mail.key, reason=str(error))
            return _TRY_AGAIN
        except Exception:
            log.exception("smtp_message_deferred", key=mail.key, reason="a fault of ours")
            return _TRY_AGAIN
        log.info("smtp_message_stored", key=mail.key, size=len(mail.raw), recipients=len(envelope.rcpt_tos))
        return f"250 2.0.0 Stored as {mail.key}"


def _captured(session: Session, envelope: Envelope) -> CapturedMail:
    """The delivery as evidence. Its key is new each time: a retry after a lost 250 is merged later, by logical key."""
    peer: Any = session.peer  # the library says str, the socket gives a tuple
    return CapturedMail(
        source=SOURCE,
        key=str(uuid.uuid4()),
        raw=envelope.original_content or b"",
        received=datetime.now(UTC),
        envelope={
            "mail_from": clean("" if envelope.mail_from == "<>" else envelope.mail_from or ""),
            "rcpt_to": [clean(address) for address in envelope.rcpt_tos],
            "mail_options": [clean(option) for option in envelope.mail_options],
            "helo": clean(session.host_name or ""),
            "esmtp": session.extended_smtp,
            "peer": str(peer[0]) if isinstance(peer, tuple) else "",
        },
    )


class _Connection(SMTP):
    """One SMTP session of ours."""

    command_size_limit = _COMMAND_BYTES

    def __init__(
        self,
        handler: _Handler,
        *,
        settings: SmtpSettings,
        allowed: tuple[IPv4Network | IPv6Network, ...],
        sessions: set[_Connection],
    ) -> None:
        self.line_length_limit = settings.max_bytes + 2
        self._allowed = allowed
        self._sessions = sessions
        self._max_connections = settings.max_connections
        super().__init__(
            handler,
            data_size_limit=settings.max_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.hostname,
            ident="Cardline",
            timeout=_IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        # The library's own is one dictionary for all connections, cleared whenever another one begins.
        self.command_size_limits = defaultdict(lambda: _COMMAND_BYTES)

    def disconnect(self) -> None:
        """Hang up now."""
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sessions.discard(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """A slow but steady sender of a large message is alive: only silence ends a session."""
        super().data_received(data)
        self._reset_timeout()

    async def _handle_client(self) -> None:
        refusal = self._refusal()
        if refusal is None:
            await super()._handle_client()
            return
        log.warning("smtp_connection_refused", peer=self._peer(), answer=refusal)
        await self.push(refusal)
        await self._part()

    async def _part(self) -> None:
        """Hang up so that the peer reads our last words: closing on unread bytes would reset the connection."""
        if isinstance(self.transport, asyncio.WriteTransport) and self.transport.can_write_eof():
            self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_SECONDS):
                while await self._reader.read(65536):
                    pass
        self.disconnect()

    def _refusal(self) -> str | None:
        if not self._is_allowed():
            return "554 5.7.1 Your network may not deliver mail here (setting smtp.allow)"
        if len(self._sessions) > self._max_connections:
            return "421 4.3.2 Too many connections, try again later"
        return None

    def _peer(self) -> str:
        """The peer's IP address, without the scope of a link-local one."""
        peer: Any = self.session.peer if self.session is not None else None
        return str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else ""

    def _is_allowed(self) -> bool:
        try:
            address = ip_address(self._peer())
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allowed)

    async def handle_exception(self, error: Exception) -> str:
        """Whatever broke, it was us: the sender keeps the message and tries again."""
        log.error("smtp_session_fault", exc_info=error)
        return _TRY_AGAIN

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address and what follows it; one that the strict parser refuses is taken between its brackets."""
        address: str | None
        rest: str | None
        try:
            address, rest = super()._getaddr(arg)
        except (IndexError, ValueError, AttributeError):
            address, rest = None, None
        if address is not None:
            return address, rest
        found = re.fullmatch(r"\s*<([^<>]+)>(.*)", arg, re.DOTALL)
        return (found[1].strip(), found[2]) if found else (None, None)
