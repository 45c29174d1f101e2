"""What a server answers to FETCH, read at the price of a regular expression a message; pure. And two ways to ask it.

IMAPClient looks at an answer letter by letter, which for a mailbox of ten thousands of mails costs as much as sealing
them. What servers say to what we ask for is of one form; whatever is not goes to IMAPClient's own reading, all of it.
"""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from imapclient.imapclient import IMAPClient, _parse_untagged_response
from imapclient.response_parser import parse_fetch_response

Answer = Mapping[int, Mapping[bytes, Any]]
"""UID → item → value, as IMAPClient gives it: numbers, an aware time, a tuple of flags, bytes."""

_MESSAGE = re.compile(
    rb"(\d+) \((?:(?:UID (\d+)|FLAGS \(([^()\"{}\x00-\x1f]*)\)|INTERNALDATE (\"[^\"]*\")|RFC822\.SIZE (\d+)"
    rb"|MODSEQ \(\d+\)) ?)*(?:(?<= )(BODY\[\]) \{\d+\}|\))"
)
_TIME = re.compile(rb'"([ \d]\d)-([A-Z][a-z]{2})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
_ITEM = re.compile(
    rb"SEQ|UID|FLAGS|MODSEQ|INTERNALDATE|RFC822\.SIZE|BODY\[\]|ENVELOPE|BODYSTRUCTURE|EMAILID|THREADID|SAVEDATE|X-[-A-Z0-9.]+"
)
"""What servers tell of a message beside its bytes. Anything else behind the bytes is more of them."""
_NAMES = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_MONTHS = {name: number for number, name in enumerate(_NAMES.split(), 1)}


def fetch(client: IMAPClient, uids: Sequence[int], items: Sequence[str]) -> Answer:
    """Ask for ``items`` of messages; raises what IMAPClient raises. Servers may tell of other messages meanwhile, which
    are left out, and of other items."""
    kind, said = client._imap.uid("FETCH", ",".join(map(str, uids)), f"({' '.join(items)})")
    client._checkok("fetch", kind, said)
    answer = read_answer(said)
    return {uid: answer[uid] for uid in uids if uid in answer}


def read_on(client: IMAPClient) -> list[Any]:
    """What came in one piece with the server's word that it idles: it lies in imaplib's buffer, and `idle_check` looks
    at the socket."""
    told: list[Any] = []
    sock = client.socket()
    sock.setblocking(False)
    try:
        while b"\n" in client._imap.file.peek():
            told.append(_parse_untagged_response(client._imap._get_line()))
    except (BlockingIOError, ssl.SSLWantReadError):
        pass
    finally:
        sock.setblocking(True)
        client._set_read_timeout()
    return told


def read_answer(said: Sequence[Any]) -> Answer:
    """What `imaplib` gives of an answer: a line, or the line before a literal with the literal."""
    quick = _read_quickly(said)
    if quick is not None:
        return quick
    answer: Answer = parse_fetch_response(said, False, True)
    for items in answer.values():
        if b"BODY[]" in items and not all(_ITEM.fullmatch(one) for one in items):
            raise imaplib.IMAP4.abort("a message is longer than the server announced")
    return answer


def _read_quickly(said: Sequence[Any]) -> dict[int, dict[bytes, Any]] | None:
    answer: dict[int, dict[bytes, Any]] = {}
    is_open = False
    for piece in said:
        if is_open:
            if piece != b")":
                return None
            is_open = False
            continue
        line, literal = piece if isinstance(piece, tuple) else (piece, None)
        found = _MESSAGE.fullmatch(line) if line is not None else None
        if found is None or not found[2] or (literal is None) != (found[6] is None):
            return None
        items: dict[bytes, Any] = {b"SEQ": int(found[1])}
        if found[3] is not None:
            items[b"FLAGS"] = tuple(found[3].split())
        if found[4] is not None:
            items[b"INTERNALDATE"] = _time(found[4])
            if items[b"INTERNALDATE"] is None:
                return None
        if found[5] is not None:
            items[b"RFC822.SIZE"] = int(found[5])
        if literal is not None:
            items[b"BODY[]"] = literal
            is_open = True
        answer.setdefault(int(found[2]), {}).update(items)
    return None if is_open else answer


def _time(words: bytes) -> datetime | None:
    """None where it is not as RFC 9051 has it (date-time), or there is no such day."""
    found = _TIME.fullmatch(words)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[at]) for at in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS[found[2]], day, hour, minute, second, tzinfo=_zone(found[7], found[8], found[9]))
    except ValueError:
        return None


@lru_cache(maxsize=200)
def _zone(sign: bytes, hours: bytes, minutes: bytes) -> timezone:
    away = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-away if sign == b"-" else away)
