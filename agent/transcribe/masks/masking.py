"""What is masked in the text of a call before it is stored: places are found, and taken out of text and words. Pure.

In the place of what was masked stands `MASK`, always as long. The sound stays as it is: of each masked stretch is kept
when it was said, on which channel and why, so that a player can keep quiet there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from agent.model import Utterance, Word
from agent.transcribe.masks.cardnumbers import Spot
from agent.transcribe.masks.numerals import words_in

MASK = "••••"
RULE, SLOW = "rule", "slow"
_AROUND_SECONDS = 0.15  # word times of a model are that good

Said = TypeVar("Said", bound=Utterance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A stretch of the sound whose words were masked, in seconds; ``rule`` is the rule's name where one named it."""

    channel: int
    start: float
    end: float
    why: str
    rule: str = ""


def find_words(utterances: Sequence[Utterance], lines: Iterable[str], rule: str) -> list[Spot]:
    """Words and phrases of a list, whatever their case, ё as е; a star at the end stands for any ending."""
    phrases: dict[str, list[list[str]]] = {}
    beginnings: dict[str, list[list[str]]] = {}
    for line in lines:
        parts = [word for word, _, _ in words_in(line)]
        if not parts:
            continue
        if line.rstrip().endswith("*"):
            beginnings.setdefault(parts[0][:1], []).append(parts)
        else:
            phrases.setdefault(parts[0], []).append(parts)
    found = []
    for index, said in enumerate(utterances):
        words = list(words_in(said.text))
        for place, (word, start, _) in enumerate(words):
            fitting = [one for one in phrases.get(word, ()) if _fits(words, place, one)]
            fitting += [one for one in beginnings.get(word[:1], ()) if _fits(words, place, one, is_beginning=True)]
            if fitting:
                last = place + max(map(len, fitting)) - 1
                found.append(Spot(index=index, start=start, end=words[last][2], why=RULE, rule=rule))
    return found


def _fits(
    words: Sequence[tuple[str, int, int]], place: int, phrase: Sequence[str], *, is_beginning: bool = False
) -> bool:
    said = [word for word, _, _ in words[place : place + len(phrase)]]
    if is_beginning:
        return len(said) == len(phrase) and said[:-1] == list(phrase[:-1]) and said[-1].startswith(phrase[-1])
    return said == list(phrase)


def apply_spots(utterances: Sequence[Said], spots: Iterable[Spot]) -> tuple[list[Said], list[Mask]]:
    """The utterances without what was found, and when that was said."""
    found: dict[int, list[Spot]] = {}
    for one in spots:
        found.setdefault(one.index, []).append(one)
    told, masks = list(utterances), []
    for index in sorted(found):
        told[index], made = _masked(utterances[index], _joined(found[index]))
        masks += made
    return told, masks


def _joined(spots: Iterable[Spot]) -> list[Spot]:
    """In order, overlapping ones together under the first one's reason."""
    joined: list[Spot] = []
    for one in sorted(spots, key=lambda each: (each.start, -each.end)):
        if joined and one.start < joined[-1].end:
            joined[-1] = replace(joined[-1], end=max(joined[-1].end, one.end))
        else:
            joined.append(one)
    return joined


def _masked(said: Said, spots: Sequence[Spot]) -> tuple[Said, list[Mask]]:
    places = _places(said)
    parts, words, masks, at = [], list[Word](), [], 0
    left = list(zip(said.words, places, strict=True)) if places is not None else []
    for spot in spots:
        parts += [said.text[at : spot.start], MASK]
        at = spot.end
        inside = [word for word, (start, end) in left if start < spot.end and end > spot.start]
        words += [word for word, (_, end) in left if end <= spot.start]
        left = [(word, place) for word, place in left if place[0] >= spot.end]
        start, end = (inside[0].start, inside[-1].end) if inside else (said.start, said.end)
        masks.append(_mask(said, start, end, spot))
        if inside:
            chance = min(word.confidence for word in inside)
            lead = " " if inside[0].text[:1].isspace() else ""
            words.append(Word(start=start, end=end, text=f"{lead}{MASK}", confidence=chance))
    text = "".join([*parts, said.text[at:]])
    return replace(said, text=text, words=(*words, *(word for word, _ in left))), masks


def _mask(said: Utterance, start: float, end: float, spot: Spot) -> Mask:
    begin = max(0.0, start - _AROUND_SECONDS)
    return Mask(channel=said.channel, start=begin, end=end + _AROUND_SECONDS, why=spot.why, rule=spot.rule)


def _places(said: Utterance) -> list[tuple[int, int]] | None:
    """Where each word stands in the text; None where they are not those of the text: they go whole then."""
    places, at = [], 0
    for word in said.words:
        bare = word.text.strip()
        start = said.text.find(bare, at) if bare else at
        if start < 0 or said.text[at:start].strip():
            return None
        places.append((start, start + len(bare)))
        at = start + len(bare)
    return None if said.text[at:].strip() and said.words else places
