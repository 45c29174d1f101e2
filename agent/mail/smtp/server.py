"""The listeners of the SMTP door, and the certificate they show."""

from __future__ import annotations

import asyncio
import logging

import structlog

from agent.certificates import Certificates
from agent.errors import Misconfigured
from agent.mail.ports import DeliveryStore
from agent.mail.smtp.batches import Batches
from agent.mail.smtp.connection import Connection
from agent.mail.smtp.hall import Hall
from agent.settings_smtp import SmtpSettings

log = structlog.get_logger()

_BACKLOG = 512
_RENEW_SECONDS = 30.0


class SmtpServer:
    """Listens on the event loop it is started on; the ports tell the real ones where the settings say 0.

    ``tls_port`` is None where no certificate is configured.
    """

    def __init__(self, settings: SmtpSettings, intake: DeliveryStore) -> None:
        self._settings = settings
        self._batches = Batches(intake)
        self._hall = Hall(settings, self._batches)
        self._servers: list[asyncio.Server] = []
        self._renewing: asyncio.Task[None] | None = None
        self.port = settings.port
        self.tls_port: int | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            Misconfigured: an address cannot be listened on, or the certificate cannot be used.
        """
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # its lower levels write addresses and contents
        certificates = await asyncio.to_thread(certificates_of, self._settings)
        if certificates is not None:
            self._hall.tls = certificates.context()
            self._renewing = asyncio.create_task(self._renew(certificates), name="smtp-certificate")
        self.port = await self._listen("port", self._settings.port, implicit_tls=False)
        if certificates is not None:
            self.tls_port = await self._listen("tls_port", self._settings.tls_port, implicit_tls=True)
        log.info("smtp_listening", address=self._settings.listen, port=self.port, tls_port=self.tls_port)

    async def stop(self) -> None:
        """Close the door; a sender in the middle of a message has no 250 and so sends it again."""
        for server in self._servers:
            server.close()
        for connection in tuple(self._hall.connections):
            connection.disconnect()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
            self._renewing = None
        await self._batches.finish()

    async def _listen(self, setting: str, port: int, *, implicit_tls: bool) -> int:
        loop, address = asyncio.get_running_loop(), self._settings.listen
        try:
            server = await loop.create_server(
                lambda: Connection(self._hall, implicit_tls=implicit_tls), address, port, backlog=_BACKLOG
            )
        except OSError as error:
            raise Misconfigured(
                f"Cannot listen for mail on {address} port {port}: {error.strerror}.",
                remedy=f"Change smtp.listen or smtp.{setting} in cardline.toml, or stop the program that has the port.",
            ) from error
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def _renew(self, certificates: Certificates) -> None:
        """Take renewed files for the connections to come."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            self._hall.tls = await asyncio.to_thread(certificates.context)


def certificates_of(settings: SmtpSettings) -> Certificates | None:
    """What TLS needs, or None where it is not wanted. Blocks.

    Raises:
        Misconfigured: a file is missing or cannot be used; the text names the setting.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_certificate, settings.tls_key, section="smtp")
