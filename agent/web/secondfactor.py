"""The second factor of an account: beginning it, confirming it by a code, asking for a code, taking it away."""

from __future__ import annotations

import time

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.store import secondfactors
from agent.web import totp
from agent.web.services import services

_NONCE_BYTES = 12


def is_required(request: web.Request, role: str) -> bool:
    """Whether whoever has this role must have one."""
    return role in services(request).settings.web.require_totp_for


def _cipher(request: web.Request) -> AESGCM:
    return AESGCM(services(request).archive.keys.derive(b"second factors"))


def _seal(request: web.Request, account_id: int, secret: bytes) -> bytes:
    """Under a key that comes from the master key: whoever has the database alone makes no codes."""
    nonce = totp.new_secret()[:_NONCE_BYTES]
    return nonce + _cipher(request).encrypt(nonce, secret, str(account_id).encode())


def _open(request: web.Request, account_id: int, sealed: bytes) -> bytes:
    try:
        return _cipher(request).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], str(account_id).encode())
    except InvalidTag:
        raise Misconfigured(
            "A second factor does not open under this machine's master key.",
            remedy="Put the saved master key back, or take the factor away: `cardline user reset-totp LOGIN`.",
        ) from None


async def begin(request: web.Request, connection: AsyncConnection, account_id: int) -> bytes | None:
    """The secret to be shown, the same again until it is confirmed; None where the account has a factor already."""
    known = await secondfactors.find_factor(connection, account_id)
    if known is not None:
        return _open(request, account_id, known.sealed) if known.since is None else None
    secret = totp.new_secret()
    await secondfactors.begin_factor(connection, account_id, _seal(request, account_id, secret))
    return secret


async def confirm(request: web.Request, connection: AsyncConnection, account_id: int, typed: str) -> list[str] | None:
    """A code proves that the authenticator has the secret; returns the recovery codes, shown now and never again."""
    known = await secondfactors.find_factor(connection, account_id)
    if known is None or known.since is not None:
        return None
    step = totp.find_step(_open(request, account_id, known.sealed), totp.plain_code(typed), time.time())
    if step is None:
        return None
    codes = totp.new_recovery_codes()
    plain = [totp.plain_code(one) for one in codes]
    return codes if await secondfactors.confirm_factor(connection, account_id, step, plain) else None


async def is_right(request: web.Request, connection: AsyncConnection, account_id: int, typed: str) -> bool:
    """Whether what was typed opens the account now: a code that was not used, or a recovery code."""
    known = await secondfactors.find_factor(connection, account_id)
    if known is None or known.since is None:
        return False
    code = totp.plain_code(typed)
    step = totp.find_step(_open(request, account_id, known.sealed), code, time.time())
    if step is not None:
        return await secondfactors.use_step(connection, account_id, step)
    return await secondfactors.use_recovery_code(connection, account_id, code)


async def renew_codes(connection: AsyncConnection, account_id: int) -> list[str]:
    """Other recovery codes instead of the earlier ones."""
    codes = totp.new_recovery_codes()
    await secondfactors.renew_codes(connection, account_id, [totp.plain_code(one) for one in codes])
    return codes
