"""What is done with a dialogue before and while it is stored: masked, and the talk in it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Utterance
from agent.store import masks, recordings, talks, transcripts
from agent.store.engine import Store
from agent.store.talks import StoredTalk
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.engine import Stretch
from agent.transcribe.gate import Dropped
from agent.transcribe.masks.masker import Rules, mask, stored_masks
from agent.transcribe.talk import measure


async def save_dialogue(
    connection: AsyncConnection,
    dialogue: Dialogue,
    *,
    recording_id: int,
    model: str,
    round: int = 0,  # noqa: A002 - the noun
) -> int | None:
    """Store what was said, masked; None where there is such a transcript, or the recording was erased.

    Raises:
        PatternsUnavailable: it could not be masked, so nothing is stored.
    """
    rules = Rules.of(await masks.hold_rules(connection))
    utterances, masked = await mask(rules, dialogue.utterances)
    return await transcripts.save_transcript(
        connection,
        recording_id=recording_id,
        model=model,
        round=round,
        language=dialogue.language,
        utterances=utterances,
        dropped=[asdict(one) for one in await _mask_dropped(rules, dialogue.dropped)],
        separated=dialogue.separated,
        masked=stored_masks(masked),
    )


async def _mask_dropped(rules: Rules, dropped: Sequence[Dropped]) -> list[Dropped]:
    """What was not believed may still be what somebody said."""
    texts = [
        Utterance(channel=one.channel, start=one.start, end=one.end, text=one.text, confidence=0) for one in dropped
    ]
    masked, _ = await mask(rules, texts)
    return [replace(one, text=each.text) for one, each in zip(dropped, masked, strict=True)]


async def save_figures(
    connection: AsyncConnection,
    recording_id: int,
    speech: Sequence[Sequence[Stretch]],
    *,
    seconds: float,
    separated: bool,
) -> None:
    """Measure the talk in a recording of ``seconds`` and keep the figures."""
    frame = await talks.find_frame(connection, recording_id)
    found = measure(speech, begin=frame.begin, end=seconds, away=frame.away)
    await talks.save_talk(
        connection,
        StoredTalk(
            recording_id=recording_id,
            answered_ms=_ms(frame.answered),
            length_ms=_ms(found.length),
            silence_ms=_ms(found.silence),
            longest_silence_ms=_ms(found.longest_silence),
            together_ms=_ms(found.together),
            talk_ms=tuple(map(_ms, found.talk)),
            monologue_ms=tuple(map(_ms, found.monologue)),
            interruptions=found.interruptions,
            first_ms=tuple(None if one is None else _ms(one) for one in found.first),
            patience_ms=tuple(None if one is None else _ms(one) for one in found.patience),
            separated=separated,
            speech=tuple(tuple((_ms(one.start), _ms(one.end)) for one in channel) for channel in speech),
        ),
    )


class Remeasurer:
    """Does the job `measure`: figures made anew from where each channel speaks, which is kept, where it became known
    later when the call was answered."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def measure(self, recording_id: int) -> None:
        """Done twice, it changes nothing."""
        async with self._store.begin() as connection:
            found = (await talks.list_talks(connection, [recording_id], speech=True)).get(recording_id)
            recording = await recordings.find_recording(connection, recording_id)
            if found is None or recording is None:
                return
            speech = [[Stretch(start=a / 1000, end=b / 1000) for a, b in channel] for channel in found.speech]
            seconds = recording.duration_ms / 1000
            await save_figures(connection, recording_id, speech, seconds=seconds, separated=found.separated)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
