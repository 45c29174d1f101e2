"""Finished sound files become one recording: a channel a party, by the wall clock, silence where none of them sounds.

What they are made from does not matter: WAV of a killed writer, GSM, MP3, Ogg. Files of one voice are placed on the
channel they are for; a file of two voices is spread over its channels; one in which the voices are mixed stays one
channel, since nobody can part them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.errors import UnreadableSound
from agent.sound.assemble import WINDOW, Assembled
from agent.sound.codecs import Samples
from agent.sound.containers import OpenSound, open_sound
from agent.sound.decoding import SHORTEST_GAP, Note, Piece
from agent.sound.flac import MOST_CHANNELS, FlacWriter
from agent.sound.gaps import Cover, Silence, list_gaps

__all__ = ["Assembled", "Silence", "SoundFile", "SoundProbe", "join_files", "probe"]

NOTHING_RECORDED = "nothing was recorded"
SAME_ON_BOTH = "all channels of the sound file are the same, so they are kept as one"
LONGEST = 24 * 3600  # seconds of one recording; what would be longer is no call
_LOWEST_RATE, _HIGHEST_RATE = 8000, 48_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundFile:
    """A file whose first sample is of the time ``started`` (seconds since the epoch) and sounds on ``channel``.

    A file with several channels takes as many, from that one on.
    """

    path: Path
    channel: int
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundProbe:
    """What is in a sound file; ``codec`` is FFmpeg's name for it."""

    channels: int
    rate: int
    seconds: float
    codec: str


def probe(path: Path) -> SoundProbe:
    """Look into a sound file without decoding it. Blocks.

    Raises:
        UnreadableSound: it is none, or cannot be read.
        OSError: it cannot be opened.
    """
    with open_sound(path) as sound:
        return SoundProbe(channels=sound.channels, rate=sound.rate, seconds=sound.seconds(), codec=sound.codec)


def join_files(
    files: Sequence[SoundFile], *, started: float, ended: float | None, out: Path, silences: Sequence[Silence] = ()
) -> Assembled:
    """Write the recording from ``started`` to ``ended`` (seconds since the epoch; None: to the end of the last file).

    It has a channel for each the files name. ``silences`` are the reasons of gaps. A file that is missing or cannot be
    read is a flag, and ``packets`` of the result is 0 where none had any sound. Of a single file whose channels are all
    the same one is kept, with `SAME_ON_BOTH` as flag. Blocks; memory does not grow with the length.

    Raises:
        OSError: a file cannot be read, or ``out`` cannot be written.
        ValueError: more channels than FLAC has.
    """
    joined, is_same = _join(files, started, ended, out, silences, fold=False)
    if not is_same:
        return joined
    return _join(files, started, ended, out, silences, fold=True)[0]


def _join(
    files: Sequence[SoundFile],
    started: float,
    ended: float | None,
    out: Path,
    silences: Sequence[Silence],
    *,
    fold: bool,
) -> tuple[Assembled, bool]:
    flags: list[str] = []
    with ExitStack() as opened:
        sounds = list(_opened(files, opened, flags))
        rate = min(max([_LOWEST_RATE, *(sound.rate for _, sound in sounds)]), _HIGHEST_RATE)
        voices = [_Voice(sound, file.channel, round((file.started - started) * rate), fold) for file, sound in sounds]
        channels = max([1, *(file.channel + 1 for file in files), *(one.channel + one.width for one in voices)])
        if channels > MOST_CHANNELS:
            raise ValueError(f"FLAC has at most {MOST_CHANNELS} channels, not {channels}")
        for voice in voices:
            voice.begin(rate)
        covers = [Cover(round(SHORTEST_GAP * rate)) for _ in range(channels)]
        total = _write(voices, covers, None if ended is None else round((ended - started) * rate), rate, out, flags)
    found = [flag for _, sound in sounds for flag in sound.flags]
    gaps = [
        gap
        for number, cover in enumerate(covers)
        for gap in list_gaps(
            number,
            cover,
            total,
            rate,
            [Note(0, total, NOTHING_RECORDED)],
            [one.placed(started, rate, number) for one in silences],
        )
    ]
    joined = Assembled(
        path=out,
        rate=rate,
        channels=channels,
        samples=total,
        gaps=tuple(gaps),
        marks=(),
        flags=tuple(dict.fromkeys([*flags, *found, *([SAME_ON_BOTH] if fold else [])])),
        packets=sum(sound.packets for _, sound in sounds),
        dropped=0,
        concealed=0,
    )
    return joined, len(voices) == 1 and voices[0].is_same and joined.packets > 0


def _opened(files: Sequence[SoundFile], opened: ExitStack, flags: list[str]) -> Iterator[tuple[SoundFile, OpenSound]]:
    for file in files:
        try:
            yield file, opened.enter_context(open_sound(file.path))
        except FileNotFoundError:
            flags.append("a sound file is missing")
        except UnreadableSound as error:
            flags.append(error.what.rstrip("."))


def _write(
    voices: Sequence[_Voice], covers: Sequence[Cover], total: int | None, rate: int, out: Path, flags: list[str]
) -> int:
    """Window by window; returns how many samples a channel the recording has, one at least."""
    most = LONGEST * rate
    end = most if total is None else max(min(total, most), 1)
    done = 0
    with FlacWriter(out, rate=rate, channels=len(covers)) as flac:
        while done < end and (total is not None or any(voice.goes_on for voice in voices)):
            until = min(done + WINDOW * rate, end)
            canvas, sounding = _window(voices, covers, done, until)
            if total is None and not any(voice.goes_on for voice in voices):
                canvas = canvas[: max(sounding - done, 0)]
            if len(canvas):
                flac.write(canvas)
            done += len(canvas)
        if not done:
            flac.write(np.zeros((1, len(covers)), np.int16))
    if done == most and any(voice.goes_on for voice in voices):
        flags.append(f"sound past {LONGEST // 3600} hours was left out")
    return max(done, 1)


def _window(voices: Sequence[_Voice], covers: Sequence[Cover], begin: int, end: int) -> tuple[Samples, int]:
    """The sound of all voices between two samples, and where the last of it ends."""
    canvas = np.zeros((end - begin, len(covers)), np.int16)
    painted: list[list[tuple[int, int]]] = [[] for _ in covers]
    last = begin
    for voice in voices:
        for start, samples in voice.take(begin, end):
            stop = start + len(samples)
            place = canvas[start - begin : stop - begin, voice.channel : voice.channel + voice.width]
            if place.any():  # two files at once on one channel: both are heard
                place[:] = np.clip(place.astype(np.int32) + samples, -32768, 32767)
            else:
                place[:] = samples
            for channel in range(voice.channel, voice.channel + voice.width):
                painted[channel].append((start, stop))
            last = max(last, stop)
    for cover, spans in zip(covers, painted, strict=True):
        cover.add(spans)
    return canvas, last


class _Voice:
    """The sound of one file from sample ``place`` of the recording on, cut to windows.

    ``goes_on`` until its last sample was taken. ``is_same`` tells afterwards whether all of its channels were one.
    """

    def __init__(self, sound: OpenSound, channel: int, place: int, fold: bool) -> None:
        self.channel, self.width = channel, 1 if fold else sound.channels
        self.goes_on = True
        self.is_same = self.width > 1
        self._sound, self._next = sound, place
        self._blocks: Iterator[Samples] = iter(())
        self._rest: Piece | None = None

    def begin(self, rate: int) -> None:
        """Say the rate of the recording, which is known when all files are open."""
        self._blocks = self._sound.blocks(rate)

    def take(self, begin: int, end: int) -> Iterator[Piece]:
        """What sounds between the two samples; windows are asked for in order."""
        while (piece := self._rest or self._read()) is not None:
            self._rest = None
            if piece.start < begin:
                piece = Piece(begin, piece.samples[begin - piece.start :])
            if not len(piece.samples):
                continue
            if piece.start >= end:
                self._rest = piece
                return
            if len(piece.samples) > end - piece.start:
                self._rest = Piece(end, piece.samples[end - piece.start :])
            yield Piece(piece.start, piece.samples[: end - piece.start])
        self.goes_on = False

    def _read(self) -> Piece | None:
        block = next(self._blocks, None)
        if block is None:
            return None
        if self.is_same:
            self.is_same = bool((block == block[:, :1]).all())
        start, self._next = self._next, self._next + len(block)
        return Piece(start, block[:, : self.width])
