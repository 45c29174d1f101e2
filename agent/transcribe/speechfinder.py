"""Where somebody speaks: Silero's voice activity detection, which comes inside the faster-whisper package.

It needs no speech model, and is imported only once speech is looked for (that takes a second).
"""

from __future__ import annotations

from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch

# A telephone band (300 to 3400 Hz) lowers Silero's probability of soft beginnings: at its usual 0.5 it cut up to
# 0.6 s off a phrase, at 0.35 at most 0.3 s, and ring-back, busy tone, noise and silence still gave no speech. A "yes"
# is 0.2 s and longer; the blips that music makes are shorter.
_VAD = {
    "threshold": 0.35,
    "min_speech_duration_ms": 200,
    "min_silence_duration_ms": 500,
    "max_speech_duration_s": 25.0,
    "speech_pad_ms": 0,
}


def find_speech(sound: Sound) -> list[Stretch]:
    """Speech as Silero finds it, without padding. Blocks; may be called from any thread."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    found = get_speech_timestamps(sound, VadOptions(**_VAD))
    return [Stretch(start=item["start"] / SAMPLE_RATE, end=item["end"] / SAMPLE_RATE) for item in found]
