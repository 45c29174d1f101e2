"""New words apart from quoted ones and signatures, as the mail programs of the world write them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mail.body import tidy
from agent.mail.layout import Line, lay_out, plain_lines
from agent.mail.parse import parse
from agent.mail.quotes import find_spans, own_words
from agent.mail.safe_html import safe_html
from agent.model_mail import ParsedMessage, SpanKind


def own(text: str) -> str:
    return own_words(text, find_spans(plain_lines(text)))


def kinds(text: str) -> list[tuple[SpanKind, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find_spans(plain_lines(text))]


ANSWERS = {
    "Gmail": "Yes.\n\nOn Mon, Mar 2, 2026 at 10:00 AM Anna <anna@example.com> wrote:\n\n> Coming?\n",
    "Gmail, folded": "Yes.\n\nOn Mon, Mar 2, 2026 at 10:00 AM Anna Very Long Name Indeed\n<anna@example.com> wrote:\n> C?",  # noqa: E501
    "Gmail, Russian": "Yes.\n\nпн, 2 мар. 2026 г. в 10:00, Анна <anna@example.com>:\n\n> Придёте?",
    "Gmail, Russian, folded": "Yes.\n\nпн, 2 мар. 2026 г. в 10:00, Анна Длинная\n<anna@example.com>:\n\n> Придёте?",
    "Gmail, German": "Yes.\n\nAm Mo., 2. März 2026 um 10:00 Uhr schrieb Anna <anna@example.com>:\n\n> Kommst du?",
    "Gmail, French": "Yes.\n\nLe lun. 2 mars 2026 à 10:00, Anna <anna@example.com> a écrit :\n\n> Tu viens ?",
    "Apple": "Yes.\n\n> On 2 Mar 2026, at 10:00, Anna <anna@example.com> wrote:\n> \n> Coming?",
    "Apple, Russian": "Yes.\n\n2 марта 2026 г., в 10:00, Анна <anna@example.com> написал(а):\n\n> Придёте?",
    "Thunderbird, Russian": "Yes.\n\n02.03.2026 10:00, Анна пишет:\n> Придёте?",
    "Thunderbird": "Yes.\n\nOn 3/2/26 10:00 AM, Anna wrote:\n> Coming?",
    "Yandex": 'Yes.\n\n02.03.2026, 10:00, "Анна" <anna@example.com>:\n> Придёте?',
    "Mail.ru": "Yes.\n\n>Понедельник, 2 марта 2026, 10:00 +03:00 от Анна <anna@example.com>:\n>\n>Придёте?",
    "Mail.ru without marks": "Yes.\n\nПонедельник, 2 марта 2026, 10:00 +03:00 от Анна <anna@example.com>:\n\nПридёте?",
    "The Bat!": "Yes.\n\nВы писали 2 марта 2026 г., 10:00:00:\n\n> Придёте?",
    "a user wrote": "Yes.\n\nПользователь Анна <anna@example.com> писал(а) 2 марта 2026 10:00:\n\nПридёте?",
    "Outlook": "Yes.\n\n-----Original Message-----\nFrom: Anna\nSent: Monday\nTo: Boris\nSubject: x\n\nComing?",
    "Outlook, Russian": "Yes.\n\n-----Исходное сообщение-----\nОт: Анна\n\nПридёте?",
    "Outlook, header": "Yes.\n\nFrom: Anna <anna@example.com>\nSent: Monday, March 2, 2026 10:00\nTo: Boris\nSubject: x\n\nC?",  # noqa: E501
    "Outlook, rule": "Yes.\n\n________________________________\nFrom: Anna\nSent: Monday\nTo: Boris\nSubject: x\n\nComing?",  # noqa: E501
    "Outlook, Russian header": "Yes.\n\nОт: Анна\nОтправлено: 2 марта\nКому: Борис\nТема: Вопрос\n\nПридёте?",
    "Outlook, German header": "Yes.\n\nVon: Anna\nGesendet: Montag\nAn: Boris\nBetreff: Frage\n\nKommst du?",
    "Outlook, French header": "Yes.\n\nDe : Anna\nEnvoyé : lundi\nÀ : Boris\nObjet : Question\n\nTu viens ?",
    "Outlook, bold header": "Yes.\n\n*From:* Anna\n*Sent:* Monday\n*To:* Boris\n*Subject:* x\n\nComing?",
    "from whom": "Yes.\n\nОт кого: Анна <anna@example.com>\nКому: Борис\nДата: 2 марта\nТема: x\n\nПридёте?",
    "forwarded": "Yes.\n\n---------- Forwarded message ---------\nFrom: Anna\n\nComing?",
    "forwarded by Yandex": "Yes.\n\n-------- Пересылаемое сообщение --------\nОт: Анна\n\nПридёте?",
    "forwarded by Mail.ru": "Yes.\n\n-------- Пересылаемое сообщение --------\n02.03.2026, 10:00, Анна:\n\nПридёте?",
    "forwarded by Apple": "Yes.\n\nНачало переадресованного сообщения:\n\nОт: Анна\n\nПридёте?",
    "forwarded, German": "Yes.\n\n-------- Weitergeleitete Nachricht --------\nVon: Anna\n\nKommst du?",
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS.keys())
def test_what_is_answered_is_quoted(text: str) -> None:
    assert own(text) == "Yes."


@pytest.mark.parametrize(
    "text",
    [
        "В понедельник, 2 марта 2026, мы встречаемся.\nПридёте?",
        "Состав:\n- болт\n- гайка\n\nСрок: 2 марта 2026.",
        "Анна пишет:\nдоговор готов.",
        "Тема: доставка\nБолты приедут в среду.",
        "From here on:\nwe go by car.",
        "1 -- 2\n3",
        "Прошу подтвердить встречу 02.03.2026 в 10:00:\nулица Ленина, 1",
        "Уважением мы не обделены.\nС уважительной причиной можно опоздать.",
        "Regardsless of that, come.",
        "a\n\n--\n",
    ],
)
def test_what_only_resembles_a_quote_stays(text: str) -> None:
    assert own(text) == text.strip()


def test_answers_between_the_lines_are_new_words() -> None:
    text = "On 3/2/26 10:00 AM, Anna wrote:\n> Coming?\nYes.\n> When?\n> Where?\nAt five.\n"
    assert [kind for kind, _ in kinds(text)] == [SpanKind.QUOTED, SpanKind.QUOTED]
    assert own(text).split() == ["Yes.", "At", "five."]


@pytest.mark.parametrize(
    "signature",
    [
        "-- \nАнна\n+7 495 000-00-01",
        "--\nAnna",
        "С уважением,\nАнна Смирнова\nменеджер",
        "Best regards,\nAnna",
        "Kind regards\nAnna",
        "Mit freundlichen Grüßen\nAnna",
        "Cordialement,\nAnna",
        "Отправлено с iPhone",
        "Отправлено из мобильной Почты Mail.ru",
        "Sent from my iPhone",
        "Get Outlook for Android",
    ],
)
def test_the_signature(signature: str) -> None:
    for after in ("", "\n\n> Придёте?", "\n\n-----Original Message-----\nFrom: Anna"):
        found = kinds(f"Договор готов.\n\n{signature}{after}")
        assert found[0] == (SpanKind.SIGNATURE, signature)
        assert len(found) == 1 + bool(after)


HTML_ANSWERS = {
    "Gmail": '<div dir="ltr">Yes.</div><br><div class="gmail_quote"><div class="gmail_attr">On Mon, Mar 2, 2026 at 10:00'  # noqa: E501
    ' Anna &lt;<a href="mailto:anna@example.com">anna@example.com</a>&gt; wrote:<br></div><blockquote>Coming?'
    "</blockquote></div>",
    "Outlook": "<p>Yes.</p><div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm'><p>"
    "<b>From:</b> Anna<br>x</p></div><p>Coming?</p>",
    "Outlook on the web": "<div>Yes.</div><div id=\"appendonsend\"></div><hr><div id='divRplyFwdMsg'>x</div><p>Coming?</p>",  # noqa: E501
    "Yandex": '<div>Yes.</div><div>02.03.2026, 10:00, "Анна" &lt;anna@example.com&gt;:</div><blockquote>Придёте?</blockquote>',  # noqa: E501
    "Mail.ru": "<div>Yes.</div><blockquote style='border-left:1px'>Понедельник, 2 марта 2026:<br><br><div"
    ' class="js-helper js-readmsg-msg">Придёте?</div></blockquote>',
    "Yahoo": '<div>Yes.</div><div class="yahoo_quoted" id="1">whoever wrote<div>Coming?</div></div>',
    "Thunderbird": '<p>Yes.</p><div class="moz-cite-prefix">On 3/2/26 10:00, Anna wrote:<br></div><blockquote type="cite">'  # noqa: E501
    "<p>Coming?</p></blockquote>",
}


@pytest.mark.parametrize("source", HTML_ANSWERS.values(), ids=HTML_ANSWERS.keys())
def test_quotes_of_html(source: str) -> None:
    message = parse(b"Content-Type: text/html; charset=utf-8\r\n\r\n" + source.encode(), {})
    assert own_words(message.text, message.spans) == "Yes."
    assert "\ue4a1" not in message.html + message.text


def test_a_mark_of_ours_in_foreign_html_is_no_mark() -> None:
    message = parse("Content-Type: text/html; charset=utf-8\r\n\r\nYes.\ue4a1 And no.&#xe4a1; Indeed.".encode(), {})
    assert "And no." in own_words(message.text, message.spans)


def test_flowed_text() -> None:
    head = b"Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n"
    raw = head + b"long \r\nword\r\n> quo \r\n> ted\r\n-- \r\nAnna \r\nB\r\n"
    message: ParsedMessage = parse(raw, {})
    assert message.text == "longword\n> quoted\n--\nAnnaB"
    assert [span.kind for span in message.spans] == [SpanKind.QUOTED, SpanKind.SIGNATURE]


def _bombs() -> dict[str, str]:
    return {
        "dashes": "-" * 500_000,
        "lines of dashes": "-----\n" * 100_000,
        "colons": "a:\n" * 200_000,
        "labels": "From:\nTo:\n" * 100_000,
        "quotes": "> a\nb\n" * 100_000,
        "one line of attribution": "On " + "1/1/26 " * 100_000 + "wrote:",
        "attributions": "On 1/1/26 x\n" * 100_000 + "wrote:",
        "addresses": "a@" * 300_000 + ":",
        "closings": "С уважением\n" * 50_000,
        "blanks": " " * 500_000 + ":",
        "words": "w" * 500_000 + ":",
    }


@pytest.mark.parametrize("text", _bombs().values(), ids=_bombs().keys())
def test_no_text_makes_it_hang(text: str) -> None:
    found = find_spans(plain_lines(text))  # what backtracks would take hours
    assert len(found) <= 1000
    assert all(span.end <= len(text) for span in found)


@given(st.lists(st.builds(Line, st.text(alphabet="> :-aС\t@1", max_size=12), st.booleans()), max_size=12))
def test_spans_are_in_order_within_the_text_and_do_not_overlap(lines: Sequence[Line]) -> None:
    text = "\n".join(line.text for line in lines)
    at = 0
    for span in find_spans(lines):
        assert at <= span.start < span.end <= len(text)
        at = span.end


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("<p>a</p><p>b</p>", ["a", "", "b"]),
        ("a<br>b<br><br>c", ["a", "b", "", "c"]),
        ("<ul><li>a</li><li>b</li></ul>", ["• a", "• b"]),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", ["a b", "c"]),
        ("<pre>a  b\n c</pre>", ["a  b", " c"]),
        ("a &lt;b&gt; &amp;amp; c", ["a <b> &amp; c"]),
        ("<a href='https://example.com/?a=1&b=\"2\">3'>link</a>", ["link"]),
        ("<div><div><div>a</div></div></div>b", ["a", "b"]),
    ],
)
def test_layout(source: str, lines: list[str]) -> None:
    assert [line.text for line in tidy(lay_out(safe_html(source)))] == lines
