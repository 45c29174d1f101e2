"""What is masked: numbers of cards however they are said, words and expressions of rules; and what stays."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

import pytest

from agent.errors import Misconfigured
from agent.model import Utterance, Word
from agent.store.masks import MaskKind, MaskRule
from agent.transcribe.masks import patterns
from agent.transcribe.masks.cardnumbers import find_cards, is_issued, passes_luhn
from agent.transcribe.masks.masker import Rules, mask, mask_text
from agent.transcribe.masks.masking import MASK, apply_spots, find_words
from agent.transcribe.masks.numerals import read_numbers


def said(text: str, start: float = 0, channel: int = 0) -> Utterance:
    """An utterance of four seconds with words that share them."""
    parts = text.split()
    step = 4 / max(1, len(parts))
    words = [
        Word(start=start + place * step, end=start + (place + 1) * step, text=f" {one}", confidence=0.9)
        for place, one in enumerate(parts)
    ]
    return Utterance(channel=channel, start=start, end=start + 4, text=text, confidence=0.9, words=words)


def masked(*utterances: Utterance | str) -> list[str]:
    told = [said(one, place * 5) if isinstance(one, str) else one for place, one in enumerate(utterances)]
    return [one.text for one in apply_spots(told, find_cards(told))[0]]


CARDS = [
    ("Номер карты 4111 1111 1111 1111, спасибо.", "Номер карты ••••, спасибо."),
    ("4111-1111-1111-1111", MASK),
    ("4111111111111111.", "••••."),
    ("41 11, 11 11, 11 11, 11 11, 11 11. Имя Иван.", "••••, 11 11. Имя Иван."),
    ("41 11, 11 11, 11 11, 11 11. Имя Иван.", "••••. Имя Иван."),
    ("Карта Мир 2200 7001 1234 5671 до 12 27", "Карта Мир •••• до 12 27"),
    ("three seven eight two, eight two two four, six three one zero zero zero five", MASK),
    ("four one one one, double one double one, triple one one, one one one one", MASK),
    ("сорок один одиннадцать " + "одиннадцать " * 6, f"{MASK} "),
    ("четыре один один один, один один один один, 1111, одиннадцать одиннадцать", MASK),
    ("четыре тысячи сто одиннадцать, тысяча сто одиннадцать, 1111, 1111", MASK),
    ("Четыреста одиннадцать сто одиннадцать сто одиннадцать сто одиннадцать одиннадцать одиннадцать", MASK),
    ("4111 1111 так дальше 1111 эм 1111", MASK),
    ("Карта 4111 1111 1111 1111 и вторая 5555 5555 5555 4444", "Карта •••• и вторая ••••"),
    ("2200 7001 1234 5672", MASK),  # one digit misheard, but four groups of four that begin like Mir
]
NO_CARDS = [
    "Мой телефон 8 495 000 00 11 или 8 495 000 00 22.",
    "Расчётный счёт 40702810900000012345.",
    "Заказ 1234 5678 9012 3456 от пятого ноября.",
    "Сто двадцать тысяч вместе с доставкой, это двести сорок за два, минус десять процентов.",
    "Один, два, три, четыре, пять, вышел зайчик погулять.",
    "Перезвоните в 15:30 или в 16:00 2026 года",
    "ИНН 7707083893, КПП 773601001",
    "4111 1111 и отдельно 1111 рублей 1111",
]


@pytest.mark.parametrize(("text", "shown"), CARDS)
def test_a_card_number_however_it_is_written(text: str, shown: str) -> None:
    assert masked(text) == [shown]


@pytest.mark.parametrize("text", NO_CARDS)
def test_other_numbers_stay(text: str) -> None:
    assert masked(text) == [text]


def test_a_number_over_several_utterances_of_one_party() -> None:
    assert masked(
        said("Записывайте: 4111", 0),
        said("Угу.", 2, 1),
        said("1111 1111", 5),
        said("Дальше?", 8, 1),
        said("Так, дальше.", 10),
        said("11, 11. Всё.", 14),
    ) == [f"Записывайте: {MASK}", "Угу.", MASK, "Дальше?", "Так, дальше.", f"{MASK}. Всё."]


def test_other_words_or_a_long_time_end_a_number() -> None:
    assert MASK not in "".join(masked("4111 1111", "Подождите, ищу очки", "1111 1111"))
    assert MASK not in "".join(masked(said("4111 1111", 0), said("1111 1111", 60)))
    assert MASK not in "".join(masked(said("4111 1111", 0, 0), said("1111 1111", 4, 1))), "two parties"


def test_the_words_go_with_the_text_and_their_time_is_kept() -> None:
    told, masks = apply_spots(
        utterances := [said("Карта 4111 1111 1111 1111 срок двенадцать", 10)], find_cards(utterances)
    )
    assert [one.text for one in told[0].words] == [" Карта", f" {MASK}", " срок", " двенадцать"]
    assert "".join(one.text for one in told[0].words).strip() == told[0].text
    (one,) = masks
    step = 4 / 7
    assert (one.start, one.end) == pytest.approx((10 + step - 0.15, 10 + 5 * step + 0.15))
    assert (one.channel, one.why) == (0, "card")


def test_words_that_are_not_those_of_the_text_go_whole() -> None:
    other = Utterance(
        channel=0, start=0, end=4, text="4111 1111 1111 1111", confidence=1, words=said("41 11 11 11 11 11").words
    )
    told, masks = apply_spots([other], find_cards([other]))
    assert told[0].words == ()
    assert (masks[0].start, masks[0].end) == (0, 4.15)


def test_masking_twice_changes_nothing() -> None:
    once, _ = apply_spots(first := [said("да, 4111 1111 1111 1111")], find_cards(first))
    assert find_cards(once) == []


def test_random_cards_of_all_brands_in_random_groups() -> None:
    seed = random.Random(8)
    for beginning, length in [("4", 16), ("51", 16), ("2204", 16), ("37", 15), ("62", 19), ("3530", 16), ("36", 14)]:
        for _ in range(40):
            digits = beginning + "".join(seed.choices("0123456789", k=length - len(beginning) - 1))
            digits += next(str(one) for one in range(10) if passes_luhn(f"{digits}{one}"))
            assert is_issued(digits)
            parts, at = [], 0
            while at < length:
                step = seed.randint(1, 6)
                parts.append(digits[at : at + step])
                at += step
            assert masked(seed.choice([" ", ", ", "-", " . "]).join(parts)) == [MASK], parts


def test_how_numbers_are_read() -> None:
    assert [one.digits for one in read_numbers("сорок два семьдесят шесть ноль пять двести двадцать").groups] == [
        "42",
        "76",
        "0",
        "5",
        "220",
    ]
    assert [one.digits for one in read_numbers("twenty two hundred, oh five, thirty-five").groups] == [
        "2200",
        "0",
        "5",
        "35",
    ]
    assert not read_numbers("4111, потом диван").goes_on
    assert read_numbers("").goes_on


@pytest.mark.parametrize(
    "text", ["", "•", "１２３４", "9" * 100_000, "один " * 20_000, "double double", "тысяч hundred"]
)
def test_whatever_is_said_it_ends(text: str) -> None:
    apply_spots(one := [said(text)], find_cards(one))


# --- Rules ------------------------------------------------------------------------------------------------------------


def rule(kind: MaskKind, text: str, number: int = 1) -> MaskRule:
    return MaskRule(id=number, name=f"rule {number}", kind=kind, text=text)


async def by(rules: Sequence[MaskRule], *texts: str) -> list[str]:
    told, _ = await mask(Rules.of(rules), [said(one, 5 * place) for place, one in enumerate(texts)])
    return [one.text for one in told]


async def test_words_and_phrases_whatever_their_form_is_written_like() -> None:
    words = rule(MaskKind.WORDS, "ёлка\nпроект Заря\n\nсекрет*\n!!!")
    assert await by([words], "Елка и ёлки, проект: «Заря», секретный план") == [f"{MASK} и ёлки, {MASK}», {MASK} план"]
    spots = find_words([said("заря проекта")], ["проект заря"], "x")
    assert spots == []


async def test_expressions_mask_their_groups_or_all() -> None:
    whole, group = rule(MaskKind.PATTERN, r"договор \d+"), rule(MaskKind.PATTERN, r"код\D{0,9}(\d{3})", 2)
    assert await by([whole, group], "По Договор 123 код: 456.", "без них") == [f"По {MASK} код: {MASK}.", "без них"]


async def test_rules_that_are_off_do_nothing() -> None:
    off = MaskRule(id=1, name="x", kind=MaskKind.WORDS, text="слово", enabled=False)
    assert await by([off, MaskRule(id=2, name="c", kind=MaskKind.CARDS, enabled=False)], "слово 4111111111111111") == [
        "слово 4111111111111111"
    ]
    assert await mask_text(Rules.of([MaskRule(id=2, name="c", kind=MaskKind.CARDS)]), "карта 4111111111111111") == (
        f"карта {MASK}"
    )


async def test_an_expression_that_takes_for_ever_hides_what_it_was_to_look_at() -> None:
    evil = rule(MaskKind.PATTERN, r"(а+)+ю")
    told, masks = await mask(Rules.of([evil]), [said("а" * 60), said("спокойно", 5)])
    assert [one.text for one in told] == [MASK, "спокойно"]
    assert [one.why for one in masks] == ["slow"]


async def test_overlapping_finds_are_one() -> None:
    rules = [rule(MaskKind.PATTERN, r"карта [\d ]+"), MaskRule(id=2, name="c", kind=MaskKind.CARDS)]
    assert await by(rules, "карта 4111 1111 1111 1111") == [MASK]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        (r"\bпаспорт\b.{0,40}?(\d{4} ?\d{6})", True),
        (r"\d{3}-\d{3}-\d{3} \d{2}", True),
        ("(", False),
        (r"(\d+)+x", False),
        (r"(а|а)*б", False),
        (".*", False),
        (r"(?:\w+\s?)*!!", False),
        ("x" * 501, False),
    ],
)
async def test_an_expression_is_tried_before_it_is_taken(pattern: str, fits: bool) -> None:
    if fits:
        await patterns.check(pattern)
    else:
        with pytest.raises(Misconfigured):
            await patterns.check(pattern)


async def test_nothing_goes_on_without_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(patterns.PatternsUnavailable):
        await patterns.search(["a"], ["b"])
    assert await patterns.search([], ["b"]) == patterns.Matches()
