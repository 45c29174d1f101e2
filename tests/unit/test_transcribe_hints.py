"""Hints to a model are few, short and harmless, whatever stands on a card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transcribe.hints import MOST_CHARACTERS, MOST_NAMES, clean_hint, make_hints


@pytest.mark.parametrize(
    ("word", "clean"),
    [
        ("Иванов Иван", "Иванов Иван"),
        ("  ООО «Вектор»  (оптовик, Москва) ", "ООО Вектор"),
        ("<|ru|><|transcribe|>", ""),
        ("Анна <|endoftext|> Петрова", "Анна Петрова"),
        ("Joe\r\nBloggs\x00\u202e", "Joe Bloggs"),
        ("O'Brien & Sons", "O'Brien & Sons"),
        ("+7 495 000-00-12", ""),
        ("e-mail: anna@example.com", "e-mail anna example.com"),
        ("", ""),
        ("()[]{}", ""),
        ("А" * 500, "А" * 40),
        ("Общество с ограниченной ответственностью Рога и копыта", "Общество с ограниченной ответственностью"),
    ],
)
def test_a_hint_is_a_name_and_nothing_else(word: str, clean: str) -> None:
    assert clean_hint(word) == clean


def test_names_come_first_and_each_once() -> None:
    hints = make_hints(["Анна Петрова", "анна петрова", "Вектор"], ["вектор", "компрессор"])
    assert hints.names == ("Анна Петрова", "Вектор")
    assert hints.glossary == ("компрессор",)


@given(st.lists(st.text(max_size=80), max_size=80), st.lists(st.text(max_size=80), max_size=80))
def test_hints_are_bounded_and_hold_no_mark_of_a_token(names: list[str], words: list[str]) -> None:
    hints = make_hints(names, words)
    text = ", ".join((*hints.names, *hints.glossary))
    assert len(hints.names) <= MOST_NAMES
    assert len(text) <= MOST_CHARACTERS
    assert text.isprintable()
    assert not set(text) & set("<>|[]{}\n")
