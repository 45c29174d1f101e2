"""The parts of transcription that need no model: word error rate, gate, windows, dialogue over a scripted engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import Misconfigured
from agent.model import Word
from agent.transcribe import dialogue as dialogues
from agent.transcribe.dialogue import Dialogue
from agent.transcribe.engine import SAMPLE_RATE, Hints, Recognised, Sound, Stretch
from agent.transcribe.gate import objection
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.windows import Window, place, plan_windows
from agent.transcribe.wer import fold, word_errors

GOOD = Recognised(start=0.0, end=1.0, text="да", no_speech=0.01, log_probability=-0.2, compression=1.0)


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words"),
    [
        ("Всё, до свидания!", "все до  свидания", 0, 3),
        ("one two three", "one three", 1, 3),
        ("one two", "one and two", 1, 2),
        ("one two", "three four", 2, 2),
        ("", "invented words", 2, 0),
        ("", "...", 0, 0),
        ("said", "", 1, 1),
    ],
)
def test_word_errors(said: str, heard: str, errors: int, words: int) -> None:
    counted = word_errors(said, heard)
    assert (counted.errors, counted.words) == (errors, words)
    assert counted.rate == (errors / words if words else float(errors > 0))


def test_fold_keeps_words_of_any_script() -> None:
    assert fold("Grüße, «Ёлка» — e-mail 10 %") == ["grüsse", "елка", "e", "mail", "10"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"text": " … "}, "no words"),
        ({"no_speech": 0.99}, "no speech: probability 0.99"),  # the confident invention
        ({"no_speech": 0.7, "log_probability": -1.2}, "no speech: probability 0.70, log-probability -1.20"),
        ({"no_speech": 0.7}, ""),  # a poor line, but clear words
        ({"log_probability": -1.2}, ""),
        ({"log_probability": -1.7}, "improbable: log-probability -1.70"),
        ({"compression": 3.0}, "repeats itself: compression ratio 3.00"),
    ],
)
def test_gate_says_why(changes: dict[str, object], reason: str) -> None:
    assert objection(replace(GOOD, **changes)) == reason  # type: ignore[arg-type]


def stretches(*edges: tuple[float, float]) -> list[Stretch]:
    return [Stretch(start=start, end=end) for start, end in edges]


def test_each_stretch_is_a_window_where_the_model_wants_that() -> None:
    windows = plan_windows(stretches((1, 2), (2.25, 3), (9.75, 10)), seconds=10, join_seconds=0)
    assert [[(round(piece.start, 3), round(piece.end, 3)) for piece in window.pieces] for window in windows] == [
        [(0.5, 2.125)],  # half of the silence to the next stretch
        [(2.125, 3.2)],
        [(9.25, 10.0)],  # no more than there is
    ]


def test_short_stretches_are_joined_up_to_what_the_model_takes() -> None:
    speech = stretches(*[(10.0 * i, 10.0 * i + 4) for i in range(12)])
    windows = plan_windows(speech, seconds=200, join_seconds=25)
    assert all(window.seconds <= 25 for window in windows)
    assert [piece.speech for window in windows for piece in window.pieces] == speech
    assert len(windows) == 3


def test_a_stretch_longer_than_a_window_is_still_heard() -> None:
    assert len(plan_windows(stretches((0, 26), (30, 31)), seconds=31, join_seconds=25)) == 2


def word(start: float, end: float, text: str) -> Word:
    return Word(start=start, end=end, text=text, confidence=0.5)


def test_a_segment_over_a_cut_becomes_two_passages_at_their_own_times() -> None:
    (window,) = plan_windows(stretches((10, 12), (50, 52)), seconds=60, join_seconds=25)
    words = (word(0.4, 1.0, " Добрый"), word(1.0, 2.6, " день."), word(3.3, 3.9, " Алло."))
    segment = replace(GOOD, start=0.4, end=3.9, text=" Добрый день. Алло.", words=words)
    first, second = place(window, [segment])
    assert (first.start, first.end, first.text) == (10, 12, " Добрый день.")
    assert (second.start, second.end, second.text) == (50, 52, " Алло.")
    assert [one.start for one in first.words] == [pytest.approx(9.9), pytest.approx(10.5)]
    assert second.words[0].start == pytest.approx(49.5 + 3.3 - 2.7)


def test_two_segments_of_one_stretch_share_its_edges() -> None:
    (window,) = plan_windows(stretches((10, 14)), seconds=60, join_seconds=25)
    first, second = place(window, [replace(GOOD, start=0.3, end=2.0), replace(GOOD, start=2.5, end=99.0)])
    assert (first.start, first.end) == (10.0, 11.5)
    assert (second.start, second.end) == (12.0, 14.0)


def gaps(lengths: Sequence[tuple[float, float]]) -> list[Stretch]:
    """Speech of so many seconds, each after so much silence."""
    found: list[Stretch] = []
    for silence, length in lengths:
        start = (found[-1].end if found else 0.0) + silence
        found.append(Stretch(start=start, end=start + length))
    return found


def in_window(window: Window, index: int, time: float) -> float:
    """A time of the channel in piece ``index`` as a time of the window."""
    return sum(piece.end - piece.start for piece in window.pieces[:index]) + time - window.pieces[index].start


def room(window: Window, index: int, time: float) -> float:
    """How far a time of a piece is from its neighbours."""
    piece = window.pieces[index]
    before = time - piece.start if index else math.inf
    return min(before, piece.end - time if index < len(window.pieces) - 1 else math.inf, 5.0)


@given(
    st.lists(st.tuples(st.floats(0.2, 30), st.floats(0.3, 6)), min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(-0.99, 0.99)), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_words_are_put_back_where_they_were_said_though_their_times_are_wrong_by_half_a_pause(
    lengths: list[tuple[float, float]], told: list[tuple[float, float]], together: int
) -> None:
    """``told``: where in each stretch a word lies, and which share of what may be wrong is wrong."""
    speech = gaps(lengths)
    for window in plan_windows(speech, seconds=speech[-1].end + 1, join_seconds=25):
        said = sorted(
            (in_window(window, index, time) + wrong * room(window, index, time), index)
            for index, piece in enumerate(window.pieces)
            for share, wrong in told
            for time in [piece.speech.start + share * (piece.speech.end - piece.speech.start)]
        )
        words = [word(at - 0.01, at + 0.01, f" {number}") for number, (at, _) in enumerate(said)]
        some = [tuple(words[first : first + together]) for first in range(0, len(words), together)]
        passages = place(window, [replace(GOOD, start=one[0].start, end=one[-1].end, words=one) for one in some])
        assert [one.text for passage in passages for one in passage.words] == [one.text for one in words]
        for passage in passages:
            assert passage.text == "".join(one.text for one in passage.words)
            assert passage.start <= passage.end
            assert {passage.speech} == {window.pieces[said[int(one.text)][1]].speech for one in passage.words}


def test_impossible_times_stay_inside_the_piece_and_in_order() -> None:
    (window,) = plan_windows(stretches((10, 14)), seconds=60, join_seconds=25)
    for start, end in ((-5.0, -4.0), (400.0, 3.0), (3.0, 1.0)):
        for passage in place(window, [replace(GOOD, start=start, end=end)] * 3):
            assert 9.5 <= passage.start <= passage.end <= 14.2


class ScriptedEngine:
    """Says of each sound what the test wrote down; speech is where samples are not zero."""

    name = "scripted"
    join_seconds = 0.0
    batch = 4
    lanes = 1

    def __init__(self, languages: Mapping[str, float], answer: Recognised = GOOD) -> None:
        self.languages = languages
        self.answer = answer
        self.pinned: list[str] = []
        self.weighed: list[float] = []
        self.longest = 0.0

    def find_speech(self, sound: Sound) -> list[Stretch]:
        self.longest = max(self.longest, len(sound) / SAMPLE_RATE)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], sound != 0, [0]])))
        return [
            Stretch(start=a / SAMPLE_RATE, end=b / SAMPLE_RATE) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]

    def unload(self) -> None:
        raise AssertionError("nobody asked for that")

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        self.weighed.append(len(sound) / SAMPLE_RATE)
        return self.languages

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        self.pinned += [language] * len(windows)
        return [[self.answer] for _ in windows]


def transcribe_channels(channels: Sequence[Channel], engine: ScriptedEngine, languages: Sequence[str]) -> Dialogue:
    return dialogues.transcribe_channels(channels, engine, languages, find=engine.find_speech)


def spoken(seconds: float, *edges: tuple[float, float]) -> Channel:
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.int16)
    for start, end in edges:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1000
    return Channel(samples=samples)


def test_two_channels_become_one_dialogue_in_order() -> None:
    engine = ScriptedEngine({"ru": 0.9, "en": 0.01, "uk": 0.09})
    dialogue = transcribe_channels([spoken(20, (1, 2), (7, 9)), spoken(20, (4, 5))], engine, ("ru", "en"))
    assert [(one.channel, one.start, one.end) for one in dialogue.utterances] == [(0, 1, 2), (1, 4, 5), (0, 7, 9)]
    assert dialogue.language == "ru"
    assert engine.pinned == ["ru"] * 3
    assert len(engine.weighed) == 1  # it was sure, and asked on the longest speech
    assert engine.weighed[0] == pytest.approx(2.7)


def test_a_language_that_is_not_allowed_is_never_chosen() -> None:
    engine = ScriptedEngine({"uk": 0.6, "ru": 0.3, "en": 0.1})
    assert transcribe_channels([spoken(5, (1, 2))], engine, ("ru", "en")).language == "ru"


def test_one_language_is_not_asked_for() -> None:
    engine = ScriptedEngine({})
    assert transcribe_channels([spoken(5, (1, 2))], engine, ("de",)).language == "de"
    assert not engine.weighed


def test_languages_the_model_does_not_know_are_a_matter_of_configuration() -> None:
    with pytest.raises(Misconfigured, match=r"transcribe\.languages"):
        transcribe_channels([spoken(5, (1, 2))], ScriptedEngine({"en": 1.0}), ("ru", "uk"))


def test_silence_never_reaches_the_model() -> None:
    engine = ScriptedEngine({"ru": 1.0})
    dialogue = transcribe_channels([spoken(5), spoken(0)], engine, ("ru", "en"))
    assert (dialogue.language, dialogue.utterances, dialogue.dropped) == ("", (), ())
    assert not engine.pinned
    assert not engine.weighed


def test_what_is_dropped_keeps_its_reason() -> None:
    engine = ScriptedEngine({"ru": 1.0, "en": 0.0}, replace(GOOD, text=" Спасибо за просмотр!", no_speech=0.98))
    dialogue = transcribe_channels([spoken(5, (1, 2))], engine, ("ru", "en"))
    assert dialogue.utterances == ()
    (dropped,) = dialogue.dropped
    assert (dropped.channel, dropped.start, dropped.text) == (0, 1, "Спасибо за просмотр!")
    assert dropped.reason == "no speech: probability 0.98"


def test_characters_that_no_database_takes_are_left_out() -> None:
    engine = ScriptedEngine({"ru": 1.0, "en": 0.0}, replace(GOOD, text=" Да\x00, \ufffdконечно\u200b\n"))
    (utterance,) = transcribe_channels([spoken(5, (1, 2))], engine, ("ru", "en")).utterances
    assert utterance.text == "Да , конечно"


def test_speech_over_the_edge_of_a_block_is_one_utterance_and_no_hour_of_floats_is_held() -> None:
    engine = ScriptedEngine({"ru": 1.0, "en": 0.0})
    (utterance,) = transcribe_channels([spoken(1300, (598, 603))], engine, ("ru", "en")).utterances
    assert (utterance.start, utterance.end) == (598, 603)
    assert engine.longest <= 600
