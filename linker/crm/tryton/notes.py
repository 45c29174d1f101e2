"""The text of a note; pure. The last line is our key, by which the note is found again."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from agent.model import Direction, Disposition
from linker.crm.facts import Activity, CallToLog, MailToLog

_WORDS = {
    "ru": {"talk": "разговор", "ring": "ожидание", "from": "От", "to": "Кому", "cc": "Копия", "files": "Вложения",
           "open": "Открыть", "inbound": "Входящее письмо", "outbound": "Исходящее письмо"},
    "en": {"talk": "talk", "ring": "ringing", "from": "From", "to": "To", "cc": "Cc", "files": "Attachments",
           "open": "Open", "inbound": "Incoming mail", "outbound": "Outgoing mail"},
}  # fmt: skip


def note_text(activity: Activity, *, employee: str, language: str, zone: ZoneInfo) -> str:
    """``employee`` is his name, or empty."""
    words = _WORDS[language]
    lines = (
        _call_lines(activity, employee, words, zone)
        if isinstance(activity, CallToLog)
        else _mail_lines(activity, employee, words, zone)
    )
    if activity.page_url:
        lines.append(f"{words['open']}: {activity.page_url}")
    return "\n".join((*lines, activity.key))


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%d.%m.%Y %H:%M:%S %z}"


def _minutes(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def _call_lines(call: CallToLog, employee: str, words: dict[str, str], zone: ZoneInfo) -> list[str]:
    lasted = f"{words['ring']} {_minutes(call.ring_seconds)}"
    if call.disposition is Disposition.ANSWERED:
        lasted = f"{words['talk']} {_minutes(call.talk_seconds)}, {lasted}"
    ours = " ".join(one for one in (employee, call.line) if one)
    way = (ours, call.phone) if call.direction is Direction.OUTBOUND else (call.phone, ours)
    return [
        f"{call.title}, {lasted}",
        f"{_moment(call.started, zone)} – {_moment(call.ended, zone)}",
        " → ".join(one or "—" for one in way),
    ]


def _mail_lines(mail: MailToLog, employee: str, words: dict[str, str], zone: ZoneInfo) -> list[str]:
    head = words["outbound" if mail.direction is Direction.OUTBOUND else "inbound"]
    lines = [f"{head}: {mail.subject}", _moment(mail.sent, zone) + (f", {employee}" if employee else "")]
    for position in ("from", "to", "cc"):
        who = [f"{one.name} <{one.address}>".strip() for one in mail.parties if one.position == position]
        if who:
            lines.append(f"{words[position]}: {', '.join(who)}")
    if mail.attachments:
        lines.append(f"{words['files']}: {', '.join(mail.attachments)}")
    if mail.message_id:
        lines.append(f"Message-ID: <{mail.message_id}>")
    return [*lines, "", mail.text, ""] if mail.text else lines
