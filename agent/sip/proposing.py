"""Asks PBXs and providers which extensions they have, so that an administrator types none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from agent.errors import CardlineError
from agent.settings import Settings
from agent.sip.asterisk.extensions import list_extensions
from agent.sip.providers.preset import Provider
from agent.sip.providers.presets import providers_of
from agent.store import proposals
from agent.store.engine import Store

log = structlog.get_logger()

EVERY_SECONDS = 3600.0
_LONGEST_SECONDS = 60.0  # of one source's answer

ListExtensions = Callable[[], Awaitable[Sequence[tuple[str, str]]]]
"""Pairs of extension and name, as one source has them now."""


def listers_of(settings: Settings) -> dict[str, ListExtensions]:
    """By source, those that can be asked."""
    found: dict[str, ListExtensions] = {
        f"asterisk:{one.name}": partial(list_extensions, one, digits=settings.extension_digits)
        for one in settings.asterisk
    }
    for provider in providers_of(settings).values():
        if provider.preset.list_extensions is not None and provider.keys.secret:
            found[provider.source] = partial(_ask_provider, provider)
    return found


async def _ask_provider(provider: Provider) -> Sequence[tuple[str, str]]:
    assert provider.preset.list_extensions is not None
    api = provider.open_api()
    try:
        return await provider.preset.list_extensions(api)
    finally:
        await api.egress.close()


class Proposer:
    """One a service. A source that does not answer is asked again the next time; what it said before stays."""

    def __init__(self, store: Store, listers: Mapping[str, ListExtensions], *, every: float = EVERY_SECONDS) -> None:
        self._store, self._listers, self._every = store, listers, every

    async def run(self) -> None:
        """For as long as the service runs; none where no source can be asked."""
        while self._listers:
            await self.ask()
            await asyncio.sleep(self._every)

    async def ask(self) -> None:
        """Every source once, all at the same time."""
        await asyncio.gather(*(self._ask(source, lister) for source, lister in self._listers.items()))

    async def _ask(self, source: str, lister: ListExtensions) -> None:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                offered = await lister()
            async with self._store.begin() as connection:
                waiting = await proposals.offer(connection, source, offered)
        except (CardlineError, OSError, TimeoutError) as error:
            log.warning("extensions_not_asked", source=source, reason=str(error) or type(error).__name__)
        except Exception:
            log.exception("extensions_not_asked", source=source)
        else:
            log.info("extensions_proposed", source=source, known=len(offered), waiting=waiting)
