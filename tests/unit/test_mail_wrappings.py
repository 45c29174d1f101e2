"""Mails within wrappings: winmail.dat, S/MIME made by openssl, uuencode, attached mails, invitations."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.mail.cms import read_cms
from agent.mail.parse import extract_part, parse
from agent.mail.quotes import own_words
from agent.mail.tnef import read_tnef
from agent.model_mail import ParsedMessage, Protection, ProtectionKind, SpanKind
from tests.unit.mail_lab import HEAD, attached, docx, mixed, openssl_cms, tnef


def check_saved(raw: bytes, message: ParsedMessage) -> None:
    """Each attachment listed can be saved by its number."""
    for one in message.attachments:
        content, name, _ = extract_part(raw, one.part)
        assert (name, hashlib.sha256(content).hexdigest()) == (one.name, one.sha256)


# --- winmail.dat ------------------------------------------------------------------------------------------------------


def test_winmail_is_the_files_in_it() -> None:
    inside = tnef(files={"Договор.docx": docx("Поставка"), "b.bin": b"\1\2"})
    raw = mixed(b"\r\nwords", attached(inside, "application/ms-tnef", "winmail.dat"))
    message = parse(raw, {})
    assert [(one.name, one.size) for one in message.attachments] == [
        ("Договор.docx", len(docx("Поставка"))),
        ("b.bin", 2),
    ]
    assert message.attachments[0].sniffed_type.endswith("wordprocessingml.document")
    assert message.text == "words"
    check_saved(raw, message)
    assert extract_part(raw, 2)[0] == inside


def test_winmail_with_the_words_in_it() -> None:
    inside = tnef(html="<p>Добрый <b>день</b></p>".encode())
    message = parse(mixed(attached(inside, "application/octet-stream", "winmail.dat")), {})
    assert message.text == "Добрый день"
    assert "<b>" in message.html
    again = parse(mixed(b"\r\nwords", attached(inside, "application/ms-tnef", "winmail.dat")), {})
    assert again.text == "words"


@pytest.mark.parametrize("cut", [0, 3, 6, 11, 40, 60, 100])
def test_a_broken_winmail_stays_an_attachment_or_gives_what_it_has(cut: int) -> None:
    whole = tnef(html=b"<p>x", files={"a.bin": b"abc" * 20})
    raw = mixed(b"\r\nwords", attached(whole[:cut], "application/ms-tnef", "winmail.dat"))
    message = parse(raw, {})
    assert message.text == "words"
    check_saved(raw, message)


def test_a_winmail_of_a_million_objects_is_not_opened() -> None:
    assert read_tnef(tnef() + b"\1\x00\x00\x00\x00\0\0\0\0\0\0" * 100_000) is None


# --- S/MIME -----------------------------------------------------------------------------------------------------------

_INNER = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + "Добрый день".encode()


@pytest.mark.parametrize("streamed", [(), ("-stream",)], ids=["DER", "BER"])
def test_an_opaque_signature_is_unwrapped(tmp_path: Path, streamed: tuple[str, ...]) -> None:
    der = openssl_cms(tmp_path, "-sign", "-nodetach", "-outform", "DER", *streamed, content=_INNER)
    head = HEAD + b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
    raw = head + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(der)
    message = parse(raw, {})
    assert message.text == "Добрый день"
    assert message.protection == Protection(kind=ProtectionKind.SIGNED, method="S/MIME", signer="anna@example.com")
    assert message.attachments == ()
    assert extract_part(raw, 0)[0] == der


def test_a_detached_signature_says_who_signed(tmp_path: Path) -> None:
    raw = HEAD + openssl_cms(tmp_path, "-sign", content=_INNER).replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")
    message = parse(raw, {})
    assert message.text == "Добрый день"
    assert message.protection == Protection(kind=ProtectionKind.SIGNED, method="S/MIME", signer="anna@example.com")


def test_an_encrypted_mail_is_flagged(tmp_path: Path) -> None:
    raw = HEAD + openssl_cms(tmp_path, "-encrypt", content=_INNER)
    message = parse(raw, {})
    assert message.protection == Protection(kind=ProtectionKind.ENCRYPTED, method="S/MIME")
    assert any("encrypted" in problem for problem in message.problems)
    assert len(message.attachments) == 1


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (
            b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
            ProtectionKind.ENCRYPTED,
        ),
        (b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b', ProtectionKind.SIGNED),
        (b"X: y\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabc", ProtectionKind.ENCRYPTED),
        (b"X: y\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nabc", ProtectionKind.SIGNED),
    ],
)
def test_openpgp(raw: bytes, kind: ProtectionKind) -> None:
    assert parse(HEAD + raw + b"\r\n\r\n--b\r\n\r\nwords\r\n--b--\r\n", {}).protection == Protection(
        kind=kind, method="OpenPGP"
    )


def test_certificates_nested_without_end(tmp_path: Path) -> None:
    assert read_cms(b"\x30\x80" * 100_000) is None
    assert read_cms(b"\x30\x84\xff\xff\xff\xff") is None
    der = openssl_cms(tmp_path, "-sign", "-nodetach", "-outform", "DER", content=_INNER)
    for cut in range(0, len(der), 97):
        read_cms(der[:cut])  # whatever it says, it does not raise


# --- Files in the text ------------------------------------------------------------------------------------------------


def test_uuencoded_files_are_attachments() -> None:
    body = b"see below\r\n\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\nand after\r\n"
    message = parse(HEAD + b"\r\n" + body, {})
    assert message.text == "see below\n\nand after"
    assert [(one.name, one.size) for one in message.attachments] == [("a.txt", 3)]
    check_saved(HEAD + b"\r\n" + body, message)


@pytest.mark.parametrize("body", [b"begin 644 a\r\n#0V%T\r\n", b"begin the day\r\nend", b"begin 644 x\r\n\r\nend"])
def test_what_only_looks_uuencoded_is_text(body: bytes) -> None:
    message = parse(HEAD + b"\r\n" + body, {})
    assert message.text.startswith("begin")
    assert message.attachments == ()


# --- Attached mails ---------------------------------------------------------------------------------------------------


def test_an_attached_mail_is_shown_and_its_people_are_kept() -> None:
    inner = (
        b"Content-Type: message/rfc822\r\n\r\nFrom: Boris <boris@example.net>\r\nTo: anna@example.com\r\n"
        b"Subject: Order\r\nMessage-ID: <in@example.net>\r\n\r\nTen pieces.\r\n"
    )
    message = parse(mixed(b"\r\nSee below.", inner), {})
    assert own_words(message.text, message.spans) == "See below."
    assert "From: Boris <boris@example.net>" in message.text
    assert message.text.endswith("Ten pieces.")
    assert message.spans[-1].kind is SpanKind.ORIGINAL
    (original,) = message.originals
    assert (original.message_id, original.subject) == ("in@example.net", "Order")
    assert [(one.position, one.value) for one in original.parties] == [
        ("from", "boris@example.net"),
        ("to", "anna@example.com"),
    ]
    assert [one.name for one in message.attachments] == [f"part-{original.part}.eml"]


def test_attaching_changes_no_key() -> None:
    alone = parse(b"From: a@example.com\r\n\r\nwords", {})
    assert alone.logical_key == parse(b"From: a@example.com\r\n\r\nwords\r\n", {}).logical_key


# --- Invitations ------------------------------------------------------------------------------------------------------

_EVENT = (
    "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:42@example.com\r\nSEQUENCE:2\r\n"
    "DTSTART;TZID=Europe/Moscow:20260302T100000\r\nDURATION:PT45M\r\nSUMMARY:Встреча\r\nLOCATION:Zoom\\, 3\r\n"
    "ORGANIZER;CN=Anna:mailto:Anna@example.com\r\n"
    "ATTENDEE;CN=Boris;PARTSTAT=ACCEPTED:MAILTO:boris@example.net\r\nATTENDEE:mailto:vera@example.net\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)


def calendar(source: str, head: str = "text/calendar; charset=utf-8") -> bytes:
    return mixed(b"\r\nwords", f"Content-Type: {head}\r\n\r\n{source}".encode())


def test_an_invitation() -> None:
    (found,) = parse(calendar(_EVENT), {}).invitations
    assert (found.method, found.uid, found.sequence, found.is_all_day, found.is_recurring) == (
        "REQUEST",
        "42@example.com",
        2,
        False,
        False,
    )
    assert found.start == datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
    assert found.end == datetime(2026, 3, 2, 7, 45, tzinfo=UTC)
    assert (found.summary, found.location) == ("Встреча", "Zoom, 3")
    assert found.organizer is not None
    assert (found.organizer.address, found.organizer.name) == ("anna@example.com", "Anna")
    assert [(one.address, one.status) for one in found.attendees] == [
        ("boris@example.net", "accepted"),
        ("vera@example.net", "needs-action"),
    ]


def test_the_same_calendar_twice_is_one_invitation() -> None:
    part = b"Content-Type: text/calendar; charset=utf-8\r\n\r\n" + _EVENT.encode()
    assert len(parse(mixed(part, part.replace(b"text/calendar", b"application/ics")), {}).invitations) == 1


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (
            ("DTSTART;TZID=Europe/Moscow:20260302T100000", "DTSTART:20260302T100000Z"),
            datetime(2026, 3, 2, 10, tzinfo=UTC),
        ),
        (("TZID=Europe/Moscow", "TZID=Russian Standard Time"), datetime(2026, 3, 2, 7, tzinfo=UTC)),
        (
            ("DTSTART;TZID=Europe/Moscow:20260302T100000", "DTSTART;VALUE=DATE:20260302"),
            datetime(2026, 3, 2, tzinfo=UTC),
        ),
        (("DTSTART;TZID=Europe/Moscow:20260302T100000\r\n", ""), None),
    ],
)
def test_when_it_begins(change: tuple[str, str], start: datetime | None) -> None:
    (found,) = parse(calendar(_EVENT.replace(*change)), {}).invitations
    assert found.start == start


@pytest.mark.parametrize(
    "source",
    [
        "",
        "BEGIN:VCALENDAR",
        "\0" * 100,
        "BEGIN:VEVENT\r\n" * 5000,
        _EVENT.replace("20260302T100000", "99999999T999999"),
    ],
)
def test_a_broken_calendar_costs_no_mail(source: str) -> None:
    assert parse(calendar(source), {}).text == "words"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 40), st.text(max_size=4)), max_size=6))
def test_a_mutated_calendar_costs_no_mail(changes: list[tuple[int, int, str]]) -> None:
    source = _EVENT
    for place, length, new in changes:
        source = source[:place] + new + source[place + length :]
    message = parse(calendar(source.replace("--b", "")), {})
    assert message.text.startswith("words")
