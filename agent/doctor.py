"""`cardline doctor`: everything an installation needs, looked at, and what to do about what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509

from agent.archive.keys import KeyRing
from agent.errors import CardlineError, Misconfigured
from agent.mail.smtp.check import check_door
from agent.mail.smtp.server import certificates_of as smtp_certificates_of
from agent.model import SourceState
from agent.parts import prepare_data_dir, reach_database
from agent.settings import Settings
from agent.sip.imports.check import check_folder
from agent.sip.lines.keeper import check_line
from agent.sip.lines.network import resolve
from agent.sip.tls import certificates_of
from agent.store import blobs, sources
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.transcribe.models.checking import check_models

_LEAST_FREE_BYTES = 5 * 1024**3
_FULL_BYTES = 512 * 1024**2  # an hour or two of calls, and the database needs some room to go on
_CHAIN_LATE = timedelta(minutes=1)
_HTTP_SECONDS = 10
_RENEW = timedelta(days=30)  # before its end a certificate is to be renewed

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. A warning may be lived with; a fault loses something."""

    subject: str
    level: Level
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, in the order in which a person would put it right."""
    findings: list[Finding] = []
    parts = (
        *(_data_directory, _keys, _database, _speech, _pages, _certificates, _telephone, _recordings, _mail_door),
        _service,
    )
    for part in parts:
        subject = part.__name__.strip("_").replace("_", " ")
        try:
            findings += [finding async for finding in part(settings)]
        except CardlineError as error:
            findings.append(Finding(subject=subject, level="fault", text=str(error)))
            if part is _data_directory:  # without it all others would only say the same again
                break
        except OSError as error:
            findings.append(Finding(subject=subject, level="fault", text=f"{error}. Run it as the service's user."))
    return findings


async def _data_directory(settings: Settings) -> AsyncIterator[Finding]:
    prepare_data_dir(settings)
    free = shutil.disk_usage(settings.data_dir).free
    text = f"{settings.data_dir}, {free / 1024**3:.1f} GiB free"
    if free < _LEAST_FREE_BYTES:
        level: Level = "fault" if free < _FULL_BYTES else "warning"
        yield Finding(subject="disk", level=level, text=f"{text}. Give it more room: a full disk loses sound.")
    else:
        yield Finding(subject="disk", level="ok", text=text)


async def _keys(settings: Settings) -> AsyncIterator[Finding]:
    ring = KeyRing.open_or_create(settings.data_dir / "keys")
    if ring.is_confirmed:
        yield Finding(subject="keys", level="ok", text="The master keys are saved elsewhere.")
    else:
        yield Finding(
            subject="keys",
            level="warning",
            text="Nobody has confirmed that the master keys are saved elsewhere; without them the archive cannot be "
            "read. Run `cardline keys show`.",
        )


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    kind = "your own" if settings.database.url.get_secret_value() else "embedded"
    async with reach_database(settings) as url:
        await migrate(url)
        store = Store(url)
        async with store.begin() as connection:
            late = await blobs.count_unchained(connection, datetime.now(UTC) - _CHAIN_LATE)
            statuses = await sources.list_statuses(connection)
        await store.close()
    yield Finding(subject="database", level="ok", text=f"PostgreSQL, {kind}, answers and has the right tables.")
    if late:
        text = f"{late} blobs have waited over a minute for their link. Is the service running?"
        yield Finding(subject="chain", level="warning", text=text)
    if not settings.seal.targets:
        text = "The chain is sealed, but no seal leaves this machine: whoever owns it could rewrite all. See [seal]."
        yield Finding(subject="seals", level="warning", text=text)
    for status in statuses:
        is_good = status.state in (SourceState.RUNNING, SourceState.CATCHING_UP, SourceState.CONNECTING)
        text = f"{status.state.replace('_', ' ')} {status.detail}".strip()
        yield Finding(subject=status.source, level="ok" if is_good else "fault", text=text)


async def _speech(settings: Settings) -> AsyncIterator[Finding]:
    for checked in await asyncio.to_thread(check_models, settings):
        text = f"{checked.what} {checked.remedy}".strip()
        yield Finding(subject="speech", level="ok" if checked.ok else "warning", text=text)


async def _pages(settings: Settings) -> AsyncIterator[Finding]:
    public = settings.web.public_url.rstrip("/")
    if not public:
        yield Finding(
            subject="pages",
            level="warning",
            text="web.public_url is empty. Set it to the address people use, https://…, once there is a reverse proxy.",
        )
        return
    if not public.startswith("https://"):
        text = f"{public} is not HTTPS: passwords and recordings would travel in the clear."
        yield Finding(subject="pages", level="warning", text=text)
    yield (answer := await _fetch(public))
    if answer.level == "ok" and public.startswith("https://"):
        begin, end = await _shown_validity(public)
        yield _lasting("pages", f"The certificate of {public}", begin, end, "Renew it at the reverse proxy.")


async def _shown_validity(public: str) -> tuple[datetime, datetime]:
    """From when to when the certificate is good that browsers are shown."""
    url = urlsplit(public)
    async with asyncio.timeout(_HTTP_SECONDS):
        _, writer = await asyncio.open_connection(url.hostname, url.port or 443, ssl=True)
        shown = writer.get_extra_info("peercert")
        writer.close()
    begin, end = (ssl.cert_time_to_seconds(shown[name]) for name in ("notBefore", "notAfter"))
    return datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)


async def _fetch(public: str) -> Finding:
    """Ask as a person's browser would: through the reverse proxy, name, certificate and all."""
    remedy = "Check the name, the certificate and the reverse proxy, and that the service runs."
    try:
        timeout = aiohttp.ClientTimeout(total=_HTTP_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{public}/healthz") as response:
            if response.status == 200:
                return Finding(subject="pages", level="ok", text=f"{public} answers.")
            problem = f"answers {response.status}"
    except TimeoutError:
        problem = f"does not answer within {_HTTP_SECONDS} seconds"
    except aiohttp.ClientError as error:
        problem = f"does not answer: {error}"
    return Finding(subject="pages", level="fault", text=f"{public} {problem}. {remedy}")


async def _certificates(settings: Settings) -> AsyncIterator[Finding]:
    """Those of SIP over TLS: a client turns away from one that has run out, and its calls are not recorded."""
    siprec = settings.siprec
    if await asyncio.to_thread(certificates_of, siprec) is None:  # raises where the key is not that of the certificate
        return
    for name, path in (("tls_certificate", siprec.tls_certificate), ("tls_client_ca", siprec.tls_client_ca)):
        if path is not None:
            begin, end = await asyncio.to_thread(_validity, path)
            remedy = "Renew it; the new file is taken without a restart."
            yield _lasting("TLS", f"siprec.{name} {path}", begin, end, remedy)


def _validity(path: Path) -> tuple[datetime, datetime]:
    """From when to when all certificates of a file are good."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:  # OpenSSL took it, so it is a rarity such as a date before 1950
        raise Misconfigured(f"{path} cannot be read: {error}.") from None
    return max(one.not_valid_before_utc for one in found), min(one.not_valid_after_utc for one in found)


def _lasting(subject: str, what: str, begin: datetime, end: datetime, remedy: str) -> Finding:
    """How long a certificate is still good."""
    now = datetime.now(UTC)
    if now < begin:
        return Finding(subject=subject, level="fault", text=f"{what} is good from {begin:%Y-%m-%d} on only. {remedy}")
    if end <= now:
        return Finding(subject=subject, level="fault", text=f"{what} expired on {end:%Y-%m-%d}. {remedy}")
    if end - now < _RENEW:
        text = f"{what} expires on {end:%Y-%m-%d}, in {(end - now).days} days. {remedy}"
        return Finding(subject=subject, level="warning", text=text)
    return Finding(subject=subject, level="ok", text=f"{what} is good until {end:%Y-%m-%d}.")


async def _telephone(settings: Settings) -> AsyncIterator[Finding]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("pjsua2") is None:
        text = f"pjsua2 has no wheel for Python {version}: SIP lines need 3.11 or 3.12. Everything else works without."
        yield Finding(subject="SIP lines", level="fault" if settings.sip.line else "warning", text=text)
        return
    yield Finding(subject="SIP lines", level="ok", text="pjsua2 is installed.")
    for line in settings.sip.line:
        try:
            await asyncio.to_thread(check_line, line)
            await resolve(line)
        except CardlineError as error:
            yield Finding(subject=f"line {line.name}", level="fault", text=str(error))


async def _recordings(settings: Settings) -> AsyncIterator[Finding]:
    for one in settings.recordings:
        for is_good, text in check_folder(one):
            yield Finding(subject=f"recordings:{one.name}", level="ok" if is_good else "fault", text=text)


async def _mail_door(settings: Settings) -> AsyncIterator[Finding]:
    """The door for journals and forwards: a certificate that has run out, or a door that takes too much."""
    smtp = settings.smtp
    if not smtp.enabled:
        return
    if smtp.tls_certificate is not None:
        await asyncio.to_thread(smtp_certificates_of, smtp)  # raises where the key is not that of the certificate
        begin, end = await asyncio.to_thread(_validity, smtp.tls_certificate)
        remedy = "Renew it; the new file is taken without a restart."
        yield _lasting("mail TLS", f"smtp.tls_certificate {smtp.tls_certificate}", begin, end, remedy)
    address = _announced(settings).get("smtp")
    if isinstance(address, list):
        for level, text in await asyncio.to_thread(lambda: list(check_door(smtp, str(address[0]), int(address[1])))):
            yield Finding(subject="mail door", level=level, text=text)


async def _service(settings: Settings) -> AsyncIterator[Finding]:
    addresses = _announced(settings)
    if addresses:
        where = ", ".join(f"{name} {at[0]}:{at[1]}" for name, at in addresses.items() if isinstance(at, list))
        yield Finding(subject="service", level="ok", text=f"running, listening on {where}")
    else:
        yield Finding(subject="service", level="warning", text="not running. Start it with `cardline run`.")


def _announced(settings: Settings) -> dict[str, Any]:
    """What a running service has written of itself; nothing where it was killed and could not take it back."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        addresses: dict[str, Any] = json.loads((settings.data_dir / "service.json").read_text())
        if Path(f"/proc/{int(addresses['pid'])}").exists():
            return addresses
    return {}
