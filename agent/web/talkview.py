"""The figures of a talk as a page shows them. Pure; docs/call-figures.md says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.store.talks import StoredTalk
from agent.web.shown import Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceTalk:
    """One party, in seconds; ``share`` is per cent of all that was said. None: never spoke, never answered."""

    name: str
    is_employee: bool | None
    share: int
    talk: float
    monologue: float
    interruptions: int
    first: float | None
    patience: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkView:
    """A talk, in seconds. With one voice the parties are not told apart, and nothing is said of who did what."""

    length: float
    silence: float
    silence_share: int
    longest_silence: float
    together: float
    voices: tuple[VoiceTalk, ...]

    @property
    def is_apart(self) -> bool:
        """Whether it is known who spoke."""
        return len(self.voices) > 1


def talk_view(talk: StoredTalk, voices: Sequence[Voice]) -> TalkView | None:
    """The figures with names on them; None where nobody spoke."""
    if not sum(talk.talk_ms) or not talk.length_ms:
        return None
    known = {one.channel: one for one in voices}
    shares = _percent(talk.talk_ms)
    told = []
    for channel, milliseconds in enumerate(talk.talk_ms):
        voice = known.get(channel)
        if not talk.separated or voice is None:
            continue
        told.append(
            VoiceTalk(
                name=voice.name,
                is_employee=voice.is_employee,
                share=shares[channel],
                talk=milliseconds / 1000,
                monologue=talk.monologue_ms[channel] / 1000,
                interruptions=talk.interruptions[channel],
                first=_seconds(talk.first_ms[channel]),
                patience=_seconds(talk.patience_ms[channel]),
            )
        )
    return TalkView(
        length=talk.length_ms / 1000,
        silence=talk.silence_ms / 1000,
        silence_share=round(100 * talk.silence_ms / talk.length_ms),
        longest_silence=talk.longest_silence_ms / 1000,
        together=talk.together_ms / 1000,
        voices=tuple(told) if len(told) > 1 else (),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _percent(parts: Sequence[int]) -> list[int]:
    """Whole per cents that are a hundred together: what is left goes to where most was cut off."""
    whole = sum(parts) or 1
    floors = [100 * one // whole for one in parts]
    rest = sorted(range(len(parts)), key=lambda place: (-(100 * parts[place] % whole), place))
    for place in rest[: 100 - sum(floors)]:
        floors[place] += 1
    return floors
