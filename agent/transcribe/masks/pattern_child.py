"""The process in which an administrator's regular expressions meet the text of calls. Started for one question.

Python's expressions may take for ever over a few words, and nothing in the same process could stop them. Here each has
so much processor time for a text, by a signal that the matcher heeds; whoever started this kills it in the end. Reads
one JSON object, ``{"patterns", "texts", "seconds"}``; writes one, ``{"spans": [[pattern, text, start, end], …],
"slow": [[pattern, text], …], "wrong": [[pattern, reason], …]}``, numbers being places in the lists.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

_MEMORY = 512 * 1024 * 1024  # bytes of addresses
_PATIENCE = 3  # texts: an expression that was too slow for so many is not tried on others
_MOST_SPANS = 1000  # a text


class _Slow(Exception):
    pass


def _ring(signal_number: int, frame: object) -> None:
    raise _Slow


def search(patterns: Sequence[str], texts: Sequence[str], seconds: float) -> dict[str, list[Any]]:
    """What each finds in each text, with its own time for each; groups where an expression has them, else the whole."""
    answer: dict[str, list[Any]] = {"spans": [], "slow": [], "wrong": []}
    for place, pattern in enumerate(patterns):
        try:
            compiled = _compile(pattern, seconds)
        except (re.error, _Slow, OverflowError, RecursionError, MemoryError, ValueError) as error:
            answer["wrong"].append([place, str(error) or type(error).__name__.strip("_").lower()])
            continue
        missed = 0
        for number, text in enumerate(texts):
            if missed >= _PATIENCE:
                answer["slow"].append([place, number])
                continue
            try:
                found = _spans(compiled, text, seconds)
            except (_Slow, RecursionError, MemoryError):
                answer["slow"].append([place, number])
                missed += 1
                continue
            answer["spans"] += [[place, number, start, end] for start, end in found]
    return answer


def _compile(pattern: str, seconds: float) -> re.Pattern[str]:
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 1.0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern, re.IGNORECASE)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _spans(compiled: re.Pattern[str], text: str, seconds: float) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        for one in compiled.finditer(text):
            groups = [one.span(number) for number in range(1, compiled.groups + 1)] or [one.span()]
            found += [(start, end) for start, end in groups if 0 <= start < end]
            if len(found) >= _MOST_SPANS:
                break
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return found


def main() -> None:
    """Answer one question."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _ring)
    asked = json.load(sys.stdin.buffer)
    json.dump(search(asked["patterns"], asked["texts"], asked["seconds"]), sys.stdout)


if __name__ == "__main__":
    main()
