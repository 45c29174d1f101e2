"""Keeps what is recorded in step with the calls that there are: a tap a call, a stream a leg.

What fails here is said in the call's flags; it never ends a call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from agent.errors import CardlineError
from agent.model import CapturedCall
from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.ari import Ari
from agent.sip.asterisk.callmaker import Conversation, Leg
from agent.sip.asterisk.numbers import HIDDEN
from agent.sip.asterisk.tapping import CODECS, LegTap
from agent.sip.lines.codes import Codes
from agent.sip.lines.linecalls import KeyRules
from agent.sip.taps import Tap

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds."""

    linger: float = 1.0  # after a call's last channel has gone, for events that come late
    silent: float = 2.0  # for the first packet
    try_again: tuple[float, ...] = (0.2, 1.0, 3.0)  # after a leg could not be tapped
    first_pause: float = 0.5  # before connecting again; doubled each time
    longest_pause: float = 30.0
    refused_pause: float = 30.0  # after a refused login: fail2ban is common
    look_every: float = 60.0  # at everything that is there, should an event ever have been lost
    farewell: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The PBX as it is reached now, and the address at which it reaches us."""

    ari: Ari
    own_address: str

    def media_host(self, port: int) -> str:
        """For externalMedia."""
        address = self.own_address.strip("[]")
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(slots=True, kw_only=True)
class _Stream:
    """A leg that is being recorded; ``held`` is since when silence is to be expected."""

    channel: str
    index: int
    seat: int
    port: int
    who: str
    held: datetime | None
    link: LegTap | None = None
    task: asyncio.Task[None] | None = None


class FollowedCall:
    """One call that goes on."""

    def __init__(
        self,
        tap: Tap,
        settings: AsteriskSettings,
        *,
        connection: Callable[[], Connection | None],
        patience: Patience,
        keys: KeyRules,
        background: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._tap, self._settings, self._patience, self._keys = tap, settings, patience, keys
        self._codes: dict[str, Codes] = {}
        self._connection, self._background = connection, background
        self._streams: dict[str, _Stream] = {}
        self._seats: dict[str, int] = {}  # person to channel of the recording, for good
        self._flags: dict[str, None] = {}
        self._is_complained = False
        self.told: CapturedCall = tap.call

    def update(self, conversation: Conversation) -> None:
        """Tell what is known now, and tap those who talk now."""
        is_recorded = self._settings.record_internal or not conversation.is_internal
        wanted = {leg.channel: leg for leg in conversation.legs} if is_recorded else {}
        for channel in self._streams.keys() - wanted.keys():
            self._leave(self._streams.pop(channel))
        for leg in wanted.values():
            if leg.channel not in self._streams:
                self._begin(leg, conversation.call)
            self._hold(leg)
        self._tell(conversation.call)

    def press(self, channel: str, digit: str, at: datetime) -> None:
        """Somebody on a channel pressed a key; it is no part of the sound."""
        stream = self._streams.get(channel)
        if stream is None or not digit:
            return
        self._tap.add_key(stream.seat, "" if self._keys.mask else digit, at=at)
        code = self._codes.setdefault(channel, Codes(self._keys.codes)).press(digit, at)
        if code is not None:
            self._keys.on_code(self._tap.capture_id, code, at)

    def check(self, there: Collection[str]) -> None:
        """After a reconnection: streams whose channels at the PBX are gone begin anew with the next `update`."""
        for channel, stream in list(self._streams.items()):
            if stream.link is None or not {stream.link.snoop, stream.link.media} <= set(there):
                self._leave(self._streams.pop(channel))

    def taps(self) -> list[str]:
        """Ids of all that is ours at the PBX for this call."""
        links = [stream.link for stream in self._streams.values() if stream.link]
        return [name for link in links for name in (link.snoop, link.media, link.bridge)]

    async def close(self, call: CapturedCall) -> None:
        """The call is over."""
        self.leave()
        await self._tap.close(self._dressed(call))

    def leave(self) -> list[asyncio.Task[None]]:
        """Take all taps away; the tasks that do so."""
        tasks = [self._leave(stream) for stream in self._streams.values()]
        self._streams.clear()
        return [task for task in tasks if task is not None]

    def _begin(self, leg: Leg, call: CapturedCall) -> None:
        seat = self._seat(leg, call)
        codecs = CODECS[self._settings.format]
        try:
            index, port = self._tap.open_stream(seat, label=f"{leg.who} {leg.channel}", codecs=codecs)
        except OSError as error:
            self._flag(f"{leg.who} could not be recorded: {error.strerror or error}")
            return
        stream = _Stream(channel=leg.channel, index=index, seat=seat, port=port, who=leg.who, held=None)
        self._streams[leg.channel] = stream
        stream.task = self._background(self._attach(stream))

    def _seat(self, leg: Leg, call: CapturedCall) -> int:
        """The channel of the recording on which a person is; it never changes, and nobody else gets it."""
        person = _person(leg.seat, call)
        if person not in self._seats:
            taken = set(self._seats.values())
            self._seats[person] = leg.seat if leg.seat not in taken else min(set(range(len(taken) + 1)) - taken)
        return self._seats[person]

    def _hold(self, leg: Leg) -> None:
        stream = self._streams.get(leg.channel)
        if stream is not None and stream.held != leg.held_since:
            is_held = leg.held_since is not None
            self._tap.set_active(stream.index, active=not is_held, at=leg.held_since)
            stream.held = leg.held_since

    async def _attach(self, stream: _Stream) -> None:
        problem = ""
        for pause in (*self._patience.try_again, None):
            connection = self._connection()
            if connection is None:
                return  # with the next connection the stream begins anew
            stream.link = LegTap(connection.ari, self._settings.app, stream.channel)
            host = connection.media_host(stream.port)
            try:
                await stream.link.attach(host, self._settings.format)
                return await self._listen(stream, host)
            except CardlineError as error:
                stream.link, problem = None, error.what
                log.warning("asterisk_leg_not_tapped", channel=stream.channel, reason=error.what)
            if pause is None:
                break
            await asyncio.sleep(pause)
        self._flag(f"{stream.who} could not be recorded: {problem}")

    async def _listen(self, stream: _Stream, host: str) -> None:
        """Sound comes within two seconds or not at all: a firewall, a wrong address."""
        log.info("asterisk_leg_tapped", capture_id=self._tap.capture_id, channel=stream.channel, media=host)
        await asyncio.sleep(self._patience.silent)
        if stream.index not in self._tap.heard and stream.held is None and not self._is_complained:
            self._is_complained = True
            log.error("asterisk_sends_no_sound", pbx=self._settings.name, media=host, who=stream.who)
            self._tap.no_media()

    def _leave(self, stream: _Stream) -> asyncio.Task[None] | None:
        if stream.task is not None:
            stream.task.cancel()
        connection = self._connection()
        if stream.link is None or connection is None:
            return None  # without a connection it is found at the next one
        return self._background(stream.link.remove(connection.ari))

    def _flag(self, flag: str) -> None:
        log.error("asterisk_leg_not_recorded", capture_id=self._tap.capture_id, reason=flag)
        if flag not in self._flags:
            self._flags[flag] = None
            self._tell(self.told)

    def _tell(self, call: CapturedCall) -> None:
        self.told = call
        self._tap.tell(self._dressed(call))

    def _dressed(self, call: CapturedCall) -> CapturedCall:
        """With the channels that people truly have in the recording, and what went wrong here."""
        parties = tuple(
            replace(party, channel=self._channel(number, party.channel, call))
            for number, party in enumerate(call.parties)
        )
        return replace(call, parties=parties, flags=tuple(dict.fromkeys((*call.flags, *self._flags))))

    def _channel(self, number: int, usual: int | None, call: CapturedCall) -> int | None:
        person = _person(number, call)
        if person in self._seats:
            return self._seats[person]
        return usual if usual not in self._seats.values() else None


def _person(number: int, call: CapturedCall) -> str:
    """A name for a party that outlasts changes of the order."""
    value = call.parties[number].value
    is_plain = value != HIDDEN and Counter(party.value for party in call.parties)[value] == 1
    return value if is_plain else f"{value}#{number}"
