"""What of a model's answers is believed, in which order it is asked, and what becomes of the rest. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from agent.transcribe.engine import Recognised
from agent.transcribe.gate import Dropped, is_hurried, objection, pace_objection
from agent.transcribe.repeats import cut_loop, repeated_sentences, suspicion
from agent.transcribe.speech.windows import Passage

_SLACK_SECONDS = 0.3  # voice activity detection may begin that late
_SHORTEST_SECONDS = 0.15  # of a word that somebody can have said


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A passage as it will be read: its ``text`` is clean."""

    channel: int
    passage: Passage
    text: str


def judge(channel: int, passages: Sequence[Passage]) -> tuple[list[Believed], list[Dropped]]:
    """The passages of one channel that are believed, and what is left out with its reason; all in order of time."""
    believed: list[Believed] = []
    dropped: list[Dropped] = []
    cut = []
    for passage in sorted(passages, key=lambda one: one.start):
        short, reason = cut_loop(passage)
        if reason:
            dropped.append(_dropped(channel, passage, reason))
        cut.append(_weighed_anew(short) if reason else passage)
    again = repeated_sentences(cut)
    reasons = dict(_paces(cut)) | dict(_too_late(cut))
    for index, passage in enumerate(cut):
        reason = _objection(passage) or reasons.get(index, "")
        if not reason and index in again:
            reason = "repeats the sentence before"
        if reason:
            dropped.append(_dropped(channel, passage, reason))
        else:
            believed.append(Believed(channel=channel, passage=passage, text=clean(passage.text)))
    return believed, dropped


def clean(text: str) -> str:
    """Half characters and control characters come out of a byte-level vocabulary; no database or page takes them."""
    return " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())


def _objection(passage: Passage) -> str:
    text = clean(passage.text)
    if not any(letter.isalnum() for letter in text):
        return "no words"
    seconds = passage.speech.end - passage.speech.start
    return objection(passage.segment) or suspicion(passage.segment, text, seconds)


def _paces(passages: Sequence[Passage]) -> Iterator[tuple[int, str]]:
    """Who speaks impossibly fast or slowly; a stretch is judged as a whole first, as times within it are not exact."""
    for speech, group in groupby(enumerate(passages), key=lambda item: item[1].speech):
        members = list(group)
        ends = max(speech.end, *(passage.end for _, passage in members))
        room = ends - speech.start + _SLACK_SECONDS
        text = " ".join(clean(passage.text) for _, passage in members)
        surest = min(passage.segment.log_probability for _, passage in members)
        hurried = is_hurried(text, room)
        slow = "" if hurried else pace_objection(text, room, surest)
        for index, passage in members:
            own = _own_pace(passage, exact=not hurried) if hurried or passage.words else ""
            if own or (slow and len(members) == 1):
                yield index, own or slow


def _too_late(passages: Sequence[Passage]) -> Iterator[tuple[int, str]]:
    """What begins as its speech ends, which voice activity detection knows exactly: there was time for no word. A model
    answers so to the echo of the other party behind one's last word. Where speech was cut in two it goes on."""
    for index, passage in enumerate(passages):
        left = passage.speech.end - passage.start
        after = next((one.speech for one in passages[index + 1 :] if one.speech != passage.speech), None)
        goes_on = after is not None and after.start - passage.speech.end < _SHORTEST_SECONDS
        if passage.words and left < _SHORTEST_SECONDS and passage.start > passage.speech.start and not goes_on:
            yield index, f"begins where speech ends: {max(0.0, left):.2f} s before"


def _own_pace(passage: Passage, *, exact: bool) -> str:
    seconds = passage.end - passage.start
    return pace_objection(clean(passage.text), seconds, 0.0, exact=exact)


def _weighed_anew(passage: Passage) -> Passage:
    """A passage out of which a loop was cut is judged by what is left."""
    written = passage.text.encode("utf-8", "replace")
    ratio = len(written) / len(zlib.compress(written)) if written else 0.0
    segment: Recognised = replace(passage.segment, text=passage.text, compression=ratio)
    return replace(passage, segment=segment)


def _dropped(channel: int, passage: Passage, reason: str) -> Dropped:
    return Dropped(channel=channel, start=passage.start, end=passage.end, text=clean(passage.text), reason=reason)
