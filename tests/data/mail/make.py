"""Writes the nasty mails of this folder; run it after a change: ``python tests/data/mail/make.py``.

They are written byte by byte, because no mail library would make them. People and addresses are invented.
"""

from __future__ import annotations

import base64
from pathlib import Path

FOLDER = Path(__file__).parent


def _mail(*lines: str | bytes, charset: str = "utf-8") -> bytes:
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode(charset) for line in lines) + b"\r\n"


def _b64(text: str, charset: str = "utf-8") -> str:
    return base64.b64encode(text.encode(charset)).decode("ascii")


_HEAD = ("From: Anna <anna@example.com>", "To: boris@example.com", "Date: Mon, 2 Mar 2026 10:00:00 +0300")

MAILS: dict[str, bytes] = {
    "koi8-r": _mail(
        f"From: =?koi8-r?B?{_b64('Анна Иванова', 'koi8-r')}?= <anna@example.com>",
        f"Subject: =?KOI8-R?B?{_b64('Счёт на оплату', 'koi8-r')}?=",
        "To: boris@example.com",
        "Date: Mon, 2 Mar 2026 10:00:00 +0300",
        "Message-ID: <1@example.com>",
        "Content-Type: text/plain; charset=koi8-r",
        "Content-Transfer-Encoding: 8bit",
        "",
        "Добрый день!",
        charset="koi8-r",
    ),
    "unlabelled-1251": _mail(*_HEAD, "Subject: Привет", "", "Высылаю договор и счёт.", charset="cp1251"),
    "unlabelled-koi8": _mail(*_HEAD, "Subject: Привет", "", "Высылаю договор и счёт.", charset="koi8-r"),
    "says-utf8-is-1251": _mail(
        *_HEAD, "Subject: x", "Content-Type: text/plain; charset=utf-8", "", "Высылаю договор.", charset="cp1251"
    ),
    "unknown-charset": _mail(*_HEAD, "Subject: x", "Content-Type: text/plain; charset=x-klingon", "", "Высылаю."),
    "zip-as-charset": _mail(*_HEAD, "Subject: x", "Content-Type: text/plain; charset=zlib", "", "text"),
    "split-letter": _mail(
        *_HEAD,
        f"Subject: =?utf-8?B?{base64.b64encode('Привет'.encode()[:5]).decode()}?=",
        f" =?utf-8?B?{base64.b64encode('Привет'.encode()[5:]).decode()}?=",
        "",
        "x",
    ),
    "broken-words": _mail(*_HEAD, "Subject: =?utf-8?B?0J?= =?utf-8?Q?a b?= =?nonsense?Q?c?= =?utf-8?X?d?= =?", "", "x"),
    "rfc2231-name": _mail(
        *_HEAD,
        'Content-Type: multipart/mixed; boundary="b"',
        "",
        "--b",
        "",
        "See below.",
        "--b",
        "Content-Type: application/pdf",
        "Content-Disposition: attachment; filename*0*=utf-8''%D0%94%D0%BE%D0%B3%D0%BE; filename*1*=%D0%B2%D0%BE%D1%80",
        " ; filename*2=.pdf",
        "Content-Transfer-Encoding: base64",
        "",
        base64.b64encode(b"%PDF-1.4").decode(),
        "--b--",
    ),
    "rfc2047-name": _mail(
        *_HEAD,
        'Content-Type: multipart/mixed; boundary="b"',
        "",
        "--b",
        f'Content-Type: application/pdf; name="=?windows-1251?B?{_b64("Прайс.pdf", "cp1251")}?="',
        "Content-Transfer-Encoding: base64",
        "",
        base64.b64encode(b"%PDF-1.4").decode(),
        "--b--",
    ),
    "raw-8bit-name": _mail(
        *_HEAD,
        'Content-Type: multipart/mixed; boundary="b"',
        "",
        "--b",
        'Content-Disposition: attachment; filename="..\\\\..\\Прайс.pdf"',
        "Content-Type: application/pdf",
        "",
        "%PDF",
        "--b--",
        charset="cp1251",
    ),
    "star-name": _mail(
        *_HEAD,
        "Content-Type: application/pdf; name*",
        "Content-Disposition: attachment; filename*0*; filename*=",
        "",
        "x",
    ),
    "bracketed-id": _mail(*_HEAD, "Message-ID: <[1@example.com]>", "References: <a@x>\t<b@x> <a@x>", "", "x"),
    "folded-id": _mail(
        *_HEAD, "Message-ID:", " <1@example", " .com>", "In-Reply-To: Your mail of Monday, <b@x>", "", "x"
    ),
    "no-id-no-date": _mail("From: anna@example.com", "Subject: x", "", "x"),
    "two-ids": _mail(*_HEAD, "Message-ID: <1@example.com>", "Message-ID: <2@example.com>", "", "x"),
    "huge-id": _mail(*_HEAD, f"Message-ID: <{'a' * 5000}@example.com>", "", "x"),
    "addresses": _mail(
        f"From: =?utf-8?B?{_b64('Иванова, Анна <anna@example.com>')}?=",
        'To: undisclosed-recipients:;, "Sidorov, Boris" <boris@example.com>,',
        " <<carl@example.com>>, dora@example.com (D)",
        "Cc: (c):, broken@@example.com, Eva eva@example.com, <sip:x>",
        "Reply-To: ,;<>",
        "Date: yesterday",
        "",
        "x",
    ),
    "no-header": b"just a line without any colon\r\nand another one\r\n",
    "only-header": b"Subject: nothing else",
    "nul-and-surrogates": _mail(
        b"Subject: a\x00b", b"From: \xed\xa0\x80@example.com, a@example.com", b"", b"x\x00y \xed\xa0\x80"
    ),
    "boundary-never-comes": _mail(*_HEAD, 'Content-Type: multipart/mixed; boundary="never"', "", "Still to be read."),
    "no-boundary": _mail(*_HEAD, "Content-Type: multipart/mixed", "", "Still to be read."),
    "boundary-beside-broken": _mail(
        *_HEAD,
        'Content-Type: multipart/mixed; name*; name*0*=x; name*=; name*1=y; boundary="b"',
        "",
        "--b",
        "",
        "Still to be read.",
        "--b--",
    ),
    "broken-base64": _mail(*_HEAD, "Content-Transfer-Encoding: base64", "", "0J/RgNC40LLQtdGC!!!", "=A"),
    "html-only": _mail(
        *_HEAD,
        "Content-Type: text/html",
        "",
        "<html><head><meta charset=windows-1251><title>t</title><style>p{color:red}</style></head><body>",
        "<p onclick=alert(1) style='color:red;background-image:url(https://example.com/t)'>Здравствуйте</p>",
        "<img src='https://example.com/pixel.gif' alt=pixel><script>alert(1)</script>",
        "<a href='javascript:alert(1)'>a</a> <a href='https://example.com/'>b</a><form action=/x><input></form>",
        charset="cp1251",
    ),
    "alternative": _mail(
        *_HEAD,
        'Content-Type: multipart/mixed; boundary="m"',
        "",
        "--m",
        'Content-Type: multipart/alternative; boundary="a"',
        "",
        "--a",
        "Content-Type: text/plain",
        "",
        "The plain words.",
        "--a",
        'Content-Type: multipart/related; boundary="r"',
        "",
        "--r",
        "Content-Type: text/html",
        "",
        "<p>The <b>rich</b> words.</p>",
        "--r",
        "Content-Type: image/png",
        "Content-ID: <logo>",
        "",
        "PNG",
        "--r--",
        "--a--",
        "--m",
        "Content-Type: text/plain",
        "",
        "A footer.",
        "--m",
        "Content-Type: message/rfc822",
        "",
        "Subject: forwarded",
        "",
        "Inner words.",
        "--m--",
    ),
    "bounce": _mail(
        "Return-Path: <>",
        "From: Mail <MAILER-DAEMON@mx.example.com>",
        "Date: Mon, 2 Mar 2026 10:00:00 +0300",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
        "",
        "--b",
        "",
        "It could not be delivered.",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example.com",
        "",
        "Final-Recipient: rfc822; nobody@example.net",
        "Status: 5.1.1",
        "--b--",
    ),
    "newsletter": _mail(*_HEAD, "List-Unsubscribe: <https://example.com/u>", "Precedence: bulk", "", "Buy now."),
    "vacation": _mail(*_HEAD, "Auto-Submitted: auto-replied (vacation)", "", "I am away."),
    "invitation": _mail(
        *_HEAD,
        "Auto-Submitted: auto-generated",
        'Content-Type: multipart/alternative; boundary="b"',
        "",
        "--b",
        "",
        "A meeting.",
        "--b",
        "Content-Type: text/calendar; method=REQUEST",
        "",
        "BEGIN:VCALENDAR",
        "END:VCALENDAR",
        "--b--",
    ),
}

if __name__ == "__main__":
    for name, raw in MAILS.items():
        (FOLDER / f"{name}.eml").write_bytes(raw)
