"""From the answers of a model to one dialogue: each channel by itself, what is not believed left out, merged by time.

Each party is heard apart because a mix of two voices is recognised worse, and because the channel says who spoke. All
is pure: `plan` says what is to be recognised, somebody has it recognised in any order, and `merge` does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.model import Utterance, Word
from agent.transcribe.engine import NO_HINTS, Engine, Hints, Recognised, Stretch
from agent.transcribe.gate import Dropped
from agent.transcribe.judging import Believed, clean, judge
from agent.transcribe.speech.bleed import bleeding
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import FindSpeech, Plan, Planned, find_language, plan
from agent.transcribe.speech.speechfinder import find_speech
from agent.transcribe.speech.windows import Passage, place
from agent.transcribe.turns import mark_interruptions

__all__ = ["Dialogue", "Dropped", "Plan", "Planned", "find_language", "merge", "plan", "transcribe_channels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Who said what from when to when, ordered by start; ``language`` is empty where nobody spoke.

    ``speech`` is where each channel speaks, as found without a model. Not ``separated``: the parties are heard on one
    channel, so nobody knows which of them said what.
    """

    language: str
    utterances: tuple[Utterance, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    speech: tuple[tuple[Stretch, ...], ...] = ()
    separated: bool = True


def transcribe_channels(
    channels: Sequence[Channel],
    engine: Engine,
    languages: Sequence[str],
    hints: Hints = NO_HINTS,
    *,
    find: FindSpeech = find_speech,
    mixed: bool | None = None,
) -> Dialogue:
    """Write down a call from beginning to end. The model is not touched where no channel holds speech.

    Raises:
        ModelUnavailable: the model cannot be loaded.
        Misconfigured: the model knows none of the languages.
    """
    planned = plan(channels, join_seconds=engine.join_seconds, find=find, mixed=mixed)
    language = find_language(planned, channels, engine, languages)
    answers: list[list[Recognised]] = []
    step = max(1, engine.batch)
    for first in range(0, len(planned.windows), step):
        sounds = [one.cut(channels) for one in planned.windows[first : first + step]]
        answers += engine.recognise(sounds, language, hints)
    return merge(planned, answers, language)


def merge(plan: Plan, answers: Sequence[Sequence[Recognised]], language: str) -> Dialogue:
    """Make the dialogue of what the model answered to each window of the plan, in its order."""
    passages: list[list[Passage]] = [[] for _ in plan.speech]
    for planned, segments in zip(plan.windows, answers, strict=True):
        passages[planned.channel] += place(planned.window, segments)
    judged = [judge(channel, found) for channel, found in enumerate(passages)]
    spoken = sorted((_utterance(one) for kept, _ in judged for one in kept), key=lambda one: (one.start, one.channel))
    copies = bleeding(spoken, plan.loudness)
    dropped = [*plan.dropped, *(one for _, left in judged for one in left)]
    dropped += [_copied(spoken[index], reason) for index, reason in copies.items()]
    own = [one for index, one in enumerate(spoken) if index not in copies]
    return Dialogue(
        language=language,
        utterances=tuple(mark_interruptions(own, plan.speech)),
        dropped=tuple(sorted(dropped, key=lambda one: (one.start, one.channel))),
        speech=plan.speech,
        separated=plan.separated,
    )


def _utterance(one: Believed) -> Utterance:
    passage = one.passage
    words = tuple(replace(word, text=cleaned) for word in passage.words if (cleaned := clean(word.text)))
    return Utterance(
        channel=one.channel,
        start=passage.start,
        end=passage.end,
        text=one.text,
        confidence=_confidence(words, passage.segment.log_probability),
        words=words,
    )


def _copied(one: Utterance, reason: str) -> Dropped:
    return Dropped(channel=one.channel, start=one.start, end=one.end, text=one.text, reason=reason)


def _confidence(words: Sequence[Word], log_probability: float) -> float:
    chance = sum(word.confidence for word in words) / len(words) if words else math.exp(min(0.0, log_probability))
    return round(min(1.0, max(0.0, chance)), 3)
