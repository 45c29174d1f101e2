"""The demo's mails: a question, our reply in its thread, a proposal with a PDF, and a newsletter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime

from agent.demo.scene import ANNA, CARTER, KATE, PETROV, Client
from agent.model import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedMail:
    """A mail as it must stand in a history; ``client`` is None for what becomes no activity."""

    client: Client | None
    subject: str
    direction: Direction
    attachments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedMail:
    """A mail to be sent, by which way it comes (``Inbox``, ``Sent`` or the SMTP door), and what must become of it."""

    title: str
    raw: bytes
    sender: str
    folder: str | None
    expected: ExpectedMail


def stage_mails(*, with_imap: bool, salt: str) -> list[StagedMail]:
    """The four mails. ``salt`` makes message ids of this run; without IMAP all of them come through the SMTP door."""
    question_id = f"<question.{salt}@example.org>"
    staged = [
        StagedMail(
            title="a client's question",
            raw=_question(question_id),
            sender=PETROV.address,
            folder=None,
            expected=ExpectedMail(client=PETROV, subject="Доставка в Казань", direction=Direction.INBOUND),
        ),
        StagedMail(
            title="our reply, from the folder Sent",
            raw=_reply(question_id, salt),
            sender=ANNA.address,
            folder="Sent",
            expected=ExpectedMail(client=PETROV, subject="Re: Доставка в Казань", direction=Direction.OUTBOUND),
        ),
        StagedMail(
            title="a proposal with a PDF",
            raw=_proposal(salt),
            sender=KATE.address,
            folder=None,
            expected=ExpectedMail(
                client=CARTER,
                subject="Commercial proposal 117",
                direction=Direction.OUTBOUND,
                attachments=("proposal-117.pdf",),
            ),
        ),
        StagedMail(
            title="a newsletter, which is no activity",
            raw=_newsletter(salt),
            sender="news@example.net",
            folder="INBOX",
            expected=ExpectedMail(client=None, subject="Новости отрасли", direction=Direction.INBOUND),
        ),
    ]
    return staged if with_imap else [_by_smtp(one) for one in staged]


def _by_smtp(mail: StagedMail) -> StagedMail:
    return StagedMail(title=mail.title, raw=mail.raw, sender=mail.sender, folder=None, expected=mail.expected)


def _mail(sender: str, recipient: str, subject: str, message_id: str, *, minutes_ago: int) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = sender, recipient, subject, message_id
    mail["Date"] = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes_ago))
    return mail


def _question(message_id: str) -> bytes:
    sender, recipient = f"{PETROV.name} <{PETROV.address}>", f"{ANNA.name} <{ANNA.address}>"
    mail = _mail(sender, recipient, "Доставка в Казань", message_id, minutes_ago=12)
    mail.set_content(
        "Здравствуйте, Анна!\n\nСколько стоит доставка двух станков в Казань и когда вы сможете их отправить?\n\n"
        "С уважением,\nСергей Петров\n"
    )
    return mail.as_bytes()


def _reply(question_id: str, salt: str) -> bytes:
    sender, recipient = f"{ANNA.name} <{ANNA.address}>", f"{PETROV.name} <{PETROV.address}>"
    mail = _mail(sender, recipient, "Re: Доставка в Казань", f"<reply.{salt}@example.com>", minutes_ago=5)
    mail["In-Reply-To"], mail["References"] = question_id, question_id
    mail.set_content(
        "Сергей, добрый день!\n\nДоставка стоит пятьсот рублей за место, отправим завтра утром.\n\nАнна Смирнова\n\n"
        "> Сколько стоит доставка двух станков в Казань и когда вы сможете их отправить?\n"
    )
    return mail.as_bytes()


def _proposal(salt: str) -> bytes:
    sender, recipient = f"{KATE.name} <{KATE.address}>", f"{CARTER.name} <{CARTER.address}>"
    mail = _mail(sender, recipient, "Commercial proposal 117", f"<proposal.{salt}@example.com>", minutes_ago=3)
    mail.set_content("Dear John,\n\nplease find our proposal attached, with the discount we talked about.\n\nKate\n")
    mail.add_alternative(
        "<p>Dear John,</p><p>please find our <b>proposal</b> attached, with the discount we talked about.</p>",
        subtype="html",
    )
    mail.add_attachment(
        _pdf("Commercial proposal 117"), maintype="application", subtype="pdf", filename="proposal-117.pdf"
    )
    return mail.as_bytes()


def _newsletter(salt: str) -> bytes:
    sender, recipient = "Example News <news@example.net>", f"{ANNA.name} <{ANNA.address}>"
    mail = _mail(sender, recipient, "Новости отрасли", f"<news.{salt}@example.net>", minutes_ago=8)
    mail["List-Id"] = "Новости <news.example.net>"
    mail["List-Unsubscribe"] = "<https://example.net/unsubscribe>"
    mail.set_content("Главное за неделю: пять новостей о станках.\n")
    return mail.as_bytes()


def _pdf(title: str) -> bytes:
    """The smallest honest PDF: one page with one line, offsets and all."""
    text = f"BT /F1 24 Tf 72 720 Td ({title}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer
