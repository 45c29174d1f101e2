"""What servers answer to FETCH: the quick reading says what IMAPClient's own says, or leaves it to that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from imapclient.exceptions import ProtocolError
from imapclient.response_parser import parse_fetch_response

from agent.mail.imap.answers import _read_quickly, read_answer

_MAIL = b"Subject: )\r\n\r\n* 7 FETCH (UID 9)\r\n"
_USUAL = (
    (b'3 (UID 7 FLAGS (\\Seen $Label1 Work) INTERNALDATE " 1-Mar-2026 10:00:59 +0530" BODY[] {33}', _MAIL),
    b")",
    (b'4 (INTERNALDATE "28-Feb-2024 23:59:59 -0830" UID 8 MODSEQ (12) FLAGS () BODY[] {0}', b""),
    b")",
)
QUICK: tuple[tuple[Any, ...], ...] = (
    _USUAL,
    (b"1 (UID 2 RFC822.SIZE 4321 FLAGS (\\Answered \\Seen))", b"2 (UID 3 RFC822.SIZE 0 FLAGS ())"),
    (b"1 (UID 2 FLAGS (\\Seen))", b"1 (UID 2 RFC822.SIZE 5)", *_USUAL),
    (b"1 (FLAGS (a) UID 2 MODSEQ (9))",),
)
SLOW: tuple[tuple[Any, ...], ...] = (
    (None,),
    (*_USUAL, b"9 (FLAGS (\\Seen))"),  # without a UID: the number is taken for one
    ((b"3 (UID 7 BODY[] {33}", _MAIL), b" FLAGS (\\Seen))"),
    ((b"3 (UID 7 BODY[TEXT] {33}", _MAIL), b")"),
    (b'3 (UID 7 FLAGS (\\Seen) BODY[] "short")',),
    (b"3 (UID 7 FLAGS (\\Seen) BODY[] NIL)",),
    (b'3 (UID 7 INTERNALDATE "32-Mar-2026 10:00:59 +0000")',),
    (b'3 (UID 7 INTERNALDATE "01-Mai-2026 10:00:59 +0000")',),
    (b'3 (UID 7 INTERNALDATE "Mon, 02 Mar 2026 10:00:59 +0000")',),
    (b"3 (uid 7 flags (\\Seen))",),
    (b"3 (UID 7 X-GM-LABELS (a b) FLAGS (\\Seen))",),
    (b"3 (UID 7 FLAGS (\\Seen))", (b"4 (UID 8 X {3}", b"abc"), b")"),
)


@pytest.mark.parametrize("at", range(len(QUICK)))
def test_the_usual_is_read_quickly_and_the_same(at: int) -> None:
    told = parse_fetch_response(list(QUICK[at]), False, True)
    for one in told.values():
        one.pop(b"MODSEQ", None)  # nobody asks for it
    assert _read_quickly(QUICK[at]) == told


@pytest.mark.parametrize("at", range(len(SLOW)))
def test_the_unusual_is_left_to_the_library(at: int) -> None:
    assert _read_quickly(SLOW[at]) is None
    assert read_answer(list(SLOW[at])) == parse_fetch_response(list(SLOW[at]), False, True)


def test_what_it_says() -> None:
    answer = read_answer(_USUAL)
    assert answer[7][b"BODY[]"] == _MAIL
    assert answer[7][b"FLAGS"] == (b"\\Seen", b"$Label1", b"Work")
    zone = timezone(timedelta(hours=5, minutes=30))
    assert answer[7][b"INTERNALDATE"] == datetime(2026, 3, 1, 10, 0, 59, tzinfo=zone)
    assert answer[8][b"INTERNALDATE"] == datetime(2024, 2, 29, 8, 29, 59, tzinfo=UTC)


def test_nonsense_is_refused_as_by_the_library() -> None:
    for nonsense in (
        (b"x (UID 1)",),
        (b"3 (UID)",),
        (b"3 (UID 7 FLAGS (a",),
        (b"3 7",),
        ((b"3 (UID 7 BODY[] {3}", b"a"),),
    ):
        with pytest.raises(ProtocolError):
            read_answer(list(nonsense))
