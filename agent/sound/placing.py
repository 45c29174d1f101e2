"""Packets in the order of their sound, each at its sample of the recording, cut into runs to decode. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from agent.sound.batches import Batch
from agent.sound.rtp import Bytes, Floats, Ints
from agent.sound.timeline import Tracker

HOLD = 10.0  # seconds a packet may be overtaken by and still find its place
_PACKET = np.dtype(
    [
        *(
            (name, np.int64)
            for name in ("at", "key", "rank", "ticks", "base", "lasts", "start", "length", "type", "ssrc")
        ),
        ("overtaken", np.bool_),
    ]
)
_HALF = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """By payload type, 128 entries: the RTP clock rate (0: no sound we can decode), bytes and ticks of a frame."""

    clock: Ints
    size: Ints
    ticks: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Packets of one source and codec to decode in this order.

    ``at`` is the sample of the recording at which each packet's sound begins. In a ``seamless`` run the packets follow
    one another without a hole, so the payload may be decoded as one. ``rank`` are sequence numbers in which a step of
    more than one is a loss. All packets of a run are anchored alike: the sample at which tick 0 of ``segment`` would be
    is ``base``.
    """

    ssrc: int
    payload_type: int
    seamless: bool
    segment: int
    base: int
    at: Ints
    rank: Ints
    buffer: Bytes
    starts: Ints
    lengths: Ints

    def joined(self) -> bytes:
        """All payloads as one; packets that lie evenly in the log are copied in one go."""
        strides = np.diff(self.starts)
        length = int(self.lengths[0])
        if not (self.lengths == length).all():
            return b"".join(self.payloads())
        parts = []
        # what waited is in front of what came, so the stride breaks once or twice
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(strides)) + 1).tolist(), len(self.starts)]):
            stride = int(strides[begin]) if end - begin > 1 else 1
            first = self.buffer[int(self.starts[begin]) :]
            if stride < 0:
                return b"".join(self.payloads())
            parts.append(as_strided(first, (end - begin, length), (stride, 1), writeable=False).tobytes())
        return b"".join(parts)

    def payloads(self) -> Iterator[bytes]:
        """The payload of each packet."""
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield self.buffer[start : start + length].tobytes()


class Placer:
    """Takes the batches of a stream and gives its runs, ordered by their place in the recording."""

    def __init__(self, table: Table, anchors: Floats, *, rate: int, started: float) -> None:
        """``anchors`` as found by a first pass; ``rate`` of the recording in Hz, ``started`` in epoch seconds."""
        self._tracker = Tracker(table.clock)
        self._table, self._anchors, self._rate, self._started = table, anchors, rate, started
        self._waiting = np.zeros(0, _PACKET)
        self._buffer: Bytes = np.zeros(0, np.uint8)
        self._reached: dict[int, int] = {}  # segment -> highest key given
        self.dropped = 0  # duplicates, and packets that came too late for their place

    def place(self, batch: Batch) -> Iterator[Run]:
        """Runs that nothing can come before any more."""
        packets = self._locate(batch)
        self._take(batch.buffer, packets)
        if len(batch.arrival):
            latest = float(batch.arrival.max()) - self._started - HOLD
            yield from self._give(int(np.searchsorted(self._waiting["at"], int(latest * self._rate))))

    def finish(self) -> Iterator[Run]:
        """The rest."""
        yield from self._give(len(self._waiting))

    def _locate(self, batch: Batch) -> NDArray[np.void]:
        tracked, _ = self._tracker.track(batch)
        headers, index = batch.headers, tracked.index
        packets = np.zeros(len(index), _PACKET)
        packets["base"] = np.round((self._anchors[tracked.block] - self._started) * self._rate)
        packets["at"] = packets["base"] + tracked.ticks * self._rate // tracked.clock
        packets["key"] = tracked.segment * _HALF * 2 + tracked.sequence + _HALF
        packets["rank"], packets["ticks"], packets["overtaken"] = tracked.rank, tracked.ticks, tracked.overtaken
        packets["type"], packets["ssrc"] = headers.payload_type[index], headers.ssrc[index]
        packets["start"], length = headers.start[index], headers.length[index]
        size = np.maximum(self._table.size[packets["type"]], 1)
        packets["length"] = length // size * size
        packets["lasts"] = length // size * self._table.ticks[packets["type"]]
        return packets[packets["length"] > 0]

    def _take(self, buffer: Bytes, packets: NDArray[np.void]) -> None:
        """Add to those waiting, whose bytes are all that is kept of earlier batches."""
        cut = int(self._waiting["start"].min()) if len(self._waiting) else len(self._buffer)
        kept = self._buffer[cut:]
        self._waiting["start"] -= cut
        packets["start"] += len(kept)
        self._buffer = np.concatenate([kept, buffer])
        waiting = np.concatenate([self._waiting, packets])
        _return_to_their_own(waiting)
        if len(waiting) > 1 and (np.diff(waiting["at"]) < 0).any():
            waiting = waiting[np.lexsort((waiting["key"], waiting["at"]))]
        self._waiting = waiting

    def _give(self, count: int) -> Iterator[Run]:
        packets, self._waiting = self._waiting[:count], self._waiting[count:].copy()
        packets = self._fresh(packets)
        if not len(packets):
            return
        framed = packets["lasts"] > 0
        seam = (np.diff(packets["base"]) == 0) & (np.diff(packets["type"]) == 0)
        seam &= np.diff(packets["key"] // (_HALF * 2)) == 0
        seam &= ~framed[:-1] | (np.diff(packets["ticks"]) == packets["lasts"][:-1])
        cuts = np.concatenate([[0], np.flatnonzero(~seam) + 1, [len(packets)]]).tolist()
        for first, end in pairwise(cuts):
            yield self._run(packets[first:end], bool(framed[first]))

    def _fresh(self, packets: NDArray[np.void]) -> NDArray[np.void]:
        """Without duplicates and without what comes after its place was given."""
        before = len(packets)
        keys = packets["key"]
        if (np.diff(keys) <= 0).any():
            _, unique = np.unique(keys, return_index=True)
            packets = packets[np.sort(unique)]
        segments = packets["key"] // (_HALF * 2)
        for segment in np.unique(segments).tolist():
            if segment in self._reached:
                late = (segments == segment) & (packets["key"] <= self._reached[segment])
                packets, segments = packets[~late], segments[~late]
        self.dropped += before - len(packets)
        return packets

    def _run(self, packets: NDArray[np.void], seamless: bool) -> Run:
        segment = int(packets["key"][0]) // (_HALF * 2)
        self._reached.pop(segment, None)
        self._reached[segment] = int(packets["key"].max())
        if len(self._reached) > 1024:
            del self._reached[next(iter(self._reached))]
        return Run(
            ssrc=int(packets["ssrc"][0]),
            payload_type=int(packets["type"][0]),
            seamless=seamless,
            segment=segment,
            base=int(packets["base"][0]),
            at=packets["at"],
            rank=packets["rank"],
            buffer=self._buffer,
            starts=packets["start"],
            lengths=packets["length"],
        )


def _return_to_their_own(packets: NDArray[np.void]) -> None:
    """Anchor each packet that was overtaken as the one before it in its segment is anchored.

    It came among later packets, and when the clock was anchored anew between them, their anchor would put its sound
    behind that of its successors.
    """
    late = np.flatnonzero(packets["overtaken"])
    if not len(late):
        return
    orderly = packets[~packets["overtaken"]]
    orderly = orderly[np.argsort(orderly["key"], kind="stable")]
    before = np.searchsorted(orderly["key"], packets["key"][late], side="right") - 1
    found = before >= 0
    late, before = late[found], before[found]
    same = orderly["key"][before] // (_HALF * 2) == packets["key"][late] // (_HALF * 2)
    late, before = late[same], before[same]
    packets["at"][late] += orderly["base"][before] - packets["base"][late]
    packets["base"][late] = orderly["base"][before]
