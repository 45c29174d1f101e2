"""Figures of a talk, from where each channel speaks."""

from __future__ import annotations

import pytest

from agent.transcribe.engine import Stretch
from agent.transcribe.talk import Talk, measure


def speech(*channels: str) -> list[list[Stretch]]:
    """``1-4 9-11`` a channel."""
    return [
        [Stretch(start=float(one.split("-")[0]), end=float(one.split("-")[1])) for one in channel.split()]
        for channel in channels
    ]


def of(*channels: str, end: float = 20, begin: float = 0, away: tuple[tuple[float, float], ...] = ()) -> Talk:
    return measure(speech(*channels), end=end, begin=begin, away=away)


def test_a_plain_talk() -> None:
    """The client says something for 3 s, the employee answers after 1 s for 5 s, the client after 2 s for 4 s."""
    talk = of("1-4 12-16", "5-10")
    assert talk.length == 20
    assert [*talk.talk, *talk.monologue] == [7, 5, 4, 5]
    assert [talk.silence, talk.longest_silence, talk.together] == [8, 4, 0]
    assert list(talk.first) == [1, 5]
    assert list(talk.patience) == [2, 1]
    assert talk.interruptions == (0, 0)


def test_talking_at_the_same_time_is_nobodys_silence() -> None:
    talk = of("0-10", "8-14", end=14)
    assert talk.together == 2
    assert sum(talk.talk) - talk.together + talk.silence == talk.length
    assert talk.interruptions == (0, 1)
    assert talk.patience == (None, None), "who begins before the other ends waits for nothing"


def test_short_words_take_the_word_from_nobody() -> None:
    """The other says "mm-hm" twice: it is still one monologue, and no pause before an answer."""
    talk = of("0-10 10.8-18", "4-4.4 10.2-10.6", end=20)
    assert talk.monologue[0] == 18
    assert talk.monologue[1] == pytest.approx(0.4)
    assert talk.interruptions == (0, 0)


@pytest.mark.parametrize(("pause", "longest"), [(1.9, 11.9), (2.1, 5.0)])
def test_a_breath_goes_on_with_a_monologue_and_a_rest_does_not(pause: float, longest: float) -> None:
    talk = of(f"0-5 {5 + pause}-{10 + pause}", "", end=30)
    assert talk.monologue[0] == pytest.approx(longest)


def test_ones_own_short_words_hold_a_monologue_together() -> None:
    assert of("0-5 6.5-7 8.5-12", "", end=20).monologue[0] == 12


def test_who_is_cut_short_goes_on_with_another_monologue() -> None:
    talk = of("0-6 9-11", "6.5-8.5", end=20)
    assert list(talk.monologue) == [6, 2]


def test_what_came_before_the_answer_and_on_hold_is_no_talk() -> None:
    """An announcement before the answer and music on hold are heard, and belong to nobody."""
    talk = of("0-8 12-14 20-30", "15-17 31-33", begin=10, end=40, away=((18.0, 30.5),))
    assert talk.length == 17.5
    assert list(talk.talk) == [2, 4]
    assert list(talk.first) == [2, 5]
    assert list(talk.patience) == [None, 1], "a hold between them is no pause"
    assert talk.longest_silence == 7


def test_a_first_word_after_a_hold_counts_without_it() -> None:
    assert of("0-1", "15-16", away=((2.0, 12.0),)).first == (0, 5)


def test_nobody_and_one_channel() -> None:
    silent = of("", "", end=12)
    assert (silent.silence, silent.longest_silence, silent.talk, silent.first) == (12, 12, (0, 0), (None, None))
    mixed = of("0-5 6-9", end=10)
    assert (mixed.talk, mixed.patience, mixed.interruptions, mixed.together) == ((8,), (None,), (0,), 0)
    nothing = measure([], end=0)
    assert (nothing.length, nothing.talk) == (0, ())


def test_a_call_answered_behind_its_recording_is_empty() -> None:
    assert of("1-4", "5-6", begin=30, end=20).length == 0


def test_the_other_goes_on_while_somebody_says_yes() -> None:
    """The end of a "yes" within the other's words begins no pause of the other's."""
    assert of("0-10 11-15", "3-3.5", end=20).patience == (None, None)


def test_three_channels_at_once() -> None:
    assert of("0-10", "5-15", "5-20").together == 10
