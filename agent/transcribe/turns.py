"""Who takes the word from whom. Pure; from where the channels speak, and for backchannels from the words.

**Interruption**: one begins to speak while the other has spoken for `SPOKEN_SECONDS` at least, both speak for
`TOGETHER_SECONDS` at least, the other falls silent within `YIELD_SECONDS` of the beginning, and the one who began goes
on for `GOES_ON_SECONDS` after that. Who is spoken over and goes on was not interrupted; a beginning at the last sound
of the other is a quick answer; and a "yes, yes" while the other tells something is a backchannel (Yngve 1970), which
asks him to go on and is no interruption even where he happens to pause.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.model import Utterance
from agent.transcribe.engine import Stretch
from agent.transcribe.wer import fold

SPOKEN_SECONDS = 0.5
TOGETHER_SECONDS = 0.3  # voice activity detection ends a stretch up to 0.2 s late
YIELD_SECONDS = 2.0
GOES_ON_SECONDS = 0.5
_EARLY_SECONDS, _LATE_SECONDS = 0.4, 0.8  # between the beginning of a stretch and of the words in it

BACKCHANNELS = frozenset(
    fold(
        "угу ага да так ну мм м мгм хм э а ок окей хорошо понятно понял поняла ясно конечно точно верно правильно "
        "yes yeah yep yup ok okay right sure uh huh mm hmm hm mhm aha uhhuh i see exactly fine"
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The channel ``by`` began at ``start`` seconds, and the channel ``of`` fell silent at ``yielded``."""

    by: int
    of: int
    start: float
    yielded: float


def find_interruptions(speech: Sequence[Sequence[Stretch]]) -> list[Interruption]:
    """All of them by sound alone, in order of time; the stretches of each channel are in order and apart."""
    found = [
        Interruption(by=by, of=of, start=stretch.start, yielded=other.end)
        for by, own in enumerate(speech)
        for of, theirs in enumerate(speech)
        if by != of
        for stretch in own
        for other in _spoken_over(stretch, theirs)
    ]
    return sorted(found, key=lambda one: (one.start, one.by, one.of))


def _spoken_over(stretch: Stretch, theirs: Sequence[Stretch]) -> Sequence[Stretch]:
    """The stretch of another channel that ended because this one began, if there is one."""
    index = bisect_left(theirs, stretch.start, key=lambda one: one.start) - 1
    if index < 0:
        return ()
    other = theirs[index]
    together = other.end - stretch.start
    if other.start > stretch.start - SPOKEN_SECONDS or not TOGETHER_SECONDS <= together <= YIELD_SECONDS:
        return ()
    if stretch.end < other.end + GOES_ON_SECONDS:
        return ()
    resumes = theirs[index + 1].start if index + 1 < len(theirs) else float("inf")
    return (other,) if resumes >= other.end + GOES_ON_SECONDS else ()


def is_backchannel(text: str) -> bool:
    """Whether these words only say that one listens."""
    words = fold(text)
    return bool(words) and len(words) <= 4 and all(word in BACKCHANNELS for word in words)


def mark_interruptions(utterances: Sequence[Utterance], speech: Sequence[Sequence[Stretch]]) -> list[Utterance]:
    """The utterances, ordered by start, with those marked that interrupt."""
    begun = {(one.by, one.start) for one in find_interruptions(speech)}
    marked = list(utterances)
    for channel, start in begun:
        for index, one in enumerate(marked):
            if one.channel == channel and start - _EARLY_SECONDS <= one.start <= start + _LATE_SECONDS:
                if not is_backchannel(one.text):
                    marked[index] = replace(one, interrupts=True)
                break
    return marked
