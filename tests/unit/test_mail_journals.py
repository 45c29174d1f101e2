"""Journal reports and forwards: who took part, and the original byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from agent.mail.dates import read_written_date, zone_of
from agent.mail.deliveries import read_delivery
from agent.mail.forwards import quoted_original
from agent.mail.journals import open_journal
from agent.mail.parse import INSIDE, extract_part, parse
from agent.mail.slices import attached_mails, whole
from agent.model_mail import ParsedMessage, WrappingKind
from tests.unit.journal_mails import ORIGINAL, REPORT_WORDS, forward, forward_attached, journal, undelivered

JOURNAL: Mapping[str, Any] = {
    "mail_from": "",
    "rcpt_to": ["journal@archive.example.com"],
    "doors": {"journal@archive.example.com": "journal"},
}
DROP: Mapping[str, Any] = {
    "mail_from": "anna@example.com",
    "rcpt_to": ["drop@archive.example.com"],
    "doors": {"drop@archive.example.com": "drop"},
}


def people(message: ParsedMessage) -> set[tuple[str, str]]:
    return {(one.position, one.value) for one in message.parties}


PARTIES = {
    ("from", "boris@client.example"),
    ("to", "anna@example.com"),
    ("to", "sales@example.com"),
    ("expanded", "oleg@example.com"),
    ("expanded", "pavel@example.com"),
    ("bcc", "head@example.com"),
    ("envelope", "audit@example.com"),
}


@pytest.mark.parametrize("build", [journal, lambda: undelivered(journal())], ids=["report", "undelivered report"])
def test_a_report_becomes_its_original(build: Any) -> None:
    raw = build()
    message = read_delivery(raw, JOURNAL)
    plain = parse(ORIGINAL, {})
    assert message.logical_key == plain.logical_key
    assert (message.subject, message.text, message.sent) == (plain.subject, plain.text, plain.sent)
    assert people(message) == PARTIES
    assert message.category == plain.category
    wrapping = message.wrapping
    assert wrapping is not None and wrapping.kind is WrappingKind.JOURNAL
    assert wrapping.offset is not None and wrapping.size is not None
    inner = raw[wrapping.offset : wrapping.offset + wrapping.size]
    assert inner == ORIGINAL
    assert wrapping.sha256 == hashlib.sha256(ORIGINAL).hexdigest()
    assert [one.expanded for one in wrapping.recipients if one.address == "oleg@example.com"] == ["sales@example.com"]
    assert [one.forwarded for one in wrapping.recipients if one.address == "pavel@example.com"] == ["petr@example.com"]


@pytest.mark.parametrize("build", [journal, lambda: undelivered(journal()), lambda: forward_attached(ORIGINAL)])
def test_attachments_are_cut_out_of_the_original(build: Any) -> None:
    raw = build()
    message = read_delivery(raw, JOURNAL if b"Sender:" in raw else DROP)
    [attachment] = message.attachments
    assert attachment.part > INSIDE
    content, name, _ = extract_part(raw, attachment.part)
    assert (content, name) == (b"100 \x98", "price.txt")
    assert hashlib.sha256(content).hexdigest() == attachment.sha256


def test_a_report_without_marks_is_one_at_its_door_only() -> None:
    raw = journal(marks=b"")
    assert read_delivery(raw, JOURNAL).wrapping is not None
    anywhere = {"rcpt_to": ["x@archive.example.com"]}
    assert read_delivery(raw, anywhere).wrapping is None
    assert read_delivery(journal(), anywhere).wrapping is not None
    assert read_delivery(journal(marks=b"Content-Identifer: ExJournalReport\r\n"), anywhere).wrapping is not None


def test_a_report_in_a_mailbox_or_at_another_door_is_what_it_is() -> None:
    """Anybody could send one: only where journals come in is it believed."""
    assert read_delivery(journal(), {"folder": "INBOX", "uid": 1}).wrapping is None
    assert read_delivery(journal(), DROP).message_id == "report-1@mail.example.com"
    team = {"rcpt_to": ["sales@archive.example.com"], "doors": {"sales@archive.example.com": "team"}}
    assert read_delivery(journal(), team).wrapping is None


def test_a_mail_that_only_quotes_a_report_is_itself() -> None:
    words = b"See what the server said:\r\n" + REPORT_WORDS
    assert read_delivery(journal(words, marks=b""), JOURNAL).wrapping is None
    assert read_delivery(journal(b"\r\n\r\n" + REPORT_WORDS, marks=b""), JOURNAL).wrapping is not None
    assert read_delivery(journal(words), JOURNAL).wrapping is not None


def test_several_reports_of_one_mail_have_one_key() -> None:
    first = read_delivery(journal(REPORT_WORDS.split(b"Bcc")[0]), JOURNAL)
    second = read_delivery(
        journal(b"Sender: boris@client.example\r\nMessage-ID: <x>\r\nBcc: b@example.com\r\n"), JOURNAL
    )
    assert first.logical_key == second.logical_key
    assert ("bcc", "b@example.com") in people(second)


def test_the_list_of_exchange_2003() -> None:
    words = (
        b'Sender: b@client.example\r\nMessage-ID: <x>\r\nRecipients:\r\n"Oleg" <oleg@example.com>\r\nz@example.com\r\n'
    )
    found = people(read_delivery(journal(words), JOURNAL))
    assert {("envelope", "oleg@example.com"), ("envelope", "z@example.com")} <= found


def test_a_sender_whom_the_original_does_not_name() -> None:
    bare = b"Subject: x\r\nMessage-ID: <1@example.com>\r\n\r\nx\r\n"
    assert ("from", "boris@client.example") in people(read_delivery(journal(original=bare), JOURNAL))


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(ORIGINAL, id="as it is"),
        pytest.param(ORIGINAL.rstrip(), id="no end of line"),
        pytest.param(b"\r\n" + ORIGINAL, id="empty header"),
        pytest.param(b"x: y\n\nbare\nlines\n", id="bare LF"),
        pytest.param(b"x: y\r\n\r\n--_000_repor\r\nb\r\n", id="nearly a boundary"),
        pytest.param(b"x: y", id="header only"),
    ],
)
def test_the_original_is_found_byte_for_byte(original: bytes) -> None:
    raw = journal(original=original)
    found = open_journal(raw)
    assert found is not None
    assert raw[found.original.body : found.original.end] == original


def test_an_original_that_somebody_encoded() -> None:
    import base64

    encoded = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(ORIGINAL)
    raw = journal(original=b"@@").replace(b"\r\n\r\n@@", b"\r\n" + encoded)
    message = read_delivery(raw, JOURNAL)
    assert message.logical_key == parse(ORIGINAL, {}).logical_key
    assert message.wrapping is not None
    assert (message.wrapping.offset, message.wrapping.sha256) == (None, hashlib.sha256(ORIGINAL).hexdigest())


@pytest.mark.parametrize("cut", range(0, 1200, 23))
def test_a_report_cut_anywhere_is_still_read(cut: int) -> None:
    raw = journal()[:cut] or b"x"
    assert read_delivery(raw, JOURNAL).text is not None


def test_a_copy_at_the_journal_door_is_itself_without_the_door() -> None:
    """Postfix always_bcc: the envelope names the door only. Google: each copy says for whom it was."""
    assert people(read_delivery(ORIGINAL, JOURNAL)) == {one for one in PARTIES if one[0] in ("from", "to")}
    google = b"X-Gm-Original-To: oleg@example.com\r\n" + ORIGINAL
    found = read_delivery(google, JOURNAL)
    assert ("envelope", "oleg@example.com") in people(found)
    assert found.logical_key == parse(ORIGINAL, {}).logical_key
    postfix = b"X-Original-To: journal@archive.example.com\r\n" + ORIGINAL
    assert "journal@archive.example.com" not in {one.value for one in read_delivery(postfix, JOURNAL).parties}


def test_a_bounce_at_the_journal_door_stays_a_bounce() -> None:
    bounce = undelivered(ORIGINAL)
    message = read_delivery(bounce, JOURNAL)
    assert message.wrapping is None
    assert message.category == "bounce"


# --- The drop address -------------------------------------------------------------------------------------------------


def test_an_attached_original_is_the_entry() -> None:
    raw = forward_attached(ORIGINAL)
    message = read_delivery(raw, DROP)
    assert message.logical_key == parse(ORIGINAL, {}).logical_key
    assert people(message) == {one for one in PARTIES if one[0] in ("from", "to")}
    assert message.wrapping is not None
    assert (message.wrapping.kind, message.wrapping.by) == (WrappingKind.ATTACHED, "anna@example.com")
    assert raw[message.wrapping.offset :].startswith(ORIGINAL)


def test_several_attached_mails_leave_the_forward_as_it_is() -> None:
    message = read_delivery(forward_attached(ORIGINAL, ORIGINAL), DROP)
    assert message.message_id == "forward-2@example.com"
    assert len(message.originals) == 2


def test_a_forward_to_a_client_with_the_door_in_bcc_is_a_mail_to_the_client() -> None:
    words = "---------- Forwarded message ---------\nFrom: b@client.example\nDate: x\nTo: y\n"
    client = "dora@client.example"
    for raw in (forward_attached(ORIGINAL, to=client), forward(words, to=client)):
        message = read_delivery(raw, DROP)
        assert message.wrapping is None
        assert ("to", "dora@client.example") in people(message)
        assert "drop@archive.example.com" not in {one.value for one in message.parties}


def test_a_quoted_original_is_the_entry_and_all_words_are_kept() -> None:
    words = (
        "He is angry.\n\n---------- Forwarded message ---------\nFrom: Boris <boris@client.example>\n"
        "Date: Mon, Mar 2, 2026 at 10:00 AM\nSubject: Счёт\nTo: <anna@example.com>\n\nGde schet?\n"
    )
    message = read_delivery(forward(words, In_Reply_To="<order-7@client.example>"), DROP)
    assert people(message) == {("from", "boris@client.example"), ("to", "anna@example.com")}
    assert (message.subject, message.sent) == ("Счёт", datetime(2026, 3, 2, 7, 0, tzinfo=UTC))
    assert "He is angry." in message.text and "Gde schet?" in message.text
    assert set(message.references) == {"order-7@client.example", "forward-1@example.com"}
    assert message.wrapping is not None
    assert (message.wrapping.kind, message.wrapping.by) == (WrappingKind.QUOTED, "anna@example.com")
    again = read_delivery(forward(words, Reply_To="anna@example.com"), DROP)
    assert again.logical_key == message.logical_key


def test_who_forwards_what_others_wrote_to_each_other_took_part() -> None:
    words = "From: b@client.example\nDate: 2 Mar 2026 10:00\nTo: c@client.example\nSubject: x\n\ny"
    assert ("envelope", "anna@example.com") in people(read_delivery(forward(words), DROP))


def test_a_plain_mail_to_the_drop_address_is_itself() -> None:
    message = read_delivery(forward("Remember to call Boris.", subject="Note"), DROP)
    assert message.wrapping is None
    assert people(message) == {("from", "anna@example.com")}


def scenarios() -> Iterator[Any]:
    text = (Path(__file__).parents[1] / "scenarios" / "forwards.txt").read_text()
    for block in text.split("\n=== ")[1:]:
        name, _, rest = block.partition("\n")
        expected, _, words = rest.partition("\n---\n")
        yield pytest.param(expected, words, id=name)


@pytest.mark.parametrize(("expected", "words"), list(scenarios()))
def test_words_of_forwards(expected: str, words: str) -> None:
    found = quoted_original(words, zone=timezone(timedelta(hours=3)))
    if expected == "nothing":
        assert found is None
        return
    assert found is not None
    people = {
        kind: ", ".join(one.value for one in found.parties if one.position == kind) for kind in ("from", "to", "cc")
    }
    when = f"{found.sent:%Y-%m-%d %H:%M}" if found.sent else "none"
    said = f"from {people['from']}; to {people['to']}; cc {people['cc']}; {when}; {found.subject}"
    assert said.rstrip() == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Mon, 2 Mar 2026 10:00:00 +0300", "2026-03-02 07:00"),
        ("2026-03-02 10:00", "2026-03-02 10:00"),
        ("3/2/2026 1:05 PM", "2026-03-02 13:05"),
        ("02/03/2026 13:05", "2026-03-02 13:05"),
        ("2. März 2026 um 10:00", "2026-03-02 10:00"),
        ("lundi 2 août 2026 à 10:00", "2026-08-02 10:00"),
        ("12:30 AM, March 2, 2026", "2026-03-02 00:30"),
        ("2 мая 2026, 10:00 UTC-5", "2026-05-02 15:00"),
        ("yesterday", None),
        ("31.02.2026 10:00", None),
        ("1.1.0001 10:00", None),
        ("Mon, 2 Mar 2026 10:00:00 +99999999", "2026-03-02 10:00"),
        ("", None),
    ],
)
def test_written_dates(words: str, expected: str | None) -> None:
    found = read_written_date(words)
    assert (f"{found:%Y-%m-%d %H:%M}" if found else None) == expected


def test_zones_of_date_headers() -> None:
    assert zone_of("Mon, 2 Mar 2026 10:00:00 +0530").utcoffset(None) == timedelta(hours=5, minutes=30)
    assert zone_of("nonsense") is UTC
    assert zone_of("Mon, 2 Mar 2026 10:00:00 +9999999") is UTC


def test_bombs_cost_little() -> None:
    nested = b""
    for depth in range(300):
        nested += b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (depth, depth)
    many = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n" * 200_000
    mails = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" * 50_000
    )
    for raw in (nested, many, mails):
        assert len(attached_mails(raw, whole(raw))) <= 1000
        assert read_delivery(raw, DROP).text is not None
    assert quoted_original("From: " + "a" * 1_000_000, zone=UTC) is None
    assert quoted_original("On: x\n" * 200_000, zone=UTC) is None
