"""Asterisk's REST interface: requests, and the websocket of events; whatever comes back is bounded and checked.

Paths and parameters are those of docs.asterisk.org, «Asterisk REST Interface»; the snoop, bridge and externalMedia
requests were tried on a live Asterisk (tests/scenarios/asterisk/tapped_inbound.jsonl).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from agent.errors import CardlineError, Misconfigured, Unavailable
from agent.settings_asterisk import AsteriskSettings

TIMEOUT_S = 5.0
HEARTBEAT_S = 15.0  # a websocket whose pings go unanswered is given up after one and a half of these
LARGEST_ANSWER = 64 << 20  # bytes; the list of 10,000 channels has about 7 million
LARGEST_EVENT = 1 << 20


class AsteriskUnreachable(Unavailable):
    """The PBX does not answer, or not as Asterisk does."""

    remedy = "It is tried again by itself; `cardline doctor asterisk` says what is in the way."


class AsteriskLoginFailed(Misconfigured):
    """The PBX refuses user or secret."""

    remedy = (
        "Check user and secret of this [[asterisk]] table against ari.conf (FreePBX: Settings, Asterisk REST Users)."
    )


class AsteriskReadOnly(Misconfigured):
    """The user may look and not act, so that nothing can be tapped."""

    remedy = "Give the user read_only = no in ari.conf (FreePBX: Read Only: No)."


class AsteriskRefused(CardlineError):
    """A single request was refused: the channel is gone, or not in a state for it (also told by 500). ``status`` is
    that of HTTP."""

    remedy = "The call itself is not affected."

    def __init__(self, what: str, *, status: int) -> None:
        super().__init__(what)
        self.status = status


class Ari:
    """One PBX. Use it within `open_ari`."""

    def __init__(self, settings: AsteriskSettings, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._name, self._app = settings.name, settings.app
        self._url = settings.url.rstrip("/")
        self._date: datetime | None = None

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Events]:
        """Every event of every channel and bridge, for as long as the context lasts.

        Raises:
            AsteriskUnreachable, AsteriskLoginFailed.
        """
        url = f"ws{self._url.removeprefix('http')}/events"
        query = {"app": self._app, "subscribeAll": "true"}
        try:
            socket = await self._session.ws_connect(
                url,
                params=query,
                heartbeat=HEARTBEAT_S,
                max_msg_size=LARGEST_EVENT,
                timeout=aiohttp.ClientWSTimeout(ws_close=TIMEOUT_S),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise self._problem(error.status, "the websocket /events") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from None
        try:
            yield Events(self._name, socket)
        finally:
            await socket.close()

    async def info(self) -> Mapping[str, Any]:
        """What Asterisk says of itself."""
        found = await self.get("/asterisk/info")
        return found if isinstance(found, dict) else {}

    @property
    def date(self) -> datetime | None:
        """What time it was at the PBX at its last answer, to the second (Date, RFC 9110, 6.6.1)."""
        return self._date

    async def list(self, what: str) -> list[Any]:
        """Everything of a kind: ``channels``, ``bridges``, ``endpoints``, ``asterisk/modules``."""
        found = await self.get(f"/{what}")
        return found if isinstance(found, list) else []

    async def linkedid(self, channel_id: str) -> str:
        """What Asterisk calls the conversation a channel is part of."""
        found = await self.get(f"/channels/{quote(channel_id, safe='')}/variable", variable="CHANNEL(linkedid)")
        value = found.get("value") if isinstance(found, dict) else None
        return value if isinstance(value, str) and len(value) <= 150 else ""

    async def snoop(self, channel_id: str, snoop_id: str) -> None:
        """Copy what comes in from a channel's far end into a channel of ours, which nobody hears."""
        path = f"/channels/{quote(channel_id, safe='')}/snoop"
        await self.post(path, spy="in", whisper="none", app=self._app, snoopId=snoop_id)

    async def external_media(self, channel_id: str, host: str, encoding: str) -> None:
        """A channel of ours that sends what it is given as RTP to ``host`` (address:port)."""
        await self.post(
            "/channels/externalMedia", app=self._app, channelId=channel_id, external_host=host, format=encoding
        )

    async def create_bridge(self, bridge_id: str, name: str) -> None:
        """A bridge that mixes."""
        await self.post("/bridges", type="mixing", bridgeId=bridge_id, name=name)

    async def add_channels(self, bridge_id: str, channel_ids: Sequence[str]) -> None:
        """Put channels of ours into a bridge of ours."""
        await self.post(f"/bridges/{quote(bridge_id, safe='')}/addChannel", channel=",".join(channel_ids))

    async def delete_channel(self, channel_id: str) -> None:
        """End a channel of ours; one that is gone already is gone."""
        await self._delete(f"/channels/{quote(channel_id, safe='')}")

    async def delete_bridge(self, bridge_id: str) -> None:
        """End a bridge of ours; one that is gone already is gone."""
        await self._delete(f"/bridges/{quote(bridge_id, safe='')}")

    async def get(self, path: str, **query: str) -> Any:
        """What a path has; None where there is nothing to read.

        Raises:
            AsteriskUnreachable, AsteriskLoginFailed, AsteriskReadOnly, AsteriskRefused.
        """
        return await self._request("GET", path, query)

    async def post(self, path: str, **query: str) -> Any:
        """Have something done; raises as `get` does."""
        return await self._request("POST", path, query)

    async def _delete(self, path: str) -> None:
        try:
            await self._request("DELETE", path, {})
        except AsteriskRefused as error:
            if error.status != 404:
                raise

    async def _request(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        if self._session.closed:
            raise AsteriskUnreachable(f"{self._name} is not connected any more.")
        try:
            async with self._session.request(method, self._url + path, params=query, allow_redirects=False) as response:
                body = await _bounded(response)
                status = response.status
                self._date = _date(response.headers.get("Date", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from None
        if not 200 <= status < 300:
            raise self._problem(status, f"{method} {_without_ids(path)}", _message(body))
        try:
            return json.loads(body) if body else None
        except (ValueError, RecursionError):
            raise AsteriskUnreachable(f"{self._name} answers {path} with something that is not JSON.") from None

    def _problem(self, status: int, what: str, message: str = "") -> CardlineError:
        if status == 401:
            return AsteriskLoginFailed(f"{self._name} refuses the login.")
        if status == 403:
            return AsteriskReadOnly(f"{self._name} does not allow {what}.")
        told = f"{self._name} answers {what} with {status}{f', {message}' if message else ''}."
        if what.startswith("the websocket") or status in (502, 503, 504) or status < 400:
            return AsteriskUnreachable(told)
        return AsteriskRefused(told, status=status)

    def _away(self, error: Exception) -> AsteriskUnreachable:
        reason = str(error) or ("it took too long" if isinstance(error, TimeoutError) else type(error).__name__)
        return AsteriskUnreachable(f"{self._name} cannot be reached: {reason}.")


class Events:
    """The websocket, once it is open."""

    def __init__(self, name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._name, self._socket = name, socket

    @property
    def own_address(self) -> str:
        """The address of this machine from which the PBX is reached, and so the one that reaches us."""
        found = self._socket.get_extra_info("sockname")
        return str(found[0]) if found else ""

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Each event, as JSON; what is none is passed over.

        Raises:
            AsteriskUnreachable: the connection is at its end.
        """
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            try:
                yield json.loads(message.data)
            except (ValueError, RecursionError):
                continue
        reason = self._socket.exception() or f"code {self._socket.close_code}"
        raise AsteriskUnreachable(f"{self._name} has ended the websocket: {reason}.")


@asynccontextmanager
async def open_ari(settings: AsteriskSettings) -> AsyncIterator[Ari]:
    """A client for one PBX; user and secret go into a header, never into an address."""
    login = aiohttp.encode_basic_auth(settings.user, settings.secret.get_secret_value())
    async with aiohttp.ClientSession(
        headers={"Authorization": login},
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=32),
        read_bufsize=1 << 20,
        trust_env=False,
    ) as session:
        yield Ari(settings, session)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise aiohttp.ClientPayloadError(f"the answer has more than {LARGEST_ANSWER >> 20} MiB")
        await asyncio.sleep(0)
    return bytes(body)


def _without_ids(path: str) -> str:
    """For people: ``/channels/…/snoop``."""
    return "/".join(word if word.isalpha() or not word else "…" for word in path.split("/"))


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _message(body: bytes) -> str:
    """Asterisk's own words for what is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    value = found.get("message") if isinstance(found, dict) else ""
    return value[:200] if isinstance(value, str) and value.isprintable() else ""
