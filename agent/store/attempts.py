"""Failed logins of the last minutes, counted in the database for all processes, so that guessing is slow.

An attempt is noted before its outcome is known, and those about the same name or from the same address wait for each
other meanwhile, so that many at once do not slip through together. Only keyed digests are kept: what people type as a
name may be a password.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import is_any
from agent.store.schema import login_attempt

WINDOW = timedelta(minutes=10)
LIMITS: Mapping[str, int] = {"address": 50, "pair": 8, "name": 100}
"""A name alone is not shut out for everybody after a few failures, or anybody could shut out a colleague; it only has
a far higher limit, against guessing from many addresses."""
CODE_LIMITS: Mapping[str, int] = {"address": 50, "pair": 8, "name": 20}
"""Of codes of a second factor: whoever gets there knows the password already, and a code has only six digits."""

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 12))")


class Attempts:
    """A sliding window: so many failures an address, so many a name, so many a name at an address."""

    def __init__(self, secret: bytes, *, subject: str = "password", limits: Mapping[str, int] = LIMITS) -> None:
        """``secret`` keys the digests; each ``subject`` is counted by itself."""
        self._secret = secret
        self._subject = subject
        self._limits = limits

    async def begin(self, connection: AsyncConnection, address: str, name: str) -> bool:
        """Note a try and say whether it may be made; one that may not is not noted."""
        keys = self._keys(address, name)
        for key in sorted({keys["address"], keys["name"]}):
            await connection.execute(_LOCK, {"key": key.hex()})
        await connection.execute(delete(login_attempt).where(login_attempt.c.at < func.now() - WINDOW))
        query = (
            select(login_attempt.c.key, func.count().label("tries"))
            .where(is_any(login_attempt.c.key, keys.values()), login_attempt.c.at >= func.now() - WINDOW)
            .group_by(login_attempt.c.key)
        )
        counts = {row.key: row.tries for row in await connection.execute(query)}
        if any(counts.get(key, 0) >= self._limits[kind] for kind, key in keys.items()):
            return False
        await connection.execute(insert(login_attempt), [{"key": key} for key in keys.values()])
        return True

    async def succeeded(self, connection: AsyncConnection, address: str, name: str) -> None:
        """Forget the failures of this person at this address, and the try that was noted."""
        keys = self._keys(address, name)
        await connection.execute(delete(login_attempt).where(login_attempt.c.key == keys["pair"]))
        for kind in ("address", "name"):
            newest = select(func.max(login_attempt.c.id)).where(login_attempt.c.key == keys[kind]).scalar_subquery()
            await connection.execute(delete(login_attempt).where(login_attempt.c.id == newest))

    def _keys(self, address: str, name: str) -> dict[str, bytes]:
        place = _network(address)
        words = {"address": ("address", place), "pair": ("pair", place, name), "name": ("name", name)}
        return {
            kind: hmac.digest(self._secret, "\0".join((self._subject, *some)).encode(), hashlib.sha256)
            for kind, some in words.items()
        }


def _network(address: str) -> str:
    """Whoever has an IPv6 address has 2^64 of them (RFC 6177): they count as one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
