"""Speech from espeak-ng with the time of every word and phoneme, through its library (libespeak-ng1, ctypes).

The program espeak-ng writes sound only; the library also tells when each word begins. Voices of training and voices
that no model of ours may ever have heard are kept apart here, so that a test cannot mix them up.
"""

from __future__ import annotations

import ctypes
import random
import re
import threading
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

# Variants of espeak-ng as to formants, pitch and breath, joined to a language's voice: ru+f4.
HELD_OUT = ("m5", "f4", "belinda", "antonio", "quincy", "steph")
TRAINING = (
    *(
        "",
        "m1",
        "m2",
        "m3",
        "m4",
        "m6",
        "m7",
        "m8",
        "f1",
        "f2",
        "f3",
        "f5",
        "Alex",
        "Alicia",
        "Andrea",
        "Andy",
        "Annie",
    ),
    *("Denis", "Diogo", "Gene", "Gene2", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Mike", "Nguyen", "adam", "anika"),
    *("benjamin", "boris", "david", "ed", "edward", "grandma", "grandpa", "gustave", "iven", "klatt2", "klatt4"),
    *("linda", "marcelo", "max", "michel", "miguel", "paul", "pedro", "rob", "robert", "shelby", "travis", "victor"),
)
BASES = {"ru": ("ru",), "en": ("en-us", "en"), "de": ("de",)}

_LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x1, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_UTF8, _BY_CHARACTER = 1, 1
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice as espeak-ng names it, with words a minute (80 to 450), pitch and its range (0 to 99)."""

    name: str
    speed: int = 165
    pitch: int = 50
    range: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A word or phoneme with its seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spoken:
    """A sentence as sound (mono int16 at ``rate`` Hz), with the times of its words and phonemes in it."""

    samples: npt.NDArray[np.int16]
    rate: int
    words: tuple[Timed, ...]
    phonemes: tuple[Timed, ...]


def choose_voice(language: str, chance: random.Random, *, variants: tuple[str, ...] = HELD_OUT) -> Voice:
    """A voice of a language by chance, from those never trained on unless said otherwise."""
    variant = chance.choice(variants)
    return Voice(
        name=chance.choice(BASES[language]) + (f"+{variant}" if variant else ""),
        speed=chance.randint(135, 190),
        pitch=chance.randint(30, 70),
        range=chance.randint(35, 65),
    )


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("text", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Speaker:
    """The library, which speaks with one voice at a time for the whole process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._lock = threading.Lock()
        self._samples: list[npt.NDArray[np.int16]] = []
        self._words: list[tuple[int, float]] = []
        self._phonemes: list[tuple[float, str]] = []
        self._callback = _Callback(self._heard)  # kept, or it would be collected while the library calls it
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 200, None, _PHONEME_EVENTS | _DONT_EXIT)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng cannot be started: is the package espeak-ng-data installed?")
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> Spoken:
        with self._lock:
            self._samples, self._words, self._phonemes = [], [], []
            if self._library.espeak_SetVoiceByName(voice.name.encode()):
                raise ValueError(f"espeak-ng has no voice {voice.name}")
            for parameter, value in ((_RATE, voice.speed), (_PITCH, voice.pitch), (_RANGE, voice.range)):
                self._library.espeak_SetParameter(parameter, value, 0)
            raw = text.encode() + b"\0"
            self._library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, _BY_CHARACTER, 0, _UTF8, None, None)
            samples = np.concatenate(self._samples) if self._samples else np.zeros(0, np.int16)
            seconds = len(samples) / self.rate
            return Spoken(
                samples=samples,
                rate=self.rate,
                words=_place_words(text, dict(self._words), self._voiced_until(seconds)),
                phonemes=_lasting(self._phonemes, seconds),
            )

    def _voiced_until(self, seconds: float) -> float:
        """Where the last phoneme ends: what espeak-ng adds after it is silence."""
        silent = [start for start, text in self._phonemes[-2:] if not text.strip("_:; ")]
        return min(silent, default=seconds)

    def _heard(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:  # the last call comes without sound
            self._samples.append(np.ctypeslib.as_array(wave, shape=(count,)).astype(np.int16))
        for index in range(1000):
            event = events[index]
            if event.type == _END_OF_LIST:
                break
            if event.type == _WORD:
                self._words.append((event.text_position - 1, event.audio_position / 1000))
            elif event.type == _PHONEME:
                self._phonemes.append((event.audio_position / 1000, event.text.decode(errors="replace")))
        return 0


@cache
def _speaker() -> _Speaker:
    return _Speaker()


def speak(text: str, voice: Voice) -> Spoken:
    """Say a sentence.

    Raises:
        OSError: libespeak-ng is not installed; tests ask `tests.peers.require("espeak-ng")` first.
        ValueError: there is no such voice.
    """
    return _speaker().speak(text, voice)


def _place_words(text: str, begins: dict[int, float], end: float) -> tuple[Timed, ...]:
    """The words with times; what espeak-ng speaks as one ("of the") shares its time by letters."""
    found = [(match.start(), match[0]) for match in _WORDS.finditer(text)]
    timed: list[Timed] = []
    index = 0
    while index < len(found):
        after = next((later for later in range(index + 1, len(found)) if found[later][0] in begins), len(found))
        group = [word for _, word in found[index:after]]
        start = begins.get(found[index][0], 0.0)
        stop = begins[found[after][0]] if after < len(found) else end
        letters = sum(map(len, group))
        for word in group:
            until = start + (stop - start) * len(word) / letters
            timed.append(Timed(start=start, end=until, text=word))
            start, letters = until, letters - len(word)
        index = after
    return tuple(timed)


def _lasting(begins: list[tuple[float, str]], end: float) -> tuple[Timed, ...]:
    stops = [start for start, _ in begins[1:]] + [end]
    return tuple(Timed(start=start, end=stop, text=text) for (start, text), stop in zip(begins, stops, strict=True))
