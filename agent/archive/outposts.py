"""Carries seals to where nobody here can change them: a mailbox, a timestamp authority, a write-once bucket.

A job a seal and place, tried again for as long as it takes; how each place is, is seen among the sources. What lies
there may arrive twice, since a job that was killed runs again; that is no harm.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import make_msgid

import structlog

from agent.archive.blobs import put_once
from agent.archive.seals import Seal, make_seal
from agent.archive.timestamps import fetch_token, read_roots
from agent.errors import ArchiveUnavailable, CardlineError, Misconfigured, Unavailable
from agent.model import SourceState
from agent.settings_seal import SealSettings
from agent.store import seals, sources
from agent.store.engine import Store

log = structlog.get_logger()

_SMTP_SECONDS = 60
_EXPLAINED = """\
This is seal {number} of the archive {installation}.

It vouches for {length} links, sealed {at:%Y-%m-%d %H:%M:%S} UTC. Keep this mail: with it `cardline verify --seals`
proves that nothing of what was archived by then was changed, removed or slipped in since.
"""


class SealRefused(Misconfigured):
    """A place does not take a seal, and will not by itself."""

    remedy = "Correct the section [seal] of cardline.toml; seals that wait are carried then."


class Outposts:
    """Makes the copies of seals elsewhere."""

    def __init__(self, store: Store, settings: SealSettings) -> None:
        self._store = store
        self._settings = settings

    async def carry(self, number: int, target: str) -> None:
        """Bring one seal to one place; the job `carry_seal`.

        Raises:
            Unavailable: the place is away; tried again.
            Misconfigured: a person must act; tried again as well, since seals are few and each is wanted.
        """
        async with self._store.begin() as connection:
            stored = await seals.find_seal(connection, number)
        if stored is None or target not in self._settings.targets:
            log.info("seal_not_carried", number=number, target=target, reason="not configured any more")
            return
        seal = make_seal(stored.statement, stored.signature)
        try:
            token = await self._send(seal, target)
        except CardlineError as error:
            await self._note(number, target, error)
            raise
        async with self._store.begin() as connection:
            await seals.mark_delivered(connection, number, target, token=token)
            words = f"seal {number} ({seal.length} links) arrived"
            await sources.save_status(connection, f"seal:{target}", SourceState.RUNNING, words)
        log.info("seal_carried", number=number, target=target)

    async def _send(self, seal: Seal, target: str) -> bytes | None:
        settings = self._settings
        match target:
            case "mail":
                await asyncio.to_thread(_mail, settings, seal)
            case "bucket":
                await asyncio.to_thread(_put, settings.bucket, seal)
            case "timestamp":
                roots = await asyncio.to_thread(read_roots, settings.timestamp_ca) if settings.timestamp_ca else []
                return await fetch_token(settings.timestamp_url, seal, roots)
        return None

    async def _note(self, number: int, target: str, error: CardlineError) -> None:
        state = SourceState.UNREACHABLE if isinstance(error, Unavailable) else SourceState.STOPPED
        if isinstance(error, SealRefused) and "login" in error.what:
            state = SourceState.LOGIN_FAILED
        async with self._store.begin() as connection:
            await seals.mark_waiting(connection, number, target, error.what)
            waiting = await seals.count_waiting(connection, target)
            words = f"{error.what} {waiting} seals wait. {error.remedy}"
            await sources.save_status(connection, f"seal:{target}", state, words)


def file_name(seal: Seal) -> str:
    """What the copy of a seal is called, as a file and in a bucket."""
    return f"seal-{seal.number:06d}-{seal.digest.hex()[:8]}.json"


def _put(bucket: str, seal: Seal) -> None:
    try:
        put_once(bucket, file_name(seal), seal.to_line() + b"\n")
    except ArchiveUnavailable as error:
        raise Unavailable(error.what) from error


def _message(settings: SealSettings, seal: Seal) -> EmailMessage:
    message = EmailMessage()
    sender = settings.mail_from or settings.mail_to
    message["From"], message["To"] = sender, settings.mail_to
    message["Subject"] = f"Cardline seal {seal.number}: {seal.length} links, {seal.at:%Y-%m-%d}"
    message["Date"] = seal.at
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        _EXPLAINED.format(number=seal.number, installation=seal.installation, length=seal.length, at=seal.at)
    )
    message.add_attachment(seal.to_line() + b"\n", maintype="application", subtype="json", filename=file_name(seal))
    return message


def _mail(settings: SealSettings, seal: Seal) -> None:
    try:
        with _connect(settings) as server:
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(_message(settings, seal))
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError):
        raise SealRefused("The mail server refuses the login, or offers no such way in.") from None
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        raise _refusal(code, words) from None
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code, error.smtp_error) from None
    except ssl.SSLError as error:
        raise SealRefused(f"The mail server's certificate or TLS is not good: {error.reason}.") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"The mail server does not answer: {error}.") from None


def _connect(settings: SealSettings) -> smtplib.SMTP:
    host, port = settings.smtp_host, settings.smtp_port
    context = ssl.create_default_context()
    if settings.smtp_tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_SMTP_SECONDS, context=context)
    server = smtplib.SMTP(host, port, timeout=_SMTP_SECONDS)
    if settings.smtp_tls == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def _refusal(code: int, words: bytes | str) -> CardlineError:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    said = f"The mail server answers {code} {' '.join(text.split())[:200]}."
    return Unavailable(said) if 400 <= code < 500 else SealRefused(said)
