"""What was said in a call, as JSON, in the words of the spec. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.store.masks import Masked
from agent.store.talks import StoredTalk
from agent.store.transcripts import Transcript
from agent.web.api.answers import Json


def talk(one: StoredTalk) -> Json:
    """Figures of a talk, in seconds."""
    said = sum(one.talk_ms)
    return {
        "seconds": one.length_ms / 1000,
        "silence": one.silence_ms / 1000,
        "longest_silence": one.longest_silence_ms / 1000,
        "together": one.together_ms / 1000,
        "separated": one.separated,
        "channels": [
            {
                "talk": milliseconds / 1000,
                "share": milliseconds / said if said else None,
                "monologue": one.monologue_ms[channel] / 1000,
                "interruptions": one.interruptions[channel],
                "first": _seconds(one.first_ms[channel]),
                "patience": _seconds(one.patience_ms[channel]),
            }
            for channel, milliseconds in enumerate(one.talk_ms)
        ],
    }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def transcript(one: Transcript, masked: Sequence[Masked], *, words: bool) -> Json:
    """What was understood; times are seconds from the start of the recording."""
    return {
        "id": one.id,
        "recording_id": one.recording_id,
        "model": one.model,
        "round": one.round,
        "language": one.language,
        "created": one.created.isoformat() if one.created is not None else None,
        "separated": one.separated,
        "masked": [
            {
                "why": each.why,
                "rule": each.rule,
                "channel": each.channel,
                "start": each.start_ms / 1000,
                "end": each.end_ms / 1000,
            }
            for each in masked
        ],
        "utterances": [
            {
                "id": said.id,
                "channel": said.channel,
                "start": said.start,
                "end": said.end,
                "text": said.text,
                "confidence": said.confidence,
                "interrupts": said.interrupts,
                "corrected_by": said.corrected_by,
            }
            | (
                {"words": [_word(each.start, each.end, each.text, each.confidence) for each in said.words]}
                if words
                else {}
            )
            for said in one.utterances
        ],
    }


def _word(start: float, end: float, text: str, confidence: float) -> Json:
    return {"start": start, "end": end, "text": text, "confidence": confidence}
