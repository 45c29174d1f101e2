"""A call worth listening to: two voices that can be told apart by their pitch, words with times, a hold, a key, a
second recording; for the tests of its page."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import numpy as np

from agent.model import Gap, Mark, MarkKind, Utterance, Word
from agent.store import recordings, transcripts
from tests.web_world import MARIA, SAID, Builder

SECONDS = 60
RATE = 8000
LEFT, RIGHT = 300, 700  # Hz of the voices
STARTED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)

# (channel, start, end, text): the third interrupts the second, and nobody speaks from 30 to 40.
LINES = (
    (0, 1.0, 4.0, "Здравствуйте, это Мария."),
    (1, 4.5, 11.0, "Добрый день, Мария! Я как раз хотела рассказать о предложении подробнее."),
    (0, 9.0, 13.0, "Простите, перебью: сколько это стоит?"),
    (1, 14.0, 20.0, "Сто двадцать тысяч вместе с доставкой."),
    (0, 21.0, 29.0, "Хорошо, подумаем до пятницы."),
    (1, 41.0, 46.0, "Тогда до пятницы."),
    (0, 47.0, 51.0, "До свидания."),
)


def voices_flac(lines: Any = LINES, seconds: float = SECONDS) -> bytes:
    """A tone a voice while it speaks, silence while it does not."""
    time = np.arange(int(seconds * RATE)) / RATE
    data = np.zeros((2, len(time)))
    for channel, start, end, _ in lines:
        inside = (time >= start) & (time < end)
        data[channel][inside] = 0.5 * np.sin(2 * np.pi * (LEFT, RIGHT)[channel] * time[inside])
    samples = (data * 32767).astype(np.int16)
    output = io.BytesIO()
    with av.open(output, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=RATE, layout="stereo")
        for start in range(0, samples.shape[1], RATE):
            piece = np.ascontiguousarray(samples[:, start : start + RATE].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


def with_words(channel: int, start: float, end: float, text: str) -> Utterance:
    """An utterance whose words share its time evenly, as the engine gives them."""
    words = text.split()
    step = (end - start) / len(words)
    told = [
        Word(start=start + place * step, end=start + (place + 1) * step, text=f" {word}", confidence=0.9)
        for place, word in enumerate(words)
    ]
    return Utterance(channel=channel, start=start, end=end, text=text, confidence=0.9, words=told)


@dataclass(frozen=True, slots=True)
class Heard:
    """Ids of what was stored."""

    call: int
    recording: int
    copy: int


async def a_call_worth_hearing(builder: Builder) -> Heard:
    """Maria has called Anna; a recorder had it twice."""
    call = await builder.call(MARIA, "101", STARTED, caller_name="Мария", talk=SECONDS)
    flac = await asyncio.to_thread(voices_flac)
    gap = Gap(channel=0, start_ms=52_000, end_ms=54_000, reason="no packets came")
    recording = await builder.recording(call, STARTED, flac, SECONDS, gaps=(gap,))
    copy = await builder.recording(call, STARTED + timedelta(seconds=5), flac, 40, said=SAID[:2], truncated=True)
    async with builder.store.begin() as connection:
        await recordings.save_marks(
            connection,
            recording,
            [
                Mark(kind=MarkKind.HOLD, channel=0, start_ms=30_000, end_ms=40_000),
                Mark(kind=MarkKind.DTMF, channel=1, start_ms=13_500, end_ms=13_600, text="5"),
            ],
        )
        await transcripts.save_transcript(
            connection,
            recording_id=recording,
            model="small",
            language="ru",
            utterances=[with_words(*line) for line in LINES],
        )
    return Heard(call=call, recording=recording, copy=copy)


async def an_hour(builder: Builder, *, lines: int = 800) -> Heard:
    """An hour of talk in so many utterances; its sound is not an hour, and nothing here plays it."""
    started = STARTED - timedelta(days=2)
    call = await builder.call(MARIA, "101", started, talk=3600)
    said = [with_words(one % 2, one * 4.5, one * 4.5 + 4, f"{SAID[one % 7][2]} {one}") for one in range(lines)]
    flac = await asyncio.to_thread(voices_flac)
    recording = await builder.recording(call, started, flac, 3600)
    async with builder.store.begin() as connection:
        await transcripts.save_transcript(
            connection, recording_id=recording, model="small", language="ru", utterances=said
        )
    return Heard(call=call, recording=recording, copy=0)
