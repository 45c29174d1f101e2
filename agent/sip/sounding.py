"""From the facts of a journal to what is to be heard: streams with their codecs and keys, pauses, holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.sip.calls import LoggedStream, stream_plans
from agent.sip.journal import KEY, STREAM, Fact
from agent.sound.codecs import Codec
from agent.sound.flac import MOST_CHANNELS
from agent.sound.srtp import SrtpKeys, read_key

PAUSED, RESUMED = "paused", "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A pause (``channel`` None, ``text`` says by whom) or a hold, in seconds since the epoch."""

    start: float
    end: float
    channel: int | None = None
    text: str = ""


def logged_streams(facts: Sequence[Fact], logs: Iterable[int]) -> tuple[LoggedStream, ...]:
    """The streams of a journal, and each log that a damaged journal does not know, on a channel of its own."""
    known = stream_plans(facts)
    indexes, channels = {one.index for one in known}, {one.channel for one in known}
    found = list(known)
    for index in sorted(set(logs) - indexes):
        channel = min(set(range(len(channels) + 1)) - channels)
        channels.add(channel)
        found.append(LoggedStream(index=index, channel=channel, label="", codecs={}, parameters={}))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStream:
    """Sound that came as the file ``name``, whose first sample is of the time ``started``, seconds since the epoch;
    None where a damaged journal does not say."""

    index: int
    channel: int
    name: str
    started: float | None


_FILES = {"caller.wav": 0, "callee.wav": 1}  # what lines write; the names tell whose it is, should nothing else


def file_streams(facts: Sequence[Fact], names: Iterable[str]) -> tuple[FileStream, ...]:
    """The sound files of a journal, and each of those there that a damaged journal does not know."""
    found: dict[str, FileStream] = {}
    for fact in facts:
        if fact.kind != STREAM:
            continue
        index, channel, name = (fact.data.get(one) for one in ("index", "channel", "file"))
        if not (isinstance(name, str) and isinstance(index, int) and isinstance(channel, int)):
            continue
        if "/" not in name and 0 <= channel < MOST_CHANNELS:
            started = _epoch(fact.data.get("started"))
            if started is None and name in found:  # a hold, that does not say it again
                started = found[name].started
            found[name] = FileStream(index=index, channel=channel, name=name, started=started)
    for name in sorted(set(names) & _FILES.keys() - found.keys()):
        found[name] = FileStream(index=-1, channel=_FILES[name], name=name, started=None)
    return tuple(found.values())


def _epoch(text: object) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None


def keys(facts: Iterable[Fact], paused: Sequence[Interval] = ()) -> list[Interval]:
    """The keys that whoever carried the call heard being pressed, but for those of pauses: they may be a card's."""
    found = [
        Interval(start=fact.at.timestamp(), end=fact.at.timestamp(), channel=channel, text=str(fact.data.get("digit")))
        for fact in facts
        if fact.kind == KEY and isinstance(channel := fact.data.get("channel"), int)
    ]
    return [one for one in found if not any(pause.start < one.start < pause.end for pause in paused)]


def codecs_of(stream: LoggedStream) -> dict[int, Codec]:
    """From the rtpmap and fmtp values of the SDP; what is no number there was never a payload type."""
    found = {}
    for payload_type, value in stream.codecs.items():
        name, _, rest = value.partition("/")
        rate, _, channels = rest.partition("/")
        if payload_type.isdecimal() and rate.isdecimal():
            found[int(payload_type)] = Codec(
                name=name,
                clock_rate=int(rate),
                channels=int(channels) if channels.isdecimal() else 1,
                fmtp=stream.parameters.get(payload_type, ""),
            )
    return found


def keys_of(stream: LoggedStream) -> SrtpKeys | None:
    """The SRTP keys of a stream; None if it was never encrypted."""
    keys = (read_key(suite, text, mki_size) for suite, text, mki_size in stream.crypto)
    return SrtpKeys(keys=tuple(key for key in keys if key is not None)) if stream.crypto else None


def pauses(facts: Sequence[Fact], ended: datetime) -> list[Interval]:
    """When recording was paused on purpose; a pause that nobody ended lasts to the end of the call."""
    found: list[Interval] = []
    since: Fact | None = None
    for fact in facts:
        if fact.kind == PAUSED and since is None:
            since = fact
        elif fact.kind == RESUMED and since is not None:
            found.append(_pause(since, fact.at))
            since = None
    if since is not None:
        found.append(_pause(since, max(ended, since.at)))
    return found


def _pause(since: Fact, until: datetime) -> Interval:
    by = since.data.get("by")
    end = max(until, since.at).timestamp()  # the clock may have been set back
    return Interval(start=since.at.timestamp(), end=end, text=by if isinstance(by, str) else "")


def holds(facts: Sequence[Fact], streams: Sequence[LoggedStream | FileStream], ended: datetime) -> Iterator[Interval]:
    """When the client said that it sends nothing, on a channel on which it had sent before."""
    channels = {one.index: one.channel for one in streams}
    active: dict[int, bool] = {}
    silent: dict[int, datetime] = {}
    for fact in facts:
        index = fact.data.get("index")
        if fact.kind != STREAM or not isinstance(index, int) or index not in channels:
            continue
        channel = channels[index]
        was = any(on for one, on in active.items() if channels[one] == channel)
        active[index] = bool(fact.data.get("active"))
        now = any(on for one, on in active.items() if channels[one] == channel)
        if was and not now:
            silent[channel] = fact.at
        elif now and channel in silent:
            yield Interval(start=silent.pop(channel).timestamp(), end=fact.at.timestamp(), channel=channel)
    for channel, since in silent.items():
        if since < ended:
            yield Interval(start=since.timestamp(), end=ended.timestamp(), channel=channel)
