"""Short losses: what is put in their place is nearer to what was said than silence is, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from agent.sound.assemble import assemble
from agent.sound.codecs import STATIC_CODECS, Codec, Decoder, Samples
from agent.sound.conceal import conceal
from agent.sound.rtp import Floats
from agent.sound.streams import LOST, StreamPlan
from tests.unit.soundlab import EPOCH, Sent, chirps, encode, read_sound, stream, write_log

SPEECH = Path(__file__).parents[2] / "agent" / "demo" / "sound"
EDGES = np.geomspace(100, 3800, 21)


def speech() -> Samples:
    """What is said in the demo's calls, without their pauses."""
    decoder, said = Decoder(STATIC_CODECS[8]), []
    for path in sorted(SPEECH.glob("*.wav")):
        sound = decoder.decode(path.read_bytes().partition(b"data")[2][4:])
        assert sound is not None
        frames = sound[: len(sound) // 800 * 800].reshape(-1, 800)
        said.append(frames[np.abs(frames).max(axis=1) > 1500].reshape(-1))
    return np.concatenate(said)


def loudness(sound: Samples) -> Floats:
    """Decibels in 21 bands as the ear has them, each 5 ms."""
    frames = sliding_window_view(sound.astype(np.float64), 200)[::40]
    power = np.abs(np.fft.rfft(frames * np.hanning(200), 256)) ** 2
    frequency = np.fft.rfftfreq(256, 1 / 8000)
    bands = np.stack(
        [np.clip(1 - np.abs(frequency - c) / max(w, 60), 0, 1) for c, w in zip(EDGES, np.gradient(EDGES), strict=True)]
    )
    return cast(Floats, 10 * np.log10(power @ bands.T + 1e5))


@pytest.mark.parametrize("lost_ms", [20, 40, 60])
def test_speech_is_nearer_than_with_silence(lost_ms: int) -> None:
    said, count, random = speech(), lost_ms * 8, np.random.default_rng(1)
    errors = np.zeros(2)
    for place in random.integers(600, len(said) - count - 600, 300).tolist():
        before, after = said[place - 500 : place], said[place + count : place + count + 500]
        true = loudness(said[place - 200 : place + count + 200])
        for number, made in enumerate((np.zeros(count, np.int16), conceal(before, after, count, 8000))):
            errors[number] += np.abs(loudness(np.concatenate([before[-200:], made, after[:200]])) - true).mean()
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_tone_goes_on(rate: int) -> None:
    tone = (8000 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)).astype(np.int16)
    count = rate // 50
    made = conceal(tone[: rate // 2], tone[rate // 2 + count :], count, rate)
    assert np.corrcoef(made, tone[rate // 2 : rate // 2 + count])[0, 1] > 0.95


def test_nothing_to_go_by_is_silence() -> None:
    short = np.full(10, 5000, np.int16)
    assert not conceal(short, short[:0], 160, 8000).any()
    assert len(conceal(short, short, 0, 8000)) == 0


def assembled(
    folder: Path, packets: list[Sent], seconds: float, codecs: dict[int, Codec]
) -> tuple[Samples, int, list[str]]:
    plan = StreamPlan(path=write_log(folder / "0.rtpdump", packets), channel=0, codecs=codecs)
    done = assemble([plan], started=EPOCH, ended=EPOCH + seconds, out=folder / "x.flac")
    return read_sound(done.path)[:, 0], done.concealed, [gap.reason for gap in done.gaps if gap.channel == 0]


@pytest.mark.parametrize(("lost", "concealed"), [(1, True), (3, True), (4, False), (50, False)])
def test_only_short_losses_are_concealed(tmp_path: Path, lost: int, concealed: bool) -> None:
    sent = chirps(6, seed=8)
    packets = stream(sent)
    sound, made, gaps = assembled(tmp_path, packets[:100] + packets[100 + lost :], 6, {})
    hole = slice(16000, 16000 + lost * 160)
    assert bool(sound[hole].any()) == concealed
    assert made == (lost * 160 if concealed else 0)
    assert gaps == ([LOST] if lost > 5 else [])
    untouched = np.delete(sound.astype(int) - sent, np.r_[hole])
    assert np.abs(untouched).max() < 512  # A-law's own error: nothing that came was altered


def test_what_was_never_sent_is_not_made_up(tmp_path: Path) -> None:
    packets = stream(chirps(6, seed=8))
    suppressed = [
        Sent(at=p.at, sequence=p.sequence - 2, timestamp=p.timestamp, payload=p.payload) for p in packets[102:]
    ]
    sound, made, _ = assembled(tmp_path, packets[:100] + suppressed, 6, {})
    assert made == 0 and not sound[16000:16320].any()


def test_losses_of_a_codec_that_is_decoded_packet_by_packet(tmp_path: Path) -> None:
    packets = [
        Sent(at=n * 0.02, sequence=n, timestamp=n * 960, payload=payload, payload_type=96)
        for n, payload in enumerate(encode(chirps(4, rate=48000, seed=9), "libopus", rate=48000))
    ]
    kept = [one for number, one in enumerate(packets) if number % 10]
    codecs = {96: Codec(name="opus", clock_rate=48000, channels=2)}
    sound, made, gaps = assembled(tmp_path, kept, 4, codecs)
    assert made == 960 * len(range(10, len(packets) - 1, 10))
    assert gaps == []
    assert sound[9600:10560].any()


def test_dtx_of_opus_is_no_gap(tmp_path: Path) -> None:
    packets = [
        Sent(at=n * 0.02, sequence=n, timestamp=n * 960, payload=payload, payload_type=96)
        for n, payload in enumerate(encode(chirps(4, rate=48000, seed=9), "libopus", rate=48000))
    ]
    kept = [one for number, one in enumerate(packets) if number < 50 or number % 20 == 0 or number > 150]
    numbered = [
        Sent(at=p.at, sequence=n, timestamp=p.timestamp, payload=p.payload, payload_type=96) for n, p in enumerate(kept)
    ]
    _, made, gaps = assembled(tmp_path, numbered, 4, {96: Codec(name="opus", clock_rate=48000, channels=2)})
    assert (made, gaps) == (0, [])
