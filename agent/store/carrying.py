"""What becomes of people's corrections when a recording is transcribed anew. Pure.

Where the new text reads as the old one did, the correction holds for it as well. Where it reads as the correction does,
the new model has understood what the old one did not, and nothing is left to do. Anywhere else a person looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_NEAR_SECONDS = 1.0  # models differ about where an utterance begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A correction of an earlier transcript: when it was said, what the machine understood, what a person wrote."""

    id: int
    channel: int
    start: float
    end: float
    machine: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An utterance of the new transcript."""

    id: int
    channel: int
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What follows: ``taken`` is new text by utterance with the correction it comes from, ``open`` the corrections a
    person looks at, with the utterance beside which they are shown (None: nothing is said there any more)."""

    taken: dict[int, tuple[str, int]]
    open: tuple[tuple[int, int | None], ...]


def carry(corrections: Sequence[Corrected], targets: Sequence[Target]) -> Carried:
    """Decide about all corrections, in order of time."""
    taken: dict[int, tuple[str, int]] = {}
    left: list[tuple[int, int | None]] = []
    for one in sorted(corrections, key=lambda each: (each.start, each.id)):
        near = [each for each in targets if _is_near(one, each) and each.channel == one.channel]
        texts = {each.id: taken.get(each.id, (each.text, 0))[0] for each in near}
        is_understood = _reads(" ".join(texts.values()), one.text)
        if is_understood and len(words_of(one.text)) > len(words_of(one.machine)):
            continue  # what was missing is there now, and what the old one had understood is a part of it
        replaced = [(number, found) for number, text in texts.items() if (found := _replaced(text, one)) is not None]
        if len(replaced) == 1:
            taken[replaced[0][0]] = (replaced[0][1], one.id)
        elif not is_understood:
            left.append((one.id, _beside(one, targets)))
    return Carried(taken=taken, open=tuple(left))


def words_of(text: str) -> list[str]:
    """Words as they are compared: neither case nor punctuation, ё as е."""
    return [one.casefold().replace("ё", "е") for one in _WORD.findall(text)]


def _is_near(one: Corrected, target: Target) -> bool:
    return target.start < one.end + _NEAR_SECONDS and target.end > one.start - _NEAR_SECONDS


def _replaced(text: str, one: Corrected) -> str | None:
    """The text with the correction in it; None where what the machine had understood does not stand there once."""
    wanted = words_of(one.machine)
    found = list(_WORD.finditer(text))
    words = words_of(text)
    places = [at for at in range(len(words) - len(wanted) + 1) if words[at : at + len(wanted)] == wanted]
    if not wanted or len(places) != 1:
        return None
    first, last = found[places[0]], found[places[0] + len(wanted) - 1]
    if len(wanted) == len(words):
        return one.text
    return text[: first.start()] + one.text.strip().rstrip(".,;") + text[last.end() :]


def _reads(text: str, wanted: str) -> bool:
    """Whether these words stand in the text, one after the other."""
    return f" {' '.join(words_of(wanted))} " in f" {' '.join(words_of(text))} "


def _beside(one: Corrected, targets: Sequence[Target]) -> int | None:
    """Beside which utterance one finds it: the one heard longest in its time, its own party's rather."""
    near = [each for each in targets if _is_near(one, each)]
    if not near:
        return None
    best = max(
        near,
        key=lambda each: (each.channel == one.channel, min(one.end, each.end) - max(one.start, each.start), -each.id),
    )
    return best.id
