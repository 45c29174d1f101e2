"""What Asterisk says over ARI, as values: each field is looked at, bounded and typed once, here. Pure.

The shapes are those of Asterisk's REST interface (docs.asterisk.org, Asterisk REST Data Models: Event, Channel,
Bridge). What is not understood is None: a new kind of event must not end anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_LONGEST_ID, _LONGEST_TEXT = 150, 300  # characters; Asterisk's own ids end at 149
_MOST_MEMBERS = 1000
_VIEWS = (
    *("channel", "caller", "peer", "forwarded", "transferee", "transfer_target", "replace_channel"),
    *("transferer_first_leg", "transferer_second_leg"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """A channel as an event shows it. ``number`` is its own caller id, ``connected`` the other side's."""

    id: str
    name: str
    state: str
    created: datetime
    number: str = ""
    person: str = ""
    connected: str = ""
    exten: str = ""
    app: str = ""
    app_data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeView:
    """A bridge as an event shows it; ``members`` are ids of channels."""

    id: str
    kind: str
    name: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. ``channel``, ``caller``, ``peer`` and ``forwarded`` are ids; ``views`` has every channel shown."""

    kind: str
    at: datetime
    channel: str = ""
    views: tuple[ChannelView, ...] = ()
    bridge: BridgeView | None = None
    caller: str = ""
    peer: str = ""
    forwarded: str = ""
    status: str = ""
    dialstring: str = ""
    cause: int | None = None
    digit: str = ""  # a key that was pressed
    by: str = ""  # who transferred, the channel
    target: str = ""  # where to, an extension


def read_event(data: Any, *, shift: timedelta = timedelta()) -> Event | None:
    """The event, or None for what is none; ``shift`` is added to its times (the PBX' clock may be wrong)."""
    if not isinstance(data, dict) or (at := _moment(data.get("timestamp"), shift)) is None:
        return None
    views = {name: view for name in _VIEWS if (view := read_channel(data.get(name), at=at, shift=shift)) is not None}
    ids = {name: view.id for name, view in views.items()}
    cause = data.get("cause")
    return Event(
        kind=_text(data, "type"),
        at=at,
        channel=ids.get("channel", ""),
        views=tuple(views.values()),
        bridge=read_bridge(data.get("bridge")),
        caller=ids.get("caller", ""),
        peer=ids.get("peer", ""),
        forwarded=ids.get("forwarded", ""),
        status=_text(data, "dialstatus"),
        dialstring=_text(data, "dialstring"),
        cause=cause if isinstance(cause, int) and not isinstance(cause, bool) else None,
        digit=_text(data, "digit")[:1],
        by=ids.get("transferer_first_leg") or ids.get("channel", ""),
        target=_text(data, "exten") or (views["transfer_target"].number if "transfer_target" in views else ""),
    )


def read_channel(data: Any, *, at: datetime, shift: timedelta = timedelta()) -> ChannelView | None:
    """A channel of an event or of a list; ``at`` stands for its creation where that cannot be read."""
    if not isinstance(data, dict) or not (channel_id := _id(data.get("id"))):
        return None
    caller, connected, dialplan = (_table(data, name) for name in ("caller", "connected", "dialplan"))
    return ChannelView(
        id=channel_id,
        name=_text(data, "name"),
        state=_text(data, "state"),
        created=_moment(data.get("creationtime"), shift) or at,
        number=_text(caller, "number"),
        person=_text(caller, "name"),
        connected=_text(connected, "number"),
        exten=_text(dialplan, "exten"),
        app=_text(dialplan, "app_name"),
        app_data=_text(dialplan, "app_data"),
    )


def read_bridge(data: Any) -> BridgeView | None:
    """A bridge of an event or of a list."""
    if not isinstance(data, dict) or not (bridge_id := _id(data.get("id"))):
        return None
    members = data.get("channels")
    return BridgeView(
        id=bridge_id,
        kind=_text(data, "bridge_type"),
        name=_text(data, "name"),
        members=tuple(filter(None, map(_id, members[:_MOST_MEMBERS]))) if isinstance(members, list) else (),
    )


def event_time(data: Any) -> datetime | None:
    """When Asterisk says that an event happened, by its own clock."""
    return _moment(data.get("timestamp"), timedelta()) if isinstance(data, dict) else None


def _moment(value: Any, shift: timedelta) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) + shift if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _id(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST_ID and value.isprintable() else ""


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return "".join(one for one in value[:_LONGEST_TEXT] if one.isprintable()) if isinstance(value, str) else ""


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
