"""Bytes that claim a charset, and headers that claim to be encoded, to text that can be stored and shown.

Nothing here raises: what cannot be decoded is replaced, and the caller is told in words. Real mail says ``utf-8`` and
means windows-1251, names charsets nobody knows, and breaks encoded words (RFC 2047) in the middle of a letter.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata

import charset_normalizer

_DETECT_BYTES = 64 * 1024
_DETECT_LETTERS = 40  # fewer letters than this say too little for a statistical detector
_CYRILLIC = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
_COMMON = frozenset("оеаинтсрвлкмдпу")  # four of five letters of a Russian text
_WIDER = {  # what senders mean by it: the superset that also holds their curly quotes (WHATWG Encoding, 4.2)
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_MISSPELT = {
    "cp-1251": "cp1251",
    "x-cp1251": "cp1251",
    "win-1251": "cp1251",
    "windows1251": "cp1251",
    "win1251": "cp1251",
    "koi8": "koi8-r",
    "koi8r": "koi8-r",
    "utf": "utf-8",
    "utf-8mb4": "utf-8",
    "utf8mb4": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "iso-8859-8-i": "iso-8859-8",
    "cseucpkdfmtjapanese": "euc-jp",
    "x-mac-cyrillic": "mac-cyrillic",
    "mac-ukrainian": "mac-cyrillic",
    "x-mac-ukrainian": "mac-cyrillic",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-sjis": "shift_jis",
    "x-gbk": "gbk",
    "x-big5": "big5",
    "x-euc-jp": "euc-jp",
    "koi8-ru": "koi8-u",
    "win-1252": "cp1252",
    "windows1252": "cp1252",
    "ks_c_5601-1987": "cp949",
    "x-windows-949": "cp949",
    "ansi": "cp1252",
    "us-ascii-8bit": "utf-8",
}
_NOT_FOR_MAIL = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
_WORD = re.compile(r"[^\W\d_]+|[\x80-\U0010ffff]+")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_SURROGATES = re.compile("[\ud800-\udfff]")
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*\??)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?[^?\s]{1,80}\?[bBqQ]\?)")


def clean(text: str) -> str:
    """``text`` as PostgreSQL and JSON can hold it: no NUL, no lone surrogates (undecodable bytes become ``\\xNN``)."""
    if not _is_encodable(text):
        text = text.encode("utf-8", "surrogateescape_or_drop").decode("utf-8", "backslashreplace")
    return text.replace("\x00", "")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _surrogateescape_or_drop(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    codes = [ord(letter) for letter in error.object[error.start : error.end]]
    return bytes(code - 0xDC00 for code in codes if 0xDC80 <= code <= 0xDCFF), error.end


codecs.register_error("surrogateescape_or_drop", _surrogateescape_or_drop)


def decode_bytes(data: bytes, charset: str | None) -> tuple[str, str | None]:
    """Text of ``data``, which is said to be in ``charset``; second, in words, what was wrong with that (or None)."""
    codec = _codec(charset)
    if codec is not None:
        try:
            return clean(data.decode(codec)), None
        except (UnicodeError, LookupError, ValueError):
            text = clean(data.decode(codec, "replace"))
            if codec != "utf-8" or text.count("\ufffd") * 100 <= len(text):
                return text, f"some letters are not {charset}"
    text = clean(_detected(data))
    if charset and codec is None:
        return text, f"the charset {clean(charset)!r} is unknown"
    if charset:
        return text, f"the text is not in {charset}"
    return text, None if _is_utf8(data) else "letters beyond ASCII without a charset; it was guessed"


def _codec(charset: str | None) -> str | None:
    """Name of the codec to trust, None where the charset says nothing or nobody knows it."""
    name = (charset or "").strip().strip("\"'").lower().partition("*")[0]
    name = _MISSPELT.get(name, name)
    if not name or name in ("8bit", "7bit", "binary", "unknown", "x-unknown", "unknown-8bit", "default"):
        return None
    try:
        canonical = codecs.lookup(name).name
    except (LookupError, ValueError, UnicodeError, ImportError):
        return None
    if canonical.replace("-", "_") in _NOT_FOR_MAIL or not codecs.lookup(name)._is_text_encoding:
        return None
    return _WIDER.get(canonical, canonical)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _detected(data: bytes) -> str:
    """The likeliest reading of bytes without a label."""
    if _is_utf8(data):
        return data.decode("utf-8")
    sample = data[:_DETECT_BYTES]
    scores = {codec: _russianness(sample.decode(codec, "replace")) for codec in _CYRILLIC}
    codec, score = max(scores.items(), key=lambda pair: pair[1])
    if score < 0.6:
        codec = _statistically(sample)
    return data.decode(codec, "replace")


def _statistically(sample: bytes) -> str:
    if sum(byte >= 0x80 for byte in sample) < _DETECT_LETTERS:
        return "cp1252"
    try:
        best = charset_normalizer.from_bytes(sample).best()
    except Exception:  # a detector may stumble over anything; the text must come out all the same
        return "cp1252"
    return best.encoding if best is not None else "cp1252"


def _russianness(text: str) -> float:
    """How much the letters beyond ASCII look like written Russian, 0 to about 1.

    KOI8-R read as windows-1251 swaps capitals and small letters, so the case counts; a word of Latin and Cyrillic
    letters is no Russian but a windows-1252 text with an umlaut.
    """
    points = total = 0.0
    for word in _WORD.findall(text):
        beyond = [letter for letter in word if letter > "\x7f"]
        total += len(beyond)
        if (
            not beyond
            or len(beyond) < len(word)
            or not all("а" <= letter.lower() <= "я" or letter in "ёЁ" for letter in beyond)
        ):
            continue
        well_cased = word[1:].islower() or word.isupper() or len(word) == 1
        points += sum((0.5 if well_cased else 0.0) + (0.6 if letter.lower() in _COMMON else 0.2) for letter in beyond)
        points -= 0.05 * len(word) * word.isupper()
    return points / total if total else 0.0


def decode_raw_header(value: str) -> str:
    """A header as the parser kept it (8-bit letters as surrogates) to text; encoded words stay encoded."""
    if value.isascii():
        return value.replace("\x00", "")
    if _SURROGATES.search(value):
        value = _detected(value.encode("ascii", "surrogateescape")) if _only_escaped(value) else clean(value)
    return clean(value)


def _only_escaped(value: str) -> bool:
    return all(letter < "\x80" or "\udc80" <= letter <= "\udcff" for letter in value)


def decode_words(value: str) -> str:
    """A header's text: unfolded, encoded words (RFC 2047) decoded, broken ones left as they stand.

    Neighbouring words of one charset are joined before decoding, since senders split them inside of a letter.
    """
    if "\n" in value or "\r" in value:
        value = re.sub(r"[\r\n]+[ \t]*", " ", value)
    if "=?" not in value:
        return clean(value).strip()
    value = _BETWEEN_WORDS.sub(r"\1\2", value)
    value = _BETWEEN_WORDS.sub(r"\1\2", value)
    decoded: list[str] = []
    pending: list[bytes] = []
    charset = ""
    position = 0
    for word in _ENCODED_WORD.finditer(value):
        if pending and (word.start() > position or word[1].lower() != charset):
            decoded.append(decode_bytes(b"".join(pending), charset)[0])
            pending = []
        decoded.append(value[position : word.start()])
        pending.append(_word_bytes(word[2], word[3]))
        charset = word[1].lower()
        position = word.end()
    if pending:
        decoded.append(decode_bytes(b"".join(pending), charset)[0])
    decoded.append(value[position:])
    return clean("".join(decoded)).strip()


def _word_bytes(encoding: str, content: str) -> bytes:
    raw = content.encode("utf-8", "surrogateescape")
    return binascii.a2b_qp(raw, header=True) if encoding in "qQ" else decode_base64(raw)


def decode_base64(data: bytes) -> bytes:
    """What base64 says, as far as it goes: foreign characters are skipped, a cut end costs its last letters."""
    data = data.translate(None, _NOT_BASE64)
    return base64.b64decode(data[: len(data) - (len(data) % 4 == 1)] + b"=" * (-len(data) % 4))


def one_line(text: str, limit: int) -> str:
    """``text`` on one line without control characters, cut to ``limit`` characters."""
    if text.isprintable():
        return " ".join(text[: 4 * limit].split())[:limit]
    visible = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text[: 4 * limit]
    )
    return " ".join(visible.split())[:limit]
