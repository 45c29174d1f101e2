"""JSON-RPC of Tryton: ``POST /<database>/rpc/``, methods ``model.<name>.<method>``, the context as last parameter.

(trytond/protocols/dispatcher.py and jsonrpc.py.) A session is opened with login and password and opened anew when it
has expired. Errors come with status 200 as ``error``: a name and what it carries; texts are asked for in English, as
there is no other way to tell a record that is gone from a right that is missing.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from agent.settings_crm import CrmSettings
from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmRefused, CrmRightsMissing, CrmUnreachable
from linker.crm.transport import Pace, Transport

_A_SECOND = 20.0
_CONTEXT = {"language": "en"}


class Rpc:
    """One database, one user."""

    def __init__(self, settings: CrmSettings) -> None:
        """``settings.url`` ends with the database's name: https://tryton.example.com/company."""
        self._user = settings.user
        self._password = settings.password.get_secret_value()
        self._transport = Transport(settings.url, pace=Pace(_A_SECOND, burst=10))
        self._session = ""
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close connections; the session ends by itself."""
        await self._transport.close()

    async def call(self, model: str, method: str, *params: Any, context: Mapping[str, Any] | None = None) -> Any:
        """One call of a model's method; the context is added.

        Raises:
            CrmGone: a record is no more. CrmRightsMissing, CrmAuthFailed, CrmRefused, CrmUnreachable: as they say.
        """
        wire = [_to_wire(one) for one in (*params, {**_CONTEXT, **(context or {})})]
        for _ in range(2):
            session = self._session or await self._log_in("")
            answer = await self._post(f"model.{model}.{method}", wire, session)
            if answer is not None:
                return _from_wire(_result(answer, f"{model}.{method}"))
            await self._log_in(session)
        raise CrmAuthFailed("Tryton closes each new session at once.")

    async def read_at(self, model: str, number: int, field: str, moment: datetime) -> Any:
        """A field as it was at that moment, of a model that keeps its history."""
        (row,) = await self.call(model, "read", [number], [field], context={"_datetime": moment})
        return row[field]

    async def _log_in(self, expired: str) -> str:
        """A session in place of the expired one; several that find it expired open one."""
        async with self._turn:
            if self._session != expired:
                return self._session
            answer = await self._post("common.db.login", [self._user, {"password": self._password}], "")
            found = _result(answer, "login") if answer is not None else None
            if not found:
                raise CrmAuthFailed(f"Tryton does not let {self._user} in.")
            token = f"{self._user}:{found[0]}:{found[1]}"
            self._session = f"Session {base64.b64encode(token.encode()).decode()}"
            return self._session

    async def _post(self, method: str, params: list[Any], session: str) -> Any:
        """The answer, or None where the session is not known any more."""
        headers = {"Authorization": session} if session else {}
        body = {"id": 1, "method": method, "params": params}
        answer = await self._transport.ask("POST", "rpc/", json=body, headers=headers)
        if answer.status == 401:
            return None
        if answer.status == 404:
            remedy = "End the url of this [[crm]] with the name of Tryton's database."
            raise CrmAuthFailed("There is no such database of Tryton.", remedy=remedy)
        if answer.status != 200:
            raise CrmUnreachable(f"Tryton answers {answer.status}.")
        return answer.json()


def _result(answer: Any, what: str) -> Any:
    if not isinstance(answer, dict):
        raise CrmUnreachable("The answer is none of Tryton's.")
    error = answer.get("error")
    if not error and "result" not in answer:
        raise CrmUnreachable("The answer is none of Tryton's.")
    if not error:
        return answer["result"]
    if not isinstance(error, list):
        raise CrmUnreachable(f"Tryton failed at {what}.")
    name = str(error[0])
    carried = error[1] if len(error) > 1 else ""
    text = str(carried[0]) if isinstance(carried, list) and carried else name
    if "don't exist" in text:
        raise CrmGone("The record is no more in Tryton.")
    if "not allowed" in text:
        raise CrmRightsMissing(f"Tryton does not allow {what}: {text}")
    if name not in ("UserError", "UserWarning"):  # busy, just starting, or broken: its own exception by name
        raise CrmUnreachable(f"Tryton failed at {what} ({name[:80]}).")
    raise CrmRefused(f"Tryton refuses {what}: {text[:200]}", remedy="Look into Tryton's log, then try again.")


def _to_wire(value: Any) -> Any:
    """As trytond/protocols/jsonrpc.py has it; datetimes are without zone, in UTC."""
    if isinstance(value, datetime):
        at = value.astimezone(UTC)
        parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {"__class__": "datetime", **{name: getattr(at, name) for name in parts}}
    if isinstance(value, bytes):
        return {"__class__": "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: _to_wire(one) for name, one in value.items()}
    return [_to_wire(one) for one in value] if isinstance(value, list | tuple) else value


def _from_wire(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_wire(one) for one in value]
    if not isinstance(value, dict):
        return value
    match value.get("__class__"):
        case "datetime":
            numbers = [int(value[name]) for name in ("year", "month", "day", "hour", "minute", "second", "microsecond")]
            return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]  # seven numbers, then the zone by name
        case "date":
            return date(int(value["year"]), int(value["month"]), int(value["day"]))
        case "Decimal":
            return Decimal(value["decimal"])
    return {name: _from_wire(one) for name, one in value.items()}
