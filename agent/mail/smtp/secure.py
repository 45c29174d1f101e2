"""TLS and logins of an SMTP session (RFC 3207, RFC 8314, RFC 4954)."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiosmtpd.smtp import MISSING

from agent.certificates import reason_of
from agent.mail.smtp.accounts import MECHANISMS, read_base64, read_plain
from agent.mail.smtp.guarded import GuardedSession
from agent.mail.smtp.hall import Hall

log = structlog.get_logger()

_HANDSHAKE_SECONDS = 30.0
_MOST_LOGINS = 3


class SecureSession(GuardedSession):
    """Adds STARTTLS, TLS from the first byte, and AUTH."""

    def __init__(self, hall: Hall, handler: object, *, implicit_tls: bool = False) -> None:
        super().__init__(hall, handler, implicit_tls=implicit_tls)
        self._logins = 0

    def may_log_in(self) -> bool:
        """Whether AUTH is of use now: there are accounts, nobody listens in, and it was not done yet."""
        return bool(self.hall.accounts) and self._is_secure() and not self._session().authenticated

    def _is_secure(self) -> bool:
        return self._tls_protocol is not None

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802 - the library's name
        """Commands that came before the handshake are dropped (RFC 3207, 4.2): nobody knows who sent them."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self._is_secure():
            await self.push("503 5.5.1 TLS is active already")
        elif self.hall.tls is None:
            await self.push("454 4.7.0 TLS is not available")
        else:
            await self.push("220 2.0.0 Ready to start TLS")
            await self._secure()

    async def _secure(self) -> bool:
        """Shake hands and begin anew. Whether that went well; otherwise the connection is closed."""
        assert self.hall.tls is not None
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.pause_reading()  # the library's reader takes nothing more …
        self._unread().clear()  # … and forgets what it has
        transport: asyncio.Transport | None = None
        problem = "the client hung up"
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self.transport, self, self.hall.tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except OSError as error:  # ssl.SSLError is one
            problem = reason_of(error)
        if transport is None:
            if (hidden := self.hall.quiet.lets(f"tls {self._peer}")) is not None:
                log.warning("smtp_tls_refused", peer=self._peer, problem=problem, like_it=hidden)
            self.disconnect()
            return False
        self._use(transport)
        return True

    def _use(self, transport: asyncio.Transport) -> None:
        """Speak over it as to a stranger: what was said before counts no more."""
        self.transport = transport
        for stream in (self._reader, self._writer):
            stream._transport = transport  # type: ignore[union-attr]  # as aiosmtpd does it
        protocol: Any = transport.get_protocol()
        self._tls_protocol = protocol
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self.session = self._create_session()
        self.session.peer = transport.get_extra_info("peername")
        self.session.ssl = transport.get_extra_info("ssl_object")

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802 - the library's name
        """RFC 4954; PLAIN and LOGIN, which give the password away and so need TLS."""
        mechanism, _, initial = (arg or "").partition(" ")
        if await self.check_helo_needed("EHLO"):
            return
        if not self.hall.accounts:
            await self.push("503 5.5.1 There are no logins here")
        elif not self._is_secure():
            await self.push("538 5.7.11 Encryption is required for a login")
        elif self._session().authenticated or (self._envelope().mail_from is not None):
            await self.push("503 5.5.1 Not now")
        elif mechanism.upper() not in MECHANISMS:
            await self.push("504 5.5.4 This mechanism is not known")
        else:
            await self._log_in(mechanism.upper(), initial.strip())

    async def _log_in(self, mechanism: str, initial: str) -> None:
        given = await (self._ask_plain(initial) if mechanism == "PLAIN" else self._ask_login(initial))
        if given is None:
            return
        if await self.hall.accounts.check(*given):
            self._session().authenticated = True
            log.info("smtp_logged_in", peer=self._peer, user=given[0])
            await self.push("235 2.7.0 Logged in")
            return
        self._logins += 1
        log.warning("smtp_login_refused", peer=self._peer)
        await self.push("535 5.7.8 User or password is wrong")
        if self._logins >= _MOST_LOGINS:
            await self._hang_up("421 4.7.0 Too many wrong logins")

    async def _ask_plain(self, initial: str) -> tuple[str, str] | None:
        response = await self._response(initial, b"")
        if response is None:
            return None
        given = read_plain(response)
        if given is None:
            await self.push("501 5.5.2 This is no PLAIN response")
        return given

    async def _ask_login(self, initial: str) -> tuple[str, str] | None:
        user = await self._response(initial, b"Username:")
        password = await self._response("", b"Password:") if user is not None else None
        return (user, password) if user is not None and password is not None else None

    async def _response(self, initial: str, challenge: bytes) -> str | None:
        """What the client answers to a challenge, or None where it was told what is wrong with it."""
        if initial:
            found = read_base64(initial.encode("utf-8", "surrogateescape"))
        else:
            answer = await self.challenge_auth(challenge)
            if answer is MISSING:
                return None
            try:
                found = answer.decode()
            except UnicodeError:
                found = None
        if found is None:
            await self.push("501 5.5.2 This is no base64 of UTF-8")
        return found
