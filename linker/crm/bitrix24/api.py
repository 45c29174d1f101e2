"""The REST API of Bitrix24: methods, pages of 50, batches of 50, and what its refusals mean.

Sources: apidocs.bitrix24.com, *REST API limits*, *How to execute batch requests*, *Statuses and system error codes*,
*OAuth 2.0*. A request counts once whatever a batch holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from linker.crm.protocol import (
    CrmAuthFailed,
    CrmGone,
    CrmLimit,
    CrmRefused,
    CrmRightsMissing,
    CrmUnreachable,
)
from linker.crm.shapes import as_list, as_object, in_its_words, objects, whole, words
from linker.crm.tokens import Grant, Tokens
from linker.crm.transport import Answer, Pace, Transport

OAUTH = "https://oauth.bitrix24.tech/oauth/token"
PAGE = 50
MOST_IN_BATCH = 50
_BURST = 25  # half of the bucket: others reach the same portal from this address
_WAIT_SECONDS = 10.0  # until the bucket has some room again
_BLOCKED_SECONDS = 300.0
_TOKEN_REFUSED = ("expired_token", "invalid_token")
_NO_ACCESS = ("NO_AUTH_FOUND", "INVALID_CREDENTIALS", "user_access_error", "authorization_error", "PORTAL_DELETED")
_NO_RIGHT = (
    "insufficient_scope",
    "ACCESS_DENIED",
    "WRONG_AUTH_TYPE",
    "ERROR_METHOD_NOT_FOUND",
    "allowed_only_intranet_user",
)
_GONE = ("NOT_FOUND", "OWNER_NOT_FOUND", "BINDING_NOT_FOUND", "ERROR_NOT_FOUND")

Params = Mapping[str, Any]
Command = tuple[str, Params]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of a list method, and where the next page starts."""

    rows: list[Any]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the commands of a batch answered, by their names; ``errors`` has those that were refused."""

    results: Mapping[str, Any]
    errors: Mapping[str, Exception]
    nexts: Mapping[str, int]

    def __getitem__(self, name: str) -> Any:
        """The result of one command; what it was refused for is raised."""
        if name in self.errors:
            raise self.errors[name]
        if name not in self.results:
            raise CrmUnreachable("Bitrix24 has left out a part of its answer.")
        return self.results[name]

    def rows(self, name: str, within: str = "") -> list[dict[str, Any]]:
        """The rows of a list command, which some methods put into an object."""
        found = self[name]
        return objects(_listed(found.get(within, []) if within and isinstance(found, dict) else found))


class Api:
    """One portal. ``tokens`` is None for a webhook, whose secret is in the path."""

    def __init__(self, url: str, *, path: str, tokens: Tokens | None, a_second: float = 2.0) -> None:
        self._host = URL(url).host
        self._path = path
        self._tokens = tokens
        self._transport = Transport(url, pace=Pace(a_second, burst=_BURST), within=60, judge=_judge)

    @property
    def is_application(self) -> bool:
        """Whether calls may be registered with the telephony."""
        return self._tokens is not None

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def call(self, method: str, params: Params | None = None) -> Any:
        """The result of a method.

        Raises:
            CrmGone, CrmRefused, CrmRightsMissing, CrmAuthFailed, CrmLimit, CrmUnreachable: by its error code.
        """
        return (await self._ask(method, params or {})).get("result")

    async def page(self, method: str, params: Params) -> Page:
        """One page of a list method."""
        answer = await self._ask(method, params)
        following = whole(answer.get("next"))
        is_further = following > whole(params.get("start"))  # else a broken answer would be read for ever
        return Page(rows=_listed(answer.get("result")), next=following if is_further else None)

    async def batch(self, commands: Mapping[str, Command], *, halt: bool = False) -> Batch:
        """Up to fifty methods in one request, one after the other; with ``halt`` up to the first that is refused.

        A value may name a result before it, as ``$result[name][FIELD]``: so text of strangers must never go this way.
        """
        assert len(commands) <= MOST_IN_BATCH
        lines = {name: f"{method}?{urlencode(_flat(params))}" for name, (method, params) in commands.items()}
        result = as_object(await self.call("batch", {"halt": int(halt), "cmd": lines}))
        errors = {name: error_of(200, as_object(one)) for name, one in as_object(result.get("result_error")).items()}
        for error in errors.values():
            if isinstance(error, (CrmAuthFailed, CrmLimit)):
                raise error
        names = list(commands)
        return Batch(
            results=_named(result.get("result"), names),
            errors=errors,
            nexts={name: whole(one) for name, one in _named(result.get("result_next"), names).items()},
        )

    async def _ask(self, method: str, params: Params) -> dict[str, Any]:
        if self._tokens is None:
            return self._judged(await self._post(method, params))
        token = await self._tokens.access()
        answer = await self._post(method, {**params, "auth": token})
        if answer.status == 401 and as_object(_json(answer)).get("error") in _TOKEN_REFUSED:
            token = await self._tokens.access(refused=token)
            answer = await self._post(method, {**params, "auth": token})
        return self._judged(answer)

    async def _post(self, method: str, params: Params) -> Answer:
        return await self._transport.ask("POST", f"{self._path}/{quote(method)}.json", json=dict(params))

    @staticmethod
    def _judged(answer: Answer) -> dict[str, Any]:
        found = as_object(answer.json())
        if answer.status >= 400 or "error" in found:
            raise error_of(answer.status, found)
        if "result" not in found:
            raise CrmUnreachable("What answers is no Bitrix24.")
        return found

    async def upload(self, url: str, field: str, file_name: str, content: bytes) -> Any:
        """A file to the address that a method gave for it; only to the portal itself, since a token is in it."""
        if URL(url).host != self._host:
            raise CrmRefused("Bitrix24 names another host for an upload.", remedy='Set recordings = "link".')
        form = aiohttp.FormData()
        form.add_field(field, content, filename=file_name, content_type="audio/mpeg")
        return self._judged(await self._transport.ask("POST", url, data=form, within=110)).get("result")


def _listed(value: Any) -> list[Any]:
    """Rows of a list method. What is no list says nothing of what is there."""
    if not isinstance(value, (list, dict)):
        raise CrmUnreachable("What answers is no list of Bitrix24.")
    return as_list(value)


def _named(value: Any, names: Sequence[str]) -> dict[str, Any]:
    """PHP writes an object with no keys, or with keys from 0 on, as a list."""
    if isinstance(value, list):
        return dict(zip(names, value, strict=False))
    return as_object(value)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested parameters as PHP reads them: ``fields[PHONE][0][VALUE]=…``."""
    if isinstance(value, Mapping):
        pairs = [(f"{name}[{key}]" if name else str(key), one) for key, one in value.items()]
        return [pair for key, one in pairs for pair in _flat(one, key)]
    if isinstance(value, (list, tuple)):
        return [pair for place, one in enumerate(value) for pair in _flat(one, f"{name}[{place}]")]
    return [(name, "" if value is None else str(value))]


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


def _judge(answer: Answer) -> None:
    """503 and 429 say with their codes that a limit is meant, and which."""
    if answer.status in (429, 503) and as_object(found := _json(answer)).get("error"):
        raise error_of(answer.status, found)


def error_of(status: int, found: Mapping[str, Any]) -> Exception:
    """What an error code means for us; methods of the CRM give a sentence in its place."""
    code, text = words(found.get("error")), words(found.get("error_description"))[:200]
    what = in_its_words("Bitrix24", code or str(status), text)
    lower = f"{code} {text}".lower()
    if code == "QUERY_LIMIT_EXCEEDED":
        return CrmLimit("Bitrix24 asks for fewer requests.", retry_after=_WAIT_SECONDS)
    if code == "OPERATION_TIME_LIMIT":
        return CrmLimit("Bitrix24 has blocked a method for a while.", retry_after=_free_in(found))
    if code == "OVERLOAD_LIMIT":
        return CrmAuthFailed("Bitrix24 has blocked its REST API by hand.", remedy="Ask the support of Bitrix24.")
    if code in _NO_ACCESS or (status == 401 and code not in _NO_RIGHT) or code in _TOKEN_REFUSED:
        return CrmAuthFailed(what)
    if status == 401 and code == "ACCESS_DENIED":
        return CrmAuthFailed(what, remedy="The plan of this Bitrix24 must include the REST API.")
    if code in _NO_RIGHT or "access denied" in lower or status == 403:
        return CrmRightsMissing(what)
    if code in _GONE or ("not found" in lower and "user" not in lower):
        return CrmGone(what)
    if status >= 500 or code in ("INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"):
        return CrmUnreachable(what)
    return CrmRefused(what, remedy="Correct in Bitrix24 what it names, then try again.")


def _free_in(found: Mapping[str, Any]) -> float:
    reset = whole(as_object(found.get("time")).get("operating_reset_at"))
    return min(max(reset - time.time(), 10.0), 900.0) if reset else _BLOCKED_SECONDS


async def ask_for_token(transport: Transport, fields: Mapping[str, str]) -> Grant:
    """A grant of the authorisation server.

    Raises:
        CrmAuthFailed: it refuses. CrmUnreachable: it is away.
    """
    answer = await transport.ask("POST", "", form=fields)
    found = as_object(answer.json())
    access, refresh = words(found.get("access_token")), words(found.get("refresh_token"))
    if answer.status >= 400 or not access or not refresh:
        raise CrmAuthFailed(f"Bitrix24 gives no token: {words(found.get('error'))[:60] or answer.status}.")
    return Grant(access=access, refresh=refresh, seconds=whole(found.get("expires_in")) or 3600)
