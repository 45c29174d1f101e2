"""Card numbers in what was said, in figures and in words, also across utterances of one party. Pure.

A card number is 13 to 19 digits that pass the Luhn check (ISO/IEC 7812-1, annex B). One number in ten passes by chance,
so where more digits were said than a card has, a stretch of them counts only if a card begins so and is so long. Four
groups of four that begin like a card are one although the check fails: a model mishears a digit now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.model import Utterance
from agent.transcribe.masks.numerals import Group, read_numbers

CARD, CARD_LIKE = "card", "card_like"
_SHORTEST, _LONGEST = 13, 19
_SAME_NUMBER_SECONDS = 20.0  # between utterances: "and then?" of the other party, a look at the card
_LENGTHS_FIRST = (16, 19, 18, 17, 15, 14, 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Characters of an utterance that are to be masked, the end excluded; ``why`` names a text, ``rule`` the rule."""

    index: int
    start: int
    end: int
    why: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    index: int
    group: Group


def find_cards(utterances: Sequence[Utterance]) -> list[Spot]:
    """Every stretch of a card number; one that goes over several utterances has a stretch in each."""
    found = []
    for run in _runs(utterances):
        found += _cards_of(run)
    return found


def passes_luhn(digits: str) -> bool:
    """The check digit fits (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        value = digit * 2 if place % 2 else digit
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_issued(digits: str) -> bool:
    """Whether a payment system issues numbers that begin so and are so long."""
    length = len(digits)
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    long = 16 <= length <= 19
    return (
        (digits[0] == "4" and length in (13, 16, 19))  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (2200 <= four <= 2204 and long)  # Mir
        or (two in (34, 37) and length == 15)  # American Express
        or ((300 <= three <= 305 or two in (36, 38, 39)) and (length == 14 or long))  # Diners Club
        or (3528 <= four <= 3589 and long)  # JCB
        or ((four == 6011 or 644 <= three <= 649 or two == 65 or two in (62, 81)) and long)  # Discover, UnionPay
        or (two in (50, 56, 57, 58, 60, 61, 63, 66, 67, 68, 69) and length >= _SHORTEST)  # Maestro
        or (four in (8600, 9860, 9112) and length == 16)  # Uzcard, Humo, Belkart
    )


def _runs(utterances: Sequence[Utterance]) -> list[list[_Said]]:
    """Groups of digits that one party said with nothing else in between."""
    runs: list[list[_Said]] = []
    open_runs: dict[int, tuple[list[_Said], float]] = {}
    order = sorted(range(len(utterances)), key=lambda one: (utterances[one].start, one))
    for index in order:
        said = utterances[index]
        numbers = read_numbers(said.text)
        run, ended = open_runs.pop(said.channel, ([], 0.0))
        if run and said.start - ended > _SAME_NUMBER_SECONDS:
            run = []
        for group in numbers.groups:
            if not group.follows or not run:
                run = []
                runs.append(run)
            run.append(_Said(index, group))
        if numbers.goes_on and run:  # also an utterance of "so, then" keeps a number open
            open_runs[said.channel] = (run, said.end)
    return runs


def _cards_of(run: Sequence[_Said]) -> list[Spot]:
    found: list[Spot] = []
    first = 0
    while first < len(run):
        last, why = _card_from(run, first)
        if not why:
            first += 1
            continue
        found += _spots(run[first : last + 1], why)
        first = last + 1
    return found


def _card_from(run: Sequence[_Said], first: int) -> tuple[int, str]:
    """Where the card that begins here ends, and why it is one; no reason: none begins here."""
    ends: dict[int, int] = {}
    digits = ""
    for place in range(first, len(run)):
        digits += run[place].group.digits
        if len(digits) > _LONGEST:
            break
        ends[len(digits)] = place
    for length in _LENGTHS_FIRST:
        if length not in ends:
            continue
        number, last = digits[:length], ends[length]
        is_whole = first == 0 and last == len(run) - 1
        if passes_luhn(number) and (is_whole or is_issued(number)):
            return last, CARD
        if is_issued(number) and [len(one.group.digits) for one in run[first : last + 1]] == [4, 4, 4, 4]:
            return last, CARD_LIKE
    return first, ""


def _spots(said: Sequence[_Said], why: str) -> list[Spot]:
    """One stretch an utterance, from its first digit to its last."""
    places: dict[int, tuple[int, int]] = {}
    for one in said:
        start = places.get(one.index, (one.group.start, 0))[0]
        places[one.index] = (start, one.group.end)
    return [Spot(index=index, start=start, end=end, why=why) for index, (start, end) in places.items()]
