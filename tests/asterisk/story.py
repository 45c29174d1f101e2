"""Calls told step by step, as the events Asterisk would send: for habits that no trace has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.sip.asterisk.callmaker import Conversation
from agent.sip.asterisk.events import read_event
from agent.sip.asterisk.state import CallState
from tests.asterisk.world import Json, ticks

BEGIN = datetime(2026, 11, 22, 9, tzinfo=UTC)


class Story:
    """Each method is one event, ``step`` seconds after the one before. Channels are named by a number."""

    def __init__(self, *, digits: int = 5) -> None:
        self.state = CallState("asterisk:office", digits=digits)
        self.now = 0.0
        self._channels: dict[int, Json] = {}
        self._bridges: dict[str, Json] = {}

    def at(self, seconds: float) -> Story:
        """The next event comes then."""
        self.now = seconds
        return self

    def arrives(self, number: int, name: str, caller: str = "", exten: str = "74950000001", person: str = "") -> Story:
        """A phone or a trunk calls the PBX."""
        return self._create(number, name, "Ring", caller, exten, person)

    def dials(self, by: int, number: int, name: str, string: str, caller: str = "", person: str = "") -> Story:
        """The PBX calls a phone or a trunk for somebody."""
        self._create(number, name, "Down", caller, "s", person)
        return self._event("Dial", caller=self._channels[by], peer=self._channels[number], dialstring=string)

    def originates(self, number: int, name: str, caller: str = "") -> Story:
        """The PBX calls somebody by itself."""
        return self._create(number, name, "Down", caller, "s", "")

    def dialled(self, by: int, number: int, status: str) -> Story:
        """What came of it."""
        return self._event("Dial", caller=self._channels[by], peer=self._channels[number], dialstatus=status)

    def up(self, *numbers: int) -> Story:
        """These are answered."""
        for number in numbers:
            self._channels[number] = {**self._channels[number], "state": "Up"}
            self._event("ChannelStateChange", channel=self._channels[number])
        return self

    def enters(self, bridge: str, *numbers: int, kind: str = "mixing") -> Story:
        """These come to a bridge."""
        for number in numbers:
            known = self._bridges.setdefault(bridge, {"id": bridge, "bridge_type": kind, "name": "", "channels": []})
            known["channels"] = [*known["channels"], self._channels[number]["id"]]
            self._event("ChannelEnteredBridge", bridge=dict(known), channel=self._channels[number])
        return self

    def leaves(self, bridge: str, *numbers: int) -> Story:
        """These go from a bridge."""
        for number in numbers:
            known = self._bridges[bridge]
            known["channels"] = [one for one in known["channels"] if one != self._channels[number]["id"]]
            self._event("ChannelLeftBridge", bridge=dict(known), channel=self._channels[number])
        return self

    def app(self, number: int, app: str, data: str = "") -> Story:
        """The dialplan goes on with an application."""
        dialplan = {**self._channels[number]["dialplan"], "app_name": app, "app_data": data}
        self._channels[number] = {**self._channels[number], "dialplan": dialplan}
        return self._event("ChannelDialplan", channel=self._channels[number])

    def renames(self, number: int, *, caller: str = "", name: str = "") -> Story:
        """A dialplan changes a caller id, a transfer the name of a channel."""
        channel = dict(self._channels[number])
        channel |= {"caller": {"name": "", "number": caller}} if caller else {}
        channel |= {"name": name} if name else {}
        self._channels[number] = channel
        return self._event("ChannelCallerId", channel=channel)

    def ends(self, *numbers: int, cause: int = 16) -> Story:
        """These hang up."""
        for number in numbers:
            self._event("ChannelDestroyed", channel=self._channels[number], cause=cause)
        return self

    def calls(self) -> list[Conversation]:
        """All there are."""
        return self.state.everything()

    def lines(self) -> list[str]:
        """Each call in a line: how it ended, who took part, from when to when in seconds."""
        return [
            " ".join(
                [
                    str(one.call.disposition),
                    ",".join(party.value for party in one.call.parties),
                    *(seconds(moment) for moment in (one.call.started, one.call.answered, one.call.ended)),
                    *(["internal"] if one.is_internal else []),
                ]
            )
            for one in self.calls()
        ]

    def _create(self, number: int, name: str, state: str, caller: str, exten: str, person: str) -> Story:
        self._channels[number] = {
            "id": f"1795338000.{number}",
            "name": f"{name}-{number:08x}" if ";" not in name else name,
            "state": state,
            "caller": {"name": person, "number": caller},
            "connected": {"name": "", "number": ""},
            "dialplan": {"context": "any", "exten": exten, "priority": 1, "app_name": "", "app_data": ""},
            "creationtime": ticks(BEGIN, self.now * 1000),
        }
        return self._event("ChannelCreated", channel=self._channels[number])

    def _event(self, kind: str, **what: object) -> Story:
        event = read_event({"type": kind, "timestamp": ticks(BEGIN, self.now * 1000), **what})
        assert event is not None
        self.state.take(event)
        return self


def seconds(moment: datetime | None) -> str:
    """From the beginning of the story."""
    return f"{(moment - BEGIN) / timedelta(seconds=1):g}" if moment else "-"
