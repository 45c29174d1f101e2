"""When a packet's sound was: from RTP timestamps and arrival times to places on the wall clock. Pure.

A sender's timestamps say exactly how its sound hangs together, but neither when it began nor how fast the sender's
clock runs. Arrivals say when, but late by whatever the network, a burst or our own restart added. As nothing arrives
too early, the earliest arrivals are right: the lower envelope of `arrival - timestamp / clock rate` is what a segment
is anchored by, and it is followed when it moves for good (a slow clock, a timestamp that stood still during a hold).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from agent.sound.batches import Batch
from agent.sound.rtp import Bools, Floats, Ints, steps

DROPOUT, MISORDER = 3000, 512  # sequence numbers ahead and back that still belong together (RFC 3550, A.1)
LEAP = 3.0  # seconds by which a timestamp must contradict both sequence and wall clock to begin a new segment
BLOCK = 16  # packets whose earliest arrival counts
STEP = 0.2  # seconds of change from one packet to the next that begins a new block
REACH = 100  # blocks (32 s of 20 ms packets) after which a delay that lasts is no longer a delay
TOLERANCE = 0.012  # seconds which the envelope may move before the sound is anchored anew
_SOURCES = 512  # SSRCs followed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """The packets of a batch that are sound, an entry a packet; sources one after the other, each in arrival order.

    ``index`` is the packet's place in the batch; ``ticks`` and ``sequence`` count without wrapping; ``rank`` is the
    sequence number without packets that are no sound; ``block`` numbers the blocks from the first batch on.
    ``overtaken`` packets came after one of their segment that was sent later: their block is that of the latecomers,
    not that of their sound.
    """

    index: Ints
    segment: Ints
    block: Ints
    ticks: Ints
    sequence: Ints
    rank: Ints
    clock: Ints
    overtaken: Bools


class Blocks(NamedTuple):
    """An entry a block, in the order of their numbers.

    ``offset`` is the least `arrival - ticks / clock`; ``begins`` and ``ends`` say where its sound lies by its own
    clock, all three in seconds; ``packets`` how many there are.
    """

    segment: Ints
    offset: Floats
    packets: Ints
    begins: Floats
    ends: Floats

    @staticmethod
    def joined(parts: Iterable[Blocks]) -> Blocks:
        """The blocks of several batches as one."""
        return Blocks(*(np.concatenate(part) for part in zip(_NO_BLOCKS, *parts, strict=True)))


@dataclass(slots=True)
class _Source:
    """What must be remembered of an SSRC from one batch to the next."""

    sequence: int
    timestamp: int
    arrival: float
    clock: int
    segment: int = -1
    total_sequence: int = 0
    total_ticks: int = 0
    heard_sequence: int = 0
    quiet: int = 0
    step: int = 160
    jumped: bool = True
    highest: int = -(1 << 62)


class Tracker:
    """Follows the sources of a stream through its batches and cuts each into segments of one steady clock.

    It depends on the packets only, so a second pass over the same log numbers segments and blocks alike.
    """

    def __init__(self, clocks: Ints) -> None:
        """``clocks``: RTP clock rate by payload type, 128 entries; 0 where the payload is no sound we can decode."""
        self._clocks = clocks
        self._sources: dict[int, _Source] = {}
        self._segments = 0
        self._blocks = 0

    def track(self, batch: Batch) -> tuple[Tracked, Blocks]:
        """Take the next batch; the blocks are those that begin in it."""
        headers = batch.headers
        valid = np.flatnonzero(headers.valid)
        ssrc = headers.ssrc[valid]
        if len(valid) and (ssrc == ssrc[0]).all():
            groups = [valid]
        else:
            order = np.argsort(ssrc, kind="stable")
            cuts = np.flatnonzero(np.diff(ssrc[order])) + 1
            groups = np.split(valid[order], cuts) if len(valid) else []
        done = [self._follow(batch, group) for group in groups]
        tracked = [one for one, _ in done] or [_NOTHING]
        return (
            Tracked(**{name: np.concatenate([getattr(one, name) for one in tracked]) for name in Tracked.__slots__}),
            Blocks.joined(blocks for _, blocks in done),
        )

    def _follow(self, batch: Batch, packets: Ints) -> tuple[Tracked, Blocks]:
        headers = batch.headers
        clock = self._clocks[headers.payload_type[packets]]
        number = headers.sequence[packets]
        source = self._source(int(headers.ssrc[packets[0]]), int(number[0]))
        moved = steps(number, 16, source.sequence)
        sequence = source.total_sequence + np.cumsum(moved)
        jumps = int(source.jumped) + np.cumsum((moved > DROPOUT) | (moved < -MISORDER))
        quiet = source.quiet + np.cumsum(clock == 0)
        source.sequence, source.total_sequence, source.quiet = int(number[-1]), int(sequence[-1]), int(quiet[-1])
        heard = np.flatnonzero(clock)
        source.jumped = bool(jumps[-1] > (jumps[heard[-1]] if len(heard) else 0))
        if not len(heard):
            return _NOTHING, _NO_BLOCKS
        return self._measure(
            source, batch, packets[heard], sequence[heard], (sequence - quiet)[heard], jumps[heard], clock[heard]
        )

    def _measure(
        self, source: _Source, batch: Batch, packets: Ints, sequence: Ints, rank: Ints, jumps: Ints, clock: Ints
    ) -> tuple[Tracked, Blocks]:
        """Timestamps of the sound packets of one source: segments, ticks and blocks."""
        timestamp, arrival = batch.headers.timestamp[packets], batch.arrival[packets]
        if source.segment < 0:
            source.timestamp, source.arrival = int(timestamp[0]), float(arrival[0])
        moved = steps(timestamp, 32, source.timestamp)
        numbers = np.diff(sequence, prepend=source.heard_sequence)
        source.step = _usual_step(moved, numbers, source.step)
        waited = np.diff(arrival, prepend=source.arrival)
        leaped = (np.abs(moved - numbers * source.step) > LEAP * clock) & (np.abs(moved / clock - waited) > LEAP)
        new = leaped | (np.diff(jumps, prepend=0) > 0) | (np.diff(clock, prepend=source.clock or clock[0]) != 0)
        ticks = source.total_ticks + np.cumsum(moved)
        segment = self._number_segments(source, new)
        said = ticks / clock
        offset = arrival - said
        overtaken = self._overtaken(source, segment, sequence)
        edges = _edges(offset, new, ~overtaken)
        first = np.flatnonzero(edges)
        block = self._blocks + np.cumsum(edges) - 1
        self._blocks += len(first)
        source.timestamp, source.arrival, source.clock = int(timestamp[-1]), float(arrival[-1]), int(clock[-1])
        source.total_ticks, source.heard_sequence = int(ticks[-1]), int(sequence[-1])
        tracked = Tracked(
            index=packets,
            segment=segment,
            block=block,
            ticks=ticks,
            sequence=sequence,
            rank=rank,
            clock=clock,
            overtaken=overtaken,
        )
        blocks = Blocks(
            segment=segment[first],
            offset=np.minimum.reduceat(offset, first),
            packets=np.diff(first, append=len(offset)),
            begins=np.minimum.reduceat(said, first),
            ends=np.maximum.reduceat(said + source.step / clock, first),
        )
        return tracked, blocks

    def _overtaken(self, source: _Source, segment: Ints, sequence: Ints) -> Bools:
        """Which packets come after one that was sent later; such a packet says nothing new about the clock."""
        key = segment * (1 << 40) + sequence
        highest = np.maximum.accumulate(np.concatenate([[source.highest], key]))
        source.highest = int(highest[-1])
        return key < highest[1:]

    def _number_segments(self, source: _Source, new: Bools) -> Ints:
        count = np.cumsum(new)
        segment = np.where(count == 0, source.segment, self._segments + count - 1)
        self._segments += int(count[-1])
        source.segment = int(segment[-1])
        return segment

    def _source(self, ssrc: int, sequence: int) -> _Source:
        source = self._sources.pop(ssrc, None) or _Source(sequence, 0, 0.0, 0)
        self._sources[ssrc] = source
        if len(self._sources) > _SOURCES:
            del self._sources[next(iter(self._sources))]
        return source


_EMPTY = np.zeros(0, np.int64)
_NONE = np.zeros(0, np.float64)
_NO_BLOCKS = Blocks(segment=_EMPTY, offset=_NONE, packets=_EMPTY, begins=_NONE, ends=_NONE)
_NOTHING = Tracked(
    index=_EMPTY,
    segment=_EMPTY,
    block=_EMPTY,
    ticks=_EMPTY,
    sequence=_EMPTY,
    rank=_EMPTY,
    clock=_EMPTY,
    overtaken=_EMPTY.astype(np.bool_),
)


def _edges(offset: Floats, new: Bools, orderly: Bools) -> Bools:
    """Which packets begin a block; an overtaken one never does, but where a batch has to begin with it."""
    kept = np.flatnonzero(orderly)
    begins = np.abs(np.diff(offset[kept], prepend=offset[kept[:1]])) > STEP
    begins[::BLOCK] = True
    edges = new.copy()
    edges[kept] |= begins
    if len(kept) and kept[0] > 0 and not new[: kept[0] + 1].any():
        edges[kept[0]] = False  # what was overtaken before it belongs to the same block
    edges[0] = True
    return edges


def _usual_step(moved: Ints, numbers: Ints, previous: int) -> int:
    """Ticks from one packet to the next, as most packets have it."""
    single = moved[(numbers == 1) & (moved > 0)]
    return int(np.median(single)) if len(single) else previous


def find_anchors(blocks: Blocks) -> Floats:
    """The wall clock time of tick 0, in seconds since the epoch, by which each block is placed."""
    order = np.argsort(blocks.segment, kind="stable")
    segment, offset, count = blocks.segment[order], blocks.offset[order], blocks.packets[order]
    cuts = [0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(segment)]
    anchors = offset.copy()
    for start, end in pairwise(cuts):
        if end - start > 1:
            anchors[start:end] = _hold(_envelope(offset[start:end], count[start:end]))
    result = np.empty_like(anchors)
    result[order] = anchors
    return result


def _envelope(offset: Floats, count: Ints) -> Floats:
    """Least offset of the blocks around each, seen forwards and backwards, of which the greater one counts.

    A delay that passes within the reach is seen through from both sides; a step that stays (either way) is seen at its
    very block. At the beginning there is no looking back, so a stream may well begin with a burst; a handful of packets
    at the end is too little to tell a late packet from a step.
    """
    reach = min(REACH, len(offset))
    missing = np.full(reach - 1, np.inf)
    forward: Floats = sliding_window_view(np.concatenate([offset, missing]), reach).min(axis=1)
    backward = sliding_window_view(np.concatenate([missing, offset]), reach).min(axis=1)
    envelope: Floats = np.where(np.arange(len(offset)) < reach, forward, np.maximum(forward, backward))
    few = int((np.cumsum(count[::-1]) < BLOCK // 2).sum())
    tail = len(offset) - few
    envelope[tail:] = np.minimum(envelope[tail:], envelope[tail - 1] if tail else envelope.min())
    return envelope


def _hold(envelope: Floats) -> list[float]:
    held, anchor = [], float(envelope[0])
    for offset in envelope.tolist():
        if abs(offset - anchor) > TOLERANCE:
            anchor = offset
        held.append(anchor)
    return held
