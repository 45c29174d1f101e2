"""The certificate and key of a server of ours, from files that may be renewed while it runs."""

from __future__ import annotations

import ssl
from contextlib import nullcontext, suppress
from pathlib import Path

import structlog

from agent.errors import Misconfigured

log = structlog.get_logger()


class Certificates:
    """A server's certificate and key, and the authority of its clients; a renewed file is taken without a restart.

    ``section`` is the table of cardline.toml that names the files: ``siprec``, ``smtp``.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None, *, section: str) -> None:
        """Read the files. Blocks.

        Raises:
            Misconfigured: a file is missing or cannot be used; the text names the setting.
        """
        self._files = tuple(path for path in (certificate, key, client_ca) if path is not None)
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._section = section
        self._state = self._stamps()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """What the next connection is to use; read anew where a file has changed. Blocks."""
        stamps = self._stamps()
        if stamps != self._state:
            self._state = stamps
            try:
                self._context = self._read()
            except Misconfigured as error:
                log.error(f"{self._section}_certificate_not_renewed", problem=error.what, remedy=error.remedy)  # noqa: TRY400 - says it all
            else:
                log.info(f"{self._section}_certificate_renewed", file=str(self._certificate))
        return self._context

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        stamps = []
        for path in self._files:
            with suppress(OSError):
                found = path.stat()
                stamps.append((found.st_mtime_ns, found.st_ino))
        return tuple(stamps)

    def _read(self) -> ssl.SSLContext:
        self._look()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        try:
            context.load_cert_chain(self._certificate, self._key, password="")  # an encrypted key fails, never asks
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"{self._section}.tls_certificate or {self._section}.tls_key cannot be used: {reason_of(error)}.",
                remedy="Name a certificate chain and its key without a passphrase, both PEM, readable for the service.",
            ) from None
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ValueError) as error:
                raise Misconfigured(
                    f"{self._section}.tls_client_ca cannot be used: {reason_of(error)}.",
                    remedy="Name the PEM file of the authority that signed the clients' certificates.",
                ) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _look(self) -> None:
        """OpenSSL does not say which of the files it is that it cannot read."""
        settings = {"tls_certificate": self._certificate, "tls_key": self._key, "tls_client_ca": self._client_ca}
        for name, path in settings.items():
            try:
                with path.open("rb") if path is not None else nullcontext():
                    pass
            except OSError as error:
                raise Misconfigured(
                    f"{self._section}.{name}: {path} cannot be read: {error.strerror}.",
                    remedy="Name a PEM file that is there and that the service's user may read.",
                ) from None


def reason_of(error: Exception) -> str:
    """What OpenSSL or the system says, without numbers and names of files."""
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)
