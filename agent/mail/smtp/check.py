"""What `cardline doctor` says of the SMTP door of a running service, by speaking to it. Blocks."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from typing import Literal

from agent.settings_smtp import SmtpSettings

Level = Literal["ok", "warning", "fault"]

_SECONDS = 10
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
_STRANGER = "relay-test@example.net"


def check_door(settings: SmtpSettings, address: str, port: int) -> Iterator[tuple[Level, str]]:
    """How good it is, and in words what was found and what to do."""
    where = f"{_ANYWHERE.get(address, address)} port {port}"
    try:
        with smtplib.SMTP(_ANYWHERE.get(address, address), port, timeout=_SECONDS) as client:
            client.ehlo()
            if client.has_extn("starttls"):
                client.starttls(context=_unchecked())
                client.ehlo()
            yield "ok", f"{where} answers{', with STARTTLS' if settings.tls_certificate else ''}."
            yield from _relay(settings, client)
    except smtplib.SMTPConnectError as error:
        yield "warning", f"{where} answers {error.smtp_code} to this machine. See smtp.allow."
    except (OSError, smtplib.SMTPException) as error:
        yield "fault", f"{where} does not answer: {error}. Start the service, and look into its log."


def _relay(settings: SmtpSettings, client: smtplib.SMTP) -> Iterator[tuple[Level, str]]:
    """We never pass mail on; what is asked is whether mail for others is taken at all."""
    if client.mail("")[0] != 250:
        yield "warning", "This machine may not deliver without a login, so no more was tried."
        return
    code, _ = client.rcpt(_STRANGER)
    client.rset()
    if not (settings.journal or settings.drop or settings.teams):
        yield (
            "warning",
            (
                "No address is named in smtp.journal, smtp.drop or smtp.teams, so mail for any address is archived. "
                "Name yours; docs/mail-journals.md."
            ),
        )
    elif settings.catch_all:
        yield "warning", "smtp.catch_all is on: mail for any address is archived."
    elif code == 550:
        yield "ok", "Mail for other addresses than yours is refused."
    else:
        yield "fault", f"Mail for {_STRANGER} is answered {code} instead of 550. Please tell us."


def _unchecked() -> ssl.SSLContext:
    """It is our own door on our own machine: only its file is looked at, elsewhere."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
