"""Names of sound: a keyed digest of the very samples, so that an answer given once is found for the same sound only.

Keyed, because a digest of known sound would else tell to whoever reads the database that it was heard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from agent.archive.keys import KeyRing
from agent.transcribe.engine import Hints, Sound
from agent.transcribe.speech.bleed import SETTINGS
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import Planned
from agent.transcribe.speech.speechfinder import TELEPHONY

_BYTES = 16


class SoundKeys:
    """Keys of this installation: the same on every machine that has its master key."""

    def __init__(self, keys: KeyRing) -> None:
        self._key = keys.derive(b"live speech")

    def of_window(self, planned: Planned, channels: Sequence[Channel]) -> bytes:
        """The sound of a window, as it was decoded."""
        digest = self._digest(b"window")
        channel = channels[planned.channel]
        for piece in planned.window.pieces:
            first, last = round(piece.start * channel.rate), round(piece.end * channel.rate)
            samples = channel.samples[max(0, first) : min(last, len(channel.samples))]
            digest.update(b"%d %d;" % (channel.rate, len(samples)) + samples.tobytes())
        return digest.digest()

    def of_question(self, window: bytes, *, model: str, language: str, hints: Hints) -> bytes:
        """A window (`of_window`) that a model is asked about in a language, with hints."""
        asked = "\n".join([model, language, *hints.names, "", *hints.glossary])
        return self._digest(window + asked.encode()).digest()

    def of_weighing(self, window: bytes, *, model: str) -> bytes:
        """A window (`of_window`) whose language a model is asked for."""
        return self._digest(b"language" + window + model.encode()).digest()

    def of_block(self, sound: Sound) -> bytes:
        """A block in which speech is looked for, with the settings of now."""
        digest = self._digest(repr(TELEPHONY).encode())
        digest.update(sound.tobytes())
        return digest.digest()

    def of_two(self, asked: str, heard: Sound, source: Sound) -> bytes:
        """Sounds of two channels that are compared, with the settings of now."""
        digest = self._digest(f"{asked} {len(heard)} {SETTINGS!r}".encode())
        digest.update(heard.tobytes())
        digest.update(source.tobytes())
        return digest.digest()

    def _digest(self, about: bytes) -> hashlib.blake2b:
        return hashlib.blake2b(b"%d;" % len(about) + about, digest_size=_BYTES, key=self._key)
