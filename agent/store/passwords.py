"""Passwords: argon2id (RFC 9106), always in a thread, since one check takes tens of milliseconds and 64 MiB."""

from __future__ import annotations

import asyncio
import functools

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

_hasher = PasswordHasher()


async def hash_password(password: str) -> str:
    """The encoded hash with its parameters and salt."""
    return await asyncio.to_thread(_hasher.hash, password)


async def matches(encoded: str | None, password: str) -> bool:
    """Whether the password belongs to the hash; None (no such account) costs the same and is never right."""
    return await asyncio.to_thread(_matches, encoded, password)


def is_outdated(encoded: str) -> bool:
    """Whether it was made with weaker parameters than today's; then it is made anew at the next login."""
    return _hasher.check_needs_rehash(encoded)


def _matches(encoded: str | None, password: str) -> bool:
    try:
        _hasher.verify(encoded if encoded is not None else _decoy(), password)
    except (Argon2Error, InvalidHashError):
        return False
    return encoded is not None


@functools.cache
def _decoy() -> str:
    return _hasher.hash("nobody has this password")
