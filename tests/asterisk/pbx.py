"""An Asterisk that answers as the live one did (tests/scenarios/asterisk/tapped_inbound.jsonl), and truly sends sound.

It plays traces to whoever listens, lets channels be snooped, bridges them to external media, and sends RTP there. What
it may refuse, and how it may die, tests say.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSCloseCode, web

from tests.asterisk.world import Json, World, is_of_a_tap, moved, read_trace, ticks, with_origin

USER, SECRET, APP = "cardline", "an invented secret", "cardline"
FRAME = 160  # bytes of 20 ms A-law
SILENCE = b"\xd5" * FRAME
MODULES = (
    *("res_ari.so", "res_ari_asterisk.so", "res_ari_bridges.so", "res_ari_channels.so", "res_ari_endpoints.so"),
    *("res_ari_events.so", "res_http_websocket.so", "res_stasis.so", "res_stasis_snoop.so", "chan_rtp.so"),
    *("res_rtp_asterisk.so", "bridge_simple.so", "codec_alaw.so"),
)


class FakeAsterisk:
    """One PBX. ``sounds``: A-law by channel id, sent once that channel is tapped and then silence."""

    def __init__(self) -> None:
        self.world = World()
        self.sounds: dict[str, bytes] = {}
        self.sounded: dict[str, float] = {}  # channel to when its first packet was sent, seconds since the epoch
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.refusals: dict[str, int] = {}  # "POST snoop" to a status; see `_refusal`
        self.read_only = self.is_mute = self.is_closed = False
        self.modules: list[str] = list(MODULES)
        self.version = "20.9.3"
        self.endpoints: list[Json] = []
        self.configured: dict[str, str] = {}
        self.clock_ahead = 0.0
        self.port = 0
        self._sockets: dict[web.WebSocketResponse, str] = {}
        self._taps: dict[str, str] = {}  # snoop to the channel it hears
        self._media: dict[str, str] = {}  # channel to host
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(100)
        self._runner: web.AppRunner | None = None

    # --- Life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen on the port it had, or any."""
        app = web.Application()
        app.router.add_get("/ari/events", self._events)
        app.router.add_route("*", "/ari/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Gone, with every call."""
        await self.hang_up_sockets()
        for task in self._senders.values():
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def hang_up_sockets(self) -> None:
        """The websockets break; calls and taps go on."""
        for one in tuple(self._sockets):
            await one.close(code=WSCloseCode.GOING_AWAY)

    @property
    def url(self) -> str:
        """For the setting."""
        return f"http://127.0.0.1:{self.port}/ari"

    @property
    def listeners(self) -> int:
        """How many websockets are open."""
        return len(self._sockets)

    @property
    def tapped(self) -> set[str]:
        """Channels whose sound is sent somewhere now."""
        return {self._taps[one] for one in self._senders if one in self._taps}

    @property
    def leftovers(self) -> list[str]:
        """Everything of taps that is still there."""
        found = [*self.world.channels, *self.world.bridges]
        return [one for one in found if "-tap-" in one]

    # --- Traces -----------------------------------------------------------------------------------------------------

    async def play(self, trace: str, *, speed: float = 1.0, until: float = 1e9, since: float = 0.0) -> None:
        """Have happened what a trace tells, from second ``since`` to ``until`` of it, as if it were now."""
        events = with_origin(one for one in read_trace(trace) if not is_of_a_tap(one[1]))
        began = time.monotonic() - since / speed
        start = datetime.fromtimestamp(time.time() - since / speed, UTC)
        for at, event in events:
            if since <= at < until:
                await asyncio.sleep(max(0.0, began + at / speed - time.monotonic()))
                await self.happen(moved(event, start=start, speed=speed))
        if until < events[-1][0]:
            await asyncio.sleep(max(0.0, began + until / speed - time.monotonic()))

    async def happen(self, event: Json) -> None:
        """One event."""
        self.world.take(event)
        if event["type"] == "ChannelDestroyed":
            for snoop, channel in list(self._taps.items()):
                if channel == event["channel"]["id"]:
                    await self._remove_channel(snoop)
        if self.clock_ahead:
            start = datetime.fromtimestamp(time.time() + self.clock_ahead, UTC)
            event = moved({**event, "origin": ticks(datetime.now(UTC), 0)}, start=start)
        for one in tuple(self._sockets):
            with contextlib.suppress(ConnectionError):
                await one.send_json(event)

    # --- The interface ----------------------------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.is_closed:
            return _no(503, "Shutting down")
        if not self._knows(request):
            return _no(401, "Authentication required")
        assert request.query["subscribeAll"] == "true"
        one = web.WebSocketResponse()
        await one.prepare(request)
        self._sockets[one] = request.query["app"]
        try:
            async for _ in one:
                pass
        finally:
            del self._sockets[one]
        return one

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, query = request.match_info["path"], dict(request.query)
        self.requests.append((request.method, path, query))
        if not self._knows(request):
            return _no(401, "Authentication required")
        if self.read_only and request.method != "GET":
            return _no(403, "Write access denied")
        if status := self._refusal(request.method, path):
            return _no(status, "Refused by the test")
        return await self._route(request.method, path.split("/"), query)

    def _knows(self, request: web.Request) -> bool:
        expected = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
        return request.headers.get("Authorization") == expected

    def _refusal(self, method: str, path: str) -> int:
        """A refusal is named by method and last word of the path."""
        return self.refusals.get(f"{method} {path.rpartition('/')[2]}", 0)

    async def _route(self, method: str, path: list[str], query: Mapping[str, str]) -> web.StreamResponse:
        match [method, *path]:
            case ["GET", "asterisk", "info"]:
                return _yes({"build": {"os": "Linux"}, "system": {"version": self.version}})
            case ["GET", "asterisk", "modules"]:
                return _yes([{"name": one, "status": "Running"} for one in self.modules])
            case ["GET", "endpoints"]:
                return _yes(self.endpoints)
            case ["GET", "asterisk", "config", "dynamic", "res_pjsip", "endpoint", name]:
                told = self.configured.get(name)
                return _yes([{"attribute": "callerid", "value": told}]) if told else _no(404, "Object not found")
            case ["GET", "channels"]:
                return _yes(list(self.world.channels.values()))
            case ["GET", "bridges"]:
                return _yes(list(self.world.bridges.values()))
            case ["GET", "channels", channel, "variable"] if channel in self.world.channels:
                return _yes({"value": self.world.linkedids[channel]})
            case ["POST", "channels", "externalMedia"]:
                return await self._add_media(query)
            case ["POST", "channels", channel, "snoop"] if channel in self.world.channels:
                return await self._add_snoop(channel, query)
            case ["POST", "channels", channel, "silence"] if channel in self.world.channels:
                self._send(channel, channel)
                return web.Response(status=204)
            case ["POST", "bridges"]:
                return await self._add_bridge(query)
            case ["POST", "bridges", bridge, "addChannel"] if bridge in self.world.bridges:
                return await self._join(bridge, query["channel"].split(","))
            case ["DELETE", "channels", channel] if channel in self.world.channels:
                await self._remove_channel(channel)
                return web.Response(status=204)
            case ["DELETE", "bridges", bridge] if bridge in self.world.bridges:
                await self._happened("BridgeDestroyed", bridge=self.world.bridges[bridge])
                return web.Response(status=204)
        return _no(404, "Provided channel was not found" if path[0] == "channels" else "Bridge not found")

    async def _add_snoop(self, channel: str, query: Mapping[str, str]) -> web.StreamResponse:
        assert query["spy"] == "in" and query.get("whisper", "none") == "none"
        assert query["app"] in self._sockets.values()  # else Asterisk has nobody to hand the channel to
        name = f"Snoop/{channel}-{next(self._numbers):08x}"
        self._taps[query["snoopId"]] = channel
        return await self._add_channel(query["snoopId"], name)

    async def _add_media(self, query: Mapping[str, str]) -> web.StreamResponse:
        assert query["format"] == "alaw" and query["app"] in self._sockets.values()
        self._media[query["channelId"]] = query["external_host"]
        return await self._add_channel(query["channelId"], f"UnicastRTP/{query['external_host']}-0x7ff57c1183b0")

    async def _add_channel(self, channel_id: str, name: str) -> web.StreamResponse:
        channel: Json = {"id": channel_id, "name": name, "state": "Up", "protocol_id": ""}
        channel |= {"caller": {"name": "", "number": ""}, "connected": {"name": "", "number": ""}, "accountcode": ""}
        channel["dialplan"] = {"context": "default", "exten": "s", "priority": 1, "app_name": "Stasis", "app_data": APP}
        channel |= {"creationtime": ticks(datetime.now(UTC), 0), "language": "en"}
        for kind in ("ChannelCreated", "StasisStart"):
            await self._happened(kind, channel=channel)
        return _yes(channel)

    async def _add_bridge(self, query: Mapping[str, str]) -> web.StreamResponse:
        bridge: Json = {"id": query["bridgeId"], "technology": "simple_bridge", "bridge_type": query["type"]}
        bridge |= {"bridge_class": "stasis", "creator": "Stasis", "name": query["name"], "channels": []}
        await self._happened("BridgeCreated", bridge=bridge)
        return _yes(bridge)

    async def _join(self, bridge_id: str, channels: list[str]) -> web.StreamResponse:
        if missing := [one for one in channels if one not in self.world.channels]:
            return _no(400, f"Channel {missing[0]} not found")
        for one in channels:
            bridge = {**self.world.bridges[bridge_id]}
            bridge["channels"] = [*bridge["channels"], one]
            await self._happened("ChannelEnteredBridge", bridge=bridge, channel=self.world.channels[one])
        snoop, media = (next(one for one in channels if one in kind) for kind in (self._taps, self._media))
        self._send(snoop, media)
        return web.Response(status=204)

    async def _remove_channel(self, channel_id: str) -> None:
        self._taps.pop(channel_id, None)
        if task := self._senders.pop(channel_id, None):
            task.cancel()
        if channel_id in self.world.channels:
            gone = self.world.channels[channel_id]
            await self._happened("ChannelDestroyed", channel=gone, cause=16, cause_txt="Normal Clearing")

    async def _happened(self, kind: str, **what: Any) -> None:
        await self.happen({"type": kind, "timestamp": ticks(datetime.now(UTC), 0), "application": APP, **what})

    # --- Sound ------------------------------------------------------------------------------------------------------

    def _send(self, snoop: str, media: str) -> None:
        if not self.is_mute:
            channel = self._taps.get(snoop, "")
            sound = self.sounds.get(channel, b"")
            self.sounded[channel] = time.time()
            self._senders[snoop] = asyncio.create_task(_send_rtp(self._media[media], sound, number=next(self._numbers)))


async def _send_rtp(host: str, sound: bytes, *, number: int) -> None:
    """PCMA (RFC 3551), a packet each 20 ms, from a port of its own."""
    address, _, port = host.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, int(port)))
        began = time.monotonic()
        for count in itertools.count():
            frame = sound[count * FRAME : (count + 1) * FRAME].ljust(FRAME, b"\xd5") or SILENCE
            head = struct.pack("!BBHII", 0x80, 8, count & 0xFFFF, count * FRAME & 0xFFFFFFFF, 0xCA11 + number)
            with contextlib.suppress(ConnectionError):
                sender.send(head + frame)
            await asyncio.sleep(max(0.0, began + (count + 1) * 0.02 - time.monotonic()))


def _yes(body: Any) -> web.Response:
    return web.json_response(body)


def _no(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


@asynccontextmanager
async def fake_asterisk() -> AsyncIterator[FakeAsterisk]:
    """A PBX for as long as the context lasts."""
    pbx = FakeAsterisk()
    await pbx.start()
    try:
        yield pbx
    finally:
        await pbx.stop()
