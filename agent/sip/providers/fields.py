"""Reading what a provider sent: forms, JSON, CSV to plain words, and words to times, seconds and numbers; pure.

A preset is a table: a field of `Notification`, the names under which the provider may tell it, and how to read it.
Everything is bounded, since it comes from outside.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Any
from urllib.parse import parse_qsl

from agent.sip.providers.notification import Hook, UnreadableNotification
from agent.store.engine import storable

_LONGEST = 2000  # characters of a value: an address of a recording is the longest there is
_MOST_FIELDS = 500
_DEEPEST = 8
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_LONGEST_TALK = 7 * 86400.0  # seconds
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M")

Words = Mapping[str, str]
Read = Callable[[str, tzinfo], Any]
Table = Mapping[str, tuple[Sequence[str], Read]]


# --- To plain words ---------------------------------------------------------------------------------------------------


def form_of(hook: Hook) -> dict[str, str]:
    """The fields of a form, in the body or the query, the body's word counting.

    Raises:
        UnreadableNotification: it is no form.
    """
    try:
        found = _pairs(hook.query)
        if hook.content_type.startswith("multipart/form-data"):
            return {**found, **_multipart(hook)}
        return {**found, **_pairs(hook.body.decode())}
    except (ValueError, UnicodeDecodeError) as error:
        raise UnreadableNotification(f"The notification is no form: {error}.") from None


def _pairs(text: str) -> dict[str, str]:
    pairs = parse_qsl(text.strip(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    return {name: _bounded(value) if name != "json" else value for name, value in pairs}


def _bounded(value: str) -> str:
    """As long as it may be, and as the database has it, so that a key read and a key stored are the same."""
    return storable(value[:_LONGEST])


def _multipart(hook: Hook) -> dict[str, str]:
    head = f"Content-Type: {hook.content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = BytesParser(policy=compat32).parsebytes(head + hook.body)
    parts: Any = message.get_payload()
    if not isinstance(parts, list):
        raise UnreadableNotification("The notification says it is a form of parts, and has none.")
    found = {}
    for part in parts[:_MOST_FIELDS]:
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        if isinstance(name, str) and isinstance(content := part.get_payload(decode=True), bytes):
            found[name] = _bounded(content.decode(errors="replace").strip("\r\n"))
    return found


def json_of(text: str | bytes) -> Any:
    """JSON of any shape.

    Raises:
        UnreadableNotification: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableNotification(f"The notification is no JSON: {type(error).__name__}.") from None


def object_of(text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UnreadableNotification: it is none.
    """
    found = json_of(text)
    if not isinstance(found, dict):
        raise UnreadableNotification("The notification is JSON, and no object.")
    return found


def words_of(thing: Mapping[str, Any], *, paths: bool = False) -> dict[str, str]:
    """A JSON object as plain words. Nested ones are named by their last name, or with ``paths`` as ``from.number``;
    the outer and earlier one counts. None and lists are left out."""
    found: dict[str, str] = {}
    level: list[tuple[str, Mapping[str, Any]]] = [("", thing)]
    for _ in range(_DEEPEST):
        below: list[tuple[str, Mapping[str, Any]]] = []
        for prefix, one in level:
            for name, value in one.items():
                path = f"{prefix}{name}" if paths else name
                if isinstance(value, Mapping):
                    below.append((f"{path}.", value))
                elif value is not None and not isinstance(value, list) and len(found) < _MOST_FIELDS:
                    found.setdefault(path, _bounded(str(value)))
        level = below
    return found


def csv_of(text: str, *, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Lines of a table with semicolons; the first line names the columns unless they are given.

    Raises:
        UnreadableNotification: the table is broken.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";") if any(line)]
    except csv.Error as error:
        raise UnreadableNotification(f"The table cannot be read: {error}.") from None
    names = list(columns) or [name.strip() for name in (lines.pop(0) if lines else [])]
    return [dict(zip(names, (_bounded(one.strip()) for one in line), strict=False)) for line in lines]


# --- By a table -------------------------------------------------------------------------------------------------------


def fill(table: Table, words: Words, zone: tzinfo) -> dict[str, Any]:
    """The arguments for `Notification` that the table finds in these words; the first name that says something."""
    found = {}
    for field, (names, read) in table.items():
        for name in names:
            if (word := words.get(name, "").strip()) and (value := read(word, zone)) is not None:
                found[field] = value
                break
    return found


def needed(words: Words, name: str) -> str:
    """A word without which nothing can be done.

    Raises:
        UnreadableNotification: it is not there.
    """
    if found := words.get(name, "").strip()[:200]:
        return found
    raise UnreadableNotification(f"The notification has no {name}.")


def text(word: str, zone: tzinfo) -> str | None:
    """As it stands."""
    return word[:200]


def link(word: str, zone: tzinfo) -> str | None:
    """An address of a file, else nothing: some providers write ``-`` or ``null``."""
    return word if word.lower().startswith(("https://", "http://")) else None


def number(word: str, zone: tzinfo) -> str | None:
    """A telephone number or extension; nothing where a provider writes a word for «none»."""
    return None if word.lower() in ("null", "none", "-", "0", "undefined") else word[:100]


def moment(word: str, zone: tzinfo) -> datetime | None:
    """A time: seconds since 1970, ISO 8601, or day and time in the zone of the settings. Nonsense is no time."""
    try:
        if word.replace(".", "", 1).isdigit() and len(word.partition(".")[0]) <= 13:
            seconds = float(word)
            found = datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        else:
            found = _written(word, zone).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return found if _EARLIEST < found < _LATEST else None


def _written(word: str, zone: tzinfo) -> datetime:
    for form in _FORMS:
        try:
            return datetime.strptime(word, form).replace(tzinfo=zone)
        except ValueError:
            continue
    found = datetime.fromisoformat(word)
    return found if found.tzinfo else found.replace(tzinfo=zone)


def seconds(word: str, zone: tzinfo) -> float | None:
    """How long; nonsense is nothing."""
    try:
        found = float(word.replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) and 0 <= found <= _LONGEST_TALK else None


def count(word: str, zone: tzinfo) -> int | None:
    """A whole number that the database can hold."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 15 else None


def is_true(word: str) -> bool:
    """Yes, in the words of providers."""
    return word.strip().lower() in ("1", "true", "yes", "да")


def is_extension(word: str) -> bool:
    """Whether a number is one dialled inside: providers give them up to five digits."""
    return word.isascii() and word.isdigit() and len(word) <= 5
