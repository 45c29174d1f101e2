"""What came back: which mail it is about and whom it did not reach; and what of a header is kept for rules."""

from __future__ import annotations

import pytest

from agent.mail.classify import KEPT_HEADERS
from agent.mail.parse import parse
from agent.model import MessageCategory
from agent.model_mail import ParsedReport

HEAD = (
    "Return-Path: <>\r\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.com>\r\nTo: anna@example.com\r\n"
    "Subject: Undelivered Mail Returned to Sender\r\nDate: Mon, 2 Mar 2026 10:00:00 +0300\r\n"
    "Message-ID: <bounce-1@mx.example.com>\r\nMIME-Version: 1.0\r\n"
)
STATUS = (
    "Reporting-MTA: dns; mx.example.com\r\n\r\n"
    "Final-Recipient: rfc822; Petrov@Client.example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 <petrov@client.example.org>: no such user\r\n\r\n"
    "Final-Recipient: rfc822; vera@client.example.org\r\nAction: delayed\r\nStatus: 4.2.0\r\n"
)
FAILED = (("petrov@client.example.org", "550 5.1.1 <petrov@client.example.org>: no such user"),)


def report(third: str, body: str) -> bytes:
    return (
        f'{HEAD}Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        f"--b\r\n\r\nIt could not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n{STATUS}\r\n"
        f"--b\r\nContent-Type: {third}\r\n\r\n{body}\r\n--b--\r\n"
    ).encode()


def plain(more: str, body: str) -> bytes:
    return f"{HEAD}{more}\r\n{body}".encode()


RETURNED = "Message-ID: <offer-1@example.com>\r\nFrom: anna@example.com\r\nSubject: Offer\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (report("message/rfc822", f"{RETURNED}Hello"), ParsedReport(about_ids=("offer-1@example.com",), failed=FAILED)),
        (report("text/rfc822-headers", RETURNED), ParsedReport(about_ids=("offer-1@example.com",), failed=FAILED)),
        (report("text/plain", "nothing"), ParsedReport(about_ids=(), failed=FAILED)),
        (
            plain("", f"Hi. This is the qmail-send program.\r\n--- Below this line is a copy.\r\n\r\n{RETURNED}"),
            ParsedReport(about_ids=("offer-1@example.com",)),
        ),
        (
            plain("In-Reply-To: <offer-1@example.com>\r\nX-Failed-Recipients: petrov@client.example.org\r\n", "Sorry."),
            ParsedReport(about_ids=("offer-1@example.com",), failed=(("petrov@client.example.org", ""),)),
        ),
    ],
    ids=["the mail", "its header", "neither", "in the text", "by In-Reply-To"],
)
def test_what_a_report_says(raw: bytes, expected: ParsedReport) -> None:
    found = parse(raw, {})
    assert (found.category, found.report) == (MessageCategory.BOUNCE, expected)


def test_a_mail_that_is_no_report_has_none() -> None:
    raw = f"From: a@example.com\r\nSubject: x\r\n\r\n{RETURNED}".encode()
    assert parse(raw, {}).report is None


def test_thousands_of_recipients_and_endless_ids_are_cut() -> None:
    block = "Final-Recipient: rfc822; {}@example.org\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n"
    status = "Reporting-MTA: dns; mx.example.com\r\n\r\n" + "".join(block.format(n) for n in range(2000))
    returned = f"Message-ID: <{'x' * 100_000}@example.com>\r\n\r\n"
    raw = report("message/rfc822", returned).replace(STATUS.encode(), status.encode())
    found = parse(raw, {}).report
    assert found is not None
    assert 0 < len(found.failed) <= 20
    assert all(len(one) <= 500 for one in found.about_ids)


def test_headers_that_rules_ask_for_are_kept_short_and_no_others() -> None:
    raw = (
        "From: a@example.com\r\nX-Mailer: =?utf-8?b?0JrQsNGA0YLQsA==?=\r\n\tand more\r\nList-Id: " + "x" * 5000 + "\r\n"
        "X-Secret: 1\r\nSubject: x\r\n\r\n"
    )
    found = parse(raw.encode(), {}).headers
    assert set(found) == {"x-mailer", "list-id"} <= set(KEPT_HEADERS)
    assert found["x-mailer"] == "Карта and more"
    assert max(map(len, found.values())) <= 200
