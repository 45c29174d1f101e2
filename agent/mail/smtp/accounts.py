"""Logins at the door: AUTH PLAIN (RFC 4616) and LOGIN, only over TLS, against accounts of the settings."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import Sequence

from agent.settings_smtp import SmtpAccount
from agent.store import passwords

MECHANISMS = ("PLAIN", "LOGIN")
_HASHED = "$argon2"
_CHECKS_AT_ONCE = 2  # of hashes: each takes 64 MiB for tens of milliseconds


class Accounts:
    """Who may log in."""

    def __init__(self, accounts: Sequence[SmtpAccount]) -> None:
        self._secrets = {one.user: one.password.get_secret_value() for one in accounts}
        self._turn = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._uses_hashes = any(secret.startswith(_HASHED) for secret in self._secrets.values())

    def __bool__(self) -> bool:
        return bool(self._secrets)

    async def check(self, user: str, password: str) -> bool:
        """Whether user and password belong together; an unknown user costs as much as a wrong password."""
        secret = self._secrets.get(user)
        if secret is not None and not secret.startswith(_HASHED):
            return hmac.compare_digest(secret.encode(), password.encode())
        if secret is None and not self._uses_hashes:
            return False
        async with self._turn:
            return await passwords.matches(secret, password)


def read_base64(text: bytes) -> str | None:
    """What a client encoded, or None where it is no base64 of UTF-8."""
    if text == b"=":  # an empty initial response (RFC 4954, 4)
        return ""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeError):
        return None


def read_plain(response: str) -> tuple[str, str] | None:
    """User and password of a PLAIN response; who one wants to act for is none but oneself."""
    fields = response.split("\0")
    if len(fields) != 3 or not fields[1] or fields[0] not in ("", fields[1]):
        return None
    return fields[1], fields[2]
