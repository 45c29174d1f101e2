"""OAuth2 tokens of a CRM (RFC 6749, 6): renewed before their end or when they are refused, saved before they are used.

The token by which one renews is good for one use at amoCRM, so an answer that was got and not kept would cost a login.
Of several processes that find it too old one renews, and the others use what it got.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from linker.crm.protocol import CrmAuthFailed, Vault

_EARLY = 120.0  # seconds before its end in which a token is renewed already


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an authorisation server gave: two tokens, and the seconds that the first one lives."""

    access: str
    refresh: str
    seconds: float

    def kept(self) -> dict[str, str]:
        """As it lies in the vault."""
        until = time.time() + self.seconds
        return {"access_token": self.access, "refresh_token": self.refresh, "until": f"{until:.0f}"}


class Tokens:
    """Access tokens for one connector. ``renew`` gets a refresh token and asks the authorisation server."""

    def __init__(self, name: str, vault: Vault, renew: Callable[[str], Awaitable[Grant]]) -> None:
        self._name = name
        self._vault = vault
        self._renew = renew
        self._lock = asyncio.Lock()
        self._kept: Mapping[str, str] = {}

    async def access(self, *, refused: str = "") -> str:
        """A token that is valid now and is not the one that was ``refused``.

        Raises:
            CrmAuthFailed: nobody has logged in, or the login was withdrawn. CrmUnreachable: the server is away.
        """
        async with self._lock:
            if not self._is_good(refused):
                self._kept = await self._vault.load()
            if not self._is_good(refused):
                await self._take_turn(refused)
            return self._kept["access_token"]

    def _is_good(self, refused: str) -> bool:
        token, until = self._kept.get("access_token", ""), self._kept.get("until", "0")
        return bool(token) and token != refused and float(until) - _EARLY > time.time()

    async def _take_turn(self, refused: str) -> None:
        async with self._vault.alone():
            self._kept = await self._vault.load()
            if not self._is_good(refused):
                await self._take_new()

    async def _take_new(self) -> None:
        refresh = self._kept.get("refresh_token", "")
        if not refresh:
            raise login_needed(self._name, "Nobody has logged in yet")
        try:
            kept = (await self._renew(refresh)).kept()
        except CrmAuthFailed:
            kept = dict(await self._vault.load())
            if kept.get("refresh_token", "") in ("", refresh):
                raise login_needed(self._name, "The login was withdrawn or has run out") from None
        else:
            await self._vault.save(kept)
        self._kept = kept


def login_needed(name: str, why: str) -> CrmAuthFailed:
    """A person must log in."""
    return CrmAuthFailed(f"{why} ({name}).", remedy=f"Run `cardline crm login {name}`.")
