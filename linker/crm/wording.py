"""Texts that a CRM is given where it has no field for a thing; pure.

A text about a call has three parts, told apart again by marks that no line of ours begins with by itself: its head,
the link to the recording, the transcript. So each can be replaced without knowing the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from agent.model import Direction
from linker.crm.facts import CallToLog, MailToLog

_RECORDING = "▶ "
_TRANSCRIPT = "≡"
_WORDS = {
    "ru": {"from": "От", "to": "Кому", "cc": "Копия", "files": "Файлы", "talk": "разговор", "hidden": "номер скрыт",
           "inbound": "Входящее письмо", "outbound": "Исходящее письмо", "no_subject": "(без темы)",
           "erased": "Удалено"},
    "en": {"from": "From", "to": "To", "cc": "Cc", "files": "Files", "talk": "talk", "hidden": "number withheld",
           "inbound": "Incoming mail", "outbound": "Outgoing mail", "no_subject": "(no subject)", "erased": "Removed"},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The parts of a text about a call. ``recording`` is a link."""

    head: str
    recording: str = ""
    transcript: str = ""

    @classmethod
    def read(cls, text: str) -> Told:
        """The parts of such a text; what a person has added before the marks stays with the head."""
        before, mark, after = ("\n" + text.replace("\r\n", "\n")).partition(f"\n{_TRANSCRIPT}\n")
        lines = before.strip("\n").split("\n")
        links = [line for line in lines if line.startswith(_RECORDING)]
        head = "\n".join(line for line in lines if not line.startswith(_RECORDING))
        recording = links[-1].removeprefix(_RECORDING).strip() if links else ""
        return cls(head=head, recording=recording, transcript=after.strip("\n") if mark else "")

    def text(self, *, most: int = 60_000) -> str:
        """All of it, at most so many characters; what is too long loses its end."""
        text = self.head
        if self.recording:
            text += f"\n{_RECORDING}{self.recording}"
        if self.transcript:
            text += f"\n{_TRANSCRIPT}\n{self.transcript}"
        return cut(text.strip("\n"), most)

    def with_head(self, head: str) -> Told:
        """The same recording and transcript, told of anew."""
        return replace(self, head=head)


def cut(text: str, most: int) -> str:
    """A text that is too long ends with an ellipsis."""
    return text if len(text) <= most else text[: most - 2].rstrip() + " …"


def one_line(text: str) -> str:
    """Without line breaks and control characters."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def describe_call(call: CallToLog, *, language: str, timezone: str) -> str:
    """A line with what it was, with whom, when and how long; a second one with our page."""
    talk = f", {_WORDS[language]['talk']} {clock(call.talk_seconds)}" if call.answered is not None else ""
    at = call.started.astimezone(ZoneInfo(timezone))
    who = one_line(call.phone) or _WORDS[language]["hidden"]
    line = f"{title_of(call)}, {who}, {at:%d.%m.%Y %H:%M:%S}{talk}"
    return f"{line}\n{call.page_url}" if call.page_url else line


def title_of(call: CallToLog) -> str:
    """What it was, in the configured language."""
    return one_line(call.title) or call.direction.value


def clock(seconds: int) -> str:
    """``1:05`` or ``1:00:05``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def subject_of(mail: MailToLog, language: str) -> str:
    """Its subject; CRMs refuse an empty one."""
    return cut(one_line(mail.subject), 250) or _WORDS[language]["no_subject"]


def describe_mail(mail: MailToLog, *, language: str, timezone: str, with_subject: bool = True) -> str:
    """Who wrote to whom, when, about what, its words and the names of its files."""
    say = _WORDS[language]
    at = mail.sent.astimezone(ZoneInfo(timezone))
    direction = say["outbound" if mail.direction is Direction.OUTBOUND else "inbound"]
    lines = [f"{direction}, {at:%d.%m.%Y %H:%M}"]
    for position in ("from", "to", "cc"):
        people = [_person(one.name, one.address) for one in mail.parties if one.position == position]
        if people:
            lines.append(f"{say[position]}: {cut(', '.join(people), 1000)}")
    if with_subject:
        lines.append(subject_of(mail, language))
    if mail.attachments:
        lines.append(f"{say['files']}: {cut(', '.join(one_line(name) for name in mail.attachments), 1000)}")
    if mail.page_url:
        lines.append(mail.page_url)
    return "\n".join([*lines, "", mail.text.replace("\0", "")]).strip()


def _person(name: str, address: str) -> str:
    return f"{one_line(name)} <{one_line(address)}>" if name.strip() else one_line(address)


def erased(language: str) -> str:
    """What stands in place of something that a CRM cannot delete."""
    return _WORDS[language]["erased"]
