"""Mails that are attached as mails: forwarded, returned or journaled ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.mail import headers as header
from agent.mail.body import read_lines
from agent.mail.layout import Line
from agent.mail.parts import Part, children, walk
from agent.model_mail import ParsedOriginal

_MOST = 20
_MOST_LINES = 20_000
_SHOWN = {"from": "From", "to": "To", "cc": "Cc"}
_MOST_SHOWN = 20


def read_originals(parts: Sequence[Part]) -> tuple[tuple[ParsedOriginal, ...], list[Line]]:
    """Who wrote the attached mails to whom, and their words under a short header, in lines."""
    found: list[ParsedOriginal] = []
    lines: list[Line] = []
    for part in parts:
        if part.media_type != "message/rfc822" or len(found) >= _MOST or len(lines) >= _MOST_LINES:
            continue
        for message in children(part.message)[:1]:
            headers = header.read_headers(message)
            original = _original(part, headers)
            found.append(original)
            inner = read_lines(walk(message), problems={}).lines
            lines += [Line(""), *_header_lines(original), Line(""), *inner]
    return tuple(found), lines[:_MOST_LINES]


def _original(part: Part, headers: header.Headers) -> ParsedOriginal:
    return ParsedOriginal(
        part=part.number,
        message_id=header.read_message_id(headers)[0],
        subject=header.read_subject(headers),
        sent=header.read_date(headers)[0],
        parties=header.read_parties(headers, {})[0],
    )


def _header_lines(original: ParsedOriginal) -> list[Line]:
    lines = []
    for position, label in _SHOWN.items():
        people = [one for one in original.parties if one.position == position][:_MOST_SHOWN]
        if people:
            named = ", ".join(f"{one.name} <{one.value}>" if one.name else one.value for one in people)
            lines.append(Line(f"{label}: {named}"))
    if original.sent is not None:
        lines.append(Line(f"Date: {original.sent:%Y-%m-%d %H:%M} UTC"))
    return [*lines, Line(f"Subject: {original.subject}")]
