"""The key that signs seals, and the name of the installation: files beside the master keys, of mode 0600.

The public key is for everybody and should be noted elsewhere at once, since a proof is worth no more than the
certainty whose key it was. The private key is not worth a leak but may be lost: a new one then signs, and whoever
proves names both.
"""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent.archive.keys import KEY_BYTES, alone, make_folder, read_key_file, write_key_file
from agent.archive.seals import fingerprint
from agent.errors import Misconfigured

_PATTERN = "seal-*.key"
_INSTALLATION = "installation"


class SealKeyMissing(Misconfigured):
    """There are seals, but the key that made them is not in the key folder."""

    remedy = "Put the saved file seal-0001.key back into the folder `keys`, or run `cardline seal renew-key`."


class SealKey:
    """The key with the highest number signs."""

    def __init__(self, folder: Path, private: Ed25519PrivateKey, installation: str) -> None:
        self._folder = folder
        self._private = private
        self.installation = installation

    @classmethod
    def open(cls, folder: Path) -> SealKey | None:
        """The key of this machine, or None where it has none.

        Raises:
            Misconfigured: a key file is damaged or readable by others.
        """
        files = sorted(folder.glob(_PATTERN))
        if not files:
            return None
        private = Ed25519PrivateKey.from_private_bytes(read_key_file(files[-1]))
        name = folder / _INSTALLATION
        return cls(folder, private, name.read_text().strip() if name.exists() else "")

    @classmethod
    def open_or_create(cls, folder: Path, *, is_first: bool) -> SealKey:
        """The key; made where nothing was ever sealed, with a random name for the installation.

        Raises:
            SealKeyMissing: there were seals before.
        """
        make_folder(folder)
        with alone(folder):
            key = cls.open(folder)
            if key is None:
                if not is_first:
                    raise SealKeyMissing(f"There are seals, but no key for them in {folder}.")
                key = cls._make(folder, 1)
        return key

    @classmethod
    def renew(cls, folder: Path) -> SealKey:
        """A further key, which signs from now on; the old one stays for whoever wants to see it."""
        make_folder(folder)
        with alone(folder):
            return cls._make(folder, len(list(folder.glob(_PATTERN))) + 1)

    @classmethod
    def _make(cls, folder: Path, number: int) -> SealKey:
        name = folder / _INSTALLATION
        if not name.exists():
            write_key_file(name, str(uuid.uuid4()))
        secret = secrets.token_bytes(KEY_BYTES)
        write_key_file(folder / f"seal-{number:04d}.key", secret.hex())
        return cls(folder, Ed25519PrivateKey.from_private_bytes(secret), name.read_text().strip())

    @staticmethod
    def publics(folder: Path) -> list[Ed25519PublicKey]:
        """The public keys of this machine, also those that do not sign any more."""
        files = sorted(folder.glob(_PATTERN))
        return [Ed25519PrivateKey.from_private_bytes(read_key_file(file)).public_key() for file in files]

    @property
    def public(self) -> Ed25519PublicKey:
        """What everybody may and should have."""
        return self._private.public_key()

    @property
    def fingerprint(self) -> str:
        """How seals name the key."""
        return fingerprint(self.public)

    @property
    def check_code(self) -> str:
        """The first eight characters of the fingerprint, to compare a copy by."""
        return self.fingerprint[:8]

    def sign(self, statement: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._private.sign(statement)
