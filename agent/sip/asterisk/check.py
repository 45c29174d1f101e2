"""Looks at one PBX as the source will use it, down to sound that truly arrives; for `cardline doctor asterisk`.

It registers under a name of its own, so that a running service is not disturbed, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from agent.errors import CardlineError
from agent.settings import Settings
from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.ari import Ari, AsteriskReadOnly, AsteriskRefused, AsteriskUnreachable, open_ari
from agent.sip.asterisk.following import Connection
from agent.sip.asterisk.tapping import prefix, remove_all
from agent.sip.ports import PortRange

_OLDEST = (16, 6)  # the first with externalMedia
_SOUND_S = 3.0
_NEEDED = {
    "res_ari_channels": "follows and taps channels",
    "res_ari_bridges": "joins a tap's two halves",
    "res_ari_events": "tells what happens",
    "res_http_websocket": "tells what happens",
    "res_stasis": "hands channels to Cardline",
    "res_stasis_snoop": "copies the sound of a channel",
    "chan_rtp": "sends sound here (externalMedia)",
    "bridge_simple": "joins a tap's two halves",
}
_WAY = "Check url, enabled and bindaddr of http.conf, enabled of ari.conf, and the firewall (TCP 8088)."
_LOOPBACK = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that was looked at."""

    subject: str
    level: Literal["ok", "warning", "fault"]
    text: str


async def check(settings: AsteriskSettings, general: Settings) -> AsyncIterator[Checked]:
    """Everything about one PBX, in the order in which a person would put it right; it ends where nothing more can be
    asked."""
    name = settings.name
    own = settings.model_copy(update={"app": f"{settings.app}-doctor"})
    try:
        async with open_ari(own) as ari:
            yield _version(name, await _told(ari, "asterisk/info"))
            yield _modules(name, await _told(ari, "asterisk/modules"))
            channels = await ari.list("channels")
            yield Checked(subject=f"{name} calls", level="ok", text=f"{len(channels)} channels are up now.")
            async with ari.events() as events:
                yield Checked(subject=f"{name} events", level="ok", text="The websocket is open.")
                connection = Connection(ari=ari, own_address=settings.advertise or events.own_address)
                yield await _tap(own, general, connection)
    except AsteriskReadOnly as error:
        yield Checked(subject=f"{name} rights", level="fault", text=str(error))
    except (AsteriskUnreachable, AsteriskRefused) as error:
        yield Checked(subject=name, level="fault", text=f"{error.what} {_WAY}")
    except CardlineError as error:
        yield Checked(subject=name, level="fault", text=str(error))


def configuration(settings: AsteriskSettings) -> str:
    """What belongs into Asterisk's configuration; the secret is left for the administrator to write."""
    return f"""; /etc/asterisk/http.conf
[general]
enabled = yes
bindaddr = 0.0.0.0          ; or the address by which this machine reaches the PBX; port 8088 for this machine only

; /etc/asterisk/ari.conf
[general]
enabled = yes

[{settings.user}]
type = user
read_only = no
password = the secret of cardline.toml

; then, on the PBX: asterisk -rx "module reload http" and asterisk -rx "module reload res_ari.so"
"""


async def _told(ari: Ari, path: str) -> object:
    """Where res_ari_asterisk is not loaded there is nothing to read, and the rest may work."""
    try:
        return await ari.get(f"/{path}")
    except AsteriskRefused:
        return None


def _version(name: str, info: object) -> Checked:
    system = info.get("system") if isinstance(info, dict) else None
    text = str(system.get("version", "")) if isinstance(system, dict) else ""
    found = re.match(r"(?:certified[-/])?(\d{1,3})\.(\d{1,3})", text)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        told = f"Asterisk {text[:40]} has no externalMedia, by which it sends sound here. Take 16.6 or newer."
        return Checked(subject=f"{name} version", level="fault", text=told)
    return Checked(
        subject=f"{name} version", level="ok", text=f"Asterisk {text[:40] or 'of an unknown version'} answers."
    )


def _modules(name: str, modules: object) -> Checked:
    """Where the list itself cannot be had, the test tap says the same."""
    listed = [one for one in modules if isinstance(one, dict)] if isinstance(modules, list) else []
    running = {str(one.get("name", "")).removesuffix(".so") for one in listed}
    if not running:
        text = (
            "Asterisk does not list its modules (res_ari_asterisk); the test tap says whether those needed are there."
        )
        return Checked(subject=f"{name} modules", level="warning", text=text)
    if missing := [module for module in _NEEDED if module not in running]:
        text = f"Missing: {', '.join(f'{module} ({_NEEDED[module]})' for module in missing)}."
        text += f' Load them: asterisk -rx "module load {missing[0]}.so", and see modules.conf.'
        return Checked(subject=f"{name} modules", level="fault", text=text)
    return Checked(subject=f"{name} modules", level="ok", text=f"All {len(_NEEDED)} that are needed are loaded.")


async def _tap(settings: AsteriskSettings, general: Settings, connection: Connection) -> Checked:
    """A media channel that sends silence here, with a snoop on it: everything a tap needs but a call."""
    subject, ari = f"{settings.name} test tap", connection.ari
    token = prefix(settings.app) + secrets.token_hex(4)
    media, snoop, bridge = f"{token}-m", f"{token}-s", f"{token}-b"
    with ExitStack() as stack:
        try:
            rtp, rtcp = PortRange(general.siprec.listen, general.siprec.rtp_ports).take()
        except OSError as error:
            return Checked(subject=subject, level="fault", text=f"{error}.")
        stack.callback(rtcp.close)
        stack.callback(rtp.close)
        rtp.setblocking(False)
        host = connection.media_host(rtp.getsockname()[1])
        try:
            await ari.external_media(media, host, settings.format)
            await ari.snoop(media, snoop)
            await ari.create_bridge(bridge, prefix(settings.app) + "bridge")
            await _make_noise(ari, media)
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(rtp, 2048), _SOUND_S)
        except TimeoutError:
            return Checked(subject=subject, level="fault", text=_no_sound(connection, host))
        except AsteriskRefused as error:
            return Checked(subject=subject, level="fault", text=f"{error.what} Look at the modules above.")
        finally:
            await asyncio.shield(remove_all(ari, [snoop, media], [bridge]))
    return Checked(subject=subject, level="ok", text=f"Sound of the PBX arrives at {host}.")


async def _make_noise(ari: Ari, channel_id: str) -> None:
    """A channel has to be in our application for it, which takes a moment."""
    for _ in range(10):
        try:
            await ari.post(f"/channels/{channel_id}/silence")
        except AsteriskRefused as error:
            refused = error
            await asyncio.sleep(0.1)
        else:
            return
    raise refused


def _no_sound(connection: Connection, host: str) -> str:
    advice = "Open these UDP ports (siprec.rtp_ports) from the PBX to this machine"
    if connection.own_address.startswith(_LOOPBACK):
        return f"No packet came to {host}. Is it really this machine on which the PBX runs? Else set advertise."
    return f"No packet came to {host}. {advice}; behind NAT, set advertise to the address by which the PBX reaches it."
