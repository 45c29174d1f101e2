"""What an Asterisk holds while a trace goes on: channels, bridges, and what it calls their conversations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

SCENARIOS = Path(__file__).parents[1] / "scenarios" / "asterisk"
TRACES = sorted(path.stem for path in SCENARIOS.glob("*.jsonl"))
Json = dict[str, Any]


def read_trace(name: str) -> list[tuple[float, Json]]:
    """The events of a trace with the seconds at which they came."""
    lines = (json.loads(line) for line in (SCENARIOS / f"{name}.jsonl").read_text().splitlines())
    return [(line["t"], line["event"]) for line in lines if "event" in line]


def is_of_a_tap(event: Json) -> bool:
    """Whether it tells of the taps that were there when the trace was taken."""
    shown = [str(event.get(name, {}).get("name", "")) for name in ("channel", "peer", "bridge", "device_state")]
    return any(one.startswith(("Snoop/", "UnicastRTP/", "cardline-tap")) for one in shown)


def moved(event: Json, *, start: datetime, speed: float = 1.0) -> Json:
    """The event as if the trace had begun at ``start`` and gone ``speed`` times as fast; see `first_moment`."""
    origin = datetime.fromisoformat(event["origin"])

    def move(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: move(one, key) for key, one in value.items() if key != "origin"}
        if name in ("timestamp", "creationtime"):
            moment = start + (datetime.fromisoformat(value) - origin) / speed
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000")
        return value

    result: Json = move(event)
    return result


def with_origin(events: Iterable[tuple[float, Json]]) -> list[tuple[float, Json]]:
    """Seconds from the first event on, and in each event when that was."""
    listed = list(events)
    first, origin = listed[0][0], listed[0][1]["timestamp"]
    return [(at - first, {**event, "origin": origin}) for at, event in listed]


class World:
    """Learns from events what is there."""

    def __init__(self) -> None:
        self.channels: dict[str, Json] = {}
        self.bridges: dict[str, Json] = {}
        self.linkedids: dict[str, str] = {}

    def take(self, event: Json) -> None:
        """Something happened."""
        for name in ("channel", "caller", "peer"):
            channel = event.get(name)
            if channel and (event["type"] == "ChannelCreated" or channel["id"] in self.channels):
                self.channels[channel["id"]] = channel
                self.linkedids.setdefault(channel["id"], channel["id"])
        kind, bridge = event["type"], event.get("bridge", {})
        if kind == "ChannelDestroyed":
            self.channels.pop(event["channel"]["id"], None)
        elif kind == "Dial" and event.get("caller"):
            self.linkedids[event["peer"]["id"]] = self.linkedids[event["caller"]["id"]]
        elif kind == "BridgeDestroyed":
            self.bridges.pop(bridge["id"], None)
        elif bridge and kind in ("BridgeCreated", "ChannelEnteredBridge", "ChannelLeftBridge"):
            self.bridges[bridge["id"]] = bridge
            inside = [one for one in bridge["channels"] if one in self.linkedids and "-tap-" not in one]
            oldest = min((self.linkedids[one] for one in inside), key=_age, default="")
            self.linkedids |= dict.fromkeys(inside, oldest)


def _age(unique_id: str) -> tuple[int, int]:
    seconds, _, number = unique_id.partition(".")
    return int(seconds), int(number)


def ticks(moment: datetime, milliseconds: float) -> str:
    """A timestamp as Asterisk writes it."""
    at = moment + timedelta(milliseconds=milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "+0000")
