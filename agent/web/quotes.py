"""A mail's text in the pieces that a page shows or folds. Pure; what is quoted was found when the mail was read."""

from __future__ import annotations

from collections.abc import Sequence

from agent.model_mail import SpanKind, TextSpan

OWN = "own"
_LEAST_FOLDED = 3  # lines: a quote between the lines of an answer is short, and the answer makes no sense without it


def pieces_of(text: str, spans: Sequence[TextSpan]) -> tuple[tuple[str, str], ...]:
    """(kind, words) in order; kind is ``own`` or that of the span. No word is lost and no piece is empty.

    Where nothing would be left to see, the quote is shown; a short quote above the answer to it is shown too.
    """
    cut: list[tuple[str, str]] = []
    at = 0
    for span in spans:
        cut += [(OWN, text[at : span.start]), (span.kind.value, text[span.start : span.end])]
        at = span.end
    cut.append((OWN, text[at:]))
    full = [(kind, words.strip("\n")) for kind, words in cut if words.strip()]
    if not any(kind == OWN for kind, _ in full):
        return tuple((OWN if kind == SpanKind.QUOTED else kind, words) for kind, words in full)
    return tuple(_joined(full))


def shortened(words: str, most: int = 700) -> tuple[str, str]:
    """What is shown of a long text at first, and the rest; cut at an empty line, else at a space."""
    if len(words) <= most + most // 4:
        return words, ""
    place = words.rfind("\n\n", most // 2, most)
    place = place if place > 0 else words.rfind(" ", most // 2, most)
    place = place if place > 0 else most
    return words[:place], words[place:].lstrip("\n")


def _joined(full: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    for place, (kind, words) in enumerate(full):
        is_last = not any(later == OWN for later, _ in full[place + 1 :])
        is_shown = kind == SpanKind.QUOTED and not is_last and words.count("\n") < _LEAST_FOLDED
        shown = OWN if is_shown else kind
        if pieces and pieces[-1][0] == OWN == shown:
            pieces[-1] = (OWN, f"{pieces[-1][1]}\n{words}")
        else:
            pieces.append((shown, words))
    return pieces
