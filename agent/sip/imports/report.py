"""What an import says in the end and while it goes on: of each file what became of it, and why."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

_MOST_PLANNED = 100  # shown of a dry run


class Fate(StrEnum):
    """What became of a file."""

    IMPORTED = "imported"
    WOULD_IMPORT = "would_import"  # of a dry run
    KNOWN = "known"
    LEFT_OUT = "left_out"
    FAILED = "failed"  # it will be tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One file. ``separated``: each party has a channel. ``records``: how many call records told of its call."""

    file: str
    fate: Fate
    reason: str = ""
    call: str = ""
    started: str = ""
    caller: str = ""
    callee: str = ""
    seconds: float = 0.0
    separated: bool = False
    records: int = 0
    flags: tuple[str, ...] = ()


class Report:
    """Counts outcomes and, where asked for, writes each into a file at once: a table (.csv), else lines of JSON."""

    def __init__(self, path: Path | None = None) -> None:
        self.fates: Counter[Fate] = Counter()
        self.reasons: Counter[tuple[Fate, str]] = Counter()
        self.examples: dict[tuple[Fate, str], str] = {}
        self.flags: Counter[str] = Counter()
        self.planned: list[Outcome] = []
        self.mixed = 0
        self.seconds = 0.0
        self.notes: list[str] = []
        self._path = path
        self._file: TextIO | None = None

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.fates[outcome.fate] += 1
        if outcome.reason:
            kind = (outcome.fate, outcome.reason)
            self.reasons[kind] += 1
            self.examples.setdefault(kind, outcome.file)
        if outcome.fate in (Fate.IMPORTED, Fate.WOULD_IMPORT):
            self.flags.update(outcome.flags)
            self.mixed += not outcome.separated
            self.seconds += outcome.seconds
        if outcome.fate is Fate.WOULD_IMPORT and len(self.planned) < _MOST_PLANNED:
            self.planned.append(outcome)
        self._write(outcome)

    def note(self, text: str) -> None:
        """Something about the whole, once."""
        if text and text not in self.notes:
            self.notes.append(text)

    def _write(self, outcome: Outcome) -> None:
        if self._file is None or self._path is None:
            return
        row = asdict(outcome)
        if self._path.suffix.lower() == ".csv":
            csv.writer(self._file).writerow(_cell(value) for value in row.values())
        else:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._path.open("w", encoding="utf-8", newline="")
            if self._path.suffix.lower() == ".csv":
                csv.writer(self._file).writerow(Outcome.__slots__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _cell(value: object) -> object:
    """A list in one cell; text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, tuple | list):
        value = "; ".join(str(one) for one in value)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
