"""Who has which extension, as the PBX knows it: its endpoints, with the names of their caller ids."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote

from agent.settings_asterisk import AsteriskSettings
from agent.sip.asterisk.ari import Ari, AsteriskRefused, open_ari
from agent.sip.asterisk.numbers import is_extension

_AT_ONCE = 8
_MOST = 10_000
_CALLER_ID = re.compile(r'^\s*"?([^"<>]{1,200}?)"?\s*<([^<>]{1,80})>\s*$')  # "Anna Orlova" <101>
_PHONES = ("PJSIP", "SIP", "IAX2", "SCCP")


async def list_extensions(settings: AsteriskSettings, *, digits: int) -> list[tuple[str, str]]:
    """Extensions with their names (empty where the PBX has none), in order; trunks are left out. ``digits``: numbers
    up to this long are extensions.

    Raises:
        AsteriskUnreachable, AsteriskLoginFailed.
    """
    async with open_ari(settings) as ari:
        endpoints = [_endpoint(one) for one in (await ari.list("endpoints"))[:_MOST]]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def describe(technology: str, name: str) -> tuple[str, str] | None:
            async with gate:
                return _extension(name, await _caller_id(ari, technology, name), digits)

        found = await asyncio.gather(*(describe(*one) for one in endpoints if one is not None))
    names: dict[str, str] = {}
    for extension, person in filter(None, found):
        names[extension] = names.get(extension) or person
    return sorted(names.items(), key=lambda one: (len(one[0]), one[0]))


def _endpoint(data: Any) -> tuple[str, str] | None:
    if not isinstance(data, dict):
        return None
    technology, name = data.get("technology"), data.get("resource")
    if not isinstance(technology, str) or not isinstance(name, str):
        return None
    return (technology, name) if technology in _PHONES and 0 < len(name) <= 80 else None


async def _caller_id(ari: Ari, technology: str, name: str) -> str:
    """Only PJSIP tells its configuration, and older ones not even that."""
    if technology != "PJSIP":
        return ""
    try:
        found = await ari.get(f"/asterisk/config/dynamic/res_pjsip/endpoint/{quote(name, safe='')}")
    except AsteriskRefused:
        return ""
    pairs = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    values = [one.get("value") for one in pairs if one.get("attribute") == "callerid"]
    return values[0] if values and isinstance(values[0], str) else ""


def _extension(endpoint: str, caller_id: str, digits: int) -> tuple[str, str] | None:
    told = _CALLER_ID.match(caller_id)
    person, number = (told[1].strip(), told[2].strip()) if told else ("", "")
    for candidate in (number, endpoint):
        if candidate and is_extension(candidate, digits):
            return candidate, person if person != candidate else ""
    return None
