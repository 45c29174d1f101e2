"""The names by which SIP calls people and conversations: URIs, addresses in headers, Avaya's UCID. Pure."""

from __future__ import annotations

import re
from hashlib import blake2s
from urllib.parse import unquote

MAX_TEXT = 512
MAX_ID = 1024  # bytes
_NUMBER = re.compile(r"^\+?[\d().\s-]{2,}$")
_HIDDEN = re.compile(r"^(anonymous|restricted|unavailable|unknown|private|withheld)?$", re.IGNORECASE)
# An id made for one conversation, and not a name such as "sales" or a row of zeros that all calls carry
_UNIQUE = re.compile(r"^(?=.{16})(?!urn:uuid:[0-]*$)(?![{0-]*}?$)[\w+/=:.@{}-]+$")
_BRACKETS = re.compile(r"<([^<>]*)>")


def number_of(aor: str) -> str:
    """The number or name in a sip, sips or tel URI, as the client wrote it: ``sip:101@192.0.2.1`` is ``101``."""
    inside = _BRACKETS.search(aor)
    text = unquote((inside[1] if inside else aor).strip().strip("<>"))[:MAX_TEXT]
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips", "tel"):
        rest = text
    if scheme.lower() == "tel":
        number, *parameters = rest.split(";")
        return ";".join([number, *(one for one in parameters if one.lower().startswith("ext="))])
    user, at, host = rest.rpartition("@")
    return (user if at else host).split(";")[0].split(":")[0]


def uri_in(address: str) -> str:
    """The URI of a header such as From or P-Asserted-Identity (RFC 3261, 25.1: name-addr or addr-spec)."""
    inside = _BRACKETS.search(address)
    return inside[1] if inside else address.split(";")[0].strip()


def name_in(address: str) -> str:
    """The display name of such a header."""
    return address.partition("<")[0].strip().strip('"')[:MAX_TEXT] if "<" in address else ""


def is_number(value: str) -> bool:
    """Whether a user part is a number and not a login or a trunk."""
    return bool(_NUMBER.match(value.split(";")[0]))


def is_hidden(value: str) -> bool:
    """Whether somebody keeps his number back (RFC 3323, 4.1.1.3), or none is there."""
    return bool(_HIDDEN.match(value))


def is_unique(known: str) -> bool:
    """Whether an id can only have been made for one session or group: long enough for a UUID in base64, no blanks."""
    return bool(_UNIQUE.match(known))


def bounded(known: str) -> str:
    """An id as an index of the database can hold it: a long one is cut, and told apart by a digest of the whole."""
    if len(known.encode("utf-8", "replace")) <= MAX_ID:
        return known
    return f"{known[:64]}~{blake2s(known.encode('utf-8', 'replace')).hexdigest()}"


def ucid_in(text: str) -> str:
    """Avaya's universal call id as its 20 digits, from User-to-User data (RFC 7433) or as a number; else empty.

    In the data it is the information element FA of 8 bytes: node, sequence, seconds of the epoch.
    """
    value = text.partition(";")[0].strip().strip('"')
    if re.fullmatch(r"\d{20}", value):
        return value
    try:
        data = bytes.fromhex(value)
    except ValueError:
        return ""
    for start in (1, 0):  # with and without the protocol discriminator
        at = start
        while at + 2 <= len(data):
            kind, size = data[at], data[at + 1]
            if kind == 0xFA and size == 8 and at + 10 <= len(data):
                return _digits(data[at + 2 : at + 10])
            at += 2 + size
    return ""


def read_ucid(text: str) -> str:
    """What a field made for a UCID holds: its digits, also from 8 bare bytes, else the text itself."""
    value = text.partition(";")[0].strip().strip('"')
    if re.fullmatch(r"[0-9A-Fa-f]{16}", value):
        return _digits(bytes.fromhex(value))
    return ucid_in(text) or (value if is_unique(value) else "")


def _digits(ucid: bytes) -> str:
    node, sequence, seconds = (int.from_bytes(part, "big") for part in (ucid[:2], ucid[2:4], ucid[4:]))
    return f"{node:05}{sequence:05}{seconds:010}"
