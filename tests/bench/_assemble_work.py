"""What `tests.bench.assemble` runs in processes of their own: making the call, and assembling it."""

from __future__ import annotations

import struct
import sys
import wave
from pathlib import Path

import numpy as np

from agent.archive.blobs import open_archive
from agent.sound.assemble import StreamPlan, assemble
from agent.sound.codecs import STATIC_CODECS, Decoder
from tests.bench.assemble import SECONDS

EPOCH = 1_780_000_000.0
_SOUND = Path(__file__).parents[2] / "agent" / "demo" / "sound"
_NOISE = b"\x55\xd5\x54\xd4\x57"  # the quietest steps of A-law: the floor of a line that is open
_PACKET = np.dtype(
    [
        ("length", ">u2"),
        ("size", ">u2"),
        ("offset", ">u4"),
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("payload", "u1", 160),
    ]
)


def prepare(folder: Path) -> None:
    """Two packet logs of the demo's speech, over and over with pauses between, and the same sound as WAV."""
    voices = sorted(_SOUND.glob("*.wav"))
    sound = []
    for channel in (0, 1):
        said = b"".join(_alaw(path) + _NOISE * 4000 for path in voices[channel::2])
        sound.append((said * (SECONDS * 8000 // len(said) + 1))[: SECONDS * 8000])
        _write_log(folder / f"{channel}.rtpdump", sound[channel], ssrc=1000 + channel)
    decoders = [Decoder(STATIC_CODECS[8]) for _ in sound]
    with wave.open(str(folder / "call.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        for place in range(0, SECONDS * 8000, 80000):
            parts = [one.decode(data[place : place + 80000]) for one, data in zip(decoders, sound, strict=True)]
            file.writeframes(np.stack([part for part in parts if part is not None], axis=1).astype("<i2").tobytes())


def _alaw(path: Path) -> bytes:
    """The sound of a WAV file of A-law, which the wave module does not read."""
    return path.read_bytes().partition(b"data")[2][4:]


def _write_log(path: Path, sound: bytes, *, ssrc: int) -> None:
    """As the capture process writes it, a packet a 20 ms, with the jitter of a quiet network."""
    count = len(sound) // 160
    late = np.abs(np.random.default_rng(ssrc).normal(0, 2, count)).astype(int)
    packets = np.zeros(count, _PACKET)
    packets["length"], packets["size"], packets["offset"] = 180, 172, np.arange(count) * 20 + late
    packets["first"], packets["second"], packets["sequence"] = 0x80, 8, np.arange(count) & 0xFFFF
    packets["timestamp"], packets["ssrc"] = np.arange(count) * 160, ssrc
    packets["payload"] = np.frombuffer(sound, np.uint8)[: count * 160].reshape(count, 160)
    head = b"#!rtpplay1.0 192.0.2.1/40000\n" + struct.pack("!IIIHH", int(EPOCH), 0, 0, 40000, 0)
    path.write_bytes(head + packets.tobytes())


def assemble_call(folder: Path) -> None:
    """What the job does between the logs and the database."""
    plans = [StreamPlan(path=folder / f"{channel}.rtpdump", channel=channel, codecs={}) for channel in (0, 1)]
    done = assemble(plans, started=EPOCH, ended=EPOCH + SECONDS, out=folder / "ours.flac")
    assert done.packets == 2 * SECONDS * 50 and not done.gaps and not done.flags, done
    archive = open_archive(folder, "")
    with done.path.open("rb") as source:
        sealed = archive.seal(source, media_type="audio/flac")
    assert not archive.check(sealed)


if __name__ == "__main__":
    {"prepare": prepare, "assemble": assemble_call}[sys.argv[1]](Path(sys.argv[2]))
