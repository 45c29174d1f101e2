"""Tokens that a CRM gives anew each time, kept encrypted in the database: every host that may deliver finds them."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.archive.keys import KeyRing
from agent.store import connectors, turns
from agent.store.engine import Store
from linker.crm.protocol import CrmAuthFailed

_NONCE_BYTES = 12


class DatabaseVault:
    """AES-256-GCM under a key derived from the master key; the connector's name is bound to it."""

    def __init__(self, store: Store, keys: KeyRing, name: str) -> None:
        self._store = store
        self._name = name
        self._cipher = AESGCM(keys.derive(b"crm tokens"))

    def alone(self) -> AbstractAsyncContextManager[object]:
        """Whoever else renews is waited for; one whose process ends while it does so is not."""
        return turns.take(self._store.url, turns.RENEW, zlib.crc32(self._name.encode()), wait=True)

    async def load(self) -> Mapping[str, str]:
        """What was saved last; empty at first.

        Raises:
            CrmAuthFailed: it does not open under today's master keys.
        """
        async with self._store.begin() as connection:
            sealed = await connectors.load_secrets(connection, self._name)
        if sealed is None:
            return {}
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._name.encode())
        except InvalidTag:
            raise CrmAuthFailed(f"The kept tokens of {self._name} do not open under today's master keys.") from None
        found: dict[str, str] = json.loads(plain)
        return found

    async def save(self, kept: Mapping[str, str]) -> None:
        """Replace it; when this returns it is committed."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(dict(kept)).encode(), self._name.encode())
        async with self._store.begin() as connection:
            await connectors.save_secrets(connection, self._name, sealed)
