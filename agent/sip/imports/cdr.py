"""Rows of call detail records as Asterisk writes and FreePBX exports them. Pure.

Two shapes: ``Master.csv`` of the module cdr_csv, without a header, in the order of its sources (unique id and user
field only where cdr.conf asks for them); and any table with a header, such as FreePBX's export or one of MySQL's table
``cdr``. Times stand in the PBX's own zone, which the administrator states.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import PurePath

from agent.model import Disposition
from agent.sip.imports.names import moment_of, plain_id, split_side

MASTER = tuple(
    "accountcode src dst dcontext clid channel dstchannel lastapp lastdata start answer end duration billsec"  # noqa: SIM905
    " disposition amaflags".split()
)
_ALIASES = {
    "calldate": "start",
    "call date": "start",
    "date": "start",
    "time": "start",
    "calleridnum": "src",
    "source": "src",
    "caller": "src",
    "callerid": "clid",
    "caller id": "clid",
    "destination": "dst",
    "callee": "dst",
    "destinationchannel": "dstchannel",
    "destination channel": "dstchannel",
    "recording": "recordingfile",
    "recording file": "recordingfile",
    "recordingpath": "recordingfile",
    "uniqueid": "uniqueid",
    "unique id": "uniqueid",
    "linked id": "linkedid",
    "billable seconds": "billsec",
    "answertime": "answer",
    "endtime": "end",
    "starttime": "start",
    "status": "disposition",
}
_KNOWN = frozenset([*MASTER, *_ALIASES.values(), "userfield", "did", "cnum", "cnam", "sequence", "linkedid"])
_FEWEST_COLUMNS = 15  # of Master.csv
_DISPOSITIONS = {
    "ANSWERED": Disposition.ANSWERED,
    "ANSWER": Disposition.ANSWERED,
    "NO ANSWER": Disposition.NO_ANSWER,
    "NOANSWER": Disposition.NO_ANSWER,
    "CANCEL": Disposition.NO_ANSWER,
    "BUSY": Disposition.BUSY,
    "FAILED": Disposition.FAILED,
    "CONGESTION": Disposition.FAILED,
    "CHANUNAVAIL": Disposition.FAILED,
}
_FORMATS = ("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M")
_LONGEST_CALL = 7 * 24 * 3600
_HALF_HOUR = 1800  # seconds: what offsets of time zones are multiples of, but for a few
_SLOP = 3
_SOUND_FILE = re.compile(r"[^\s,;|\"']+\.(?:wav49|wav|gsm|mp3|ogg|ulaw|alaw|sln|g722|g729)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CdrRow:
    """One record: one attempt of one channel to reach another. ``stem`` is the name of its recording, if it names one.

    ``unique_id`` and ``linked_id`` are without the system's name. Seconds are whole, as Asterisk counts them.
    """

    unique_id: str
    linked_id: str
    caller: str
    callee: str
    caller_name: str
    channel: str
    other_channel: str
    application: str
    started: datetime
    answered: datetime | None
    ended: datetime
    disposition: Disposition
    stem: str
    shift: float = 0.0  # seconds by which the stated zone was found to be wrong


class CdrReader:
    """Reads lines of one file; the first decides what the columns are. ``unreadable`` counts lines that are none."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._columns: Sequence[str] | None = None
        self._delimiter = ","
        self.unreadable = 0

    def read(self, lines: Iterable[bytes]) -> Iterator[CdrRow]:
        """The rows of these lines; each line is read by itself, so that a broken one spoils no other."""
        for line in lines:
            text = _decoded(line).strip("\r\n\ufeff \t")
            if not text:
                continue
            if self._columns is None and self._is_header(text):
                continue
            row = self._row(text)
            if row is None:
                self.unreadable += 1
            else:
                yield row

    def _is_header(self, text: str) -> bool:
        """Whether the file begins with the names of its columns, which are then known."""
        self._delimiter = max(",;\t", key=text.count)
        names = [_ALIASES.get(one, one) for one in (cell.strip().lower() for cell in self._cells(text))]
        if len(_KNOWN.intersection(names)) >= 3 and "start" in names:
            self._columns = names
            return True
        self._columns = MASTER
        return False

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._delimiter, skipinitialspace=True), [])
        except csv.Error:
            return []

    def _row(self, text: str) -> CdrRow | None:
        cells = self._cells(text)
        assert self._columns is not None
        if len(cells) < (_FEWEST_COLUMNS if self._columns is MASTER else 3):
            return None
        found = {name: _value(cell) for name, cell in zip(self._columns, cells, strict=False)}
        if self._columns is MASTER:
            found |= _rest_of_master(cells[len(MASTER) :])
        try:
            return _row(found, self._zone)
        except (ValueError, OverflowError):
            return None


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1251", errors="replace")


def _value(cell: str) -> str:
    text = cell.strip()
    return "" if text in ("NULL", "\\N", "null") else text


def _rest_of_master(cells: Sequence[str]) -> dict[str, str]:
    """Unique id, user field, peer account, linked id: which of them are there is a matter of cdr.conf."""
    ids = [one for one in cells if plain_id(one) and _SOUND_FILE.search(one) is None]
    texts = [one for one in cells if one not in ids]
    return {
        "uniqueid": ids[0] if ids else "",
        "linkedid": ids[1] if len(ids) > 1 else "",
        "userfield": texts[0] if texts else "",
    }


def _row(found: dict[str, str], zone: tzinfo) -> CdrRow:
    started = _time(found.get("start", ""), zone)
    if started is None:
        raise ValueError("no start")
    duration, talk = _seconds(found.get("duration", "")), _seconds(found.get("billsec", ""))
    ended = _time(found.get("end", ""), zone) or started + timedelta(seconds=duration or 0)
    disposition = _DISPOSITIONS.get(found.get("disposition", "").upper())
    if disposition is None:
        disposition = Disposition.ANSWERED if talk else Disposition.NO_ANSWER
    answered = _time(found.get("answer", ""), zone)
    if answered is None and disposition is Disposition.ANSWERED:
        answered = max(ended - timedelta(seconds=talk or 0), started)
    unique_id = plain_id(found.get("uniqueid", ""))
    row = CdrRow(
        unique_id=unique_id,
        linked_id=plain_id(found.get("linkedid", "")) or unique_id,
        caller=found.get("src", "") or found.get("cnum", "") or _number_of(found.get("clid", "")),
        callee=found.get("dst", ""),
        caller_name=found.get("cnam", "") or _name_of(found.get("clid", "")),
        channel=found.get("channel", ""),
        other_channel=found.get("dstchannel", ""),
        application=found.get("lastapp", ""),
        started=started,
        answered=answered if disposition is Disposition.ANSWERED else None,
        ended=max(ended, started),
        disposition=disposition,
        stem=_stem(found.get("recordingfile", "") or found.get("userfield", "")),
    )
    return _by_the_id(row)


def _by_the_id(row: CdrRow) -> CdrRow:
    """The unique id is in UTC: where it and the start differ by a zone's worth of time, the stated zone is wrong."""
    made = moment_of(row.unique_id)
    if made is None:
        return row
    off = (made - row.started).total_seconds()
    steps = round(off / _HALF_HOUR)
    if steps == 0 or abs(steps) > 26 * 2 or abs(off - steps * _HALF_HOUR) > _SLOP:
        return row
    shift = timedelta(seconds=steps * _HALF_HOUR)
    return replace(
        row,
        started=row.started + shift,
        answered=row.answered + shift if row.answered else None,
        ended=row.ended + shift,
        shift=shift.total_seconds(),
    )


def _time(text: str, zone: tzinfo) -> datetime | None:
    if not text or text.startswith("0000"):
        return None
    found: datetime | None = None
    for form in _FORMATS:
        try:
            found = datetime.strptime(text.partition(".")[0] if form[1] == "Y" else text, form)  # noqa: DTZ007
            break
        except ValueError:
            continue
    if found is None:
        found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _seconds(text: str) -> int | None:
    try:
        return min(max(int(float(text)), 0), _LONGEST_CALL)
    except ValueError:
        return None


def _stem(text: str) -> str:
    """The name of a recording, without folder, ending and side; user fields of old FreePBX say ``audio:<file>``."""
    found = _SOUND_FILE.search(text.removeprefix("audio:"))
    if found is None:
        return ""
    return split_side(PurePath(found[0]).name.rpartition(".")[0])[0]


def _number_of(clid: str) -> str:
    """``"Anna" <101>`` to 101."""
    found = re.search(r"<([^<>]*)>", clid)
    return found[1] if found else (clid if clid.strip("+").isdecimal() else "")


def _name_of(clid: str) -> str:
    name = clid.partition("<")[0].strip().strip('"').strip()
    return "" if name.strip("+").isdecimal() else name
