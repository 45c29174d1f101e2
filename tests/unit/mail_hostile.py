"""Hostile mail without end: what our tables have, broken as parsers are broken. The same number, the same mail."""

from __future__ import annotations

import random

from tests.data.mail.make import MAILS
from tests.unit.mail_lab import HEAD, attached, docx, mixed, pdf, tnef, zipped

_EVENT = (
    b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    b"ATTENDEE;CN=A:mailto:a@example.com\r\nRRULE:FREQ=SECONDLY\r\nDTSTART;TZID=Europe/Moscow:20260302T100000\r\nEND:VEVENT\r\nEND:VCALENDAR"
)
_INNER = b"Content-Type: message/rfc822\r\n\r\nFrom: b@example.net\r\nSubject: x\r\n\r\nTen.\r\n\r\n> nine\r\n"

SEEDS: tuple[bytes, ...] = (
    *MAILS.values(),
    mixed(b"\r\nwords", attached(tnef(html=b"<p>x", files={"a.bin": b"abc"}), "application/ms-tnef", "winmail.dat")),
    mixed(b"\r\nwords\r\n\r\nOn 3/2/26 10:00, Anna wrote:\r\n> Coming?\r\n-- \r\nAnna", _EVENT, _INNER),
    mixed(attached(docx("a"), "application/x", "a.docx"), attached(pdf("a"), "application/pdf", "a.pdf")),
    mixed(attached(zipped({"a": b"b"}), "application/zip", "a.zip"), b"\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\n"),
    HEAD
    + b"Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\n"
    + bytes.fromhex("308006092a864886f70d010702a080"),
    HEAD + b"Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\na \r\n> b \r\n>> c \r\n-- \r\n",
    HEAD + b"Content-Type: text/html\r\n\r\n<div id=divRplyFwdMsg><blockquote><table><td>" + b"<b>x<i>" * 50,
)

_PIECES = (
    b"", b"\x00", b"\xff\xfe", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"--b\r\n", b"--b--\r\n", b"=?utf-8?B?", b"?=",
    b"=?utf-7?Q?+ADw-", b"<", b">", b"@", b'"', b"(", b"\\", b";", b":", b"=", b"%00", b"*0*=", b"charset=utf-7",
    b'charset="', b"boundary=", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: text/html\r\n",
    b"Content-Transfer-Encoding: x-uuencode\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"\x1b$B",
    b"~{", b"+AD4-", b"&#x110000;", b"<!--", b"]]>", b"\xed\xa0\x80", b"\xe2\x80\xae", b"begin 644 x\r\n",
    b"BEGIN:VEVENT\r\n", b"> ", b"-- \r\n",
)  # fmt: skip


def hostile(number: int) -> bytes:
    """The mail of this number."""
    dice = random.Random(number)
    raw = dice.choice(SEEDS)
    for _ in range(dice.randrange(1, 7)):
        raw = dice.choice(_WAYS)(raw, dice)
    return raw[:200_000] or b"x"


def _insert(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + dice.choice(_PIECES) + raw[at + dice.choice((0, 0, 1, 20)) :]


def _flip(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.randrange(1, 9)):
        if changed:
            changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _cut(raw: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw) + 1)]


def _repeat(raw: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(raw) + 1)
    end = min(len(raw), start + dice.randrange(1, 200))
    return raw[:end] + raw[start:end] * dice.choice((1, 3, 100)) + raw[end:]


def _splice(raw: bytes, dice: random.Random) -> bytes:
    other = dice.choice(SEEDS)
    return raw[: dice.randrange(len(raw) + 1)] + other[dice.randrange(len(other) + 1) :]


def _nest(raw: bytes, dice: random.Random) -> bytes:
    head = b"Content-Type: multipart/mixed; boundary=n\r\n\r\n--n\r\n"
    return dice.choice((head, b"Content-Type: message/rfc822\r\n\r\n", b"\r\n")) + raw


_WAYS = (_insert, _insert, _insert, _flip, _cut, _repeat, _splice, _nest)
