"""Who interrupts whom: by where the channels speak, and backchannels by their words."""

from __future__ import annotations

import pytest

from agent.model import Utterance
from agent.transcribe.engine import Stretch
from agent.transcribe.turns import find_interruptions, is_backchannel, mark_interruptions

Spans = list[tuple[float, float]]


def speech(*channels: Spans) -> list[list[Stretch]]:
    return [[Stretch(start=start, end=end) for start, end in spans] for spans in channels]


@pytest.mark.parametrize(
    ("first", "second", "interrupted_at"),
    [
        ([(0, 5)], [(4, 8)], [4]),  # began while the first spoke, who gave way
        ([(0, 5)], [(5.2, 8)], []),  # by turns
        ([(0, 5)], [(4.8, 8)], []),  # a quick answer
        ([(0, 9)], [(4, 8)], []),  # spoken over, and went on
        ([(0, 5)], [(2.5, 8)], []),  # both spoke for long: nobody gave way to anybody
        ([(0, 5)], [(4, 5.2)], []),  # both fell silent
        ([(0, 5), (5.3, 9)], [(4, 8)], []),  # went on after a breath
        ([(0, 5), (9, 12)], [(4, 8)], [4]),
        ([(3.8, 5)], [(4, 8)], []),  # both began at once
        ([(0, 5), (7, 10)], [(4, 8)], [4, 7]),  # and interrupted back
        ([], [(4, 8)], []),
    ],
)
def test_an_interruption(first: Spans, second: Spans, interrupted_at: list[float]) -> None:
    assert [one.start for one in find_interruptions(speech(first, second))] == interrupted_at
    assert [one.start for one in find_interruptions(speech(second, first))] == interrupted_at


def test_it_is_told_who_interrupted_whom_and_when_the_other_gave_way() -> None:
    (one,) = find_interruptions(speech([(0, 5)], [(4, 8)]))
    assert (one.by, one.of, one.start, one.yielded) == (1, 0, 4, 5)


@pytest.mark.parametrize("text", ["Угу.", "Да, да.", "Так-так.", "Ага, понятно.", "Uh-huh.", "I see.", "Yeah, right."])
def test_backchannels(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize("text", ["Подождите!", "Нет.", "Да, но это дорого.", "I see your point", "", "да " * 9])
def test_no_backchannels(text: str) -> None:
    assert not is_backchannel(text)


def said(channel: int, start: float, end: float, text: str) -> Utterance:
    return Utterance(channel=channel, start=start, end=end, text=text, confidence=0.9)


@pytest.mark.parametrize(("text", "interrupts"), [("Подождите, это дорого.", True), ("Угу, да.", False)])
def test_the_words_that_began_over_the_other_are_marked(text: str, interrupts: bool) -> None:
    lines = [said(0, 0, 5, "Мы предлагаем…"), said(1, 4.2, 6, text), said(1, 6, 8, "И ещё.")]
    marked = mark_interruptions(lines, speech([(0, 5)], [(4, 8)]))
    assert [one.interrupts for one in marked] == [False, interrupts, False]


def test_a_stretch_without_words_marks_nobody() -> None:
    lines = [said(0, 0, 5, "Мы предлагаем…"), said(1, 20, 22, "Алло?")]
    assert not any(one.interrupts for one in mark_interruptions(lines, speech([(0, 5)], [(4, 8), (20, 22)])))
