"""The beginning of what was said in calls, for histories: as much is read as is shown, however long a call was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.store.transcripts import Spoken, Transcript

LINES = 4

# Of the recording `r`: the transcript that is shown (`agent.store.retranscribing.LATEST_SHOWN`) with its first lines.
OF_RECORDING = f"""
    SELECT to_json(t) FROM (
        SELECT t.id, t.recording_id, t.interaction_id, t.model, t.language, t.separated,
            (SELECT json_agg(json_build_array(u.id, u.channel, u.start_ms, u.end_ms, coalesce(k.text, u.text))
                             ORDER BY u.start_ms, u.id)
             FROM (SELECT * FROM utterance WHERE transcript_id = t.id ORDER BY start_ms, id LIMIT {LINES}) AS u
                 LEFT JOIN utterance_correction k ON k.utterance_id = u.id AND k.ended_at IS NULL) AS lines
        FROM transcript t WHERE t.recording_id = r.id ORDER BY t.shown_at DESC, t.id DESC LIMIT 1) AS t
"""  # noqa: S608 - only a number of ours is put in


def excerpt_of(found: Mapping[str, Any]) -> Transcript:
    """From the JSON of `OF_RECORDING`."""
    return Transcript(
        id=found["id"],
        recording_id=found["recording_id"],
        interaction_id=found["interaction_id"],
        model=found["model"],
        language=found["language"],
        separated=found["separated"],
        utterances=tuple(
            Spoken(
                id=number,
                channel=channel,
                start=start_ms / 1000,
                end=end_ms / 1000,
                text=words,
                confidence=1.0,
                words=(),
            )
            for number, channel, start_ms, end_ms, words in found["lines"] or ()
        ),
    )
