"""What of a model's answers is not believed: loops, inventions, impossible pace; and what people do say stays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.model import Word
from agent.transcribe.engine import Recognised, Stretch
from agent.transcribe.gate import pace_objection
from agent.transcribe.judging import judge
from agent.transcribe.repeats import find_loop, is_known_invention, suspicion
from agent.transcribe.speech.windows import Passage
from agent.transcribe.wer import fold


def passage(
    text: str,
    start: float = 10.0,
    seconds: float = 3.0,
    *,
    no_speech: float = 0.01,
    log_probability: float = -0.2,
    compression: float = 1.0,
    speech: Stretch | None = None,
    words: Sequence[Word] = (),
) -> Passage:
    segment = Recognised(
        start=0.0,
        end=seconds,
        text=text,
        no_speech=no_speech,
        log_probability=log_probability,
        compression=compression,
        words=tuple(words),
    )
    return Passage(
        start=start,
        end=start + seconds,
        text=text,
        words=tuple(words),
        segment=segment,
        speech=speech or Stretch(start=start, end=start + seconds),
    )


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("спасибо большое спасибо большое спасибо большое спасибо большое спасибо большое", 5),
        ("я вас слышу " * 4, 4),
        ("ну да " + "нет " * 8 + "конечно", 8),
        ("нет нет нет нет не надо", 0),  # people say that
        ("да да да да да", 0),
        ("восемь ноль ноль два ноль ноль ноль ноль", 0),
        ("8 8 8 8 8 8 8 8 8 8", 0),  # digits of a number
        ("мы вам позвоним мы вам позвоним", 0),
        ("алло вы меня слышите алло вы меня слышите алло вы меня слышите", 0),
        ("", 0),
    ],
)
def test_a_loop_is_what_nobody_says_so_often(text: str, times: int) -> None:
    loop = find_loop(fold(text))
    assert (loop.times if loop else 0) == times


def test_a_loop_is_cut_to_what_was_said_once_and_the_rest_kept_with_its_reason() -> None:
    text = "Добрый день. " + "Я вас слушаю. " * 9 + "До свидания."
    (kept,), (dropped,) = judge(0, [passage(text, seconds=8.0, compression=6.0)])
    assert kept.text == "Добрый день. Я вас слушаю. До свидания."
    assert dropped.reason == "repeats itself: 9 times the same 3 words"


def test_words_are_cut_with_their_text_and_the_utterance_ends_with_the_last() -> None:
    tokens = [" Да,", " да.", *[" Спасибо", " вам."] * 6]
    words = [Word(start=10 + i / 2, end=10.4 + i / 2, text=token, confidence=0.9) for i, token in enumerate(tokens)]
    (kept,), _ = judge(0, [passage("".join(tokens), seconds=8.0, words=words)])
    assert kept.text == "Да, да. Спасибо вам."
    assert [word.text for word in kept.passage.words] == tokens[:4]
    assert kept.passage.end == words[3].end


def test_a_syllable_without_an_end_is_cut() -> None:
    (kept,), (dropped,) = judge(0, [passage("Ну " + "ха" * 60, seconds=8.0, compression=5.0)])
    assert kept.text == "Ну хахаха"
    assert "syllable" in dropped.reason


def test_what_is_left_of_a_loop_is_judged_by_its_own_figures() -> None:
    kept, dropped = judge(0, [passage("Спасибо вам. " * 9, no_speech=0.98)])
    assert not kept
    assert dropped[-1].reason == "no speech: probability 0.98"


def test_the_same_sentence_again_and_again_in_one_breath_is_a_loop() -> None:
    speech = Stretch(start=10, end=20)
    same = [passage(" Я перезвоню.", 10 + 2 * i, 2.0, speech=speech) for i in range(4)]
    kept, dropped = judge(0, same)
    assert [one.passage.start for one in kept] == [10]
    assert {one.reason for one in dropped} == {"repeats the sentence before"}


def test_the_same_sentence_after_pauses_was_said_again() -> None:
    kept, dropped = judge(0, [passage(" Алло, вы меня слышите?", 10.0 + 5 * i, 2.0) for i in range(5)])
    assert len(kept) == 5
    assert not dropped


@pytest.mark.parametrize(
    "text",
    [
        "Субтитры сделал DimaTorzok",
        "Субтитры создавал DimaTorzok.",
        "Редактор субтитров А.Семкин Корректор А.Егорова",
        "Продолжение следует...",
        "Спасибо за просмотр!",
        "Подписывайтесь на канал",
        "Thank you for watching!",
        "Thanks for watching, and don't forget to subscribe",
        "Subtitles by the Amara.org community",
        "you",
        "ДИНАМИЧНАЯ МУЗЫКА",
    ],
)
def test_known_inventions_are_only_suspected(text: str) -> None:
    assert is_known_invention(text)
    sure = passage(text, seconds=3.0).segment
    assert suspicion(sure, text, 3.0) == "", "somebody may well say it"
    for weak in ({"no_speech": 0.5}, {"log_probability": -0.9}):
        assert suspicion(passage(text, **weak).segment, text, 3.0).startswith("a known invention")  # type: ignore[arg-type]


def test_an_invention_in_a_blink_is_not_believed() -> None:
    assert "20 characters in 0.3 s" in suspicion(passage("Спасибо за просмотр!").segment, "Спасибо за просмотр!", 0.3)


@pytest.mark.parametrize("text", ["Спасибо за звонок.", "Продолжим завтра.", "Thank you for your call.", "Да.", ""])
def test_what_people_say_is_no_known_invention(text: str) -> None:
    assert not is_known_invention(text)


@pytest.mark.parametrize(
    ("text", "seconds", "log_probability", "reason"),
    [
        ("Доставка стоит пятьсот рублей.", 2.0, -0.2, ""),
        ("Да.", 0.1, -0.2, ""),  # too short to tell
        ("Доставка стоит пятьсот рублей.", 0.5, -0.2, "faster than anybody speaks: 30 characters in 0.5 s"),
        ("Да.", 6.0, -0.2, ""),  # drawn out, but surely heard
        ("Да.", 6.0, -0.8, "slower than anybody speaks: 3 characters in 6.0 s"),
        ("Да.", 4.0, -0.8, ""),
    ],
)
def test_pace(text: str, seconds: float, log_probability: float, reason: str) -> None:
    assert pace_objection(text, seconds, log_probability) == reason


def test_inexact_times_within_a_stretch_drop_nothing_while_the_stretch_has_room() -> None:
    speech = Stretch(start=10, end=16)
    squeezed = passage(" Доставка стоит пятьсот рублей.", 10.0, 0.2, speech=speech)
    after = passage(" Завтра утром.", 10.2, 5.8, speech=speech)
    kept, dropped = judge(0, [squeezed, after])
    assert len(kept) == 2
    assert not dropped


def test_a_cough_does_not_say_a_paragraph() -> None:
    kept, (dropped,) = judge(0, [passage("Мы предлагаем скидку десять процентов на всё.", seconds=0.4)])
    assert not kept
    assert dropped.reason.startswith("faster than anybody speaks")


def test_a_sentence_whose_words_have_no_time_is_none() -> None:
    speech = Stretch(start=10, end=18)
    tokens = ["Я", "подумаю", "и", "перезвоню", "вам."]
    nowhere = [Word(start=12.0, end=12.02, text=" " + token, confidence=0.6) for token in tokens]
    invented = passage(" Я подумаю и перезвоню вам.", 12.0, 0.02, speech=speech, words=nowhere)
    said = passage(" Сколько стоит доставка?", 12.1, 2.0, speech=speech)
    (kept,), (dropped,) = judge(0, [invented, said])
    assert kept.text == "Сколько стоит доставка?"
    assert dropped.reason.startswith("faster than anybody speaks")


def test_of_more_than_a_breath_holds_what_has_no_room_is_dropped() -> None:
    speech = Stretch(start=10, end=13)
    times = [(10.0, 2.0), (12.0, 0.3), (12.3, 0.2), (12.5, 0.2)]
    sentences = [passage(" Отправим заказ второго июня.", *one, speech=speech) for one in times]
    sentences[1:] = [passage(f" {text}", *one, speech=speech) for text, one in zip(OTHERS, times[1:], strict=True)]
    kept, dropped = judge(0, sentences)
    assert [one.text for one in kept] == ["Отправим заказ второго июня."]
    assert len(dropped) == 3


def test_what_begins_as_speech_ends_was_not_said() -> None:
    """The echo of the other party behind one's last word; a short word before the end is left alone."""
    kept, dropped = judge(0, [*spoken(), word_at(12.91)])
    assert [one.text for one in kept] == ["Сколько стоит доставка?"]
    assert [one.reason for one in dropped] == ["begins where speech ends: 0.09 s before"]
    kept, dropped = judge(0, [*spoken(), word_at(12.7)])
    assert [one.text for one in kept] == ["Сколько стоит доставка?", "Да."]
    assert not dropped


def test_where_speech_was_cut_in_two_a_word_may_begin_at_the_cut() -> None:
    following = passage(" Доставка стоит пятьсот рублей.", 13.0, 3.0)
    kept, dropped = judge(0, [*spoken(), word_at(12.91), following])
    assert len(kept) == 3
    assert not dropped


def spoken() -> list[Passage]:
    return [passage(" Сколько стоит доставка?", 10.0, 2.0, speech=Stretch(start=10, end=13))]


def word_at(start: float) -> Passage:
    words = [Word(start=start, end=start + 0.2, text=" Да.", confidence=0.9)]
    return passage(" Да.", start, 0.2, speech=Stretch(start=10, end=13), words=words)


OTHERS = ("В цену входит доставка и гарантия.", "Алло, вы меня хорошо слышите?", "Хорошо, сегодня вечером удобно.")
