"""Outlines of recordings: peaks to the bucket, silences to the margin, whatever the rate and the number of channels."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest

from agent.errors import UnreadableSound
from agent.sound.outline import BUCKET_MS, MOST_BUCKETS, bucket_for, measure, silences


def flac(samples: Any, rate: int, layout: str) -> io.BytesIO:
    """Samples of shape (channels, samples), 16 bits."""
    output = io.BytesIO()
    with av.open(output, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=rate, layout=layout)
        for start in range(0, samples.shape[1], 1000):
            piece = np.ascontiguousarray(samples[:, start : start + 1000].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    output.seek(0)
    return output


@pytest.mark.parametrize(
    ("rate", "layout", "channels"), [(8000, "mono", 1), (8000, "stereo", 2), (16_000, "stereo", 2)]
)
def test_peaks_are_the_loudest_sample_of_each_bucket(rate: int, layout: str, channels: int) -> None:
    dice = np.random.default_rng(3)
    samples = dice.integers(-32768, 32767, (channels, rate * 7 + 123), dtype=np.int16)
    samples[:, rate * 2 : rate * 3] = 0
    samples[0, rate * 2 + 10] = -32768  # full scale, on the negative side only
    outline = measure(flac(samples, rate, layout), duration_ms=7000)
    size = rate * BUCKET_MS // 1000
    assert outline.bucket_ms == BUCKET_MS
    assert len(outline.peaks) == channels
    for channel, peaks in enumerate(outline.peaks):
        buckets = [samples[channel, at : at + size].astype(int) for at in range(0, samples.shape[1], size)]
        assert peaks.tolist() == [min(255, int(abs(one).max() * 255 / 32768 + 0.5)) for one in buckets]
    assert outline.peaks[0][40] == 255
    assert set(outline.peaks[-1][41:60].tolist()) == {0}


def test_a_day_long_recording_has_no_more_buckets_than_an_hour() -> None:
    assert bucket_for(3_600_000) == BUCKET_MS
    for hours in (2, 10, 24):
        assert hours * 3_600_000 // bucket_for(hours * 3_600_000) <= MOST_BUCKETS


def test_what_is_no_sound_is_said_to_be_none() -> None:
    with pytest.raises(UnreadableSound):
        measure(io.BytesIO(b"no sound at all" * 100), duration_ms=1000)


def test_silence_is_where_neither_speaks_whatever_the_noise_of_the_line() -> None:
    speech, noise = 120, 4  # of 255
    first, second = np.full(400, noise, np.uint8), np.full(400, 1, np.uint8)
    first[0:100] = speech  # to 5 s
    second[100:140] = speech  # 5 to 7 s
    first[200:300] = speech  # 10 to 15 s
    second[310:330] = speech  # a pause of half a second only
    found = silences([first, second], BUCKET_MS)
    assert found == [(7.25, 9.75), (16.75, 19.75)]


def test_a_loud_line_is_not_taken_for_silence() -> None:
    loud = np.full(400, 60, np.uint8)
    assert silences([loud], BUCKET_MS) == []
    assert silences([], BUCKET_MS) == []
