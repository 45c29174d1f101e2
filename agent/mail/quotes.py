"""The sender's new words apart from what he quotes and from his signature. Pure.

Works on lines, each of which is looked at a bounded number of times and only in its first few hundred characters, so
that no text can make it slow. Where it is in doubt, words stay new: what is folded away by mistake is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agent.mail.layout import Line
from agent.mail.phrases import CLOSINGS, DIVIDERS, LABELS, SENT_FROM, WROTE
from agent.model_mail import SpanKind, TextSpan

_LONGEST = 300  # characters of a line that are looked at
_ATTRIBUTION_LINES = 3
_HEADER_LINES = 8
_SIGNATURE_LINES = 25
_LONGEST_CLOSING = 80
_MOST_SPANS = 1000

_DIVIDER = re.compile(rf"[\s>*_=~-]{{0,60}}(?:{'|'.join(map(re.escape, DIVIDERS))})[\s:*_=~-]{{0,60}}")
_RULE = re.compile(r"\s{0,8}[_-]{10,}\s{0,8}")
_LABEL_OF = {label: kind for kind, labels in LABELS.items() for label in labels}
_LABELLED = re.compile(r"[\s*>]{0,8}([^\W\d_][\w’' -]{0,20}?)[\s*]{0,4}:[\s*]{0,4}(?=\S|$)")
_VERB = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, WROTE))})(?!\w)")
_DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}|(?<!\d)(?:19|20)\d\d(?!\d)")
_TIME = re.compile(r"(?<!\d)\d{1,2}[:.]\d\d(?!\d)")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,255}")
_CLOSING = re.compile(rf"\W{{0,4}}(?:{'|'.join(map(re.escape, CLOSINGS))})(?!\w)")
_SENT_FROM = re.compile(rf"\W{{0,4}}(?:{'|'.join(map(re.escape, SENT_FROM))})(?!\w)")
_DELIMITERS = frozenset(("--", "—", "---", "–"))


def find_spans(lines: Sequence[Line]) -> tuple[TextSpan, ...]:
    """Which stretches of the lines, joined by line feeds, are quoted or a signature."""
    seen = [line.text[:_LONGEST].lower() for line in lines]
    kinds = _quoted(lines, seen)
    for start, end in _runs(kinds, None):
        begin = _signature_begin(seen, start, end)
        if begin is not None:
            kinds[begin:end] = [SpanKind.SIGNATURE] * (end - begin)
    return _spans(lines, kinds)


def own_words(text: str, spans: Iterable[TextSpan]) -> str:
    """The new words: the text without its spans."""
    rest, at = [], 0
    for span in spans:
        rest.append(text[at : span.start])
        at = span.end
    return "".join([*rest, text[at:]]).strip()


def _quoted(lines: Sequence[Line], seen: Sequence[str]) -> list[SpanKind | None]:
    kinds: list[SpanKind | None] = [
        SpanKind.QUOTED if line.is_quoted or words.lstrip().startswith(">") else None
        for line, words in zip(lines, seen, strict=True)
    ]
    for at, words in enumerate(seen):
        if kinds[at] is not None or not words.strip():
            continue
        begin = _attribution_begin(seen, kinds, at) if words.rstrip().endswith(":") else None
        if begin is not None and _next_is_quoted(seen, kinds, at):
            kinds[begin : at + 1] = [SpanKind.QUOTED] * (at + 1 - begin)
        elif begin is not None and _says_who_and_when(" ".join(seen[begin : at + 1])):
            return _quoted_from(kinds, begin)
        elif _DIVIDER.fullmatch(words) or _is_header(seen, at):
            return _quoted_from(kinds, _above_rule(seen, at))
    return kinds


def _quoted_from(kinds: list[SpanKind | None], at: int) -> list[SpanKind | None]:
    kinds[at:] = [SpanKind.QUOTED] * (len(kinds) - at)
    return kinds


def _attribution_begin(seen: Sequence[str], kinds: Sequence[SpanKind | None], end: int) -> int | None:
    """First line of «On Monday, Anna <…> wrote:», which ends in line ``end`` and may be folded into three."""
    for begin in range(end, max(-1, end - _ATTRIBUTION_LINES), -1):
        if kinds[begin] is not None or not seen[begin].strip():
            return None
        words = " ".join(seen[begin : end + 1])
        has_date = _DATE.search(words) is not None
        has_verb = _VERB.search(words) is not None
        if (has_date and (has_verb or _TIME.search(words) or _ADDRESS.search(words))) or (
            has_verb and _ADDRESS.search(words)
        ):
            return _with_fold(seen, kinds, begin)
    return None


def _with_fold(seen: Sequence[str], kinds: Sequence[SpanKind | None], begin: int) -> int:
    """The line before too, where it is only the beginning of the same sentence."""
    above = begin - 1
    if above >= 0 and kinds[above] is None and re.match(r"(?:on|am|le|вы писали)\s", seen[above].lstrip()):
        return above if not re.match(r"(?:on|am|le)\s", seen[begin].lstrip()) else begin
    return begin


def _says_who_and_when(words: str) -> bool:
    """Enough to believe it without quote marks after it: when, and either the verb or an address."""
    return _DATE.search(words) is not None and (
        _VERB.search(words) is not None or (_TIME.search(words) is not None and _ADDRESS.search(words) is not None)
    )


def _next_is_quoted(seen: Sequence[str], kinds: Sequence[SpanKind | None], at: int) -> bool:
    for below in range(at + 1, min(len(seen), at + 4)):
        if seen[below].strip():
            return kinds[below] is SpanKind.QUOTED
    return False


def _is_header(seen: Sequence[str], at: int) -> bool:
    """A header copied into the text: three labels within a few lines, who it is from among them."""
    if ":" not in seen[at] or _label(seen[at]) is None:
        return False
    found = set()
    for words in seen[at : at + _HEADER_LINES]:
        kind = _label(words)
        if kind is not None:
            found.add(kind)
        elif not words.strip() and found:
            break
    return "from" in found and len(found) >= 3


def _label(words: str) -> str | None:
    found = _LABELLED.match(words)
    return _LABEL_OF.get(found[1]) if found else None


def _above_rule(seen: Sequence[str], at: int) -> int:
    """A row of underscores above belongs to the quote, as Outlook draws one."""
    above = at - 1
    while above >= 0 and not seen[above].strip() and at - above < 3:
        above -= 1
    return above if above >= 0 and _RULE.fullmatch(seen[above]) else at


def _signature_begin(seen: Sequence[str], start: int, end: int) -> int | None:
    """Where the signature at the end of a stretch of new lines begins."""
    first = max(start, end - _SIGNATURE_LINES)
    for at in range(first, end):
        words = seen[at].strip()
        if words in _DELIMITERS and any(seen[below].strip() for below in range(at + 1, end)):
            return at
        if words and len(words) <= _LONGEST_CLOSING and (_CLOSING.match(words) or _SENT_FROM.match(words)):
            return at
    return None


def _runs(kinds: Sequence[SpanKind | None], kind: SpanKind | None) -> list[tuple[int, int]]:
    """Stretches of one kind: first line, line after the last."""
    runs = []
    start = None
    for at, one in enumerate([*kinds, SpanKind.ORIGINAL]):
        if one is kind and start is None:
            start = at
        elif one is not kind and start is not None:
            runs.append((start, at))
            start = None
    return runs


def _spans(lines: Sequence[Line], kinds: Sequence[SpanKind | None]) -> tuple[TextSpan, ...]:
    """Lines of one kind in a row, across empty lines between them, as stretches of the text."""
    spans: list[TextSpan] = []
    place = 0
    before: SpanKind | None = None
    for line, kind in zip(lines, kinds, strict=True):
        end = place + len(line.text)
        if line.text.strip():
            if kind is not None and kind is before:
                spans[-1] = TextSpan(kind=kind, start=spans[-1].start, end=end)
            elif kind is not None and len(spans) < _MOST_SPANS:
                spans.append(TextSpan(kind=kind, start=place, end=end))
            before = kind if len(spans) < _MOST_SPANS else None
        place = end + 1
    return tuple(spans)
