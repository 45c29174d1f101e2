"""The words of one attached file, whatever it is. Pure: bytes in, text out; run in `agent.mail.attachments.child`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

from agent.errors import Unreadable
from agent.mail.attachments.office import read_office
from agent.mail.attachments.pdf import read_pdf
from agent.mail.layout import lay_out
from agent.mail.parse import parse
from agent.mail.safe_html import safe_html
from agent.mail.sniffing import DOCX, ODF, PPTX, XLSX, ZIP, sniff
from agent.mail.text import clean, decode_bytes

LONGEST_WORDS = 1_000_000
"""Characters of one file that are kept for search."""

_LARGEST = 64 * 1024 * 1024  # bytes
_MOST_NAMES = 1000
_LARGEST_DIRECTORY = 100_000  # entries
_PLAIN = (".txt", ".csv", ".tsv", ".log", ".md", ".json", ".xml", ".yaml", ".yml", ".ini")


def words_of(content: bytes, *, name: str, media_type: str) -> str | None:
    """The file's words, None where this sort of file has none that we read. Archives are listed, never unpacked.

    Raises:
        Unreadable: it should have words but they cannot be read; the text says why.
    """
    if not content:
        return None
    if len(content) > _LARGEST:
        raise Unreadable(f"it is larger than {_LARGEST // 1024 // 1024} MB")
    reader = _reader(sniff(content), name.lower(), media_type.lower())
    if reader is None:
        return None
    lines = (" ".join(line.split()) for line in clean(reader(content)).splitlines())
    return "\n".join(line for line in lines if line)[:LONGEST_WORDS] or None


def _reader(sniffed: str, name: str, media_type: str) -> Callable[[bytes], str] | None:
    """The bytes decide; only where they look like nothing known do name and type."""
    if sniffed:
        if sniffed.startswith(ODF):
            return _READERS["open"]
        if sniffed in ("application/xml", "text/calendar", "text/vcard"):
            return _plain
        return _READERS.get(sniffed)
    if media_type == "message/rfc822" or name.endswith(".eml"):
        return _mail
    if media_type == "text/html" or name.endswith((".html", ".htm")):
        return _html
    return _plain if media_type.startswith("text/") or name.endswith(_PLAIN) else None


def _plain(content: bytes) -> str:
    text, _ = decode_bytes(content[: 4 * LONGEST_WORDS], None)
    if text.count("\ufffd") * 10 > len(text):
        raise Unreadable("it is no text")
    return text[:LONGEST_WORDS]


def _html(content: bytes) -> str:
    return "\n".join(line.text for line in lay_out(safe_html(decode_bytes(content[: 4 * LONGEST_WORDS], None)[0])))


def _mail(content: bytes) -> str:
    found = parse(content, {})
    return f"{found.subject}\n{found.text}"


def _names(content: bytes) -> str:
    """What an archive says it holds."""
    end = content.rfind(b"PK\x05\x06")
    if end >= 0 and int.from_bytes(content[end + 10 : end + 12], "little") > _LARGEST_DIRECTORY:
        raise Unreadable("it lists too many files")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "\n".join(archive.namelist()[:_MOST_NAMES])
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise Unreadable("it is damaged") from None


def _office(kind: str) -> Callable[[bytes], str]:
    return lambda content: read_office(content, kind, limit=LONGEST_WORDS)


_READERS: dict[str, Callable[[bytes], str]] = {
    "application/pdf": lambda content: read_pdf(content, limit=LONGEST_WORDS),
    DOCX: _office("word"),
    XLSX: _office("sheets"),
    PPTX: _office("slides"),
    "open": _office("open"),
    ZIP: _names,
    "text/html": _html,
}
