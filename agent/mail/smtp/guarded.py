"""An SMTP session that knows whom it has before it and does not let itself be played with, on top of aiosmtpd."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from contextlib import suppress
from typing import Any, AnyStr, ClassVar

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from agent.mail.smtp.hall import Hall, address_of

log = structlog.get_logger()

TRY_AGAIN = "451 4.3.0 Cannot take the message now, try again later"

_COMMAND_BYTES = 4096  # RFC 5321, 4.5.3.1.4 wants at least 512; SMTPUTF8 and VERP addresses are longer
_READER_BYTES = 16 * 1024  # commands that wait to be read
_MOST_REPLIES = 2500  # since the last message: who only plays with commands is no mail server
_MOST_ERRORS = 20
_IDLE_SECONDS = 300.0  # RFC 5321, 4.5.3.2.7
_PARTING_SECONDS = 2.0
_MOST_PARTING = 200  # at the same time; in a greater crowd some do not hear why
_PLAIN_PATH = re.compile(r"<([\w.+=-]{1,64}@[A-Za-z0-9.-]{1,255})>((?: .*)?)", re.ASCII)  # the strict parser takes long


class GuardedSession(SMTP):
    """Refuses strangers and whoever is one too many, counts errors, and says 451 to every fault of ours."""

    command_size_limit = _COMMAND_BYTES
    line_length_limit = _READER_BYTES
    _commands: ClassVar[list[str]] = []

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._commands = [name for one in cls.__mro__ for name in vars(one) if name.startswith("smtp_")]

    def __init__(self, hall: Hall, handler: object, *, implicit_tls: bool = False) -> None:
        self.hall = hall
        self._implicit_tls = implicit_tls
        self._peer = ""
        self._refusal: str | None = None
        self._replies = self._errors = 0
        settings = hall.settings
        super().__init__(
            handler,
            data_size_limit=settings.max_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.hostname,
            ident="Cardline",
            timeout=_IDLE_SECONDS,
            tls_context=hall.tls,
            require_starttls=settings.require_tls,
            loop=asyncio.get_running_loop(),
        )
        # The library's own is one dictionary for all connections, cleared whenever another one begins.
        self.command_size_limits = defaultdict(lambda: _COMMAND_BYTES)

    def __dir__(self) -> list[str]:
        """aiosmtpd goes through all attributes of each connection for its commands: these, so it takes no time."""
        return self._commands

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer = address_of(transport.get_extra_info("peername"))
        self.hall.connections.add(self)
        self._refusal = self._stranger() or self.hall.sources.connect(self._peer)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.hall.connections:
            self.hall.connections.discard(self)
            if self._refusal is None:
                self.hall.sources.disconnect(self._peer)
            super().connection_lost(error)

    def disconnect(self) -> None:
        """Hang up now."""
        if self.transport is not None:
            self.transport.close()

    def _stranger(self) -> str | None:
        self._auth_required = not self.hall.is_allowed(self._peer)
        if self._auth_required and not self.hall.accounts:
            return "554 5.7.1 Your network may not deliver mail here (setting smtp.allow)"
        return None

    async def _handle_client(self) -> None:
        if self._refusal is not None:
            await self._turn_away(self._refusal)
        elif not self._implicit_tls or await self._secure():
            await super()._handle_client()

    async def _secure(self) -> bool:
        """Go over to TLS; whether that went well."""
        raise NotImplementedError

    async def _turn_away(self, refusal: str) -> None:
        if (hidden := self.hall.quiet.lets(self._peer)) is not None:
            log.warning("smtp_connection_refused", peer=self._peer, answer=refusal, like_it=hidden)
        if not self._implicit_tls:
            await super().push(refusal)
        await self._part()

    async def _part(self) -> None:
        """Hang up so that the peer reads our last words: closing on unread bytes would reset the connection."""
        if self.hall.parting < _MOST_PARTING:
            self.hall.parting += 1
            try:
                await self._hear_out()
            finally:
                self.hall.parting -= 1
        self.disconnect()

    async def _hear_out(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport) and self.transport.can_write_eof():
            self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_SECONDS):
                while await self._reader.read(65536):
                    pass

    async def push(self, status: AnyStr) -> None:
        """Answer. Who gets too many refusals or never comes to a message is sent away with a 421."""
        await super().push(status)
        self._replies += 1
        if status[:1] in ("5", b"5"):
            self._errors += 1
            self.hall.sources.find(self._peer).errors += 1
        if self._errors > _MOST_ERRORS or self._replies > _MOST_REPLIES:
            log.warning("smtp_connection_ended", peer=self._peer, errors=self._errors, replies=self._replies)
            await self._hang_up("421 4.7.0 Too many errors or commands without a message")

    async def _hang_up(self, status: str) -> None:
        """The last answer; what the peer has sent meanwhile is not carried out."""
        await super().push(status)
        await self._part()
        raise asyncio.CancelledError  # the library's loop takes it for the end of the session

    def _session(self) -> Session:
        assert self.session is not None
        return self.session

    def _envelope(self) -> Envelope:
        assert self.envelope is not None
        return self.envelope

    def _unread(self) -> bytearray:
        """What has arrived and was not looked at; the library's own code knows no better way to it either."""
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]
        return buffer

    async def handle_exception(self, error: Exception) -> str:
        """Whatever broke, it was us: the sender keeps the message and tries again."""
        log.error("smtp_session_fault", exc_info=error)
        return TRY_AGAIN

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address and what follows it; one that the strict parser refuses is taken between its brackets."""
        address: str | None
        rest: str | None
        if (plain := _PLAIN_PATH.fullmatch(arg)) is not None:
            return plain[1], plain[2]
        try:
            address, rest = super()._getaddr(arg)
        except (IndexError, ValueError, AttributeError):
            address, rest = None, None
        if address is not None:
            return address, rest
        found = re.fullmatch(r"\s*<([^<>]+)>(.*)", arg, re.DOTALL)
        return (found[1].strip(), found[2]) if found else (None, None)
