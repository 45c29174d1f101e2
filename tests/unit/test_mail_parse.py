"""Reading mail: a table of nasty ones (made by tests/data/mail/make.py), and what must hold for any bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import Unreadable
from agent.mail.parse import extract_part, parse
from agent.mail.protocol import MESSAGE, Effort
from agent.model import MessageCategory
from agent.model_mail import ParsedMessage
from tests.data.mail.make import MAILS

FOLDER = Path(__file__).parent.parent / "data" / "mail"


def read(name: str) -> ParsedMessage:
    return parse((FOLDER / f"{name}.eml").read_bytes(), {})


def test_the_files_are_what_the_script_writes() -> None:
    assert {path.stem: path.read_bytes() for path in FOLDER.glob("*.eml")} == MAILS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("koi8-r", "Добрый день!"),
        ("unlabelled-1251", "Высылаю договор и счёт."),
        ("unlabelled-koi8", "Высылаю договор и счёт."),
        ("says-utf8-is-1251", "Высылаю договор."),
        ("unknown-charset", "Высылаю."),
        ("zip-as-charset", "text"),
        ("boundary-never-comes", "Still to be read."),
        ("boundary-beside-broken", "Still to be read."),
        ("no-boundary", "Still to be read."),
        ("broken-base64", "Привет"),
        ("no-header", "just a line without any colon\nand another one"),
        ("only-header", ""),
        ("alternative", "The plain words.\n\nA footer.\n\nSubject: forwarded\n\nInner words."),
        ("html-only", "Здравствуйте\n\na b"),
    ],
)
def test_text(name: str, text: str) -> None:
    assert read(name).text == text


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("koi8-r", "Счёт на оплату"),
        ("unlabelled-1251", "Привет"),
        ("unlabelled-koi8", "Привет"),
        ("split-letter", "Привет"),
        ("broken-words", "Ða bc =?utf-8?X?d?= =?"),
        ("nul-and-surrogates", "ab"),
    ],
)
def test_subject(name: str, subject: str) -> None:
    assert read(name).subject == subject


@pytest.mark.parametrize(
    ("name", "attachment"),
    [
        ("rfc2231-name", "Договор.pdf"),
        ("rfc2047-name", "Прайс.pdf"),
        ("raw-8bit-name", "Прайс.pdf"),
        ("star-name", "part-0.pdf"),
    ],
)
def test_attachment_names(name: str, attachment: str) -> None:
    assert [one.name for one in read(name).attachments] == [attachment]


@pytest.mark.parametrize(
    ("name", "message_id", "answered", "references"),
    [
        ("bracketed-id", "[1@example.com]", (), ("a@x", "b@x")),
        ("folded-id", "1@example.com", ("b@x",), ()),
        ("no-id-no-date", "", (), ()),
        ("two-ids", "1@example.com", (), ()),
    ],
)
def test_ids(name: str, message_id: str, answered: tuple[str, ...], references: tuple[str, ...]) -> None:
    message = read(name)
    assert (message.message_id, message.in_reply_to, message.references) == (message_id, answered, references)


def test_a_huge_id_is_the_same_for_its_message_and_for_those_who_name_it() -> None:
    huge = "a" * 5000 + "@example.com"
    answer = parse(f"In-Reply-To: <{huge}>\r\nReferences: <x@x>\r\n <{huge}>\r\n\r\n".encode(), {})
    own = read("huge-id").message_id
    assert len(own) < 100
    assert answer.in_reply_to == (own,)
    assert answer.references == ("x@x", own)


def test_addresses() -> None:
    found = [(party.position, party.value, party.name) for party in read("addresses").parties]
    assert found == [
        ("from", "anna@example.com", "Анна"),
        ("to", "boris@example.com", "Sidorov, Boris"),
        ("to", "carl@example.com", ""),
        ("to", "dora@example.com", "D"),
        ("cc", "eva@example.com", ""),
    ]


def test_recipients_that_only_the_envelope_knows() -> None:
    raw = b"From: anna@example.com\r\nTo: Boris@example.com\r\n\r\n"
    message = parse(raw, {"mail_from": "anna@example.com", "rcpt_to": ["boris@example.com", "hidden@example.com", "x"]})
    assert [(one.position, one.value) for one in message.parties] == [
        ("from", "anna@example.com"),
        ("to", "Boris@example.com"),
        ("envelope", "hidden@example.com"),
    ]


def test_what_was_broken_is_said() -> None:
    assert read("no-header").problems == ("nobody is named as the sender", "there is no date", "there is no Message-ID")
    assert "the charset 'x-klingon' is unknown" in read("unknown-charset").problems
    assert "the text is not in utf-8" in read("says-utf8-is-1251").problems
    assert "the date cannot be read" in read("addresses").problems
    assert read("koi8-r").problems == ()


def test_html_runs_and_loads_nothing() -> None:
    html = read("html-only").html
    assert "Здравствуйте" in html
    assert 'href="https://example.com/"' in html
    for dangerous in ("script", "onclick", "url(", "pixel.gif", "javascript", "<form", "<input", "color:red"):
        assert dangerous not in html


@pytest.mark.parametrize(
    "source",
    [
        "<img src=//example.com/a.gif>",
        "<img srcset='https://example.com/a.gif 1x'>",
        "<table background=https://example.com/a.gif><tr><td>",
        "<p style='color:red;list-style:url(https://example.com)'>",
        "<p style='width:u\\72l(https://example.com)'>",
        "<link rel=stylesheet href=https://example.com/a.css>",
        "<style>@import 'https://example.com/a.css'</style>",
        "<svg><image href=https://example.com/a.gif></svg>",
        "<video poster=https://example.com/a.gif src=https://example.com/a.mp4>",
        "<iframe src=https://example.com>",
        "<base href=https://example.com/><img src=a.gif>",
        "<object data=https://example.com/a>",
        "<meta http-equiv=refresh content='0;url=https://example.com'>",
    ],
)
def test_no_html_reaches_another_server(source: str) -> None:
    raw = b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n" + source.encode()
    assert "example.com" not in parse(raw, {}).html


def test_a_picture_inside_of_the_mail_stays() -> None:
    raw = b"Content-Type: text/html\r\n\r\n<img src='data:image/png;base64,AAAA'><img src='data:text/html;base64,AAAA'>"
    html = parse(raw, {}).html
    assert "data:image/png" in html
    assert "data:text/html" not in html


def test_attachments_are_listed_and_can_be_saved() -> None:
    raw = (FOLDER / "alternative.eml").read_bytes()
    listed = parse(raw, {}).attachments
    assert [(one.part, one.name, one.media_type) for one in listed] == [
        (5, "part-5.png", "image/png"),
        (7, "part-7.eml", "message/rfc822"),
    ]
    for one in listed:
        content, name, media_type = extract_part(raw, one.part)
        assert (name, media_type, len(content)) == (one.name, one.media_type, one.size)
        assert hashlib.sha256(content).hexdigest() == one.sha256
    assert extract_part(raw, 5)[0] == b"PNG"
    assert extract_part(raw, 7)[0] == b"Subject: forwarded\r\n\r\nInner words."


@pytest.mark.parametrize("part", [-1, 8, 10**9])
def test_a_part_that_is_not_there(part: int) -> None:
    with pytest.raises(Unreadable):
        extract_part((FOLDER / "alternative.eml").read_bytes(), part)


@pytest.mark.parametrize(
    ("header", "envelope", "category"),
    [
        ("", {}, MessageCategory.CONVERSATION),
        ("", {"mail_from": ""}, MessageCategory.AUTOMATIC),
        ("", {"mail_from": "anna@example.com"}, MessageCategory.CONVERSATION),
        ("X-MS-Journal-Report: ", {"mail_from": ""}, MessageCategory.CONVERSATION),
        ("Return-Path: <>", {}, MessageCategory.AUTOMATIC),
        ("Auto-Submitted: no", {}, MessageCategory.CONVERSATION),
        ("Auto-Submitted: auto-generated", {}, MessageCategory.AUTOMATIC),
        ("X-Autoreply: yes", {}, MessageCategory.AUTOMATIC),
        ("Precedence: auto_reply", {}, MessageCategory.AUTOMATIC),
        ("Precedence: bulk", {}, MessageCategory.NEWSLETTER),
        ("Precedence: first-class", {}, MessageCategory.CONVERSATION),
        ("List-Id: <news.example.com>", {}, MessageCategory.NEWSLETTER),
        ("List-Unsubscribe: <https://example.com>", {}, MessageCategory.NEWSLETTER),
    ],
)
def test_category_by_header(header: str, envelope: dict[str, str], category: MessageCategory) -> None:
    message = parse(
        f"From: a@example.com\r\n{header}\r\nX: y\r\n\r\nx".replace("\r\n\r\nX:", "\r\nX:").encode(), envelope
    )
    assert message.category is category
    assert message.category_reason


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("bounce", MessageCategory.BOUNCE),
        ("newsletter", MessageCategory.NEWSLETTER),
        ("vacation", MessageCategory.AUTOMATIC),
        ("invitation", MessageCategory.CONVERSATION),
    ],
)
def test_category_of_whole_mails(name: str, category: MessageCategory) -> None:
    assert read(name).category is category


COPY = b"Message-ID: <1@example.com>\r\nFrom: %s\r\nDate: %s\r\nSubject: x\r\n\r\n%s"


def test_copies_of_one_mail_have_one_key() -> None:
    sent = COPY % (b"Anna <anna@example.com>", b"Mon, 2 Mar 2026 10:00:00 +0300", b"x\n")
    delivered = b"Received: by mx\r\nBcc: c@example.com\r\n" + COPY % (
        b"=?utf-8?q?Anna?= <Anna@Example.com>",
        b"Mon, 02 Mar 2026 07:00:00 GMT",
        b"x\r\n-- \r\nscanned\r\n",
    )
    assert parse(sent, {}).logical_key == parse(delivered, {"mail_from": "anna@example.com"}).logical_key


def test_mails_that_share_an_id_stay_apart() -> None:
    first = COPY % (b"scanner@example.com", b"Mon, 2 Mar 2026 10:00:00 +0300", b"1")
    second = COPY % (b"scanner@example.com", b"Mon, 2 Mar 2026 10:05:00 +0300", b"2")
    assert parse(first, {}).logical_key != parse(second, {}).logical_key


def test_without_an_id_the_content_decides() -> None:
    mail = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\n\r\n%s\r\n"
    plain = parse(mail % b"one two", {}).logical_key
    assert parse(b"Received: by mx\r\n" + mail % b"one  two\r\n", {}).logical_key == plain
    assert parse(mail % b"three", {}).logical_key != plain


@pytest.mark.parametrize("raw", [b"", b"\r\n\r\n", b" \t\n"])
def test_nothing_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(raw, {})


def mutated(raw: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, new in changes:
        at = place % (len(raw) + 1)
        raw = raw[:at] + new + raw[at + length :]
    return raw


_pieces = st.sampled_from(
    [
        b"",
        b"\x00",
        b"\xff",
        b"\r\n",
        b"\r\n\r\n",
        b"--b\r\n",
        b"--b--",
        b"=?utf-8?B?",
        b"?=",
        b"<",
        b"@",
        b'"',
        b"(",
        b";",
    ]
) | st.binary(max_size=6)
_changes = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 60), _pieces), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(MAILS)), changes=_changes, effort=st.sampled_from(Effort))
def test_whatever_is_broken_it_is_read_and_can_be_stored(
    name: str, changes: list[tuple[int, int, bytes]], effort: Effort
) -> None:
    raw = mutated(MAILS[name], changes)
    try:
        message = parse(raw, {}, effort=effort)
    except Unreadable:
        assert not raw.strip()
        return
    encoded = MESSAGE.dump_json(message)  # raises on lone surrogates, as PostgreSQL would
    assert b"\\u0000" not in encoded
    assert MESSAGE.validate_json(encoded) == message
    for one in message.attachments if effort is not Effort.HEADER else ():
        assert len(extract_part(raw, one.part)[0]) == one.size
