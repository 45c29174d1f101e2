"""What sources and the audit log say, in Russian: made from the very sentences that the program makes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from agent.errors import CardlineError, MailboxFolderMissing, MailboxUnreachable
from agent.mail.imap import refusals
from agent.mail.imap.progress import Progress
from agent.sip.lines.state import occupancy
from agent.web.auditlog import in_words
from agent.web.reasons_sources import source_in_russian
from agent.web.texts import Texts

_WHERE = "imap.example.com port 993"


def _progress() -> str:
    progress = Progress({"INBOX": 1200})
    progress.saw("INBOX", 10_000)
    progress.horizon = date(2020, 3, 1)
    progress.took("INBOX", 0, datetime(2024, 3, 2, tzinfo=UTC))
    return str(progress)


@pytest.mark.parametrize(
    ("said", "russian"),
    [
        (
            str(refusals.refused_login(_WHERE, "anna", "[AUTHENTICATIONFAILED] Wrong")),
            "imap.example.com, порт 993, не принимает вход anna: «[AUTHENTICATIONFAILED] Wrong». "
            "Проверьте user и password (или пароль приложения) этого ящика в cardline.toml.",
        ),
        (
            str(refusals.throttled(_WHERE, "[LIMIT] Too many")),
            "imap.example.com, порт 993, просит прийти позже: «[LIMIT] Too many». Ничего не потеряно, повторим сами.",
        ),
        (
            str(refusals.failed(_WHERE, "fetching", "BYE")),
            "imap.example.com, порт 993: сбой (чтение писем): «BYE». Ничего не потеряно, повторим сами.",
        ),
        (
            str(MailboxUnreachable(f"{_WHERE} cannot be reached (connecting): timed out.")),
            "imap.example.com, порт 993, недоступен (соединение): «timed out». Ничего не потеряно, повторим сами.",
        ),
        (
            str(MailboxFolderMissing("The mailbox anna has no folder A. And 2 more.")),
            "В ящике anna нет папки A. И ещё 2. Назовите существующую папку в `folders` этого ящика в cardline.toml.",
        ),
        (
            _progress(),
            "1\N{NO-BREAK SPACE}200 из 10\N{NO-BREAK SPACE}000, дошли до: март 2024; раньше 01.03.2020 не читаем.",
        ),
        (occupancy(1000), "занято: 1000 из {most} звонков"),
        ("what nobody foresaw", "what nobody foresaw"),
        ("", ""),
    ],
)
def test_a_source_is_told_of_in_the_language_of_the_page(said: str, russian: str) -> None:
    most = re.search(r"of (\d+) calls", said)
    assert source_in_russian(said) == (russian.format(most=most[1]) if most else russian)
    assert Texts("en").source(said) == said


def test_where_the_page_says_what_to_do_a_source_does_not_say_it_again() -> None:
    said = str(refusals.failed(_WHERE, "folder Заказы", "BYE"))
    assert Texts("ru").source(said, with_remedy=False) == "imap.example.com, порт 993: сбой (папка Заказы): «BYE»."
    assert Texts("en").source(said, with_remedy=False) == f"{_WHERE} failed at folder Заказы: BYE."


def test_numbers_in_reasons_are_written_as_everywhere() -> None:
    assert Texts("ru").reason("+74950000033 is on no card") == "+7 495 000-00-33 нет ни на одной карточке"
    assert Texts("en").reason("+74950000033 is on no card") == "+7 495 000-00-33 is on no card"
    assert Texts("en").reason("address a+74950000033@example.com is the card's") == (
        "address a+74950000033@example.com is the card's"
    )


def _all(kind: type[CardlineError]) -> list[type[CardlineError]]:
    return [kind, *(one for each in kind.__subclasses__() for one in _all(each))]


@pytest.mark.parametrize("kind", [one for one in _all(CardlineError) if one.__module__ == "agent.errors"])
def test_every_remedy_is_known_in_russian(kind: type[CardlineError]) -> None:
    assert re.search("[а-я]", source_in_russian(f"x {kind.remedy}")), kind.remedy


def test_the_audit_log_says_what_an_act_was_about() -> None:
    subject = {"card_id": 5, "identity": {"kind": "phone", "value": "+74950000001"}, "up": True, "some_thing_id": 3}
    assert in_words(subject, Texts("ru")) == (
        "карточка: 5, номер или адрес: вид телефон; значение +74950000001, выше: да, some thing: 3"
    )
    assert in_words(subject, Texts("en")).startswith("card: 5, number or address: kind phone")
    assert in_words(subject).startswith("card_id: 5, identity: kind phone"), "as programs read it"
