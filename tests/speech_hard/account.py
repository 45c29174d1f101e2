"""Which words are not heard under noise, and where on their way they are lost.

``python -m tests.speech_hard.account [MODEL_DIRECTORY] --noise white,pink --decibels 10`` prints a line a noise: of all
words said those that are heard, and the others by the first of these causes that fits:

- not found: the middle of the word lies in no window that came before the model
- dropped: the model wrote it down, and the gate did not believe it
- cut: the model hears it when told where somebody speaks, so it is how the speech was cut
- model: it does not hear it even then
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from agent.transcribe.dialogue import Dialogue, transcribe_channels
from agent.transcribe.engine import Stretch
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import FindSpeech, plan
from agent.transcribe.speech.speechfinder import find_speech
from agent.transcribe.wer import fold
from tests.speech.calls import SyntheticCall
from tests.speech.synth import RATE, Samples
from tests.speech_hard.copies import under_noise
from tests.speech_hard.words import joined, loud, some_calls, spans_of

HEARD, CAUSES = "heard", ("not found", "dropped", "cut", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A word as it was said, its seconds, whose it is, and what became of it."""

    word: str
    start: float
    end: float
    language: str
    voice: str
    fate: str


def account(engine: WhisperEngine, calls: Sequence[SyntheticCall], kind: str, decibels: float) -> Iterator[Said]:
    """What became of every word of the calls over noise of a kind; ``kind`` silence: as they are."""
    for call in calls:
        for channel, samples in enumerate(call.channels):
            spans = spans_of(call, channel)
            noisy = samples if kind == "silence" else under_noise(samples, loud(samples, spans), decibels, kind)
            yield from _fates(engine, call, channel, noisy)


def _fates(engine: WhisperEngine, call: SyntheticCall, channel: int, samples: Samples) -> Iterator[Said]:
    sound, known = Channel(samples=samples, rate=RATE), joined(spans_of(call, channel))

    def heard(find: FindSpeech) -> Dialogue:
        return transcribe_channels([sound], engine, (call.language,), find=find, mixed=False)

    plain, told = heard(find_speech), heard(lambda _: known)
    pieces = _pieces(sound, engine.join_seconds)
    words = [
        (word, one) for line in call.lines if line.channel == channel for one in line.words for word in fold(one.text)
    ]
    texts = [word for word, _ in words]
    right = matched(texts, [word for one in plain.utterances for word in fold(one.text)])
    right_told = matched(texts, [word for one in told.utterances for word in fold(one.text)])
    for index, (word, one) in enumerate(words):
        middle = (one.start + one.end) / 2
        if index in right:
            fate = HEARD
        elif not any(piece.start <= middle <= piece.end for piece in pieces):
            fate = "not found"
        elif any(left.start <= middle <= left.end and word in fold(left.text) for left in plain.dropped):
            fate = "dropped"
        else:
            fate = "cut" if index in right_told else "model"
        voice = call.voices[channel].name
        yield Said(word=word, start=one.start, end=one.end, language=call.language, voice=voice, fate=fate)


def _pieces(sound: Channel, join_seconds: float) -> list[Stretch]:
    windows = plan([sound], join_seconds=join_seconds, find=find_speech).windows
    return [Stretch(start=one.start, end=one.end) for window in windows for one in window.window.pieces]


def matched(said: Sequence[str], heard: Sequence[str]) -> set[int]:
    """Which of the words said stand in what was heard, by the shortest way from the one to the other."""
    table = np.zeros((len(said) + 1, len(heard) + 1), int)
    table[:, 0], table[0, :] = range(len(said) + 1), range(len(heard) + 1)
    for i, one in enumerate(said, start=1):
        for j, other in enumerate(heard, start=1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (one != other))
    found: set[int] = set()
    i, j = len(said), len(heard)
    while i and j:
        same = said[i - 1] == heard[j - 1]
        if table[i, j] == table[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            found |= {i} if same else set()
        elif table[i, j] == table[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return found


def main() -> None:
    """Say how many words are heard under noise, and where the others were lost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=find_model(TINY_DEMO, data_dir=Path("/nonexistent")))
    parser.add_argument("--noise", default="silence,white,pink,street")
    parser.add_argument("--decibels", type=float, default=10.0)
    parser.add_argument("--seeds", default="4-9", help="of the calls, four each")
    parser.add_argument("--words", action="store_true", help="every word that is lost")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    engine = WhisperEngine(asked.model, name="account", threads=1)
    first, _, last = asked.seeds.partition("-")
    calls = some_calls(range(int(first), int(last or first) + 1))
    for kind in asked.noise.split(","):
        found = list(account(engine, calls, kind, asked.decibels))
        print(_line(kind, found), flush=True)
        for one in found if asked.words else ():
            if one.fate != HEARD:
                print(f"  {one.fate:9} {one.start:6.2f} {one.voice:16} {one.word}")


def _line(kind: str, found: Sequence[Said]) -> str:
    fates = Counter(one.fate for one in found)
    shares = [f"{name} {fates[name] / len(found):6.1%}" for name in (HEARD, *CAUSES)]
    for language in sorted({one.language for one in found}):
        own = [one.fate == HEARD for one in found if one.language == language]
        shares.append(f"{language} {sum(own) / len(own):6.1%}")
    return f"{kind:8} {len(found):5} words: " + ", ".join(shares)


if __name__ == "__main__":
    main()
