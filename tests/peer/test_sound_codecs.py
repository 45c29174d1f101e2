"""Sound encoded by Debian's ffmpeg, as other software does it, and decoded from RTP payloads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from agent.sound.assemble import assemble
from agent.sound.codecs import Codec
from agent.sound.streams import StreamPlan
from tests.peers import require
from tests.unit.soundlab import EPOCH, Sent, chirps, read_sound, write_log

SECONDS = 4


def payloads(folder: Path, encoder: str, rate: int, *options: str, form: str) -> list[bytes]:
    """Four seconds of a chirp through an encoder of ffmpeg, as the packets in the file it writes."""
    program = require("ffmpeg")
    known = subprocess.run([program, "-v", "error", "-encoders"], capture_output=True, text=True, check=True).stdout
    if f" {encoder} " not in known:
        pytest.skip(f"this ffmpeg has no {encoder}")
    out = folder / f"sound.{form}"
    given = ["-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", "-", "-c:a", encoder, *options]
    subprocess.run(
        [program, "-v", "error", "-y", *given, "-f", form, str(out)],
        input=chirps(SECONDS, rate=rate, seed=1).astype("<i2").tobytes(),
        check=True,
    )
    with av.open(str(out), format=form) as file:
        return [bytes(packet) for packet in file.demux() if packet.size]


def heard(folder: Path, packets: list[bytes], codec: Codec, ticks: int) -> tuple[float, tuple[str, ...]]:
    """How like the chirp the recording is at best within 60 ms, and its flags."""
    sent = [
        Sent(at=n * ticks / codec.clock_rate, sequence=n, timestamp=n * ticks, payload=payload, payload_type=96)
        for n, payload in enumerate(packets)
    ]
    plan = StreamPlan(path=write_log(folder / "0.rtpdump", sent), channel=0, codecs={96: codec})
    done = assemble([plan], started=EPOCH, ended=EPOCH + SECONDS, out=folder / "x.flac")
    sound = read_sound(done.path)[:, 0].astype(float)
    chirp = chirps(SECONDS, rate=done.rate, seed=1)[: (SECONDS - 1) * done.rate].astype(float)
    lags = range(0, done.rate * 60 // 1000, max(done.rate // 8000, 1))
    return max(np.corrcoef(sound[lag : lag + len(chirp)], chirp)[0, 1] for lag in lags), done.flags


@pytest.mark.parametrize("rate", [8000, 16000, 32000])
@pytest.mark.parametrize("frames", [1, 2])
def test_speex(tmp_path: Path, rate: int, frames: int) -> None:
    made = payloads(tmp_path, "libspeex", rate, "-frames_per_packet", str(frames), "-b:a", "24k", form="ogg")
    like, flags = heard(tmp_path, made, Codec(name="speex", clock_rate=rate), rate // 50 * frames)
    assert flags == ()
    assert like > 0.5


def test_gsm(tmp_path: Path) -> None:
    made = payloads(tmp_path, "libgsm", 8000, form="gsm")
    joined = b"".join(made)
    packets = [joined[place : place + 66] for place in range(0, len(joined), 66)]  # 40 ms each
    like, flags = heard(tmp_path, packets, Codec(name="GSM", clock_rate=8000), 320)
    assert flags == ()
    assert like > 0.5


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_opus(tmp_path: Path, frame_ms: int) -> None:
    made = payloads(tmp_path, "libopus", 48000, "-frame_duration", str(frame_ms), form="ogg")
    like, flags = heard(tmp_path, made, Codec(name="opus", clock_rate=48000, channels=2), 48 * frame_ms)
    assert flags == ()
    assert like > 0.9


def test_g722(tmp_path: Path) -> None:
    made = payloads(tmp_path, "g722", 16000, form="g722")
    joined = b"".join(made)
    packets = [joined[place : place + 160] for place in range(0, len(joined), 160)]
    like, flags = heard(tmp_path, packets, Codec(name="G722", clock_rate=8000), 160)
    assert flags == ()
    assert like > 0.9
