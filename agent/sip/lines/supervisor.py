"""All SIP lines of a service."""

from __future__ import annotations

import asyncio

from agent.model import SourceState
from agent.settings_lines import SipSettings
from agent.sip.lines.keeper import LineKeeper, OnState
from agent.sip.lines.linecalls import KeyRules
from agent.sip.lines.state import source_of
from agent.sip.taps import Taps


class Lines:
    """One a service; calls are carried from `start` on, whether or not anybody watches."""

    def __init__(self, settings: SipSettings, taps: Taps, *, keys: KeyRules = KeyRules()) -> None:  # noqa: B008 - frozen
        self._on_state: OnState | None = None
        self._states: dict[str, tuple[SourceState, str]] = {}
        self.keepers = {
            source_of(one.name): LineKeeper(one, settings, taps, on_state=self._note, keys=keys)
            for one in settings.line
        }

    def start(self) -> None:
        """Bring every line up, each in its own time."""
        for keeper in self.keepers.values():
            keeper.start()

    def watch(self, on_state: OnState) -> None:
        """Hear how each line is, now and whenever that changes."""
        self._on_state = on_state
        for source, (state, detail) in self._states.items():
            on_state(source, state, detail)

    async def stop(self) -> None:
        """End every call with a goodbye, and every line."""
        await asyncio.gather(*(keeper.stop() for keeper in self.keepers.values()))

    def _note(self, source: str, state: SourceState, detail: str) -> None:
        self._states[source] = state, detail
        if self._on_state is not None:
            self._on_state(source, state, detail)
