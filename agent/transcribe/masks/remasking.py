"""The job that masks transcripts of before by rules that were changed: a batch a job, so it may be killed anywhere.

Only what is stored is looked at: what was masked stays masked whatever the rules say now, for it is there no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.model import Utterance
from agent.store import masks, rewriting
from agent.store.engine import Store
from agent.store.masks import MaskRule
from agent.store.rewriting import Rewritten, StoredText
from agent.store.runs import TRANSCRIPTS, Run
from agent.transcribe.masks.cardnumbers import Spot
from agent.transcribe.masks.masker import Rules, find_spots, stored_masks
from agent.transcribe.masks.masking import apply_spots

log = structlog.get_logger()

_BATCH = 50
_TRIED = 200  # transcripts that a rule is tried on
_MOST_EXAMPLES = 20
_AROUND = 60  # characters shown beside what would be masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A place that a rule would mask: the text before it, what it is, and the text behind it."""

    interaction_id: int
    second: float
    before: str
    found: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a rule would mask in the newest transcripts: how many places in how many of them."""

    transcripts: int
    touched: int
    places: int
    examples: tuple[Example, ...]


async def start(connection: AsyncConnection, by: str) -> Run:
    """Begin a run in the caller's transaction, which changes the rules."""
    run = await masks.start_run(connection, by)
    if run.finished is None:
        await _go_on(connection, run.id)
    return run


async def _go_on(connection: AsyncConnection, run_id: int) -> None:
    await jobs.defer(connection, [jobs.Job(task=jobs.MASK, args={"run_id": run_id}, priority=-5)])


class Remasker:
    """Masks older transcripts, oldest first, and notes how far it has come."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def mask_again(self, run_id: int) -> None:
        """One batch of a run. Done twice, it changes nothing and counts once.

        Raises:
            PatternsUnavailable: an expression cannot be tried now; the job is tried again.
        """
        async with self._store.begin() as connection:
            run = await TRANSCRIPTS.find(connection, run_id)
            if run is None or run.finished is not None:
                return
            ids = await TRANSCRIPTS.list_next(connection, run, _BATCH)
            rules = Rules.of(await masks.list_rules(connection))
            texts = await rewriting.list_texts(connection, ids) if ids else []
        changes = await rewrite(rules, texts)
        async with self._store.begin() as connection:
            changed = await rewriting.save_texts(connection, changes)
            if await TRANSCRIPTS.note_progress(connection, run, ids, changed):
                await _go_on(connection, run_id)
        log.info("transcripts_masked_anew", run_id=run_id, transcripts=len(ids), changed=changed)


async def rewrite(rules: Rules, texts: Sequence[StoredText]) -> list[Rewritten]:
    """What becomes of these by the rules; of those that stay as they are nothing."""
    pieces: list[Sequence[Utterance]] = []
    for one in texts:
        pieces += [one.utterances, one.dropped, *([_written(words)] for words in one.corrections.values())]
    return await asyncio.to_thread(_rewritten, texts, iter(await find_spots(rules, pieces)))


def _rewritten(texts: Sequence[StoredText], spots: Iterator[list[Spot]]) -> list[Rewritten]:
    """``spots`` are those of the pieces in the order in which `rewrite` asked for them."""
    made = []
    for one in texts:
        utterances, found = apply_spots(one.utterances, next(spots))
        dropped, _ = apply_spots(one.dropped, next(spots))
        corrections = {
            number: (words, apply_spots([_written(words)], next(spots))[0][0].text)
            for number, words in one.corrections.items()
        }
        made.append(
            Rewritten(
                transcript_id=one.transcript_id,
                interaction_id=one.interaction_id,
                utterances=tuple(
                    (was, now) for was, now in zip(one.utterances, utterances, strict=True) if was.text != now.text
                ),
                corrections={number: pair for number, pair in corrections.items() if pair[0] != pair[1]},
                dropped={
                    place: now.text
                    for place, (was, now) in enumerate(zip(one.dropped, dropped, strict=True))
                    if was.text != now.text
                },
                masks=tuple(stored_masks(found, transcript_id=one.transcript_id)),
            )
        )
    return [one for one in made if one.utterances or one.corrections or one.dropped]


def _written(words: str) -> Utterance:
    return Utterance(channel=0, start=0, end=0, text=words, confidence=0)


async def try_rule(connection: AsyncConnection, rule: MaskRule) -> Trial:
    """What a rule by itself would mask in the newest transcripts; nothing is saved.

    Raises:
        PatternsUnavailable: its expression cannot be tried now.
    """
    texts = await rewriting.list_texts(connection, await rewriting.list_newest(connection, _TRIED))
    found = await find_spots(Rules.of([rule]), [one.utterances for one in texts])
    examples: list[Example] = []
    for one, spots in zip(texts, found, strict=True):
        for spot in spots[: max(0, _MOST_EXAMPLES - len(examples))]:
            said = one.utterances[spot.index]
            examples.append(
                Example(
                    interaction_id=one.interaction_id,
                    second=said.start,
                    before=said.text[max(0, spot.start - _AROUND) : spot.start],
                    found=said.text[spot.start : spot.end],
                    after=said.text[spot.end : spot.end + _AROUND],
                )
            )
    return Trial(
        transcripts=len(texts),
        touched=sum(bool(one) for one in found),
        places=sum(map(len, found)),
        examples=tuple(examples),
    )
