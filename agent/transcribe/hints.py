"""Names and words that a model may expect in a call, made harmless and few. Pure.

They come from cards, phones and other systems, so they are hostile: nothing in them may look like a token of a model
(``<|ru|>``), break a line, or crowd out the sound. Whisper takes 223 tokens before what it is to write (Radford et al.
2022, section 2.3), a Russian word is three or four of them, and a prompt that long costs time in each window.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from agent.transcribe.engine import Hints

MOST_NAMES, MOST_WORDS = 12, 60
MOST_CHARACTERS = 400  # of all together; about 130 tokens in Russian, 100 in English
_LONGEST = 40
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}")
_NO_NAME = re.compile(r"[^\w\s.&'’№+-]|_")
_SPACES = re.compile(r"\s+")


def make_hints(names: Iterable[str], glossary: Iterable[str]) -> Hints:
    """The hints of one call: names first, since they are of this call, then the company's words, as far as there is
    room."""
    room = MOST_CHARACTERS
    chosen: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for words, most in ((names, MOST_NAMES), (glossary, MOST_WORDS)):
        kept: list[str] = []
        for word in words:
            clean = clean_hint(word)
            if len(kept) == most:
                break
            if clean and clean.casefold() not in seen and len(clean) <= room:
                seen.add(clean.casefold())
                kept.append(clean)
                room -= len(clean) + 2
        chosen.append(tuple(kept))
    return Hints(names=chosen[0], glossary=chosen[1])


def clean_hint(word: str) -> str:
    """One hint without what is no part of a name; empty where nothing is left or it has no letter, as a number."""
    plain = unicodedata.normalize("NFKC", word[: 10 * _LONGEST])
    plain = "".join(c if c.isprintable() else " " for c in plain)
    clean = _SPACES.sub(" ", _NO_NAME.sub(" ", _ASIDE.sub(" ", plain))).strip(" .&'’+-")
    if len(clean) > _LONGEST:
        clean = clean[: _LONGEST + 1].rsplit(" ", 1)[0][:_LONGEST]
    return clean if any(c.isalpha() for c in clean) else ""
