"""Where somebody speaks: Silero's voice activity detection, which comes inside the faster-whisper package.

It needs no speech model, and is imported only once speech is looked for (that takes a second). Silero says how likely
each 32 ms are speech; what becomes of that is decided here (`stretches`, pure), with settings for telephony.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch

FRAME = 512  # samples that Silero judges at once, 32 ms
_FRAME_SECONDS = FRAME / SAMPLE_RATE

# What is this quiet is not looked at, with some of it around what is: half of a call costs nothing then.
_QUIET_DB, _QUIETEST_DB = -50.0, -60.0  # RMS of a frame, 0 being full scale: never louder, never less than these
_ABOVE_FLOOR_DB = 8.0
_AROUND = 12  # frames
_SECOND = 31  # frames

# Silero is handed the middle of a telephone's band. Noise above and below hides a voice from it: of phrases in white
# noise 10 dB below them it finds 98 in 100 this way and half without.
_BAND = ((150.0, 250.0), (2900.0, 3100.0))  # where the edges rise and fall, Hz
_TARGET_DB = -30.0  # a louder second is turned down to this; plucked strings and heavy breath are less like speech then

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """When frames are speech: from the probability ``begin`` on it begins, below ``end`` it ends once that has lasted
    for ``pause`` seconds. What is shorter than ``shortest``, or sure for less than ``sure_seconds`` altogether, is
    none; nothing is longer than ``longest``. It ends ``tail_seconds`` behind the last frames that were at ``tail`` for
    ``sure_seconds`` in a row: under noise Silero flickers on for a second when nobody speaks any more.

    Found on the synthetic calls and the hard sounds of the tests (tests/speech_hard/README.md has the figures).
    """

    begin: float = 0.25
    end: float = 0.12
    shortest: float = 0.18
    pause: float = 0.5
    longest: float = 25.0
    sure_seconds: float = 0.15
    tail: float = 0.3
    tail_seconds: float = 0.13


TELEPHONY = Tuning()


def find_speech(sound: Sound) -> list[Stretch]:
    """Speech as Silero finds it, without padding. Blocks; may be called from any thread."""
    return stretches(probabilities(sound), len(sound) / SAMPLE_RATE)


def probabilities(sound: Sound) -> Probabilities:
    """How likely each frame is speech; 0 for what is so quiet that it was not looked at."""
    from faster_whisper.vad import get_vad_model

    frames = np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME)
    found = np.zeros(len(frames), np.float32)
    heard = _audible(frames)
    if heard.any():
        voice = _turned_down(_voice_band(np.ravel(frames[heard])))
        found[heard] = get_vad_model()(voice).ravel()[: int(heard.sum())]
    return found


def _audible(frames: Sound) -> npt.NDArray[np.bool_]:
    """Which frames are worth looking at."""
    levels = _levels(frames)
    floor = float(np.percentile(levels, 10)) if len(levels) else 0.0
    loud = levels > min(max(floor + _ABOVE_FLOOR_DB, _QUIETEST_DB), _QUIET_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]])))
    heard = np.zeros(len(frames), np.bool_)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        heard[max(0, first - _AROUND) : last + _AROUND] = True
    return heard


def _voice_band(sound: Sound) -> Sound:
    """The sound without what is outside of the band; of the same length."""
    padded = np.pad(sound, (0, -len(sound) % (64 * FRAME)))  # lengths that are quick to transform
    frequencies = np.fft.rfftfreq(len(padded), 1 / SAMPLE_RATE)
    (low, rises), (falls, high) = _BAND
    gains = np.interp(frequencies, [low, rises, falls, high], [0, 1, 1, 0]).astype(np.float32)
    banded: Sound = np.fft.irfft(np.fft.rfft(padded) * gains, len(padded))[: len(sound)].astype(np.float32)
    return banded


def _turned_down(voice: Sound) -> Sound:
    """What is loud turned down, second by second: who speaks after loud music on hold is not turned down with it."""
    frames = voice.reshape(-1, FRAME)
    energy = (10 ** (_levels(frames) / 10)).astype(np.float32)
    loud = (energy > 10 ** (_QUIET_DB / 10)).astype(np.float32)
    level = _around(energy * loud) / np.maximum(_around(loud), 1)
    gain = np.sqrt(10 ** (_TARGET_DB / 10) / np.maximum(level, 1e-9))
    turned: Sound = (frames * np.minimum(1, gain)[:, None].astype(np.float32)).ravel()
    return turned


def _around(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The sum over a second before and after each frame."""
    sums = np.concatenate([np.zeros(_SECOND + 1), np.cumsum(values, dtype=np.float64)])
    last = np.minimum(np.arange(len(values)) + 2 * _SECOND + 1, len(sums) - 1)
    found: npt.NDArray[np.float32] = (sums[last] - sums[: len(values)]).astype(np.float32)
    return found


def _levels(frames: Sound) -> npt.NDArray[np.float32]:
    """RMS of each frame in dB, 0 being full scale."""
    levels: npt.NDArray[np.float32] = 10 * np.log10(np.einsum("ij,ij->i", frames, frames) / FRAME + 1e-10)
    return levels


def stretches(likely: Probabilities, seconds: float, tuning: Tuning = TELEPHONY) -> list[Stretch]:
    """Stretches of speech in a sound of ``seconds``, by the probabilities of its frames."""
    found: list[Stretch] = []
    pause = round(tuning.pause / _FRAME_SECONDS)
    first = last = -1  # frames of the stretch that is open; last is the last that is like speech
    for index, probability in enumerate(likely):
        if first < 0:
            if probability >= tuning.begin:
                first = last = index
        elif probability >= tuning.end:
            last = index
        elif index - last >= pause:
            found += _closed(likely, first, last, seconds, tuning)
            first = -1
    if first >= 0:
        found += _closed(likely, first, last, seconds, tuning)
    return found


def _closed(likely: Probabilities, first: int, last: int, seconds: float, tuning: Tuning) -> list[Stretch]:
    """The stretch of these frames, or nothing where it is too short to be a word, or several where it is too long."""
    span = likely[first : last + 1]
    if len(span) * _FRAME_SECONDS < tuning.shortest:
        return []
    if float((span >= tuning.begin).sum()) * _FRAME_SECONDS < tuning.sure_seconds:
        return []
    most = int(tuning.longest / _FRAME_SECONDS)
    if len(span) > most:
        cut = first + most // 2 + int(np.argmin(likely[first + most // 2 : first + most]))
        return [
            Stretch(start=first * _FRAME_SECONDS, end=cut * _FRAME_SECONDS),
            *_closed(likely, cut + 1, last, seconds, tuning),
        ]
    last = min(last, first + _tail(span, tuning))
    return [Stretch(start=first * _FRAME_SECONDS, end=min(seconds, (last + 1) * _FRAME_SECONDS))]


def _tail(span: Probabilities, tuning: Tuning) -> int:
    """The frame of a stretch behind which nothing of it is heard."""
    frames = max(1, round(tuning.sure_seconds / _FRAME_SECONDS))
    sums = np.cumsum(np.concatenate([[0], span >= tuning.tail]))
    runs = np.flatnonzero(sums[frames:] - sums[:-frames] == frames)
    return int(runs[-1]) + frames - 1 + round(tuning.tail_seconds / _FRAME_SECONDS) if len(runs) else len(span) - 1
