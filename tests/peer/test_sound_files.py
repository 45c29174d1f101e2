"""Sound files that other programs wrote, as their ffmpeg makes them: the GSM formats of Asterisk, and broken copies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.sound.files import SoundFile, join_files, probe
from tests.peers import require
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps, read_sound, shift_of

_SENT = chirps(3.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gsm", ["-c:a", "libgsm"]),
        ("a.WAV", ["-c:a", "libgsm_ms", "-f", "wav"]),
        ("a.ogg", ["-c:a", "libvorbis"]),
        ("a.ogg", ["-c:a", "libopus"]),
        ("a.mp3", ["-c:a", "libmp3lame", "-q:a", "7"]),
    ],
)
def test_what_ffmpeg_writes(tmp_path: Path, name: str, options: list[str]) -> None:
    ffmpeg = require("ffmpeg")
    (tmp_path / "in.wav").write_bytes(wav_bytes(_SENT))
    path = tmp_path / name
    subprocess.run([ffmpeg, "-v", "error", "-i", str(tmp_path / "in.wav"), *options, str(path)], check=True)
    assert probe(path).seconds == pytest.approx(3.0, abs=0.2)
    file = SoundFile(path=path, channel=0, started=0.0)
    made = join_files([file], started=0.0, ended=None, out=tmp_path / "out.flac")
    assert (made.channels, made.flags) == (1, ())
    if made.rate == 8000:
        heard = read_sound(made.path)[:, 0]
        assert abs(shift_of(heard, _SENT[8000:16000], place=8000)) <= 400
    cut = path.read_bytes()
    path.write_bytes(cut[: len(cut) * 2 // 3])
    made = join_files([file], started=0.0, ended=None, out=tmp_path / "out.flac")
    assert 0.9 < made.seconds < 2.6  # Ogg has pages of a second
