"""Charsets and headers as real boxes hold them: labelled, mislabelled, not labelled at all, broken in the middle."""

from __future__ import annotations

import base64
import quopri

import pytest

from agent.mail.parse import parse
from agent.mail.safe_html import list_parts, resolve_parts
from agent.model_mail import ParsedMessage

RUSSIAN = "Добрый день! Высылаю договор поставки и счёт на оплату, прошу подписать до пятницы."


def body(data: bytes, charset: str | None, encoding: str = "8bit") -> ParsedMessage:
    said = f"; charset={charset}" if charset else ""
    head = f"Content-Type: text/plain{said}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return parse(b"From: a@example.com\r\n" + head.encode() + data, {})


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("koi8-r", "koi8-r", RUSSIAN),
        ("KOI8-U", "koi8-u", RUSSIAN),
        ("windows-1251", "cp1251", RUSSIAN),
        ("cp-1251", "cp1251", RUSSIAN),
        ('"win-1251"', "cp1251", RUSSIAN),
        ("x-mac-cyrillic", "mac-cyrillic", RUSSIAN),
        ("mac-cyrillic", "mac-cyrillic", RUSSIAN),
        ("ibm866", "cp866", RUSSIAN),
        ("iso-8859-5", "iso-8859-5", RUSSIAN),
        ("utf-16", "utf-16", RUSSIAN),
        ("utf-7", "utf-7", RUSSIAN),
        ("iso-2022-jp", "iso-2022-jp", "お見積もりをお願いします"),
        ("shift_jis", "cp932", "お見積もり①をお願いします"),
        ("euc-kr", "cp949", "견적을 부탁드립니다"),
        ("gb2312", "gb18030", "请报价，谢谢。龘"),
        ("gb18030", "gb18030", "请报价，谢谢。"),
        ("big5", "big5", "請報價，謝謝。"),
        ("iso-8859-1", "cp1252", "“Grüße” – 5 €"),
        ("iso-8859-2", "iso-8859-2", "Příliš žluťoučký kůň"),
        ("windows-1254", "cp1254", "Teşekkürler, görüşürüz"),
        ("windows-1255", "cp1255", "שלום"),
        ("windows-1256", "cp1256", "مرحبا"),
        ("us-ascii", "utf-8", RUSSIAN),
    ],
)
def test_what_the_label_says(label: str, codec: str, text: str) -> None:
    data = text.encode(codec)
    assert body(base64.encodebytes(data), label, "base64").text == text
    assert body(quopri.encodestring(data), label, "quoted-printable").text == text


@pytest.mark.parametrize("codec", ["cp1251", "koi8-r", "cp866", "iso-8859-5", "mac-cyrillic", "utf-8"])
@pytest.mark.parametrize("label", [None, "x-unknown", "8bit", "utf-8"])
def test_russian_without_a_true_label_is_found_out(codec: str, label: str | None) -> None:
    message = body(RUSSIAN.encode(codec), label)
    assert message.text == RUSSIAN
    assert (
        any("letters" in one or "charset" in one or "text is not" in one for one in message.problems)
        == (codec != "utf-8" or label == "x-unknown")
        or codec == "utf-8"
    )


@pytest.mark.parametrize("codec", ["cp1251", "koi8-r", "utf-8"])
def test_raw_letters_in_headers(codec: str) -> None:
    raw = f"From: Анна Смирнова <anna@example.com>\r\nSubject: {RUSSIAN}\r\n\r\n".encode(codec)
    message = parse(raw, {})
    assert message.subject == RUSSIAN
    assert message.parties[0].name == "Анна Смирнова"


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
        ("=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=", "Привет"),
        ("=?windows-1251?Q?=CF=F0=E8?=\r\n =?windows-1251?Q?=E2=E5=F2?=", "Привет"),
        ("=?UTF-8?B?0J/RgNC40LLQtdGC?= world", "Привет world"),
        ("=?utf-8?b?0J/RgNC40LLQtdGC", "=?utf-8?b?0J/RgNC40LLQtdGC"),
        ("=?utf-8?Q?=D0=9F=D1=80=D0=B8_=D0=B2=D0=B5=D1=82?=", "При вет"),
        ("=?utf-8*ru?Q?=D0=9F?=", "П"),
        ("=?iso-2022-jp?B?GyRCJCIbKEI=?=", "あ"),
        ("=?unknown-8bit?B?z/Do4uXy?=", "Привет"),
        ("Re: =?utf-8?Q?a?==?utf-8?Q?b?=", "Re: ab"),
        ("a\r\n\tb\r\n  c", "a b c"),
    ],
)
def test_encoded_words(header: str, subject: str) -> None:
    assert parse(f"Subject: {header}\r\nFrom: a@example.com\r\n\r\n".encode(), {}).subject == subject


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename*=utf-8''%D0%9F%D1%80%D0%B0%D0%B9%D1%81.pdf", "Прайс.pdf"),
        ("filename*=koi8-r'ru'%F0%D2%C1%CA%D3.pdf", "Прайс.pdf"),
        ("filename*0*=windows-1251''%CF%F0%E0; filename*1*=%E9%F1.pdf", "Прайс.pdf"),
        ('filename="=?windows-1251?B?z/Dg6fE=?=.pdf"', "Прайс.pdf"),
        ("filename*=x-klingon''%CF.pdf", None),
        ("filename*=utf-8''%ZZ%", None),
        ("filename*1*=b; filename*0*=a", None),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="a\u202egpj.exe"', "agpj.exe"),
        ("filename=" + "a" * 5000, "a" * 200),
    ],
)
def test_names_of_files(parameter: str, name: str | None) -> None:
    raw = (
        f"From: a@example.com\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; {parameter}\r\n\r\nx"
    )
    (found,) = parse(raw.encode(), {}).attachments
    assert found.name
    assert name is None or found.name == name
    assert "/" not in found.name


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"=D0=9F=D1=80", "Пр"),
        (b"a=\r\nb", "ab"),
        (b"a=3", "a=3"),
        (b"a=ZZb", "a=ZZb"),
        (b"a=20=\r\n", "a"),
        (b"price = 5", "price = 5"),
    ],
)
def test_broken_quoted_printable(data: bytes, text: str) -> None:
    assert body(data, "utf-8", "quoted-printable").text == text


def test_utf7_carries_no_markup_past_the_cleaning() -> None:
    source = b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-<p>words</p>"
    for charset in ("utf-7", "unicode-1-1-utf-7", "us-ascii", "utf-8"):
        html = parse(f"Content-Type: text/html; charset={charset}\r\n\r\n".encode() + source, {}).html
        assert "words" in html
        assert "<script" not in html
    assert parse(b"Content-Type: text/plain\r\n\r\n" + source, {}).text.startswith("+ADw-script")  # never guessed


def test_pictures_of_the_mail_are_named_and_resolved_only_so() -> None:
    source = '<img src="cid:logo@x"><img src="CID:a&amp;b"><img src="https://example.com/t.gif"><a href="cid:x">y</a>'
    html = parse(b"Content-Type: text/html\r\n\r\n" + source.encode(), {}).html
    assert list_parts(html) == ["logo@x", "a&b"]
    assert "example.com" not in html
    assert "href" not in html
    shown = resolve_parts(html, {"logo@x": "data:image/png;base64,AAAA"}.get)
    assert 'src="data:image/png;base64,AAAA"' in shown
    assert "cid:logo" not in shown
