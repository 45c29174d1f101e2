"""The standard OData interface of 1C:Предприятие (OData 3.0, JSON), and what its refusals mean.

Sources: its.1c.ru, v8.3 developer's guide, chapter 17 *Стандартный интерфейс OData*; 1cfresh.com/articles/data_odata.
Objects are named by ``Ref_Key``; nothing is deleted, it is marked (``DeletionMark``). ``allowedOnly`` leaves out rows
that the user may not see, in place of an error.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp

from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmRefused, CrmRightsMissing, CrmUnreachable
from linker.crm.shapes import as_object, in_its_words, objects, words
from linker.crm.transport import Answer, Pace, Transport

EMPTY = "00000000-0000-0000-0000-000000000000"
_NOT_PUBLISHED = "8"  # code of a type that is not in the interface
_BASE = "odata/standard.odata"


class Api:
    """One information base. It sleeps in one session a user at most, so requests are not many at once."""

    def __init__(self, url: str, user: str, password: str, *, a_second: float = 10.0) -> None:
        login = aiohttp.encode_basic_auth(user, password, encoding="utf-8")
        base = url if url.endswith(_BASE) else f"{url}/{_BASE}"
        headers = {"Authorization": login, "Accept": "application/json"}
        self._transport = Transport(base, pace=Pace(a_second, burst=5), within=60, headers=headers)

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def metadata(self) -> bytes:
        """``$metadata``, some megabytes of XML."""
        answer = await self._transport.ask("GET", "$metadata", headers={"Accept": "application/xml"}, within=120)
        if answer.status >= 300:
            raise refusal(answer)
        return answer.body

    async def rows(self, name: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """A page of an entity set."""
        found = as_object(await self._ask("GET", quote(name), query={**query, "allowedOnly": "true"})).get("value")
        if not isinstance(found, list):  # what was logged would be taken for missing, and logged twice
            raise CrmUnreachable("What answers is no list of 1C.")
        return objects(found)

    async def get(self, name: str, key: str) -> dict[str, Any]:
        """One object.

        Raises:
            CrmGone: there is none with this key.
        """
        return as_object(await self._ask("GET", _one(name, key)))

    async def create(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A new object as it was written."""
        return as_object(await self._ask("POST", quote(name), body=fields))

    async def change(self, name: str, key: str, fields: Mapping[str, Any]) -> None:
        """These fields of an object."""
        await self._ask("PATCH", _one(name, key), body=fields)

    async def _ask(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        asked = {**(query or {}), "$format": "json"}
        answer = await self._transport.ask(method, path, query=asked, json=body)
        if answer.status >= 300:
            raise refusal(answer, of_object="(guid'" in path)
        found = answer.json() if answer.body else {}
        if as_object(found).get("odata.error"):
            raise refusal(answer, of_object="(guid'" in path)
        return found


def _one(name: str, key: str) -> str:
    return f"{quote(name)}(guid'{guid(key)}')"


def guid(key: str) -> str:
    """A reference as 1C writes it.

    Raises:
        CrmGone: it is none.
    """
    try:
        return str(uuid.UUID(key))
    except ValueError:
        raise CrmGone("This is no reference of 1C.") from None


def literal(text: str) -> str:
    """A string within a filter; apostrophes are doubled (OData 3.0, ABNF)."""
    return "'" + text.replace("'", "''") + "'"


def local(at: datetime, zone: str) -> str:
    """A date of 1C: whole seconds of the base's own time, no zone."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:%S")


def aware(value: Any, zone: str) -> datetime | None:
    """The same backwards; 1C has the year 1 for *never*."""
    try:
        found = datetime.fromisoformat(words(value))
    except ValueError:
        return None
    if found.year < 1970 or found.tzinfo is not None:
        return None
    return found.replace(tzinfo=ZoneInfo(zone))


def refusal(answer: Answer, *, of_object: bool = False) -> Exception:
    """By status and ``odata.error``; ``of_object``: one object was asked for by its key."""
    try:
        error = as_object(as_object(answer.json()).get("odata.error"))
    except CrmUnreachable:
        error = {}
    text = words(as_object(error.get("message")).get("value"))[:150]
    what = in_its_words("1C", words(error.get("code"))[:60] or str(answer.status), text)
    if answer.status == 401:
        return CrmAuthFailed("1C does not let us in.", remedy="Check user and password of this [[crm]].")
    if answer.status == 403:
        return CrmRightsMissing(what)
    if answer.status == 404 and of_object and words(error.get("code")) != _NOT_PUBLISHED:
        return CrmGone(what)
    if answer.status in (404, 405):
        remedy = "Publish the object for OData in 1C, or set its name in options; `cardline crm metadata` proposes it."
        return CrmRefused(what, remedy=remedy)
    return CrmRefused(what, remedy="Compare the names in options with `cardline crm metadata`.")
