"""Codes of an authenticator: RFC 6238 with its defaults (SHA-1, six digits, thirty seconds), which every program for a
telephone knows. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote

STEP_SECONDS = 30
DIGITS = 6
_SECRET_BYTES = 20  # RFC 4226 section 4, R6
_DRIFT = 1  # steps that a telephone's clock may be off, either way (RFC 6238 section 5.2)
_RECOVERY_CODES = 10


def new_secret() -> bytes:
    """A random secret of the recommended length."""
    return secrets.token_bytes(_SECRET_BYTES)


def code_at(secret: bytes, step: int) -> str:
    """The code of one step of time (RFC 4226 section 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def find_step(secret: bytes, code: str, now: float) -> int | None:
    """The step of time to which a code belongs, None when it belongs to none near ``now`` (seconds since 1970)."""
    given, current = code.encode(), int(now) // STEP_SECONDS
    found = None
    for step in range(current - _DRIFT, current + _DRIFT + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), given):
            found = step
    return found


def plain_code(typed: str) -> str:
    """What a person typed, as codes are compared: without spaces and hyphens, in small letters."""
    return "".join(one for one in typed.lower() if one.isalnum())[:40]


def written(secret: bytes) -> str:
    """The secret as an authenticator takes it, in groups for typing it off."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def address(secret: bytes, login: str, issuer: str = "Cardline") -> str:
    """A link that opens the authenticator of the telephone it is opened on.

    https://github.com/google/google-authenticator/wiki/Key-Uri-Format
    """
    name = f"{quote(issuer, safe='')}:{quote(login, safe='')}"
    return f"otpauth://totp/{name}?secret={base64.b32encode(secret).decode()}&issuer={quote(issuer, safe='')}"


def new_recovery_codes() -> list[str]:
    """For the day on which the telephone is lost: each opens once, and has 50 random bits."""
    found = []
    for _ in range(_RECOVERY_CODES):
        text = base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]
        found.append(f"{text[:5]}-{text[5:]}")
    return found
