"""Channels of a recording of any length in bounded memory, and where speech is found in them."""

from __future__ import annotations

import io
import tracemalloc

import av
import numpy as np
import numpy.typing as npt
import pytest

from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch
from agent.transcribe.speech import channels as channels_module
from agent.transcribe.speech.channels import Channel, read_channels
from agent.transcribe.speech.planning import plan
from agent.transcribe.speech.speechfinder import Tuning, find_speech, stretches

RATE = 8000


def flac(samples: npt.NDArray[np.int16], rate: int = RATE) -> io.BytesIO:
    """FLAC of samples (channels, n)."""
    layout = "stereo" if len(samples) == 2 else "mono"
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout=layout)
        for begin in range(0, samples.shape[1], rate * 10):
            packed = np.ascontiguousarray(samples[:, begin : begin + rate * 10].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    target.seek(0)
    return target


def noisy(seconds: float, seed: int = 1) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-3000, 3000, (2, round(seconds * RATE)), np.int16)


def test_a_long_recording_is_decoded_as_it_is_asked_for_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    source = flac(noisy(100))
    held = read_channels(source)
    monkeypatch.setattr(channels_module, "_HELD_SECONDS", 5.0)
    monkeypatch.setattr(channels_module, "_KEPT_SECONDS", 8.0)
    reel = read_channels(source)
    assert [one.seconds for one in reel] == [one.seconds for one in held] == [100, 100]
    for start, end in ((0, 3), (50, 60), (61, 61.5), (2, 4), (99, 105), (40, 40), (-3, 1), (0, 100)):
        for whole, piece in zip(held, reel, strict=True):
            np.testing.assert_array_equal(whole.piece(start, end), piece.piece(start, end))


def test_a_long_recording_takes_the_memory_of_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_module, "_HELD_SECONDS", 30.0)
    monkeypatch.setattr(channels_module, "_KEPT_SECONDS", 30.0)
    minute = noisy(60)
    source = flac(np.tile(minute, 6))
    tracemalloc.start()
    channels = read_channels(source)
    for start in range(0, 360, 20):
        for channel in channels:
            assert len(channel.piece(start, start + 20)) == 20 * SAMPLE_RATE
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = 6 * minute.nbytes
    assert peak < held / 2, f"{peak / 1e6:.0f} MB of {held / 1e6:.0f}"


def test_a_piece_at_16_khz_keeps_pitch_level_and_place() -> None:
    time = np.arange(RATE * 2) / RATE
    tone = np.round(8000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16)
    channel = Channel(samples=tone, rate=RATE)
    piece = channel.piece(0.5, 1.5)
    assert len(piece) == SAMPLE_RATE
    expected = 8000 / 32768 * np.sin(2 * np.pi * 1000 * (0.5 + np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    assert np.abs(piece - expected).max() < 0.001


def test_pieces_side_by_side_are_the_whole() -> None:
    channel = Channel(samples=noisy(3)[0], rate=RATE)
    parts = np.concatenate([channel.piece(0, 1), channel.piece(1, 2.5), channel.piece(2.5, 9)])
    np.testing.assert_allclose(parts, channel.piece(0, 3), atol=1e-6)


@pytest.mark.parametrize(("rate", "held"), [(8000, 8000), (11025, 16000), (16000, 16000), (44100, 16000)])
def test_telephony_is_held_at_8_khz_and_what_is_better_at_16(rate: int, held: int) -> None:
    tone = np.round(8000 * np.sin(np.arange(rate * 2) / rate * 2 * np.pi * 500)).astype(np.int16)
    (channel,) = read_channels(flac(np.stack([tone]), rate))
    assert channel.rate == held
    assert channel.seconds == pytest.approx(2, abs=0.01)
    assert np.abs(channel.piece(0.5, 1.5)).max() == pytest.approx(8000 / 32768, rel=0.03)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_samples_that_need_no_conversion_are_those_of_the_file(count: int, rate: int) -> None:
    samples = noisy(2.3)[:count]
    for channel, own in zip(read_channels(flac(samples, rate)), samples, strict=True):
        assert channel.rate == rate
        assert np.array_equal(channel.samples[:], own)


def test_samples_of_another_width_are_converted() -> None:
    samples = noisy(1.0)
    target = io.BytesIO()
    with av.open(target, "w", format="wav") as container:
        stream = container.add_stream("pcm_s32le", rate=RATE, layout="stereo")
        wide = np.ascontiguousarray(samples.T.astype(np.int32) << 16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(wide, format="s32", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    target.seek(0)
    assert all(np.array_equal(one.samples[:], own) for one, own in zip(read_channels(target), samples, strict=True))


def test_what_is_broken_in_the_middle_is_skipped_also_of_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = bytearray(flac(noisy(60)).getvalue())
    broken[len(broken) // 2 : len(broken) // 2 + 400] = bytes(400)
    source = io.BytesIO(bytes(broken))
    held = read_channels(source)
    monkeypatch.setattr(channels_module, "_HELD_SECONDS", 5.0)
    reel = read_channels(source)
    assert held[0].seconds == reel[0].seconds > 50
    np.testing.assert_array_equal(held[1].piece(0, 60), reel[1].piece(0, 60))


# --- where somebody speaks -------------------------------------------------------------------------------------------


def likely(*runs: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Probabilities: pairs of a probability and seconds."""
    return np.concatenate([np.full(round(seconds / 0.032), p, np.float32) for p, seconds in runs])


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([(0, 1), (0.9, 1), (0, 1)], [(0.992, 1.984)]),
        ([(0, 1), (0.9, 1), (0, 0.3), (0.9, 1), (0, 1)], [(0.992, 3.264)]),  # a breath
        ([(0, 1), (0.9, 1), (0, 0.7), (0.9, 1), (0, 1)], [(0.992, 1.984), (2.688, 3.68)]),
        ([(0, 1), (0.9, 0.1), (0, 1)], []),  # a click
        ([(0, 1), (0.2, 3), (0, 1)], []),  # never sure
        ([(0, 1), (0.35, 0.2), (0.2, 1), (0.35, 0.2), (0, 1)], [(0.992, 2.368)]),  # soft in between
        ([(0.9, 1)], [(0, 0.992)]),
        ([(0, 1), (0.9, 1), (0.2, 0.3), (0.35, 0.1), (0.2, 0.2), (0, 1)], [(0.992, 2.112)]),  # flickers on in noise
        ([(0, 1), (0.28, 1), (0.2, 0.2), (0, 1)], [(0.992, 2.176)]),  # soft all along
    ],
)
def test_frames_become_stretches(runs: list[tuple[float, float]], found: list[tuple[float, float]]) -> None:
    given_ = likely(*runs)
    got = [(one.start, one.end) for one in stretches(given_, len(given_) * 0.032)]
    assert len(got) == len(found)
    assert got == [pytest.approx(one) for one in found]


def test_endless_speech_is_cut_where_it_is_least_like_speech() -> None:
    given_ = likely((0.9, 20), (0.2, 0.1), (0.9, 30))
    first, *rest = stretches(given_, 50.2, Tuning(longest=25.0))
    assert first.end == pytest.approx(20.05, abs=0.1)
    assert all(one.end - one.start <= 25 for one in (first, *rest))
    assert rest[-1].end == pytest.approx(50.1, abs=0.1)


def test_silence_and_nothing_are_not_shown_to_silero() -> None:
    for sound in (np.zeros(0, np.float32), np.zeros(SAMPLE_RATE * 5, np.float32), np.zeros(100, np.float32)):
        assert find_speech(sound) == []


def test_speech_over_the_edge_of_a_block_is_whole_wherever_it_lies() -> None:
    def find(sound: Sound) -> list[Stretch]:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], sound != 0, [0]])))
        return [
            Stretch(start=a / SAMPLE_RATE, end=b / SAMPLE_RATE) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]

    samples = np.zeros(SAMPLE_RATE * 1000, np.int16)
    spans = [(1, 2), (298, 299.8), (300.1, 302), (595, 605), (880, 899.9), (901, 903)]
    for start, end in spans:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1000
    speech = plan([Channel(samples=samples)], join_seconds=0, find=find).speech[0]
    assert [(round(one.start, 1), round(one.end, 1)) for one in speech] == spans
