"""Regular expressions over the text of calls, in a process that may be killed (`masks.pattern_child`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import Misconfigured, Unavailable

LONGEST_PATTERN = 500  # characters
_LONGEST_TEXT = 4000  # characters that are looked through at once; an utterance is a tenth of it
_SECONDS_A_TEXT = 0.1  # of processor time, an expression
_WALL_SECONDS = 120.0  # for everything: only a machine that stands still takes so long
_LONGEST_ANSWER = 32 * 1024 * 1024

# What makes a bad expression go on for ever: long runs of the same, and an end that does not fit.
_TRIALS = (
    "1" * 400 + "!",
    "4276 " * 80 + "!",
    "а" * 400 + "!",
    "a" * 400 + "!",
    "раз два " * 50 + "!",
    " " * 400 + "!",
    "aа1 ,.-" * 60 + "\n",
)


class PatternsUnavailable(Unavailable):
    """The process that looks for what is to be masked could not be asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"What is to be masked could not be looked for: {reason}.",
            remedy="It is tried again by itself; nothing is stored unmasked meanwhile.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What was found: (pattern, text, start, end). ``slow``: pairs of pattern and text that took too long; ``wrong``:
    patterns that are none, with the reason."""

    spans: tuple[tuple[int, int, int, int], ...] = ()
    slow: frozenset[tuple[int, int]] = frozenset()
    wrong: Mapping[int, str] | None = None


async def search(patterns: Sequence[str], texts: Sequence[str]) -> Matches:
    """Look for all patterns in all texts, whatever they are.

    Raises:
        PatternsUnavailable: no process can be had, or it was killed.
    """
    if not patterns or not texts:
        return Matches()
    asked = {"patterns": patterns, "texts": [one[:_LONGEST_TEXT] for one in texts], "seconds": _SECONDS_A_TEXT}
    told = await _ask(json.dumps(asked).encode())
    try:
        spans = tuple((int(p), int(t), int(start), int(end)) for p, t, start, end in told["spans"])
        slow = {(int(p), int(t)) for p, t in told["slow"]}
        wrong = {int(p): str(reason) for p, reason in told["wrong"]}
    except (KeyError, TypeError, ValueError) as error:
        raise PatternsUnavailable("its answer was nonsense") from error
    slow |= {(p, t) for p in range(len(patterns)) for t, text in enumerate(texts) if len(text) > _LONGEST_TEXT}
    return Matches(spans=spans, slow=frozenset(slow), wrong=wrong)


async def check(pattern: str) -> None:
    """Whether it is an expression, and never slow as far as one can see.

    Raises:
        Misconfigured: it is not; the text says why.
        PatternsUnavailable: no process can be had.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise Misconfigured("The expression is too long.", remedy=f"At most {LONGEST_PATTERN} characters.")
    found = await search([pattern], _TRIALS)
    if found.wrong:
        raise Misconfigured(f"This is no regular expression: {found.wrong[0]}.", remedy="Correct it.")
    if found.slow:
        raise Misconfigured("The expression may take for ever.", remedy="Avoid repetitions within repetitions.")
    if any(start == 0 and end >= len(_TRIALS[text]) - 1 for _, text, start, end in found.spans if text in (4, 6)):
        raise Misconfigured("The expression masks everything.", remedy="Name what is to be masked more closely.")


async def _ask(question: bytes) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent.transcribe.masks.pattern_child", stdin=pipe, stdout=pipe, limit=_LONGEST_ANSWER
        )
    except OSError as error:
        raise PatternsUnavailable(str(error)) from error
    try:
        async with asyncio.timeout(_WALL_SECONDS):
            answer, _ = await process.communicate(question)
    except TimeoutError as error:
        raise PatternsUnavailable("it took too long") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise PatternsUnavailable(f"its process ended with {process.returncode}")
    try:
        told = json.loads(answer)
    except ValueError as error:
        raise PatternsUnavailable("its answer was nonsense") from error
    if not isinstance(told, dict):
        raise PatternsUnavailable("its answer was nonsense")
    return told
