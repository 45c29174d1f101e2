"""Real sound through the real path: the demo's calls as stereo FLAC, and what is no speech; the model is tiny-demo."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

import agent.demo.sound
from agent.errors import Unreadable
from agent.transcribe.engine import SAMPLE_RATE, Hints
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.gate import objection
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.speech.channels import read_channels
from agent.transcribe.transcriber import transcribe_recording
from agent.transcribe.wer import word_errors
from tests import peers
from tests.speech.calls import say
from tests.speech.evaluate import evaluate
from tests.speech.voices import Voice

SOUND = Path(agent.demo.sound.__file__).parent
CALLS: list[dict[str, Any]] = json.loads((SOUND / "calls.json").read_text(encoding="utf-8"))
PARTIES = ("caller", "callee")
RATE = 8000
WORST_WER = 0.10

Track = npt.NDArray[np.int16]


def track(path: Path) -> Track:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]).astype(np.int16)


def flac(tracks: Sequence[Track]) -> io.BytesIO:
    """The tracks side by side as a recording is assembled: FLAC, 8 kHz, one channel a party."""
    length = max(len(one) for one in tracks)
    layout = "stereo" if len(tracks) == 2 else "mono"
    samples = np.stack([np.pad(one, (0, length - len(one))) for one in tracks])
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = RATE
        for item in (frame, None):
            container.mux(stream.encode(item))
    target.seek(0)
    return target


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    return WhisperEngine(find_model(TINY_DEMO, data_dir=Path("/nonexistent")), name=TINY_DEMO, threads=1)


@pytest.mark.parametrize("late_ms", [(0, 0), (60, 20), (5, 39)], ids=str)
@pytest.mark.parametrize("call", CALLS, ids=[call["name"] for call in CALLS])
def test_a_demo_call_is_understood(engine: WhisperEngine, call: dict[str, Any], late_ms: tuple[int, int]) -> None:
    tracks = [
        np.pad(track(SOUND / call["files"][party]), (late * RATE // 1000, 0))
        for party, late in zip(PARTIES, late_ms, strict=True)
    ]
    dialogue = transcribe_recording(flac(tracks), engine, ("ru", "en"))
    assert dialogue.language == call["language"]
    assert dialogue.dropped == ()
    phrases = call["phrases"]
    assert [PARTIES[one.channel] for one in dialogue.utterances] == [phrase["party"] for phrase in phrases]
    for one, phrase in zip(dialogue.utterances, phrases, strict=True):
        assert one.start == pytest.approx(phrase["start"] + late_ms[one.channel] / 1000, abs=0.4)
        assert one.end == pytest.approx(phrase["end"] + late_ms[one.channel] / 1000, abs=0.5)
        assert 0.5 < one.confidence <= 1
    heard = " ".join(one.text for one in dialogue.utterances)
    wer = word_errors(" ".join(phrase["text"] for phrase in phrases), heard)
    assert wer.rate <= WORST_WER, heard


def test_channels_do_not_leak_into_each_other(engine: WhisperEngine) -> None:
    call = CALLS[0]
    caller = track(SOUND / call["files"]["caller"])
    dialogue = transcribe_recording(flac([caller, np.zeros_like(caller)]), engine, ("ru", "en"))
    assert {one.channel for one in dialogue.utterances} == {0}
    said = " ".join(phrase["text"] for phrase in call["phrases"] if phrase["party"] == "caller")
    assert word_errors(said, " ".join(one.text for one in dialogue.utterances)).rate <= WORST_WER


@pytest.mark.parametrize("language", ["ru", "en"])
def test_whole_calls_by_voices_never_heard_are_understood(engine: WhisperEngine, language: str) -> None:
    """Numbers, names and dates by voices that the model was not trained on; half of each minute is silence."""
    peers.require("espeak-ng")
    score = evaluate(engine, language, seeds=range(4), seconds=60)
    assert score.words > 200
    assert score.rate <= WORST_WER, score
    assert median(score.beside) < 0.25, "words are not where they are said"


def test_several_phrases_in_one_window_are_all_written_in_order(engine: WhisperEngine) -> None:
    peers.require("espeak-ng")
    said = ("Добрый день, меня зовут Анна, компания Вектор.", "Сколько стоит доставка?", "Отправим заказ завтра утром.")
    voice = Voice(name="ru+m5")
    party = np.concatenate([np.pad(say(text, voice).samples, (RATE // 2, RATE // 5)) for text in said])
    channel = read_channels(flac([party, np.zeros_like(party)]))[0]
    sound = channel.piece(0, channel.seconds)
    segments = engine.recognise([sound], "ru", Hints())[0]
    assert word_errors(" ".join(said), "".join(segment.text for segment in segments)).rate <= WORST_WER
    assert len(segments) == len(said), "each sentence has times of its own"
    words = [word for segment in segments for word in segment.words]
    begins = [word.start for word in words]
    assert begins == sorted(begins)


def not_speech() -> dict[str, npt.NDArray[np.float64]]:
    """Twenty seconds each of what a line gives without anybody speaking, at 8 kHz in -1 to 1."""
    time = np.arange(20 * RATE) / RATE
    chance = np.random.default_rng(3)
    tone = 0.2 * np.sin(2 * np.pi * 425 * time)
    phase = np.cumsum(np.repeat(chance.choice([262, 330, 392, 523, 659], 80), RATE // 4)) / RATE * 2 * np.pi
    return {
        "silence": np.zeros_like(time),
        "noise": 0.01 * chance.standard_normal(len(time)),
        "loud noise": 0.1 * chance.standard_normal(len(time)),
        "ring-back": tone * ((time % 5) < 1),
        "busy": tone * ((time % 0.7) < 0.35),
        "melody": 0.1 * (np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(1.5 * phase)),
    }


@pytest.mark.parametrize("name", list(not_speech()))
def test_what_is_no_speech_gives_no_word(engine: WhisperEngine, name: str) -> None:
    samples = (not_speech()[name] * 32767).astype(np.int16)
    dialogue = transcribe_recording(flac([samples, samples[::-1]]), engine, ("ru", "en"))
    assert [one.text for one in dialogue.utterances] == []


@pytest.mark.parametrize("name", list(not_speech()))
def test_what_is_no_speech_forced_upon_the_model_is_stopped_by_it_or_by_the_gate(
    engine: WhisperEngine, name: str
) -> None:
    sound = np.repeat(not_speech()[name].astype(np.float32), 2)
    answered = engine.recognise([sound, sound[: 7 * SAMPLE_RATE]], "ru", Hints())
    assert [segment.text for each in answered for segment in each if not objection(segment)] == []


def test_a_truncated_recording_gives_what_is_left(engine: WhisperEngine) -> None:
    call = CALLS[0]
    whole = flac([track(SOUND / call["files"][party]) for party in PARTIES]).getvalue()
    dialogue = transcribe_recording(io.BytesIO(whole[: len(whole) // 2]), engine, ("ru", "en"))
    assert dialogue.utterances
    assert dialogue.utterances[0].text == call["phrases"][0]["text"]


@pytest.mark.parametrize("rubbish", [b"", b"fLaC", b"\x00" * 4096, b"RIFF" + bytes(range(256)) * 8], ids=len)
def test_what_holds_no_sound_is_unreadable(rubbish: bytes) -> None:
    with pytest.raises(Unreadable):
        read_channels(io.BytesIO(rubbish))


def test_channels_keep_their_order_and_length() -> None:
    tracks = [np.zeros(RATE * 3, np.int16), np.full(RATE * 3, 8000, np.int16)]
    left, right = read_channels(flac(tracks))
    assert left.seconds == pytest.approx(3, abs=0.01)
    assert right.seconds == left.seconds
    assert np.abs(left.piece(1, 2)).max() < 0.01
    assert np.abs(right.piece(1, 2)).min() > 0.2


def test_a_model_without_habits_of_its_own_gives_words_inside_their_utterances(tmp_path: Path) -> None:
    """How any real Whisper is asked: joined windows, timestamps, word times. What it says is not judged here."""
    for file in find_model(TINY_DEMO, data_dir=tmp_path).iterdir():
        if file.name != "cardline.json":
            (tmp_path / file.name).symlink_to(file)
    engine = WhisperEngine(tmp_path, name="plain", threads=1)
    assert engine.join_seconds == 25
    call = CALLS[2]
    dialogue = transcribe_recording(flac([track(SOUND / call["files"][party]) for party in PARTIES]), engine, ("ru",))
    assert any(one.words for one in dialogue.utterances)
    assert {one.channel for one in dialogue.utterances} | {one.channel for one in dialogue.dropped} == {0, 1}
    for one in dialogue.utterances:
        edges = [one.start - 0.6, *(time for word in one.words for time in (word.start, word.end)), one.end + 0.6]
        assert edges == sorted(edges)


def test_importing_transcription_loads_no_model_library() -> None:
    code = (
        "import sys, agent.transcribe.transcriber; print('faster_whisper' in sys.modules, 'ctranslate2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
