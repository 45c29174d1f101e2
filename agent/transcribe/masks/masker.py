"""What a company wants masked in the text of its calls, looked for and taken out: the door to `masking`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Utterance
from agent.store import masks
from agent.store.masks import Masked, MaskKind, MaskRule
from agent.transcribe.masks import patterns
from agent.transcribe.masks.cardnumbers import Spot, find_cards
from agent.transcribe.masks.masking import RULE, SLOW, Mask, Said, apply_spots, find_words

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules that count now."""

    cards: bool
    patterns: tuple[MaskRule, ...]
    words: tuple[MaskRule, ...]

    @classmethod
    def of(cls, rules: Sequence[MaskRule]) -> Rules:
        """Those that are switched on."""
        active = [one for one in rules if one.enabled]
        return cls(
            cards=any(one.kind is MaskKind.CARDS for one in active),
            patterns=tuple(one for one in active if one.kind is MaskKind.PATTERN),
            words=tuple(one for one in active if one.kind is MaskKind.WORDS),
        )


async def mask(rules: Rules, utterances: Sequence[Said]) -> tuple[list[Said], list[Mask]]:
    """These utterances of one call as they may be stored, and what was masked when.

    An utterance over which an expression took too long is masked whole: the sound still has it.

    Raises:
        PatternsUnavailable: an expression could not be tried; nothing may be stored then.
    """
    (spots,) = await find_spots(rules, [utterances])
    return apply_spots(utterances, spots)


async def mask_written(connection: AsyncConnection, text: str) -> str:
    """Words that a person wrote, as they may be stored by the rules of now.

    Raises:
        PatternsUnavailable: an expression could not be tried; nothing may be stored then.
    """
    return await mask_text(Rules.of(await masks.list_rules(connection)), text)


async def mask_text(rules: Rules, text: str) -> str:
    """The same by these rules.

    Raises:
        PatternsUnavailable: an expression could not be tried; nothing may be stored then.
    """
    told, _ = await mask(rules, [Utterance(channel=0, start=0, end=0, text=text, confidence=1)])
    return told[0].text


async def find_spots(rules: Rules, calls: Sequence[Sequence[Utterance]]) -> list[list[Spot]]:
    """What is to be masked in each of several calls, in order of place.

    Raises:
        PatternsUnavailable: an expression could not be tried.
    """
    found = await asyncio.to_thread(_find_plain, rules, calls)
    await _find_patterns(rules.patterns, calls, found)
    for spots in found:
        spots.sort(key=lambda one: (one.index, one.start, one.end))
    return found


def _find_plain(rules: Rules, calls: Sequence[Sequence[Utterance]]) -> list[list[Spot]]:
    found = []
    for utterances in calls:
        spots = find_cards(utterances) if rules.cards else []
        for one in rules.words:
            spots += find_words(utterances, one.text.splitlines(), one.name)
        found.append(spots)
    return found


async def _find_patterns(
    rules: Sequence[MaskRule], calls: Sequence[Sequence[Utterance]], found: Sequence[list[Spot]]
) -> None:
    """Adds what expressions find: all of them over all calls in one process."""
    places = [(call, index) for call, utterances in enumerate(calls) for index in range(len(utterances))]
    texts = [calls[call][index].text for call, index in places]
    matches = await patterns.search([one.text for one in rules], texts)
    for place, reason in (matches.wrong or {}).items():
        log.error("mask_rule_broken", rule_id=rules[place].id, reason=reason)
    for place, text, start, end in matches.spans:
        call, index = places[text]
        found[call].append(Spot(index=index, start=start, end=end, why=RULE, rule=rules[place].name))
    if matches.slow:
        slow = sorted({rules[place].id for place, _ in matches.slow})
        log.warning("mask_rule_slow", rule_ids=slow, utterances=len(matches.slow))
    for place, text in sorted(matches.slow):
        call, index = places[text]
        found[call].append(Spot(index=index, start=0, end=len(texts[text]), why=SLOW, rule=rules[place].name))


def stored_masks(found: Sequence[Mask], *, transcript_id: int = 0) -> list[Masked]:
    """As they are kept."""
    return [
        Masked(
            transcript_id=transcript_id,
            why=one.why,
            rule=one.rule,
            channel=one.channel,
            start_ms=round(one.start * 1000),
            end_ms=round(one.end * 1000),
        )
        for one in found
    ]
