"""Tokens of mailboxes, kept encrypted beside the data: whoever has one reads the mailbox.

One file a mailbox in ``data_dir/tokens``, AES-256-GCM under a key derived from the master key, mode 0600. A file is
replaced whole and synced, because Microsoft gives a new refresh token each time and takes the old one back later.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.archive.keys import KeyRing, make_folder, sync_folder
from agent.errors import MailboxAuthFailed

_NONCE_BYTES = 12


class TokenStore:
    """What is kept of each mailbox is a JSON object; its name is bound to it, so that files cannot be exchanged."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self._folder = folder
        self._cipher = AESGCM(keys.derive(b"mailbox tokens"))

    def save(self, mailbox: str, kept: Mapping[str, Any]) -> None:
        """Keep it in place of what was kept before.

        Raises:
            OSError: the disk is full or refuses.
        """
        make_folder(self._folder)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(kept).encode(), mailbox.encode())
        path = self._path(mailbox)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self._folder)

    def load(self, mailbox: str) -> dict[str, Any]:
        """What was kept.

        Raises:
            MailboxAuthFailed: there is nothing, or it does not open under today's master keys.
        """
        remedy = f"Run `cardline mailbox login {mailbox}` as the service's user."
        try:
            sealed = self._path(mailbox).read_bytes()
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], mailbox.encode())
            kept: dict[str, Any] = json.loads(plain)
        except FileNotFoundError:
            raise MailboxAuthFailed(f"Nobody has logged in to the mailbox {mailbox} yet.", remedy=remedy) from None
        except (OSError, InvalidTag, ValueError) as error:
            raise MailboxAuthFailed(f"The kept login of {mailbox} cannot be read.", remedy=remedy) from error
        return kept

    def _path(self, mailbox: str) -> Path:
        return self._folder / f"{hashlib.sha256(mailbox.encode()).hexdigest()[:24]}.token"
