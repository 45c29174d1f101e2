"""The company's own words (products, firms, names of places) that a speech model is told to expect."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import companysettings

MOST_WORDS = 200
LONGEST_WORD = 60  # characters
_NAME = "glossary"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('glossary', 12))")


async def find_glossary(connection: AsyncConnection) -> tuple[str, ...]:
    """The words, the most important first."""
    words = (await companysettings.find_value(connection, _NAME)).get("words", [])
    return tuple(str(one) for one in words) if isinstance(words, list) else ()


async def lock_glossary(connection: AsyncConnection) -> None:
    """Whoever changes it by what he has read of it changes it alone, until his transaction ends."""
    await connection.execute(_LOCK)


async def save_glossary(connection: AsyncConnection, words: Sequence[str]) -> None:
    """From now on these, for calls that are transcribed then."""
    await companysettings.save_value(connection, _NAME, {"words": list(words)})


def read_glossary(text: str) -> list[str]:
    """Words and phrases as they are typed, a line each or between commas; each once, none too long."""
    lines = (" ".join(one.split())[:LONGEST_WORD] for one in text.replace("\0", "").replace(",", "\n").splitlines())
    return list(dict.fromkeys(one for one in lines if one))[:MOST_WORDS]
