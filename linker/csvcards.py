"""Lists of clients as spreadsheets save them, read into rows of cards. Pure, and bounded: a list comes from anywhere.

What can be guessed is guessed and shown before anything is done: the encoding (UTF-8 or 16, else Windows-1251), the
separator, whether there is a heading, and what each column is, by its heading or by what stands in it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.model import Identity, IdentityKind
from linker.normalize import extension_in

LARGEST = 20 * 1024 * 1024  # bytes
MOST_ROWS, MOST_COLUMNS, LONGEST_CELL = 200_000, 60, 2000
_SAMPLE = 50  # rows by which columns are guessed
SEPARATORS = (";", ",", "\t", "|")
ENCODINGS = ("utf-8", "utf-16", "cp1251", "cp866", "koi8-r")

COLUMNS = (
    "name", "last_name", "first_name", "middle_name", "company", "kind", "phone", "address", "domain", "responsible",
    "stage", "note", "",
)  # fmt: skip
"""What a column may be; empty: it is left out."""

_WORDS: tuple[tuple[str, str], ...] = (
    ("last_name", r"фамилия|last ?name|surname|family ?name"),
    ("middle_name", r"отчество|middle ?name|patronymic"),
    ("first_name", r"имя|first ?name|given ?name"),
    ("company", r"компания|организация|фирма|предприятие|company|organi[sz]ation|account( name)?|юр\.? ?лицо"),
    ("address", r".*(e-?mail|почт|эл\. ?адрес|электронн).*"),
    ("phone", r".*(телефон|тел\.?$|phone|mobile|моб|сотов|номер|cell|факс доп).*"),
    ("domain", r".*(сайт|домен|web|site|url|domain).*"),
    ("responsible", r".*(ответственн|менеджер|responsible|owner|manager|assigned).*"),
    ("stage", r".*(стадия|этап|статус|stage|status).*"),
    ("note", r".*(примечани|комментар|заметк|note|comment|описание|description).*"),
    ("kind", r"тип|вид|kind|type"),
    ("name", r".*(фио|клиент|контакт|название|наименование|полное имя|name|client|customer|contact).*"),
)
_HEADINGS = tuple((role, re.compile(words, re.IGNORECASE)) for role, words in _WORDS)
_COMPANIES = frozenset({"company", "компания", "организация", "юрлицо", "юридическое лицо", "ооо"})
_ADDRESS = re.compile(r"[^\s@,;<>]{1,64}@[^\s@,;<>]{1,255}")
_BETWEEN = re.compile(r"[;\n/|]|,(?!\s*\d{1,5}\s*$)")


class Unlisted(Exception):
    """The file is no list; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a file is to be read."""

    encoding: str
    separator: str
    has_heading: bool
    columns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For the database."""
        return {
            "encoding": self.encoding,
            "separator": self.separator,
            "has_heading": self.has_heading,
            "columns": list(self.columns),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Plan:
        """The other way round."""
        return cls(
            encoding=told["encoding"],
            separator=told["separator"],
            has_heading=told["has_heading"],
            columns=tuple(told["columns"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRow:
    """A line of the list. ``problems`` say what of it could not be understood."""

    line: int
    name: str
    kind: str = "person"
    company: str = ""
    responsible: str = ""
    stage: str = ""
    note: str = ""
    contacts: tuple[tuple[Identity, str], ...] = ()
    problems: tuple[str, ...] = field(default=())


def guess_plan(content: bytes) -> Plan:
    """How the file seems to be meant.

    Raises:
        Unlisted: it is empty, too large, or no text.
    """
    if not content.strip():
        raise Unlisted("The file is empty.")
    if len(content) > LARGEST:
        raise Unlisted(f"The file is larger than {LARGEST // 1024 // 1024} MB.")
    encoding = _guess_encoding(content)
    text = decode(content, encoding)
    if "\0" in text:
        raise Unlisted("The file is no list in text: save it as CSV.")
    separator = _guess_separator(text)
    rows = [row for _, row in _rows(text, separator, most=_SAMPLE)]
    if not rows:
        raise Unlisted("The file has no lines.")
    has_heading = _is_heading(rows[0])
    return Plan(
        encoding=encoding,
        separator=separator,
        has_heading=has_heading,
        columns=_guess_columns(rows[0] if has_heading else [], rows[1:] if has_heading else rows),
    )


def decode(content: bytes, encoding: str) -> str:
    """Text, whatever is broken in it."""
    found = content.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="replace")
    return found.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def sample(content: bytes, plan: Plan, *, most: int = 8) -> list[list[str]]:
    """The first lines as they stand, for a person to see whether the plan is right."""
    return [row for _, row in _rows(decode(content, plan.encoding), plan.separator, most=most)]


def read_rows(content: bytes, plan: Plan, understand: Callable[[str], Identity | None]) -> Iterator[CardRow]:
    """Every line that says something, as the plan has it; ``understand`` is how a number or address is read."""
    rows = _rows(decode(content, plan.encoding), plan.separator, most=MOST_ROWS + 1)
    for place, (line, cells) in enumerate(rows):
        if place == 0 and plan.has_heading:
            continue
        row = _card_row(line, dict_of(plan.columns, cells), understand)
        if row is not None:
            yield row


def dict_of(columns: Sequence[str], cells: Sequence[str]) -> dict[str, list[str]]:
    """Cells by what their column is; several columns may be phones."""
    found: dict[str, list[str]] = {}
    for role, cell in zip(columns, cells, strict=False):
        text = " ".join(cell.split()) if role not in ("note", "phone", "address") else cell.strip()
        text = text.removeprefix("'")  # how spreadsheets and our own export keep a formula quiet
        if role and text:
            found.setdefault(role, []).append(text[:LONGEST_CELL])
    return found


# --- Rows -------------------------------------------------------------------------------------------------------------


def _rows(text: str, separator: str, *, most: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    count = 0
    while count < most:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue  # one endless cell: the rest may still be read
        if any(one.strip() for one in cells):
            count += 1
            yield reader.line_num, [one.replace("\0", "") for one in cells[:MOST_COLUMNS]]


def _card_row(line: int, told: Mapping[str, list[str]], understand: Callable[[str], Identity | None]) -> CardRow | None:
    problems: list[str] = []
    contacts: dict[Identity, str] = {}
    for role in ("phone", "address", "domain"):
        for cell in told.get(role, ()):
            for raw in _pieces(cell, role):
                identity = understand(raw)
                if identity is None or identity.kind in (IdentityKind.EXTENSION, IdentityKind.LOGIN):
                    problems.append(f"{raw[:60]} is no {'number' if role == 'phone' else role}")
                else:
                    extension = extension_in(raw) if role == "phone" else ""
                    contacts.setdefault(identity, f"ext. {extension}" if extension else "")
    name, company = _name(told), _first(told, "company")
    kind = "company" if _first(told, "kind").casefold() in _COMPANIES or (not name and company) else "person"
    if not name and not company and not contacts:
        return None
    return CardRow(
        line=line,
        name=(name or company or next(iter(contacts)).value)[:200],
        kind=kind,
        company=company[:200] if kind == "person" and company != name else "",
        responsible=_first(told, "responsible")[:200],
        stage=_first(told, "stage")[:100],
        note="\n".join(told.get("note", ()))[:LONGEST_CELL],
        contacts=tuple(contacts.items()),
        problems=tuple(problems[:5]),
    )


def _pieces(cell: str, role: str) -> list[str]:
    if role == "address":
        return _ADDRESS.findall(cell) or [cell.strip()]
    if role == "domain":
        return [_domain(cell)]
    return [one.strip() for one in _BETWEEN.split(cell) if any(each.isdigit() for each in one)] or [cell.strip()]


def _domain(cell: str) -> str:
    """``https://www.example.com/contacts`` is example.com."""
    host = re.sub(r"^\w+://", "", cell.strip().lower()).split("/")[0].split(":")[0].lstrip("@")
    return f"@{host.removeprefix('www.')}"


def _name(told: Mapping[str, list[str]]) -> str:
    parts = [_first(told, one) for one in ("last_name", "first_name", "middle_name")]
    return _first(told, "name") or " ".join(one for one in parts if one)


def _first(told: Mapping[str, list[str]], role: str) -> str:
    return next(iter(told.get(role, ())), "")


# --- Guesses ----------------------------------------------------------------------------------------------------------


def _guess_encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1251"
    return "utf-8"


def _guess_separator(text: str) -> str:
    """The one that gives most lines the same number of columns, more than one."""
    best, most = ",", 0.0
    for separator in SEPARATORS:
        counts = Counter(len(row) for _, row in _rows(text[:200_000], separator, most=_SAMPLE))
        columns, lines = counts.most_common(1)[0] if counts else (1, 0)
        score = lines / max(sum(counts.values()), 1) * min(columns - 1, 10)
        if columns > 1 and score > most:
            best, most = separator, score
    return best


def _is_heading(row: Sequence[str]) -> bool:
    """Words that are known for headings, and neither numbers nor addresses."""
    if any(_ADDRESS.search(one) or sum(each.isdigit() for each in one) > 4 for one in row):
        return False
    return any(_role_of(one) for one in row)


def _role_of(heading: str) -> str:
    text = " ".join(heading.replace("_", " ").split())
    return next((role for role, words in _HEADINGS if words.fullmatch(text)), "")


def _guess_columns(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    width = max((len(one) for one in (heading, *rows)), default=0)
    columns = [_role_of(heading[at]) if at < len(heading) else "" for at in range(width)]
    for at in range(width):
        cells = [row[at].strip() for row in rows if at < len(row) and row[at].strip()]
        if not columns[at] and cells:
            columns[at] = _role_by_content(cells, columns, known=at < len(heading) and bool(heading[at].strip()))
    once = ("name", "last_name", "first_name", "middle_name", "company", "responsible", "stage", "kind")
    return tuple(role if role not in once or role not in columns[:at] else "" for at, role in enumerate(columns))


def _role_by_content(cells: Sequence[str], columns: Sequence[str], *, known: bool) -> str:
    """Numbers and addresses show what they are; the first words of a list without a heading are its names."""
    if sum(bool(_ADDRESS.search(one)) for one in cells) > len(cells) / 2:
        return "address"
    digits = [sum(each.isdigit() for each in one) for one in cells]
    if sum(7 <= one <= 15 for one in digits) > len(cells) / 2:
        return "phone"
    if not known and "name" not in columns and sum(one == 0 for one in digits) > len(cells) / 2:
        return "name"
    return ""


# --- Writing ----------------------------------------------------------------------------------------------------------

HEADING = ("id", "kind", "name", "company", "responsible", "stage", "phone", "address", "domain", "note")
_FORMULA = re.compile(r"^(?:[=@\t\r]|[+-](?![\d ()-]+$))")


def write_row(cells: Sequence[str]) -> str:
    """A line for a spreadsheet: nothing in it runs as a formula there."""
    out = io.StringIO()
    safe = [f"'{one}" if _FORMULA.match(one) else one for one in cells]
    csv.writer(out, delimiter=";", lineterminator="\r\n").writerow(safe)
    return out.getvalue()
