"""Which call records belong to which recordings: one look through a file of any size keeps only what is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, timedelta, tzinfo
from pathlib import Path

from agent.sip.imports.cdr import CdrReader, CdrRow
from agent.sip.imports.names import Name

_NEAR = 3  # seconds between the time in a file's name and that in a record
_LONGEST_LINE = 1024 * 1024


def lines_of(path: Path) -> Iterator[bytes]:
    """The complete and the last lines of a file; what is longer than a megabyte is no record. Blocks."""
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            yield line


class Matcher:
    """Finds the records of recordings by unique id, by the file they name, and last by time and number together.

    `search` does it all; the other methods are its steps.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._ids: set[str] = set()
        self._linked: set[str] = set()
        self._stems: set[str] = set()
        self._seconds: set[int] = set()
        self._by_id: dict[str, list[CdrRow]] = defaultdict(list)
        self._by_stem: dict[str, list[CdrRow]] = defaultdict(list)
        self._by_second: dict[int, list[CdrRow]] = defaultdict(list)
        self.shifted: dict[float, int] = defaultdict(int)
        self.rows = 0

    def search(self, wanted: Iterable[tuple[str, Name]], rows: Callable[[], Iterable[CdrRow]]) -> None:
        """Find the records of these recordings among rows, which are asked for once or twice."""
        for stem, name in wanted:
            self.want(stem, name)
        self.take(rows())
        if self.incomplete:
            self.again()
            self.take(rows())

    def want(self, stem: str, name: Name) -> None:
        """Ask for the records of a recording, by the name of its file."""
        self._stems.add(stem)
        if name.unique_id:
            self._ids.add(name.unique_id)
        elif (second := self._second(name)) is not None:
            self._seconds.update(range(second - _NEAR, second + _NEAR + 1))

    def take(self, rows: Iterable[CdrRow]) -> None:
        """Look through rows."""
        for row in rows:
            self.rows += 1
            self.shifted[row.shift] += 1
            second = int(row.started.timestamp())
            if row.stem in self._stems:
                self._by_stem[row.stem].append(row)
            is_named = row.stem in self._stems or bool({row.unique_id, row.linked_id} & self._ids)
            if is_named or row.linked_id in self._linked or second in self._seconds:
                self._add(row)
            if second in self._seconds:
                self._by_second[second].append(row)

    def _add(self, row: CdrRow) -> None:
        self._linked.add(row.linked_id)
        for one in {row.unique_id, row.linked_id} - {""}:
            self._by_id[one].append(row)

    @property
    def incomplete(self) -> bool:
        """Whether a further look may find records of conversations that were only found out during this one."""
        return bool(self._linked - self._ids - {""})

    def again(self) -> None:
        """Begin the further look, by what is known now."""
        self._ids |= self._linked - {""}
        for found in (self._by_id, self._by_stem, self._by_second):
            found.clear()
        self.shifted.clear()
        self.rows = 0

    def rows_of(self, stem: str, name: Name) -> Sequence[CdrRow]:
        """All records of the conversation that a recording is of; none where it is not clear which."""
        found = self._by_id.get(name.unique_id, []) if name.unique_id else []
        found = found or self._by_stem.get(stem, []) or self._by_time(name)
        linked = {row.linked_id for row in found if row.linked_id}
        wider = [row for one in sorted(linked) for row in self._by_id.get(one, ())]
        return list(dict.fromkeys([*found, *wider]))

    def _by_time(self, name: Name) -> list[CdrRow]:
        """The one conversation that began then and has one of the numbers."""
        second = self._second(name)
        if name.unique_id or second is None:
            return []
        numbers = [one[-10:] for one in (name.caller, name.callee) if one]
        found = [
            row
            for at in range(second - _NEAR, second + _NEAR + 1)
            for row in self._by_second.get(at, ())
            if any(side.endswith(one) for one in numbers for side in (row.caller, row.callee))
        ]
        return found if len({row.linked_id or str(row.started) for row in found}) == 1 else []

    def _second(self, name: Name) -> int | None:
        if name.local is None:
            return None
        return int(name.local.replace(tzinfo=self._zone).astimezone(UTC).timestamp())


def match_file(path: Path, zone: tzinfo, wanted: Iterable[tuple[str, Name]]) -> tuple[Matcher, CdrReader]:
    """Look through a file of records for these recordings. Blocks.

    Raises:
        OSError: it cannot be read.
    """
    matcher, readers = Matcher(zone), list[CdrReader]()

    def rows() -> Iterator[CdrRow]:
        readers.append(CdrReader(zone))
        return readers[-1].read(lines_of(path))

    matcher.search(wanted, rows)
    return matcher, readers[-1]


def zone_words(matcher: Matcher) -> str:
    """What to say where most records fit another zone than the stated one; empty where they do not."""
    off = {shift: count for shift, count in matcher.shifted.items() if shift}
    if not off or max(off.values()) * 2 < matcher.rows:
        return ""
    shift = max(off, key=off.__getitem__)
    return f"the times of the call records are off by {timedelta(seconds=abs(shift))} from the stated time zone"
