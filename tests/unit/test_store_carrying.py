"""Corrections, when a recording is transcribed anew."""

from __future__ import annotations

import pytest

from agent.store.carrying import Carried, Corrected, Target, carry


def corrected(machine: str, text: str, *, start: float = 10, channel: int = 0, number: int = 1) -> Corrected:
    return Corrected(id=number, channel=channel, start=start, end=start + 4, machine=machine, text=text)


def target(text: str, *, start: float = 10, channel: int = 0, number: int = 100) -> Target:
    return Target(id=number, channel=channel, start=start, end=start + 4, text=text)


NOTHING = Carried(taken={}, open=())


@pytest.mark.parametrize(
    ("new", "taken"),
    [
        ("Сто двадцать тысяч.", "Сто тридцать тысяч!"),
        ("сто двадцать тысяч", "Сто тридцать тысяч!"),
        ("Итого сто двадцать тысяч, верно?", "Итого Сто тридцать тысяч!, верно?"),
    ],
)
def test_where_the_machine_reads_as_before_the_correction_holds(new: str, taken: str) -> None:
    found = carry([corrected("Сто двадцать тысяч.", "Сто тридцать тысяч!")], [target(new, start=10.4)])
    assert found == Carried(taken={100: (taken, 1)}, open=())


def test_where_the_new_model_understood_it_nothing_is_left() -> None:
    one = corrected("Сто двадцать тысяч.", "Сто тридцать тысяч, ещё раз.")
    assert carry([one], [target("Ну, сто тридцать тысяч еще раз")]) == NOTHING
    assert carry([one], [target("Сто тридцать", start=9), target("тысяч, ещё раз", start=12, number=101)]) == NOTHING


def test_words_added_and_words_taken_away() -> None:
    more, less = corrected("Хорошо.", "Хорошо, жду."), corrected("Ну да, хорошо.", "Хорошо.")
    assert carry([more], [target("хорошо жду")]) == NOTHING
    assert carry([more], [target("хорошо")]) == Carried(taken={100: ("Хорошо, жду.", 1)}, open=())
    assert carry([less], [target("ну да хорошо")]) == Carried(taken={100: ("Хорошо.", 1)}, open=())
    assert carry([less], [target("Хорошо")]) == NOTHING


def test_all_else_is_looked_at_by_a_person() -> None:
    one = corrected("Сто двадцать тысяч.", "Сто тридцать тысяч.")
    other, later = target("Что-то иное"), target("Сто двадцать тысяч", start=90, number=101)
    assert carry([one], [other, later]) == Carried(taken={}, open=((1, 100),))
    assert carry([one], [later]) == Carried(taken={}, open=((1, None),)), "nothing is said there any more"
    twice = target("Сто двадцать тысяч? Сто двадцать тысяч.")
    assert carry([one], [twice]) == Carried(taken={}, open=((1, 100),)), "nobody knows which"


def test_another_party_takes_no_correction_but_shows_it() -> None:
    one = corrected("Да.", "Нет.")
    assert carry([one], [target("Да.", channel=1)]) == Carried(taken={}, open=((1, 100),))


def test_two_corrections_in_what_is_one_utterance_now() -> None:
    both = [corrected("раз", "рас", number=1), corrected("два", "двас", start=13, number=2)]
    found = carry(both, [target("раз два три")])
    assert found == Carried(taken={100: ("рас двас три", 2)}, open=())


def test_words_that_are_none() -> None:
    assert carry([corrected("…", "Алло")], [target("Слушаю")]) == Carried(taken={}, open=((1, 100),))
    assert carry([], [target("x")]) == NOTHING
