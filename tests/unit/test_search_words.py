"""What is typed into the box, understood (pure)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store.searchquery import Term, TermKind, number_digits, parse_query


def _said(typed: str) -> list[tuple[str, str, bool]]:
    return [(one.kind.value, one.text, one.is_not) for one in parse_query(typed)]


def test_words_phrases_and_what_must_not_be() -> None:
    assert _said('договор "бесплатная доставка" -скидка') == [
        ("word", "договор", False),
        ("phrase", "бесплатная доставка", False),
        ("word", "скидка", True),
    ]
    assert _said("«до конца недели» −“без сборки”") == [
        ("phrase", "до конца недели", False),
        ("phrase", "без сборки", True),
    ]
    assert _said("e-mail кто-нибудь") == [("word", "e-mail", False), ("word", "кто-нибудь", False)]
    assert _said("смир* *") == [("prefix", "смир", False)]
    assert _said('"незакрытая') == [("phrase", "незакрытая", False)]
    assert _said(' "" - \0 ?! ') == []


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+7 (916) 123-45-67", ("79161234567",)),
        ("8 916 123-45-67", ("89161234567", "9161234567")),
        ("89161234567", ("89161234567", "9161234567")),
        ("00 49 30 123456", ("004930123456", "4930123456")),
        ("4567", ("4567",)),
        ("123-45-67", ("1234567",)),
        ("12", ()),
        ("8 12", ()),
        ("1234567890123456", ()),
        ("дом 4567", ()),
    ],
)
def test_numbers_in_every_form(typed: str, digits: tuple[str, ...]) -> None:
    assert number_digits(typed) == digits


def test_numbers_among_words() -> None:
    one = parse_query("счёт 4512 от Марии")
    assert [term.kind for term in one] == [TermKind.WORD, TermKind.NUMBER, TermKind.WORD, TermKind.WORD]
    assert one[1].digits == ("4512",)
    assert [term.text for term in parse_query("+7 916 123 45 67 доставка")] == ["+7 916 123 45 67", "доставка"]
    assert [term.digits for term in parse_query("4512 7788")] == [("4512",), ("7788",)]
    assert parse_query("-4512") == (Term(kind=TermKind.NUMBER, text="4512", is_not=True, digits=("4512",)),)
    assert [term.kind for term in parse_query("2026 год 15")] == [TermKind.NUMBER, TermKind.WORD, TermKind.WORD]
    assert [term.text for term in parse_query("4512а")] == ["4512а"]


@given(st.text(alphabet="абё -\"«»*'()+0123456789\\&|!:<>\0\u0301a@.", max_size=400))
def test_nothing_that_can_be_typed_is_an_error(typed: str) -> None:
    assert len(parse_query(typed)) <= 24
