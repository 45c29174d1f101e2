"""What the labs of connectors share: settings, a vault in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agent.settings import Settings
from agent.settings_crm import CrmSettings


class MemoryVault:
    """Where tokens are kept in a test."""

    def __init__(self, kept: Mapping[str, str] | None = None) -> None:
        self.kept: Mapping[str, str] = kept or {}
        self.saves = 0
        self._turn = asyncio.Lock()

    def alone(self) -> asyncio.Lock:
        """Whoever else renews is waited for."""
        return self._turn

    async def load(self) -> Mapping[str, str]:
        """What was saved last."""
        return dict(self.kept)

    async def save(self, kept: Mapping[str, str]) -> None:
        """Replace it."""
        self.kept = dict(kept)
        self.saves += 1


def crm_settings(kind: str, url: str, **more: object) -> CrmSettings:
    """A table [[crm]]."""
    return CrmSettings.model_validate({"name": "office", "kind": kind, "url": url, "language": "ru", **more})


def whole_settings() -> Settings:
    """Of an installation in Russia."""
    return Settings()
