"""The pure parts of the pages: ranges, quotations, counting of attempts, texts, formats."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from zoneinfo import ZoneInfo

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

import agent.web
from agent.mail.layout import plain_lines
from agent.mail.quotes import find_spans
from agent.model import Disposition, LinkState, MeetingState, MessageCategory, SourceState, UserRole
from agent.model_mail import WrappingKind
from agent.store.clients import Position
from agent.store.linkrules import RuleDecision, UnknownPolicy
from agent.store.tokens import SCOPES
from agent.web.administration import PLACES, STEPS
from agent.web.cards import parse_position, write_position
from agent.web.entering import local_target
from agent.web.entries import SHOWN_MARKS, by_day
from agent.web.formats import Formats, zone_of
from agent.web.mail_rules import CHOICES, TAGS
from agent.web.phones import phone
from agent.web.quotes import pieces_of
from agent.web.ranges import ByteRange, Unsatisfiable, parse_range
from agent.web.shown import MailView, ThreadView
from agent.web.sources import PARTS, REMEDIES
from agent.web.texts import COUNTS, LANGUAGES, MONTHS, TEXTS, Texts, language_of
from linker.csvcards import COLUMNS
from linker.meetings import ANSWERS
from linker.rules import FIELDS

# --- Ranges -----------------------------------------------------------------------------------------------------------


@given(header=st.text(max_size=40) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), size=st.integers(0, 99))
def test_a_range_never_leaves_the_resource(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except Unsatisfiable:
        return
    if found is not None:
        assert 0 <= found.start < found.end <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=99-", ByteRange(99, 100)),
        ("bytes=10-19", ByteRange(10, 20)),
        ("bytes=-30", ByteRange(70, 100)),
        ("bytes=-300", ByteRange(0, 100)),
        ("Bytes = 1-1", ByteRange(1, 2)),
        ("bytes=20-10", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=-", None),
    ],
)
def test_ranges_as_rfc_9110_has_them(header: str | None, expected: ByteRange | None) -> None:
    assert parse_range(header, 100) == expected


# --- Quotations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Да.\n\n> Придёте?\n> Жду.", "Да."),
        ("Yes.\n\nOn Mon, 2 Nov 2026 at 10:00, Vera <v@example.com> wrote:\n> Coming?\n", "Yes."),
        ("Yes.\n\nOn Mon, 2 Nov 2026 at 10:00, Vera Long Name\n<v@example.com> wrote:\n\n> Coming?\n", "Yes."),
        ("Да.\n\n2 ноября 2026, 10:00, Вера пишет:\n> Придёте?\n>> Когда?", "Да."),
        ("Да.\n\n-----Original Message-----\nFrom: Vera\nComing?", "Да."),
        ("См. ниже\n\n-------- Пересылаемое сообщение --------\nОт: Вера", "См. ниже"),
        ("> Придёте?\nДа.\n> Когда?\nВ пять.", "> Придёте?\nДа.\n> Когда?\nВ пять."),
        ("> только цитата", "> только цитата"),
        ("Без цитат.\nСовсем.", "Без цитат.\nСовсем."),
        ("", ""),
    ],
)
def test_the_closing_quotation_is_told_from_the_own_words(text: str, own: str) -> None:
    pieces = pieces_of(text, find_spans(plain_lines(text)))
    assert "".join(words for kind, words in pieces if kind == "own") == own


@given(st.text(alphabet="> \nаb:<@wrote", max_size=80))
def test_no_word_of_a_mail_is_lost_between_own_and_quoted(text: str) -> None:
    text = "\n".join(text.splitlines())
    pieces = pieces_of(text, find_spans(plain_lines(text)))
    assert "".join("".join(words for _, words in pieces).split()) == "".join(text.split())


# --- Texts ------------------------------------------------------------------------------------------------------------

_WEB = Path(agent.web.__file__).parent
_TEMPLATES = {path.name: path.read_text() for path in (_WEB / "templates").glob("*.html")}
_OTHERS = [path for path in _WEB.glob("*.py") if not path.name.startswith("texts")]
_CODE = "\n".join([*_TEMPLATES.values(), *(path.read_text() for path in _OTHERS)])


def test_every_text_is_said_in_both_languages_with_the_same_places() -> None:
    for key, both in TEXTS.items():
        assert len(both) == len(LANGUAGES), key
        assert all(one.strip() for one in both), key
        places = [{name for _, name, _, _ in Formatter().parse(one) if name} for one in both]
        assert places[0] == places[1], key
    assert {len(months) for months in MONTHS.values()} == {12}
    assert {(len(russian), len(english)) for russian, english in COUNTS.values()} == {(3, 2)}


def test_templates_ask_only_for_texts_that_exist() -> None:
    for name, text in _TEMPLATES.items():
        for key in re.findall(r"\bt\('([a-z0-9_]+)'[,)]", text):
            assert key in TEXTS, f"{name}: {key}"
        for noun in re.findall(r"t\.count\([^)]*'(\w+)'\)", text):
            assert noun in COUNTS, f"{name}: {noun}"


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("role", UserRole),
        ("state", LinkState),
        ("source", SourceState),
        ("outcome", [*(one for one in Disposition), "missed"]),
        ("call", ["inbound", "outbound", "internal", "unknown"]),
        ("mail", ["inbound", "outbound", "internal", "unknown"]),
        ("kind", ["phone", "extension", "address", "domain"]),
        ("mark", SHOWN_MARKS),
        ("kind", ["login", "person", "company"]),
        ("rule", RuleDecision),
        ("policy", UnknownPolicy),
        ("column", COLUMNS),
        ("outcome_of", ["new", "filled", "left_out"]),
        ("scope", SCOPES),
        ("remedy", [*REMEDIES, "unseen"]),
        ("source_kind", PARTS),
        ("group", [name.removeprefix("group_") for name, _ in PLACES]),
        ("place", [text for _, places in PLACES for one in places for text in (one.name, f"{one.name}_lead")]),
        ("guide", [text for one in STEPS for text in (one, f"{one}_lead")]),
        ("retention", ["calls", "mails", "would_calls", "would_mails"]),
        ("teams", ["managers_own", "managers_team"]),
    ],
)
def test_every_value_that_can_be_shown_has_a_text(prefix: str, values: list[str]) -> None:
    for value in values:
        assert f"{prefix}_{value}" in TEXTS


def test_no_text_is_left_over() -> None:
    built = (
        *("role_", "state_", "source_", "outcome_", "call_", "mail_", "kind_", "error_", "nav_", "done_", "mark_"),
        *("policy_", "column_", "scope_", "remedy_", "place_", "guide_", "group_", "teams_managers_"),
        *("retention_calls", "retention_mails", "retention_would_"),
        *("masked_", "language_", "talk_", "mask_kind_", "mask_preset_"),
        *("find_kind_", "find_way_", "find_how_", "cards_by_", "moment_", "api_"),
        *("theme_", "due_", "way_", "origin_", "tasks_none_", "tasks_", "private_", "sort_", "remedy_of_"),
        *("category_", "field_", "value_", "tag_", "meeting_", "within_"),  # held to their nouns by the next test
    )
    unused = [key for key in TEXTS if not key.startswith(built) and f"'{key}'" not in _CODE and f'"{key}"' not in _CODE]
    assert unused == []


def test_texts_of_mails_and_meetings_are_those_of_their_nouns() -> None:
    def keys(beginning: str) -> set[str]:
        return {key.removeprefix(beginning) for key in TEXTS if key.startswith(beginning)}

    assert keys("category_") == set(MessageCategory)
    assert keys("field_") == set(FIELDS)
    assert keys("value_") == {value for values in CHOICES.values() for value in values}
    assert keys("tag_") == set(TAGS)
    assert keys("within_") == {*WrappingKind, "bytes"}
    spoken = {key for key in keys("meeting_") if f"'meeting_{key}'" in _CODE}
    assert keys("meeting_") == spoken | set(MeetingState) | {*ANSWERS, "proposed"}


def test_templates_carry_no_inline_script_or_style() -> None:
    for name, text in _TEMPLATES.items():
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|\|\s*safe|autoescape", text), name


@pytest.mark.parametrize(
    ("number", "russian", "english"),
    [(0, "0 записей", "0 entries"), (1, "1 запись", "1 entry"), (3, "3 записи", "3 entries"),
     (11, "11 записей", "11 entries"), (21, "21 запись", "21 entries"), (1112, "1\u00a0112 записей", "1,112 entries")],
)  # fmt: skip
def test_numbers_agree_with_their_nouns(number: int, russian: str, english: str) -> None:
    assert Texts("ru").count(number, "entries") == russian
    assert Texts("en").count(number, "entries") == english


@pytest.mark.parametrize(
    ("cookie", "header", "expected"),
    [
        ("", "", "ru"),
        ("", "en-GB,en;q=0.9,ru;q=0.8", "en"),
        ("", "de,ru;q=0.4,en;q=0.5", "en"),
        ("", "de", "ru"),
        ("en", "ru", "en"),
        ("xx", "en;q=nonsense", "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers(cookie: str, header: str, expected: str) -> None:
    headers = {"Accept-Language": header, "Cookie": f"cardline_language={cookie}"}
    assert language_of(make_mocked_request("GET", "/", headers=headers)) == expected


# --- Formats ----------------------------------------------------------------------------------------------------------

MOSCOW = ZoneInfo("Europe/Moscow")
NOON = datetime(2026, 11, 12, 9, 0, tzinfo=UTC)


def test_times_are_the_readers() -> None:
    formats = Formats(Texts("en"), MOSCOW, now=NOON)
    assert formats.moment(NOON) == "Today, 12:00"
    assert formats.moment(datetime(2026, 11, 10, 22, 30, tzinfo=UTC)) == "Yesterday, 01:30"
    assert formats.day(datetime(2025, 2, 3, tzinfo=UTC)) == "3\u00a0February 2025"
    assert Formats(Texts("ru"), MOSCOW, now=NOON).day(datetime(2026, 5, 3, tzinfo=UTC)) == "3\u00a0мая"
    assert formats.length(0.4) == "0:00"
    assert formats.length(3725) == "1:02:05"
    assert formats.size(999) == "999\u00a0B"
    assert formats.size(1536) == "1.5\u00a0KB"
    assert phone("+74950000011") == "+7 495 000-00-11"
    assert phone("not a number") == "not a number"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "Nowhere/Land", "x" * 200, "\0", "Europe", "/etc/localtime"])
def test_a_made_up_zone_is_no_zone(name: str) -> None:
    assert zone_of({"cardline_zone": name}) is None


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 10**17))
def test_a_position_survives_its_way_through_the_address(moment: datetime, number: int) -> None:
    position = Position(moment=moment, id=number)
    assert parse_position(write_position(position)) == position


@given(st.text(max_size=30))
def test_a_target_after_login_is_a_path_of_ours(text: str) -> None:
    target = local_target(text)
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))
    assert target.isprintable()


# --- Days and threads -------------------------------------------------------------------------------------------------


def mail(number: int, thread: int, hour: int) -> MailView:
    return MailView(
        id=number, started=datetime(2026, 11, 12, hour, tzinfo=UTC), direction="inbound", subject=f"Re: {thread}",
        thread_id=thread, thread_subject=f"thread {thread}", people={}, pieces=(), protection="", signer="",
        has_html=False, attachments=(), category="conversation", category_reason="", flags=(), reasons=(), copies=1,
    )  # fmt: skip


def test_mails_of_a_thread_stand_together_where_the_newest_is() -> None:
    entries = [mail(5, 1, 20), mail(4, 1, 19), mail(3, 2, 18), mail(2, 1, 17), mail(1, 1, 3)]
    days = by_day(entries, lambda moment: moment.astimezone(MOSCOW).date())
    shape = [
        [[one.id for one in item.mails] if isinstance(item, ThreadView) else item.started.hour for item in day.items]
        for day in days
    ]
    assert shape == [[[5, 4, 2, 1], 18]]
    late = [mail(2, 1, 22), mail(1, 2, 10)]
    assert len(by_day(late, lambda moment: moment.astimezone(MOSCOW).date())) == 2


# --- Pieces of a mail -------------------------------------------------------------------------------------------------


def test_a_short_quote_above_its_answer_is_shown_and_the_signature_is_folded() -> None:
    text = "> Придёте?\nДа.\n\n-- \nАнна"
    assert pieces_of(text, find_spans(plain_lines(text))) == (("own", "> Придёте?\nДа."), ("signature", "-- \nАнна"))


def test_a_mail_that_only_quotes_is_shown() -> None:
    assert pieces_of("> a", find_spans(plain_lines("> a"))) == (("own", "> a"),)
