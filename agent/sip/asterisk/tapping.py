"""The sound of one channel, sent here: a snoop on it, a media channel to our port, and a bridge of both.

A snoop copies; the call itself is not touched, and what fails here fails here only. All three have names of ours, so
that what a killed process left behind is found and removed by the next.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable

import structlog

from agent.errors import CardlineError
from agent.sip.asterisk.ari import Ari, AsteriskRefused

log = structlog.get_logger()

CODECS = {"alaw": {"8": "PCMA/8000"}, "ulaw": {"0": "PCMU/8000"}, "g722": {"9": "G722/8000"}}  # RFC 3551, table 4
"""What each format of externalMedia is in RTP."""

_JOIN_TRIES, _JOIN_PAUSE_S = 10, 0.05  # a channel is in our application a moment after it was made


def prefix(app: str) -> str:
    """With what the ids of all taps of an application begin."""
    return f"{app}-tap-"


class LegTap:
    """One leg's sound on its way here."""

    def __init__(self, ari: Ari, app: str, channel_id: str) -> None:
        self._ari, self._app, self._channel = ari, app, channel_id
        name = prefix(app) + secrets.token_hex(8)
        self.snoop, self.media, self.bridge = f"{name}-s", f"{name}-m", f"{name}-b"

    async def attach(self, host: str, encoding: str) -> None:
        """Have the sound sent to ``host`` (address:port); nothing is left where it fails.

        Raises:
            CardlineError: it could not be done.
        """
        try:
            await _all(
                self._ari.snoop(self._channel, self.snoop),
                self._ari.external_media(self.media, host, encoding),
                self._ari.create_bridge(self.bridge, prefix(self._app) + "bridge"),
            )
            await self._join()
        except BaseException:
            await asyncio.shield(self.remove(self._ari))
            raise

    async def remove(self, ari: Ari) -> None:
        """Take everything away again, as far as it is there; the connection may be another one by now."""
        await remove_all(ari, [self.snoop, self.media], [self.bridge])

    async def _join(self) -> None:
        for left in reversed(range(_JOIN_TRIES)):
            try:
                return await self._ari.add_channels(self.bridge, [self.snoop, self.media])
            except AsteriskRefused as error:
                if not left or error.status == 404:
                    raise
            await asyncio.sleep(_JOIN_PAUSE_S)


async def remove_all(ari: Ari, channels: list[str], bridges: list[str]) -> None:
    """Remove channels and bridges of ours; what cannot be reached now is removed later (`AsteriskSource`)."""
    results = await asyncio.gather(*map(ari.delete_channel, channels), return_exceptions=True)
    results += await asyncio.gather(*map(ari.delete_bridge, bridges), return_exceptions=True)
    for result in results:
        if isinstance(result, CardlineError):
            log.info("asterisk_tap_not_removed", reason=str(result))
        elif isinstance(result, Exception):
            log.error("asterisk_tap_not_removed", reason=repr(result))


async def _all(*steps: Awaitable[None]) -> None:
    """Side by side; the first fault is raised once all are through, so that none comes to life after the clearing."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
