"""A source beside the fake Asterisk, with a real recorder; what became of calls is read from their journals alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.model import CapturedCall, SourceState
from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.following import Patience
from agent.sip.asterisk.source import AsteriskSource
from agent.sip.calls import captured_call
from agent.sip.journal import read_journal
from agent.sip.lines.linecalls import KeyRules
from agent.sip.recorder import CaptureEvent, CaptureEventKind, Recorder
from agent.sip.taps import Taps
from tests.asterisk.pbx import SECRET, USER, FakeAsterisk

QUICK = Patience(linger=0.2, silent=0.5, try_again=(0.05, 0.1), first_pause=0.05, longest_pause=0.1, refused_pause=0.1)
FAST = 10.0  # times as fast as the trace


class Teller:
    """Stands for the courier; knows which calls ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def tell(self, capture_id: str) -> None:
        pass

    def tell_ended(self, capture_id: str) -> None:
        self.ended.append(capture_id)


@dataclass
class Bench:
    """One test's source, PBX and calls."""

    pbx: FakeAsterisk
    folder: Path
    earlier: frozenset[Path]
    taps: Taps
    teller: Teller
    states: list[tuple[SourceState, str]] = field(default_factory=list)
    keys: KeyRules = field(default_factory=KeyRules)

    def source(self, patience: Patience = QUICK, **settings: Any) -> AsteriskSource:
        given = {"name": "office", "url": self.pbx.url, "user": USER, "secret": SECRET, **settings}
        source = AsteriskSource(
            AsteriskSettings.model_validate(given), self.taps, digits=5, keys=self.keys, patience=patience
        )
        source.watch(self._note)
        return source

    def _note(self, source: str, state: SourceState, detail: str) -> None:
        assert source == "asterisk:office" and SECRET not in detail
        self.states.append((state, detail))

    def event(self, event: CaptureEvent) -> None:
        tap = self.taps.find(event.capture_id or "")
        if event.kind is CaptureEventKind.FIRST_PACKET and tap is not None and event.stream is not None:
            tap.heard.add(event.stream)

    async def is_running(self) -> None:
        await until(lambda: bool(self.states) and self.states[-1][0] is SourceState.RUNNING)

    def calls(self) -> list[CapturedCall]:
        """All that were noted, by the journals alone."""
        folders = sorted(set(self.folder.iterdir()) - self.earlier)
        return [captured_call(read_journal(one), one.name) for one in folders]

    async def all_ended(self, number: int = 1) -> list[CapturedCall]:
        await until(lambda: len(self.teller.ended) >= number)
        await until(lambda: not self.pbx.leftovers)
        return sorted(self.calls(), key=lambda call: (call.started, call.key))

    def packets(self, call: CapturedCall) -> list[int]:
        """Bytes of each log."""
        return [path.stat().st_size for path in sorted((self.folder / str(call.capture_id)).glob("*.rtpdump"))]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


class Lab:
    """One capture process for many benches: starting it takes longer than most tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench: Bench | None = None
        self.recorder = Recorder(
            folder, address="127.0.0.1", ports=(46000, 46999), on_event=self._hear, mask_dtmf=False
        )

    def _hear(self, event: CaptureEvent) -> None:
        if self.bench is not None:
            self.bench.event(event)

    @asynccontextmanager
    async def new_bench(self, pbx: FakeAsterisk) -> AsyncIterator[Bench]:
        """A bench that knows its own calls only."""
        teller = Teller()
        earlier = frozenset(self.folder.iterdir())
        self.bench = Bench(pbx, self.folder, earlier, Taps(self.recorder, teller, self.folder), teller)
        try:
            yield self.bench
        finally:
            await self.bench.taps.stop()
            self.bench = None


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    """For a module of tests."""
    folder.mkdir()
    lab = Lab(folder)
    await lab.recorder.start()
    try:
        yield lab
    finally:
        await lab.recorder.stop()


@asynccontextmanager
async def running(source: AsteriskSource) -> AsyncIterator[AsteriskSource]:
    source.start()
    try:
        yield source
    finally:
        await source.stop()
