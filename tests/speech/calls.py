"""Whole two-channel calls out of synthetic speech, with every word and its time known.

``python -m tests.speech.calls FOLDER --language ru --seconds 60 --seed 1`` writes one as FLAC with a JSON table beside
it. The same arguments make the same call: the same words, at times that differ by some milliseconds and in sound that
differs unnoticeably, for espeak-ng carries its flutter and breath on from one sentence to the next.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from tests.speech.corpus import load_corpus
from tests.speech.synth import RATE, Law, Samples, active, add, noise, telephone, through
from tests.speech.voices import HELD_OUT, Spoken, Timed, Voice, choose_voice, speak

PARTIES = 2
_PAUSE_SECONDS = (0.15, 0.6)  # between the sentences of one turn
_LEAST_GAP_SECONDS = 0.25  # between the turns of two parties
_MOST_TURN_SENTENCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence of a call: ``channel`` says it from ``start`` to ``end`` seconds."""

    channel: int
    start: float
    end: float
    text: str
    words: tuple[Timed, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticCall:
    """A call: one array a party (int16, 8 kHz, of the same length) and what is said in it, in order of time."""

    language: str
    channels: tuple[Samples, ...]
    lines: tuple[Line, ...]
    voices: tuple[Voice, ...]

    @property
    def seconds(self) -> float:
        """Length of the call."""
        return len(self.channels[0]) / RATE

    def said(self, channel: int | None = None) -> str:
        """All that one party says, or both in order of time."""
        return " ".join(line.text for line in self.lines if channel in (None, line.channel))

    @property
    def silent_share(self) -> float:
        """Share of the call in which nobody speaks."""
        busy = np.zeros(len(self.channels[0]), np.bool_)
        for line in self.lines:
            busy[round(line.start * RATE) : round(line.end * RATE)] = True
        return 1.0 - float(busy.mean())

    def mixed(self) -> Samples:
        """Both parties in one channel, as a recorder without channels keeps them."""
        return add(*self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    channel: int
    text: str
    samples: Samples
    words: tuple[Timed, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def make_call(
    seed: int,
    *,
    language: str = "ru",
    seconds: float = 60.0,
    silence: float = 0.5,
    overlap: float = 0.0,
    variants: Sequence[str] = HELD_OUT,
    demo_only: bool = False,
    line_noise: float | None = -65.0,
    law: Law = "alaw",
) -> SyntheticCall:
    """A call of about ``seconds`` in which nobody speaks for the share ``silence`` of the time.

    ``overlap``: probability that a turn begins 0.2 to 0.8 s before the other party has ended. ``variants``: the voices
    of espeak-ng, two of which are chosen; by default such as no model was trained on. ``demo_only``: only phrases of
    the demo's calls. ``line_noise``: dBFS on both channels; None: digital silence.
    """
    chance = random.Random(f"{seed} {language}")
    voices = tuple(
        choose_voice(language, chance, variants=(variant,)) for variant in chance.sample(list(variants), PARTIES)
    )
    levels = [chance.uniform(-27, -18) for _ in voices]
    turns = _turns(chance, language, voices, levels, seconds * (1 - silence), demo_only)
    lines, channels = _laid_out(chance, turns, seconds, overlap)
    generator = np.random.default_rng(seed)
    if line_noise is not None:
        channels = [add(one, noise(len(one) / RATE, line_noise, generator)) for one in channels]
    return SyntheticCall(
        language=language, channels=tuple(through(one, law) for one in channels), lines=tuple(lines), voices=voices
    )


def write_flac(call: SyntheticCall, *, mixed: bool = False) -> bytes:
    """The call as a recording is kept: FLAC of 8 kHz, a channel a party, or one channel where ``mixed``."""
    tracks = np.stack([call.mixed()] if mixed else call.channels)
    layout = "mono" if mixed else "stereo"
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout=layout)
        for begin in range(0, tracks.shape[1], RATE * 10):
            packed = np.ascontiguousarray(tracks[:, begin : begin + RATE * 10].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.sample_rate, frame.pts = RATE, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def say(text: str, voice: Voice, *, decibels: float = -22.0) -> Spoken:
    """A sentence through a telephone without silence at its ends, and the times in it."""
    spoken = speak(text, voice)
    samples = telephone(spoken.samples, spoken.rate, decibels=decibels)
    first, last = active(samples)

    def moved(one: Timed) -> Timed:
        return Timed(start=max(0.0, one.start - first), end=max(0.0, min(one.end, last) - first), text=one.text)

    return Spoken(
        samples=samples[round(first * RATE) : round(last * RATE)],
        rate=RATE,
        words=tuple(map(moved, spoken.words)),
        phonemes=tuple(map(moved, spoken.phonemes)),
    )


def _turns(
    chance: random.Random,
    language: str,
    voices: Sequence[Voice],
    levels: Sequence[float],
    speech: float,
    demo_only: bool,
) -> list[list[_Sentence]]:
    """Turns of both parties by turns until together they speak about ``speech`` seconds."""
    corpus = load_corpus(language)
    turns: list[list[_Sentence]] = []
    spoken = 0.0
    while spoken < speech:
        channel = len(turns) % PARTIES
        turn: list[_Sentence] = []
        for _ in range(chance.randint(1, _MOST_TURN_SENTENCES)):
            text = chance.choice(corpus.demo) if demo_only else corpus.sentence(chance)
            said = say(text, voices[channel], decibels=levels[channel])
            if turns and spoken + len(said.samples) / RATE > speech + 1.0:
                return turns + ([turn] if turn else [])
            turn.append(_Sentence(channel=channel, text=text, samples=said.samples, words=said.words))
            spoken += len(said.samples) / RATE
        turns.append(turn)
    return turns


def _laid_out(
    chance: random.Random, turns: Sequence[Sequence[_Sentence]], seconds: float, overlap: float
) -> tuple[list[Line], list[Samples]]:
    """Give each sentence its time; the silence that is left is shared among the gaps between turns by chance."""
    pauses = [[chance.uniform(*_PAUSE_SECONDS) for _ in turn[1:]] for turn in turns]
    used = sum(one.seconds for turn in turns for one in turn) + sum(map(sum, pauses))
    shares = [chance.expovariate(1.0) for _ in range(len(turns) + 1)]
    spare = max(0.0, seconds - used - _LEAST_GAP_SECONDS * len(shares))
    gaps = [_LEAST_GAP_SECONDS + spare * share / sum(shares) for share in shares]
    lines: list[Line] = []
    now = 0.0
    tracks = [np.zeros(round((seconds + 60.0) * RATE), np.int16) for _ in range(PARTIES)]
    for turn, rests, gap in zip(turns, pauses, gaps, strict=False):
        early = chance.random() < overlap and lines
        mine = max((line.end for line in lines if line.channel == turn[0].channel), default=0.0)
        now = max(mine + _LEAST_GAP_SECONDS, now - chance.uniform(0.2, 0.8) if early else now + gap)
        for sentence, rest in zip(turn, [0.0, *rests], strict=True):
            begin = round((now + rest) * RATE)
            tracks[sentence.channel][begin : begin + len(sentence.samples)] = sentence.samples
            lines.append(_line(sentence, begin / RATE))
            now = lines[-1].end
    length = round((max(line.end for line in lines) + gaps[-1]) * RATE)
    return sorted(lines, key=lambda line: line.start), [track[:length] for track in tracks]


def _line(sentence: _Sentence, start: float) -> Line:
    words = tuple(Timed(start=start + one.start, end=start + one.end, text=one.text) for one in sentence.words)
    return Line(channel=sentence.channel, start=start, end=start + sentence.seconds, text=sentence.text, words=words)


def main() -> None:
    """Write a call into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", default="ru")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    call = make_call(asked.seed, language=asked.language, seconds=asked.seconds)
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / f"{asked.language}-{asked.seed}.flac"
    path.write_bytes(write_flac(call))
    table = [asdict(line) for line in call.lines]
    path.with_suffix(".json").write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
