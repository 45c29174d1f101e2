"""The sentences of the tests' speech, from the text tables in ``phrases``: some as they stand, some composed by chance.

Composed ones make a speech model listen: after "it costs" any sum may follow, so the words must come out of the sound.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANGUAGES = ("ru", "en", "de")
_FOLDER = Path(__file__).parent / "phrases"
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The table of one language: ``demo`` are the phrases of the demo, ``sections`` all by the section's name."""

    language: str
    sections: Mapping[str, tuple[str, ...]]

    @property
    def demo(self) -> tuple[str, ...]:
        """What the demo's calls are made of."""
        return self.sections["demo"]

    def sentence(self, chance: random.Random) -> str:
        """Any sentence: half of them composed where the table has such."""
        composed = self.sections.get("composed", ())
        if composed and chance.random() < 0.5:
            return self._filled(chance.choice(composed), chance)
        return chance.choice(self.demo + self.sections.get("phrases", ()))

    def words(self) -> set[str]:
        """Every word and mark as it is written, for a vocabulary."""
        lines = " ".join(line for section in self.sections.values() for line in section)
        return set(re.findall(r"\w+|[^\w\s]", _SLOT.sub(" ", lines)))

    def _filled(self, template: str, chance: random.Random) -> str:
        used: set[str] = set()  # "tables, tables and lamps" is nobody's order; digits may well repeat

        def fill(slot: re.Match[str]) -> str:
            options = self.sections[slot[1]]
            chosen = chance.choice([option for option in options if option not in used or "{" in option] or options)
            used.add(chosen)
            return self._filled(chosen, chance)

        return _SLOT.sub(fill, template)


@cache
def load_corpus(language: str) -> Corpus:
    """The table of a language (ISO 639-1)."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in (_FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            name = line.strip("[] ")
            sections[name] = []
        else:
            sections[name].append(line.strip())
    return Corpus(language=language, sections={key: tuple(lines) for key, lines in sections.items()})
