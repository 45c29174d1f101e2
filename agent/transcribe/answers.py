"""Answers of a model as they are kept while their call is not done: sealed, since nothing in them is masked yet."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.archive.keys import KeyRing
from agent.model import Word
from agent.transcribe.engine import Recognised, Stretch
from agent.transcribe.speech.planning import Planned, Weights

_NONCE_BYTES = 12


def window_key(planned: Planned, *, model: str, language: str) -> bytes:
    """What names a window of a recording: the same model asked for the same pieces of sound gives the same answer."""
    pieces = ";".join(f"{piece.start:.3f}-{piece.end:.3f}" for piece in planned.window.pieces)
    return hashlib.blake2b(f"{model}\n{language}\n{planned.channel}\n{pieces}".encode(), digest_size=16).digest()


class AnswerSeal:
    """Seals answers under a key of the installation (AES-256-GCM), so that every machine that has it may go on."""

    def __init__(self, keys: KeyRing) -> None:
        self._cipher = AESGCM(keys.derive(b"answered windows"))

    def seal(self, answer: Sequence[Recognised], *, recording_id: int, key: bytes) -> bytes:
        """Bytes that only belong to this window of this recording."""
        packed = zlib.compress(json.dumps([asdict(one) for one in answer]).encode(), 1)
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, packed, _place(recording_id, key))

    def open(self, sealed: bytes, *, recording_id: int, key: bytes) -> list[Recognised] | None:
        """The answer again; None where it cannot be read, so that the window is asked once more."""
        try:
            packed = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(recording_id, key))
            rows = json.loads(zlib.decompress(packed))
            return [
                Recognised(**{**row, "words": tuple(Word(**word) for word in row.get("words", ()))}) for row in rows
            ]
        except (InvalidTag, ValueError, TypeError, zlib.error):
            return None


def pack_speech(stretches: Sequence[Stretch]) -> bytes:
    """Where somebody speaks, as bytes; nothing in it is secret."""
    return json.dumps([(one.start, one.end) for one in stretches]).encode()


def unpack_speech(packed: bytes) -> list[Stretch]:
    """The same again, exactly.

    Raises:
        ValueError: these are no such bytes.
    """
    return [Stretch(start=float(start), end=float(end)) for start, end in json.loads(packed)]


def pack_weights(weights: Weights) -> bytes:
    """How likely each language is, as bytes; nothing in it is secret."""
    return json.dumps(dict(weights)).encode()


def unpack_weights(packed: bytes) -> Weights:
    """The same again, exactly.

    Raises:
        ValueError: these are no such bytes.
    """
    return {str(language): float(weight) for language, weight in json.loads(packed).items()}


def _place(recording_id: int, key: bytes) -> bytes:
    return b"%d " % recording_id + key
