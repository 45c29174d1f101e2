"""The original within a forward that a person sent to the drop address: attached, or told in the words. Pure.

Mail programs write a short header above what they quote; its labels are those of `agent.mail.phrases`. Nothing is
believed but what names the sender by an address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from agent.mail.dates import read_written_date
from agent.mail.headers import read_addresses
from agent.mail.phrases import DIVIDERS, LABELS
from agent.mail.slices import Slice, attached_mails, whole
from agent.mail.text import one_line
from agent.model import CapturedParty, IdentityKind

_LONGEST_LINE = 2000
_MOST_LINES = 5000  # of the text, in which the header of the original is looked for
_HEADER_LINES = 12
_MOST_PEOPLE = 500
_KINDS = {label: kind for kind, labels in LABELS.items() for label in labels}
_LABELLED = re.compile(r"[\s*>]{0,8}([^\W\d_][\w’' -]{0,20}?)[\s*]{0,4}:[\s*]{0,4}(.*)")
_DIVIDER = re.compile(rf"[\s>*_=~-]{{0,60}}(?:{'|'.join(map(re.escape, DIVIDERS))})[\s:*_=~-]{{0,60}}")
_FORWARD = re.compile(r"\s{0,8}(?:fwd?|пересл?|wg|tr|i)\s?(?:\[\d{1,3}\])?\s?:", re.IGNORECASE)
_DATED = re.compile(  # «02.03.2026, 10:00, "Борис" <boris@example.com>:», as Yandex writes it
    r"[\s>]{0,8}(\d{1,2}\.\d{1,2}\.\d{4},? (?:в )?\d{1,2}:\d\d(?::\d\d)?),? "
    r"(.{0,300}?<?[^\s<>@]{1,64}@[^\s<>@]{1,255}?>?):?\s*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """What the words of a forward say of its original."""

    parties: tuple[CapturedParty, ...]
    sent: datetime | None
    subject: str
    words: str


def attached_original(raw: bytes) -> Slice | None:
    """The one mail attached to these bytes; None where there is none, or several and so none that is meant."""
    found = attached_mails(raw, whole(raw))
    return found[0] if len(found) == 1 else None


def says_forward(subject: str, text: str) -> bool:
    """Whether somebody passed a mail on: by the subject, or by the line mail programs draw above it."""
    if _FORWARD.match(subject):
        return True
    return any(_DIVIDER.fullmatch(line[:_LONGEST_LINE].lower()) for line in text.splitlines()[:_MOST_LINES])


def quoted_original(text: str, *, zone: tzinfo) -> Quoted | None:
    """The first header that was copied into the text; None where none names a sender by address.

    ``zone`` is that of whoever forwards: mail programs write times as their owner's clock shows them.
    """
    lines = text.splitlines()
    for at in range(min(len(lines), _MOST_LINES)):
        line = lines[at][:_LONGEST_LINE]
        if (dated := _DATED.fullmatch(line)) is not None:
            people = _people("from", dated[2])
            return _quoted(people, dated[1], "", lines[at + 1 :], zone) if people else None
        kind, _ = _label(line)
        if kind is None:
            continue
        fields, end = _header(lines, at)
        if "from" in fields and len(fields) >= 3:
            people = [one for kind in ("from", "to", "cc") for one in _people(kind, fields.get(kind, ""))]
            if not any(one.position == "from" for one in people):
                return None
            return _quoted(people, fields.get("sent", ""), fields.get("subject", ""), lines[end:], zone)
    return None


def _quoted(people: Sequence[CapturedParty], date: str, subject: str, lines: Sequence[str], zone: tzinfo) -> Quoted:
    return Quoted(
        parties=tuple(people),
        sent=read_written_date(date, zone=zone),
        subject=one_line(subject, 1000),
        words="\n".join(lines).strip(),
    )


def _header(lines: Sequence[str], start: int) -> tuple[dict[str, str], int]:
    """Fields from a line on, folded ones joined, and the line after them."""
    fields: dict[str, str] = {}
    last = ""
    at = start
    while at < min(len(lines), start + _HEADER_LINES):
        line = lines[at][:_LONGEST_LINE]
        kind, value = _label(line)
        if kind is not None:
            fields.setdefault(kind, value.strip(" *"))
            last = kind
        elif not line.strip(" >*"):
            if len(fields) > 1:
                break
        elif last in ("to", "cc") and "@" in line:
            fields[last] += f" {line.strip(' >')}"
        else:
            break
        at += 1
    return fields, at


def _label(line: str) -> tuple[str | None, str]:
    found = _LABELLED.match(line)
    kind = _KINDS.get(found[1].lower()) if found else None
    return kind, found[2] if found and kind else ""


def _people(position: str, value: str) -> list[CapturedParty]:
    found = read_addresses(value.replace(";", ",").replace("[mailto:", "<").replace("]", ">"))[:_MOST_PEOPLE]
    return [
        CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=address, name=name) for name, address in found
    ]
