"""The journal of a call: what the SIP side saw, append-only, beside the packet logs.

The journal is the truth of a call until the database has it, so a fact is written before the SIP answer goes out.
It is a plain write; the capture process' ``syncfs`` each second makes it durable together with the sound.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE_NAME = "journal.jsonl"
OPENED = "opened"  # the INVITE that began it
STREAM = "stream"  # a stream is there, or its direction or codecs changed
ANSWERED = "answered"  # what we answered
ACKED = "acked"
UPDATED = "updated"  # a re-INVITE or UPDATE
NO_MEDIA = "no_media"  # established, and yet no packet came
UNACKED = "unacked"  # our answer was never acknowledged
UNREFRESHED = "unrefreshed"  # the session timer ran out while sound still came
KEY = "key"  # somebody pressed a key, where whoever carries the call says so
SNAPSHOT = "snapshot"  # the whole call as its source knows it by now (`agent.sip.snapshots`)
CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened to a call, and when by the wall clock of this machine."""

    at: datetime
    kind: str
    data: Mapping[str, Any]

    def raw(self) -> bytes:
        """The SIP message that brought this fact, byte by byte; empty when none did."""
        text = self.data.get("raw", "")
        try:
            return base64.b64decode(text) if isinstance(text, str) else b""
        except ValueError:
            return b""


class Journal:
    """Writes one call's facts; the only writer of its file. No descriptor stays open: calls may be a thousand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: list[bytes] | None = None

    @classmethod
    def create(cls, captures: Path) -> Journal:
        """Make the folder of a new call. Its name is ours: nothing a client sent is in it.

        Raises:
            OSError: the disk is full or read-only; the call must be refused, so that the client tries elsewhere.
        """
        folder = captures / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError:  # the very first call
            captures.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
        return cls(folder)

    @property
    def capture_id(self) -> str:
        """The name of the folder."""
        return self.folder.name

    def write(self, kind: str, *, raw: bytes | None = None, at: datetime | None = None, **data: Any) -> Fact:
        """Append a fact.

        Raises:
            OSError: the disk is full.
        """
        fact = Fact(at=at or datetime.now(UTC), kind=kind, data=_with_raw(data, raw))
        line = {"at": fact.at.isoformat(), "fact": kind, **fact.data}
        encoded = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._held is None:
            self._append(encoded)
        else:
            self._held.append(encoded)
        return fact

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within goes to the file at once, at the end: facts of which none counts without the others.

        Raises:
            OSError: the disk is full.
        """
        held: list[bytes] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            if held:
                self._append(b"".join(held))

    def _append(self, lines: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self.folder / FILE_NAME, flags, 0o600)
        try:
            _append(file, lines)
        finally:
            os.close(file)


def _append(file: int, line: bytes) -> None:
    """A line that a crash or a full disk cut off gets its end first, so that this one stands by itself."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        line = b"\n" + line
    while line:
        line = line[os.write(file, line) :]


def read_journal(folder: Path) -> list[Fact]:
    """All facts that can be read; a cut-off or damaged line is passed over. Blocks: call it in a thread."""
    try:
        lines = (folder / FILE_NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [fact for line in lines if (fact := _read_line(line)) is not None]


def _read_line(line: bytes) -> Fact | None:
    try:
        data = json.loads(line)
        at = datetime.fromisoformat(data.pop("at"))
        kind = str(data.pop("fact"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Fact(at=at, kind=kind, data=data) if at.tzinfo else None


def _with_raw(data: dict[str, Any], raw: bytes | None) -> dict[str, Any]:
    return data if raw is None else {**data, "raw": base64.b64encode(raw).decode()}
