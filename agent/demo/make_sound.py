"""Make the demo's calls again from a table of phrases: ``python -m agent.demo.make_sound``.

Needs espeak-ng and sox; the demo itself only plays the files that this wrote into ``agent/demo/sound``. Each party of
a call is one mono file of 8 kHz A-law, the whole call long, so that a SIP client sends its bytes as PCMA unchanged.
Phrases are of the corpus that the model `tiny-demo` has learnt (tests/speech/phrases), through a telephone band (300 to
3400 Hz).
"""

from __future__ import annotations

import array
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RATE = 8000
_BEFORE_SECONDS = 0.4  # from the answer to the first word
_AFTER_SECONDS = 0.4
_QUIET = 650  # of 32768: what is quieter at the ends of a phrase is no speech
_SOUND = Path(__file__).parent / "sound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """An espeak-ng voice with its speed (words a minute) and pitch."""

    name: str
    speed: int
    pitch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A call as written: who says what after how many seconds of silence. The caller is channel 0, the callee 1."""

    name: str
    language: str
    direction: str
    caller: Voice
    callee: Voice
    lines: tuple[tuple[str, float, str], ...]


_ANNA = Voice(name="ru+f2", speed=165, pitch=55)
_SERGEI = Voice(name="ru+m3", speed=150, pitch=40)
_UNKNOWN = Voice(name="ru+m1", speed=160, pitch=45)
_KATE = Voice(name="en-gb+f3", speed=165, pitch=55)
_JOHN = Voice(name="en-gb+m3", speed=165, pitch=40)

SCRIPTS = (
    Script(
        name="inbound-ru",
        language="ru",
        direction="inbound",
        caller=_SERGEI,
        callee=_ANNA,
        lines=(
            ("callee", 0.0, "Здравствуйте, чем могу помочь?"),
            ("caller", 0.3, "Сколько стоит доставка?"),
            ("callee", 0.3, "Доставка стоит пятьсот рублей."),
            ("caller", 0.3, "Это слишком дорого для нас."),
            ("callee", 0.3, "Мы предлагаем скидку десять процентов."),
            ("caller", 0.3, "Когда вы сможете отправить товар?"),
            ("callee", 0.3, "Отправим заказ завтра утром."),
        ),
    ),
    Script(
        name="outbound-en",
        language="en",
        direction="outbound",
        caller=_KATE,
        callee=_JOHN,
        lines=(
            ("callee", 0.0, "How can I help you today?"),
            ("caller", 0.3, "Hello, this is Kate from Vector."),
            ("callee", 0.3, "How much does the delivery cost?"),
            ("caller", 0.3, "We can offer you a ten percent discount."),
            ("callee", 0.3, "When can you ship the order?"),
            ("caller", 0.3, "We will ship it tomorrow morning."),
            ("callee", 0.3, "Goodbye."),
        ),
    ),
    Script(
        name="unknown-ru",
        language="ru",
        direction="inbound",
        caller=_UNKNOWN,
        callee=_ANNA,
        lines=(
            ("callee", 0.0, "Добрый день, меня зовут Анна, компания Вектор."),
            ("caller", 0.3, "Есть ли у вас гарантия?"),
            ("callee", 0.3, "Гарантия на оборудование два года."),
            ("caller", 0.3, "До свидания."),
        ),
    ),
)


def make_sound(folder: Path = _SOUND) -> None:
    """Write every call's two files and ``calls.json``, the table of what is said when by whom."""
    folder.mkdir(parents=True, exist_ok=True)
    table = [_make_call(script, folder) for script in SCRIPTS]
    (folder / "calls.json").write_text(json.dumps(table, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _make_call(script: Script, folder: Path) -> dict[str, Any]:
    tracks = {"caller": array.array("h"), "callee": array.array("h")}
    phrases = []
    end = round(_BEFORE_SECONDS * _RATE)
    for party, pause, text in script.lines:
        spoken = _speak(script.caller if party == "caller" else script.callee, text)
        start = end + round(pause * _RATE)
        end = start + len(spoken)
        for track in tracks.values():
            track.extend([0] * (end - len(track)))
        tracks[party][start:end] = spoken
        phrases.append({"party": party, "start": start / _RATE, "end": end / _RATE, "text": text})
    for party, track in tracks.items():
        track.extend([0] * round(_AFTER_SECONDS * _RATE))
        _write_alaw(track, folder / f"{script.name}.{party}.wav")
    return {
        "name": script.name,
        "language": script.language,
        "direction": script.direction,
        "seconds": len(tracks["caller"]) / _RATE,
        "files": {party: f"{script.name}.{party}.wav" for party in tracks},
        "phrases": phrases,
    }


def _speak(voice: Voice, text: str) -> array.array[int]:
    """A phrase as 16-bit samples at 8 kHz in the telephone band, without silence at its ends."""
    speech = subprocess.run(
        ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    raw = ["-r", str(_RATE), "-c", "1", "-e", "signed", "-b", "16", "-L", "-t", "raw", "-"]
    band = subprocess.run(
        ["sox", "-D", "-V1", "-t", "wav", "--ignore-length", "-", *raw, "sinc", "300-3400"],
        check=True,
        input=speech,
        stdout=subprocess.PIPE,
    ).stdout
    samples = array.array("h", band)
    loud = [index for index, sample in enumerate(samples) if abs(sample) > _QUIET]
    return samples[loud[0] : loud[-1] + 1]


def _write_alaw(samples: array.array[int], path: Path) -> None:
    with tempfile.NamedTemporaryFile(suffix=".raw") as raw:
        raw.write(samples.tobytes())
        raw.flush()
        signed = ["-r", str(_RATE), "-c", "1", "-e", "signed", "-b", "16", "-L", raw.name]
        subprocess.run(["sox", "-D", "-V1", *signed, "-e", "a-law", str(path)], check=True)


if __name__ == "__main__":
    make_sound(Path(sys.argv[1]) if len(sys.argv) > 1 else _SOUND)
