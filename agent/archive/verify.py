"""The proof: walks the chain, holds it against the seals, re-reads the sealed bytes; needs no database and no key.

What it proves, and against whom, stands in docs/evidence.md. In short: links that follow each other prove nothing by
themselves; a seal of this installation proves them against everybody who has not its key; a seal kept outside, or
stamped by an authority, proves them against the administrator too. What comes after the last such seal is not proved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.archive.chainfile import Record
from agent.archive.contents import MISSING, NOT_OPENED, Content, ContentCheck, is_name
from agent.archive.sealbook import SealBook, Witness
from agent.archive.statements import BLOB, ERASURE, link_digest, statement_hash
from agent.errors import BlobAltered, Unreadable

Unwrap = Callable[[int, bytes], bytes]

_MOST_FAULTS = 1000
_KINDS = {"message/rfc822": "mail", "audio/flac": "recording"}
KEY_GONE = "its key was destroyed without a recorded act"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One link that does not hold, and in words what it is and what is wrong."""

    sequence: int
    problem: str
    what: str = ""

    def __str__(self) -> str:
        return f"link {self.sequence}{f' ({self.what})' if self.what else ''}: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """A recorded act of erasure: the position of the act, whose it was, and the first and last links it covers."""

    sequence: int
    at: str
    by: str
    reason: str
    basis: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """How many links' contents were erased."""
        return sum(last - first + 1 for first, last in self.ranges)

    def covers(self, sequence: int) -> bool:
        """Whether this link is among them."""
        place = bisect_right(self.ranges, (sequence, sequence))
        return any(first <= sequence <= last for first, last in self.ranges[max(0, place - 1) : place + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found. ``links`` hold, counted from the first; ``length`` were there.

    ``sealed`` is the last seal that vouches for them, ``independent`` the last one for which more speaks than the
    installation's own key: up to there the proof holds against the administrator as well.
    """

    links: int
    length: int
    first_bad: int | None = None
    problem: str = ""
    faults: tuple[Fault, ...] = ()
    seal_problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    erased: tuple[Erased, ...] = ()
    sealed: Witness | None = None
    independent: Witness | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.first_bad is None and not self.seal_problems


class Proof:
    """Feed it the chain from its beginning, then ask for the verdict. Blocks: for a thread."""

    def __init__(self, seals: SealBook, *, contents: ContentCheck | None = None, unwrap: Unwrap | None = None) -> None:
        """Without ``contents`` only the chain is proved; with ``unwrap`` plain bytes are digested too."""
        self._seals = seals
        self._contents = contents
        self._unwrap = unwrap
        self._sequence = 0
        self._head = b""
        self._faults: list[Fault] = []
        self._kinds: dict[int, str] = {}
        self._erased: list[Erased] = []
        self._gone: list[int] = []
        self._matched: list[Witness] = []
        self._broken = False

    @property
    def links(self) -> int:
        """How many links were walked by now."""
        return self._sequence

    @property
    def head(self) -> bytes:
        """The digest of the last one."""
        return self._head

    def feed(self, records: Iterable[Record]) -> bool:
        """Take the next links; False when the chain is broken and nothing after proves anything."""
        for record in records:
            if self._broken:
                break
            self._step(record)
        return not self._broken

    def break_off(self, problem: str) -> None:
        """The chain cannot be read any further."""
        self._broken = True
        self._faults.append(Fault(sequence=self._sequence + 1, problem=problem))

    def finish(self) -> Verdict:
        """Wait for what is still being read, and judge."""
        if self._contents is not None:
            self._note(self._contents.finish())
        if not self._broken and (cut := self._seals.beyond(self._sequence)):
            seal = cut.seal
            self.break_off(
                f"the chain ends with link {self._sequence}, but {_name(cut)} vouches for {seal.length} links: "
                f"{seal.length - self._sequence} were cut off, or an older copy was put back"
            )
        faults = sorted(self._judged(), key=lambda fault: fault.sequence)
        first = faults[0] if faults else None
        return Verdict(
            links=min(self._sequence, first.sequence - 1) if first else self._sequence,
            length=self._sequence,
            first_bad=first.sequence if first else None,
            problem=first.problem if first else "",
            faults=tuple(faults),
            seal_problems=tuple(self._seals.problems),
            erased=tuple(self._erased),
            sealed=self._matched[-1] if self._matched else None,
            independent=next((one for one in reversed(self._matched) if self._seals.is_independent(one)), None),
        )

    def _step(self, record: Record) -> None:
        expected = self._sequence + 1
        try:
            fields = record.fields()
            problem = self._problem(record, fields, expected)
            what = describe(fields)
            if not problem:
                self._take(record, fields, expected)
        except (Unreadable, KeyError, TypeError, ValueError):
            problem, what = "its statement cannot be read", ""
        if problem:
            self._broken = True
            self._faults.append(Fault(sequence=expected, problem=problem, what=what))
            return
        self._sequence, self._head = expected, record.digest
        for witness in self._seals.at(expected):
            self._compare(witness)

    def _problem(self, record: Record, fields: Mapping[str, Any], expected: int) -> str:
        if fields.get("sequence") != expected:
            return f"link {expected} was removed or moved"
        if record.previous != self._head:
            return "it does not follow the link before"
        if record.digest != link_digest(record.previous, statement_hash(record.statement)):
            return "its link does not fit the one before or its own row"
        return ""

    def _take(self, record: Record, fields: Mapping[str, Any], sequence: int) -> None:
        if fields["kind"] == ERASURE:
            self._erased.append(_erased(fields, sequence))
        elif fields["kind"] == BLOB:
            self._check(record, fields, sequence)
        else:
            raise ValueError

    def _check(self, record: Record, fields: Mapping[str, Any], sequence: int) -> None:
        name, salted, size = fields["name"], bytes.fromhex(fields["salted"]), fields["plain_size"]
        if not is_name(name) or not isinstance(size, int):
            raise ValueError
        secret = None
        if record.key is not None and record.key.wrapped is None:
            self._gone.append(sequence)
        elif record.key is not None and record.key.wrapped is not None and self._unwrap is not None:
            try:
                secret = self._unwrap(record.key.master_key, record.key.wrapped)
            except BlobAltered:
                self._note([(sequence, NOT_OPENED)])
        if self._contents is not None:
            self._kinds[sequence] = describe(fields)
            self._note(self._contents.add(Content(sequence, name, size, salted, secret)))
            if len(self._kinds) > 2 * self._contents.window:
                self._forget()

    def _forget(self) -> None:
        """What a link is must be remembered only until its bytes have been read."""
        assert self._contents is not None
        faulty = {fault.sequence for fault in self._faults}
        oldest = self._sequence - self._contents.window
        self._kinds = {one: what for one, what in self._kinds.items() if one > oldest or one in faulty}

    def _note(self, problems: Iterable[tuple[int, str]]) -> None:
        for sequence, problem in problems:
            if len(self._faults) < _MOST_FAULTS:
                self._faults.append(Fault(sequence=sequence, problem=problem, what=self._kinds.get(sequence, "")))

    def _compare(self, witness: Witness) -> None:
        if witness.seal.head == self._head:
            self._matched.append(witness)
            return
        self._broken = True
        sure = self._matched[-1].seal.length if self._matched else 0
        where = f"link {sure + 1}" if sure + 1 == self._sequence else f"links {sure + 1} to {self._sequence}"
        problem = (
            f"{_name(witness)} vouches for another chain: in {where} something was changed, removed or slipped in, "
            "and the chain was hashed anew"
        )
        self._faults.append(Fault(sequence=sure + 1, problem=problem))

    def _judged(self) -> Iterable[Fault]:
        """Faults that an act of erasure does not explain."""
        for fault in self._faults:
            if fault.problem != MISSING or not self._is_erased(fault.sequence):
                yield fault
        for sequence in () if self._broken else self._gone[:_MOST_FAULTS]:  # the act may stand where none can be read
            if not self._is_erased(sequence):
                yield Fault(sequence=sequence, problem=KEY_GONE, what=self._kinds.get(sequence, ""))

    def _is_erased(self, sequence: int) -> bool:
        return any(act.covers(sequence) for act in self._erased)


def describe(fields: Mapping[str, Any]) -> str:
    """What a link is, in words for a person."""
    if fields.get("kind") == ERASURE:
        return f"an act of erasure of {fields.get('at')}"
    media_type = str(fields.get("media_type"))[:100]
    created, source = str(fields.get("created"))[:40], str(fields.get("source"))[:100]
    return f"{_KINDS.get(media_type, media_type)} of {created} from {source}"


def _erased(fields: Mapping[str, Any], sequence: int) -> Erased:
    ranges = tuple(sorted((int(first), int(last)) for first, last in fields["links"]))
    words = {name: str(fields[name]) for name in ("at", "by", "reason", "basis")}
    return Erased(sequence=sequence, ranges=ranges, **words)


def _name(witness: Witness) -> str:
    moment: datetime = witness.seal.at
    kept = ", kept outside," if witness.outside else ""
    return f"seal {witness.seal.number} of {moment:%Y-%m-%d %H:%M} UTC{kept}"
