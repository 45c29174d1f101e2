"""Finished sound files become one FLAC: every format, broken heads, one channel and two, silence in between."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from agent.errors import UnreadableSound
from agent.sound.assemble import Assembled
from agent.sound.codecs import Samples
from agent.sound.containers import CUT_OFF
from agent.sound.files import NOTHING_RECORDED, SAME_ON_BOTH, Silence, SoundFile, join_files, probe
from tests.unit.soundfiles import wav_bytes, write_encoded
from tests.unit.soundlab import EPOCH, chirps, read_sound, shift_of

_VOICE, _OTHER = chirps(3.0), chirps(3.0, seed=2)
_BOTH = np.stack([_VOICE, _OTHER], axis=1)


def _joined(tmp_path: Path, *files: tuple[Path, int, float], ended: float | None = None) -> tuple[Assembled, Samples]:
    placed = [SoundFile(path=path, channel=channel, started=EPOCH + at) for path, channel, at in files]
    made = join_files(
        placed, started=EPOCH, ended=None if ended is None else EPOCH + ended, out=tmp_path / "joined.flac"
    )
    return made, read_sound(made.path)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "exact"),
    [
        ("a.wav", "pcm_s16le", 8000, True),
        ("a.wav", "pcm_alaw", 8000, False),
        ("a.wav", "pcm_s16le", 44100, True),
        ("a.mp3", "libmp3lame", 8000, False),
        ("a.mp3", "libmp3lame", 44100, False),
        ("a.ogg", "libopus", 48000, False),
        ("a.opus", "libopus", 16000, False),
        ("a.flac", "flac", 16000, True),
        ("a.m4a", "aac", 16000, False),
        ("a.au", "pcm_s16be", 8000, True),
        ("a.w64", "pcm_s16le", 8000, True),
        ("a.aiff", "pcm_s16be", 8000, True),
    ],
)
def test_both_voices_keep_their_channels_and_places(
    tmp_path: Path, name: str, codec: str, rate: int, exact: bool
) -> None:
    left, right = chirps(3.0, rate=rate), chirps(3.0, rate=rate, seed=2)
    path = write_encoded(tmp_path / name, np.stack([left, right], axis=1), codec, rate=rate)
    found = probe(path)
    assert found.channels == 2
    assert found.seconds == pytest.approx(3.0, abs=0.2)  # with what an encoder adds in front
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    assert made.channels == 2
    assert made.flags == ()
    assert made.packets > 0
    assert made.seconds == pytest.approx(3.0, abs=0.1)
    assert made.rate == min(48000, {"libopus": 48000}.get(codec, rate))
    if exact:
        assert np.array_equal(heard, np.stack([left, right], axis=1))
    elif made.rate == rate:
        for channel, sent in enumerate((left, right)):
            assert abs(shift_of(heard[:, channel], sent[rate:-rate], place=rate)) <= rate // 15


def test_vorbis(tmp_path: Path) -> None:
    path = write_encoded(tmp_path / "a.ogg", np.stack([chirps(3.0, rate=44100)] * 2, axis=1), "vorbis", rate=44100)
    made, _ = _joined(tmp_path, (path, 0, 0.0))
    assert made.seconds == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("ending", "codec", "container", "rate"),
    [
        ("alaw", "pcm_alaw", "alaw", 8000),
        ("ulaw", "pcm_mulaw", "mulaw", 8000),
        ("sln", "pcm_s16le", "s16le", 8000),
        ("sln16", "pcm_s16le", "s16le", 16000),
        ("g722", "g722", "g722", 16000),
    ],
)
def test_formats_of_asterisk_without_a_head(tmp_path: Path, ending: str, codec: str, container: str, rate: int) -> None:
    sent = chirps(3.0, rate=rate)
    path = write_encoded(tmp_path / f"a.{ending}", sent, codec, rate=rate, container=container)
    found = probe(path)
    assert (found.channels, found.rate) == (1, rate)
    assert found.seconds == pytest.approx(3.0, abs=0.05)
    _, heard = _joined(tmp_path, (path, 0, 0.0))
    assert abs(shift_of(heard[:, 0], sent[rate:-rate], place=rate)) <= rate // 100


@pytest.mark.parametrize("length", [0, 8000, 0xFFFFFFFF, 10_000_000], ids=["none", "too short", "unknown", "too long"])
def test_a_wav_whose_writer_was_killed_is_read_to_its_end(tmp_path: Path, length: int) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(_BOTH, length=length))
    assert probe(path).seconds == pytest.approx(3.0)
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    assert np.array_equal(heard, _BOTH)
    assert made.flags == (CUT_OFF,)


def test_what_follows_the_data_of_a_whole_wav_is_not_heard(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(_VOICE, after=b"LIST\x04\x00\x00\x00abcd"))
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    assert np.array_equal(heard[:, 0], _VOICE)
    assert made.flags == ()


@pytest.mark.parametrize("cut", [0, 3, 11, 40, 43, 44, 45, 46, 47, 1001])
def test_a_wav_cut_off_anywhere_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(_BOTH)[:cut])
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    whole = max(cut - 44, 0) // 4
    assert not whole or np.array_equal(heard, _BOTH[:whole])
    assert made.samples == max(whole, 1)
    assert (made.packets > 0) == (whole > 0)
    assert made.flags


def test_the_parties_of_two_files_get_a_channel_each_and_silence_between(tmp_path: Path) -> None:
    one = _written(tmp_path / "in.wav", wav_bytes(_VOICE))
    other = _written(tmp_path / "out.wav", wav_bytes(_OTHER))
    made, heard = _joined(tmp_path, (one, 0, 0.0), (other, 1, 1.5), (one, 0, 40.0), ended=60.0)
    assert made.samples == 60 * 8000
    expected = np.zeros((60 * 8000, 2), np.int16)
    expected[:24000, 0] = expected[320000:344000, 0] = _VOICE
    expected[12000:36000, 1] = _OTHER
    assert np.array_equal(heard, expected)
    assert [(gap.channel, gap.start_ms, gap.end_ms) for gap in made.gaps] == [
        (0, 3000, 40000),
        (0, 43000, 60000),
        (1, 0, 1500),
        (1, 4500, 60000),
    ]
    assert {gap.reason for gap in made.gaps} == {NOTHING_RECORDED}


def test_a_known_silence_is_the_reason_of_its_gap(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(_VOICE))
    hold = Silence(start=EPOCH + 3.0, end=EPOCH + 8.0, reason="on hold", channel=0)
    files = [SoundFile(path=path, channel=0, started=EPOCH), SoundFile(path=path, channel=0, started=EPOCH + 8)]
    made = join_files(files, started=EPOCH, ended=None, out=tmp_path / "o.flac", silences=[hold])
    assert [gap.reason for gap in made.gaps] == ["on hold"]
    assert made.seconds == 11.0


def test_what_lies_outside_of_the_times_is_left_out(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(_VOICE))
    _, heard = _joined(tmp_path, (path, 0, -1.0), ended=1.0)
    assert np.array_equal(heard[:, 0], _VOICE[8000:16000])


def test_two_files_at_once_on_one_channel_are_both_heard(tmp_path: Path) -> None:
    one, other = _written(tmp_path / "1.wav", wav_bytes(_VOICE)), _written(tmp_path / "2.wav", wav_bytes(_OTHER))
    _, heard = _joined(tmp_path, (one, 0, 0.0), (other, 0, 0.0))
    mixed = np.clip(_VOICE.astype(np.int32) + _OTHER, -32768, 32767)
    assert np.array_equal(heard[:, 0], mixed)


def test_mono_stays_one_channel(tmp_path: Path) -> None:
    made, heard = _joined(tmp_path, (_written(tmp_path / "a.wav", wav_bytes(_VOICE)), 0, 0.0))
    assert made.channels == 1
    assert np.array_equal(heard[:, 0], _VOICE)


def test_stereo_of_the_same_on_both_channels_is_one(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.wav", wav_bytes(np.stack([_VOICE, _VOICE], axis=1)))
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    assert (made.channels, made.flags) == (1, (SAME_ON_BOTH,))
    assert np.array_equal(heard[:, 0], _VOICE)


def test_files_of_different_rates_meet_at_the_highest(tmp_path: Path) -> None:
    wide = chirps(3.0, rate=16000, seed=3)
    made, heard = _joined(
        tmp_path,
        (_written(tmp_path / "narrow.wav", wav_bytes(_VOICE)), 0, 0.0),
        (_written(tmp_path / "wide.wav", wav_bytes(wide, rate=16000)), 1, 0.0),
    )
    assert made.rate == 16000
    assert np.array_equal(heard[: len(wide), 1], wide)
    assert made.seconds == pytest.approx(3.0, abs=0.01)


def test_a_missing_or_broken_file_does_not_cost_the_other(tmp_path: Path) -> None:
    good, bad = _written(tmp_path / "g.wav", wav_bytes(_VOICE)), _written(tmp_path / "b.wav", b"RIFF nonsense")
    made, heard = _joined(tmp_path, (bad, 0, 0.0), (good, 1, 0.0), (tmp_path / "none.wav", 0, 0.0))
    assert made.channels == 2
    assert np.array_equal(heard[:, 1], _VOICE)
    assert len(made.flags) == 2


def test_nothing_at_all_is_no_packets(tmp_path: Path) -> None:
    made, _ = _joined(tmp_path, (_written(tmp_path / "a.wav", wav_bytes(np.zeros(0, np.int16))), 0, 0.0))
    assert made.packets == 0


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg", "a.flac", "a.m4a", "a.txt", "a.gsm", "a"])
@pytest.mark.parametrize(
    "data",
    [b"", b"#EXTM3U\nfile:///etc/hostname\n", b"ffconcat version 1.0\nfile /etc/hostname\n", b"\x00" * 1000],
    ids=["empty", "playlist", "concat", "zeros"],
)
def test_what_is_no_sound_is_unreadable_and_reads_no_other_file(tmp_path: Path, name: str, data: bytes) -> None:
    path = _written(tmp_path / name, data)
    made, _ = _joined(tmp_path, (path, 0, 0.0))
    assert made.packets == 0
    with pytest.raises(UnreadableSound):
        probe(path)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.mp3", "libmp3lame", 8000), ("a.ogg", "libopus", 8000), ("a.m4a", "aac", 16000)]
)
def test_mutilated_files_give_what_can_be_had(tmp_path: Path, name: str, codec: str, rate: int, seed: int) -> None:
    data = bytearray(write_encoded(tmp_path / name, chirps(1.0, rate=rate), codec, rate=rate).read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), 1 + seed):
        data[place] = random.integers(0, 256)
    path = _written(tmp_path / f"b{name}", bytes(data[: random.integers(1, len(data))] if seed % 3 else data))
    made, heard = _joined(tmp_path, (path, 0, 0.0))
    assert len(heard) == made.samples < 60 * made.rate


def test_a_stream_that_changes_its_rate_in_the_middle(tmp_path: Path) -> None:
    parts = [
        write_encoded(tmp_path / f"{rate}.mp3", chirps(1.0, rate=rate), "libmp3lame", rate=rate)
        for rate in (16000, 48000)
    ]
    both = _written(tmp_path / "both.mp3", b"".join(part.read_bytes() for part in parts))
    made, heard = _joined(tmp_path, (both, 0, 0.0))
    assert made.rate in (16000, 48000)  # whichever FFmpeg takes for that of the file
    assert 1.9 < made.seconds < 2.4
    assert abs(heard[-8000:].astype(np.int32)).max() > 1000


def test_a_name_in_another_charset(tmp_path: Path) -> None:
    name = os.fsdecode(str(tmp_path).encode() + b"/" + "запись.wav".encode("cp1251"))
    made, _ = _joined(tmp_path, (_written(Path(name), wav_bytes(_VOICE)), 0, 0.0))
    assert made.samples == len(_VOICE)


def test_an_hour_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "hour.wav").open("wb") as disk:
        disk.write(wav_bytes(_BOTH[:0], length=3600 * 32000))
        for _ in range(1200):
            disk.write(_BOTH.tobytes())
    tracemalloc.start()
    try:
        made, _ = (
            join_files(
                [SoundFile(path=tmp_path / "hour.wav", channel=0, started=0.0)],
                started=0.0,
                ended=None,
                out=tmp_path / "hour.flac",
            ),
            None,
        )
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert made.seconds == 3600
