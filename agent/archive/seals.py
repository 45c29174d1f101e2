"""Seals: signed statements of how long the chain is and where its head is, to be kept where no one here can reach.

A chain alone proves nothing against its owner, who could hash it all anew. A seal that has left the machine does: the
chain of that day must lead to its head for ever. Signed by Ed25519 (RFC 8032) with a key of this installation; the
key says who sealed, the copy elsewhere says when.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from agent.archive.chainfile import fields_of
from agent.archive.statements import canonical, instant
from agent.errors import Misconfigured, Unreadable

_KIND = "cardline seal"
_VERSION = 1
_MOST_BYTES = 64 * 1024 * 1024
_MARK = b'{"seal"'
_PEM_BLOCK = re.compile(b"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_MOST_PEM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a seal says. ``length`` links lead to ``head``; ``previous`` is the digest of the seal before."""

    number: int
    length: int
    head: bytes
    at: datetime
    previous: bytes
    installation: str
    key: str
    statement: bytes
    signature: bytes
    tokens: tuple[bytes, ...] = field(default=(), compare=False)

    @property
    def digest(self) -> bytes:
        """What the next seal names, and what a timestamp authority signs: SHA-256(statement ‖ signature)."""
        return hashlib.sha256(self.statement + self.signature).digest()

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether this very statement was signed by the key."""
        try:
            key.verify(self.signature, self.statement)
        except InvalidSignature:
            return False
        return True

    def to_line(self) -> bytes:
        """The seal as one line of JSON: what leaves the machine."""
        fields: dict[str, Any] = {"seal": self.statement.decode(), "signature": self.signature.hex()}
        if self.tokens:
            fields["tokens"] = [base64.b64encode(token).decode() for token in self.tokens]
        return canonical(fields)


def seal_statement(
    *, number: int, length: int, head: bytes, at: datetime, previous: bytes, installation: str, key: str
) -> bytes:
    """The bytes that are signed."""
    return canonical(
        {
            "v": _VERSION,
            "kind": _KIND,
            "number": number,
            "length": length,
            "head": head.hex(),
            "at": instant(at),
            "previous": previous.hex(),
            "installation": installation,
            "key": key,
        }
    )


def make_seal(statement: bytes, signature: bytes, tokens: tuple[bytes, ...] = ()) -> Seal:
    """A seal of its signed bytes; whether the signature is good is another question.

    Raises:
        Unreadable: the statement is not one of a seal.
    """
    fields = fields_of(statement)
    try:
        if fields["kind"] != _KIND or fields["v"] != _VERSION:
            raise ValueError  # noqa: TRY301 - one way out for whatever is wrong
        seal = Seal(
            number=_count(fields["number"]),
            length=_count(fields["length"]),
            head=bytes.fromhex(fields["head"]),
            at=datetime.fromisoformat(fields["at"]),
            previous=bytes.fromhex(fields["previous"]),
            installation=str(fields["installation"]),
            key=str(fields["key"]),
            statement=statement,
            signature=signature,
            tokens=tokens,
        )
    except (KeyError, TypeError, ValueError):
        raise Unreadable("This is no seal of Cardline.") from None
    if seal.at.tzinfo is None:
        raise Unreadable("This seal has a time without a zone.")
    return seal


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError
    return value


def parse_line(line: bytes) -> Seal:
    """A seal of the line that left the machine; raises `Unreadable`."""
    try:
        fields = json.loads(line)
        statement, signature = fields["seal"].encode(), bytes.fromhex(fields["signature"])
        tokens = tuple(base64.b64decode(token, validate=True) for token in fields.get("tokens", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("This is no seal of Cardline.") from None
    return make_seal(statement, signature, tokens)


def read_seals(path: Path) -> list[Seal]:
    """All seals of a file, or of every file of a folder: lines of JSON, or the mails that brought them.

    Raises:
        Unreadable: there is no seal in it, or a broken one.
    """
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        found = [seal for one in files for seal in _seals_in(_bounded(one))]
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.", remedy="Name a file with seals.") from None
    if not found:
        raise Unreadable(f"There is no seal in {path}.", remedy="Name a file, a mail or a folder that holds seals.")
    return found


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise Unreadable(f"{path} is too large to be a file of seals.")
    return content


def _seals_in(content: bytes) -> Iterator[Seal]:
    lines = [line for line in content.splitlines() if line.startswith(_MARK)]
    if not lines:  # a mail has them encoded
        lines = [line for part in _parts(content) for line in part.splitlines() if line.startswith(_MARK)]
    for line in lines:
        yield parse_line(line)


def _parts(content: bytes) -> Iterator[bytes]:
    try:
        for part in message_from_bytes(content).walk():
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                yield payload
    except (ValueError, LookupError, RecursionError):
        return


def fingerprint(key: Ed25519PublicKey) -> str:
    """What a seal calls its key: SHA-256 of the 32 raw bytes, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def to_pem(key: Ed25519PublicKey) -> str:
    """The public key as anybody's tools read it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The public keys of a PEM file: one, or several where a key was renewed.

    Raises:
        Misconfigured: there is none, or one is of another kind.
    """
    remedy = "Name the file that `cardline seal key` printed."
    try:
        blocks = _PEM_BLOCK.findall(path.read_bytes()[:_MOST_PEM_BYTES])
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from None
    found = []
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise Misconfigured(f"A public key in {path} is damaged.", remedy=remedy) from None
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured(f"A key in {path} is no Ed25519 key.", remedy=remedy)
        found.append(key)
    if not found:
        raise Misconfigured(f"There is no public key in {path}.", remedy=remedy)
    return found
