"""What the header of a mail says: people, ids, times. Pure; every function takes the broken along with the good."""

from __future__ import annotations

import email.utils
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import Message
from functools import lru_cache
from typing import Any

from agent.mail.text import clean, decode_words, one_line
from agent.model import CapturedParty, IdentityKind

Headers = Mapping[str, Sequence[str]]
"""Lower-case name → values in order, 8-bit letters decoded, encoded words still encoded."""

_MOST_HEADERS = 2000
_MOST_CHARACTERS = 128 * 1024
_MOST_ADDRESSES = 500
_MOST_IDS = 200
_REMEMBERED = 200  # characters
_LONGEST_ID = 500
_LONGEST_ADDRESS = 320  # 64 + @ + 255 (RFC 5321, 4.5.3.1), rounded up by the field
_POSITIONS = {
    "from": "from",
    "sender": "from",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "reply-to": "reply_to",
}
_IN_BRACKETS = re.compile(r"<([^<>]{1,20000})>")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"'@]{1,64}@[^\s<>()\[\],;:\"'@]{1,255}")


def read_headers(message: Message) -> Headers:
    """All headers of a message, values cut to 128 Ki characters."""
    headers: dict[str, list[str]] = {}
    for name, value in message.items()[:_MOST_HEADERS]:
        headers.setdefault(name.lower().strip(), []).append(clean(str(value)[:_MOST_CHARACTERS]))
    return headers


def first(headers: Headers, name: str) -> str:
    """The first value of a header with folding undone, or an empty string."""
    values = headers.get(name, ())
    return re.sub(r"[\r\n]+[ \t]*", " ", values[0]).strip() if values else ""


def read_subject(headers: Headers) -> str:
    """The subject as a person reads it, on one line, at most 1,000 characters."""
    return one_line(decode_words(first(headers, "subject")), 1000)


def read_date(headers: Headers) -> tuple[datetime | None, str | None]:
    """When the sender says to have sent it, in UTC, and what was wrong with the header (RFC 5322, 3.3)."""
    value = first(headers, "date")
    if not value:
        return None, "there is no date"
    try:
        moment = email.utils.parsedate_to_datetime(value[:200])
        moment = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None, "the date cannot be read"
    if not 1980 <= moment.year <= 2100:
        return None, "the date lies outside of 1980 to 2100"
    return moment, None


def read_ids(values: Iterable[str]) -> tuple[str, ...]:
    """The message ids in these header values, in order, without brackets; the first and the last 200 at most.

    Ids longer than 500 characters are replaced by their digest, the same for everybody who names them, since they are
    compared and never shown.
    """
    found: dict[str, None] = {}
    for value in values:
        ids = _IN_BRACKETS.findall(value) or ([] if "<" in value or " " in value.strip() else [value])
        found.update(dict.fromkeys(filter(None, map(_normal_id, ids))))
    ids = list(found)
    return tuple(ids if len(ids) <= _MOST_IDS else [*ids[: _MOST_IDS // 2], *ids[-_MOST_IDS // 2 :]])


def _normal_id(raw: str) -> str:
    compact = "".join(raw.split())
    if len(compact) <= _LONGEST_ID:
        return compact
    return f"sha256-{hashlib.sha256(compact.encode('utf-8', 'replace')).hexdigest()}@long.invalid"


def read_message_id(headers: Headers) -> tuple[str, str | None]:
    """The message's own id (RFC 5322, 3.6.4), empty where there is none, and what was wrong."""
    values = headers.get("message-id", ())
    ids = read_ids(values) or tuple(filter(None, (_normal_id(value) for value in values)))
    if not ids:
        return "", "there is no Message-ID"
    return ids[0], "there are several Message-IDs" if len(ids) > 1 else None


def read_parties(headers: Headers, envelope: Mapping[str, Any]) -> tuple[tuple[CapturedParty, ...], tuple[str, ...]]:
    """Everybody the mail names, and what was wrong; recipients that only the envelope knows have ``envelope``."""
    parties: dict[tuple[str, str], CapturedParty] = {}
    problems = []
    for header, position in _POSITIONS.items():
        for value in headers.get(header, ()):
            for name, address in read_addresses(value):
                parties.setdefault((position, address.lower()), _party(position, address, name))
    named = {address for _, address in parties}
    recipients = envelope.get("rcpt_to", ())
    for recipient in recipients if isinstance(recipients, list | tuple) else ():
        address = clean(str(recipient)).strip()
        if "@" in address and address.lower() not in named:
            parties.setdefault(("envelope", address.lower()), _party("envelope", address, ""))
    if not any(position == "from" for position, _ in parties):
        problems.append("nobody is named as the sender")
    if len(parties) > _MOST_ADDRESSES:
        problems.append(f"it names more than {_MOST_ADDRESSES} addresses; the first were kept")
    return tuple(parties.values())[:_MOST_ADDRESSES], tuple(problems)


def _party(position: str, address: str, name: str) -> CapturedParty:
    return CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=address, name=name)


def read_addresses(value: str) -> list[tuple[str, str]]:
    """(name, address) pairs of a header's value. Split before encoded words are decoded: a name may contain a comma."""
    unfolded = re.sub(r"[\r\n]+[ \t]*", " ", value)
    found = _split(unfolded)
    if not found and "=?" in unfolded:
        found = _split(decode_words(unfolded))  # a sender who encoded the address together with the name
    return found


def _split(value: str) -> list[tuple[str, str]]:
    return list(_split_again(value)) if len(value) <= _REMEMBERED else _split_any(value)


@lru_cache(maxsize=2000)  # a mailbox names the same people again and again
def _split_again(value: str) -> tuple[tuple[str, str], ...]:
    return tuple(_split_any(value))


def _split_any(value: str) -> list[tuple[str, str]]:
    try:
        pairs = _getaddresses(value)
    except (RecursionError, ValueError, IndexError, TypeError, AttributeError):
        pairs = []
    found = []
    for name, address in pairs:
        compact = next((word for word in reversed(address.split()) if "@" in word), "")
        if compact.count("@") == 1 and not compact.startswith("@") and len(compact) <= _LONGEST_ADDRESS:
            found.append((one_line(decode_words(name), 200), compact.strip("'\"")))
    return found or [("", address) for address in _ADDRESS.findall(value)]


def _getaddresses(value: str) -> list[tuple[str, str]]:
    if getattr(email.utils, "supports_strict_parsing", False):  # since 3.11.10 and 3.12.6
        return email.utils.getaddresses([value], strict=False)
    return email.utils.getaddresses([value])
