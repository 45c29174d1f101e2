"""The API v4 of amoCRM: requests, embedded rows, filters, and what its refusals mean.

Sources: amocrm.ru/developers, *Ограничения* (seven requests a second, 429, then 403 for the address; 250 rows a page,
100 events), *Коды ошибок*, *OAuth 2.0*. An empty list is a 204 without a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmLimit, CrmRefused, CrmRightsMissing, CrmUnreachable
from linker.crm.shapes import as_list, as_object, in_its_words, objects, whole, words
from linker.crm.tokens import Grant, Tokens
from linker.crm.transport import Answer, Pace, Transport, moment_of

PAGE = 250
EVENTS_PAGE = 100
_BLOCKED_SECONDS = 300.0
_NO_CONTENT = 204


class Api:
    """One account. ``key`` is a long-lived token; without it ``tokens`` has those of OAuth2."""

    def __init__(self, url: str, *, key: str, tokens: Tokens | None, a_second: float = 5.0) -> None:
        self._key = key
        self._tokens = tokens
        self._transport = Transport(url, pace=Pace(a_second))
        self._ahead = timedelta()

    def now(self) -> datetime:
        """By amoCRM's own clock, which stamps its events."""
        return datetime.now(UTC) + self._ahead

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One object; empty where there is nothing."""
        return as_object(await self._ask("GET", path, query=query))

    async def rows(self, path: str, name: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The embedded rows of one page; none where the answer has no body. Whatever else answers in its place says
        nothing of what is there: what was logged would be taken for missing, and logged twice.
        """
        answer = await self._ask("GET", path, query=query)
        if answer != {} and not isinstance(as_object(as_object(answer).get("_embedded")).get(name), list):
            raise CrmUnreachable("What answers is no list of amoCRM.")
        return embedded(answer, name)

    async def send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """POST or PATCH.

        Raises:
            CrmGone, CrmRefused, CrmRightsMissing, CrmAuthFailed, CrmLimit, CrmUnreachable: by status and code.
        """
        return as_object(await self._ask(method, path, body=body))

    async def _ask(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        token = self._key or await self._access("")
        answer = await self._once(method, path, query, body, token)
        if answer.status == 401 and self._tokens is not None:
            answer = await self._once(method, path, query, body, await self._access(token))
        if answer.status == _NO_CONTENT or (method != "GET" and answer.status < 300 and not answer.body):
            return {}
        if answer.status >= 300:
            raise _refusal(answer)
        found = answer.json()
        if not isinstance(found, dict) or ("_embedded" not in found and "status" in found and "title" in found):
            raise CrmUnreachable("What answers is no amoCRM, or an error in place of an answer.")
        return found

    async def _access(self, refused: str) -> str:
        assert self._tokens is not None
        return await self._tokens.access(refused=refused)

    async def _once(self, method: str, path: str, query: Mapping[str, Any] | None, body: Any, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        flat = flatten(query) if query else None
        answer = await self._transport.ask(method, f"api/v4/{path}", query=flat, json=body, headers=headers)
        if (stamp := moment_of(answer.headers.get("Date", ""))) is not None:
            self._ahead = stamp - datetime.now(UTC)
        return answer


def flatten(query: Mapping[str, Any]) -> dict[str, str]:
    """``{"filter": {"id": [1, 2]}}`` to ``filter[id][0]=1&filter[id][1]=2``."""
    found: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, one in value.items():
                add(f"{name}[{key}]", one)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for place, one in enumerate(value):
                add(f"{name}[{place}]", one)
        else:
            found[name] = str(value)

    for key, one in query.items():
        add(key, one)
    return found


def embedded(answer: Any, name: str) -> list[dict[str, Any]]:
    """``_embedded`` of an answer."""
    return objects(as_object(as_object(answer).get("_embedded")).get(name))


def _refusal(answer: Answer) -> Exception:
    try:
        found = as_object(answer.json())
    except CrmUnreachable:
        found = {}
    text = words(found.get("detail")) or words(found.get("title"))
    what = in_its_words("amoCRM", str(answer.status), f"{text[:150]}{_fields(found)}")
    if answer.status == 401:
        return CrmAuthFailed(what)
    if answer.status == 402:
        return CrmAuthFailed(what, remedy="The account is not paid for; nothing is lost meanwhile.")
    if answer.status == 403:
        if not found:  # not the API but its gate: the address is blocked for too many requests
            return CrmLimit("amoCRM has blocked this address for a while.", retry_after=_BLOCKED_SECONDS)
        return CrmRightsMissing(what)
    if answer.status == 404:
        return CrmGone(what)
    if answer.status in (301, 302, 307, 308):
        return CrmAuthFailed(what, remedy="Set url to the account's own address, such as https://example.amocrm.ru.")
    return CrmRefused(what, remedy="Correct in amoCRM what it names, then try again.")


def _fields(found: Mapping[str, Any]) -> str:
    """Which fields are refused; never what was in them."""
    errors = [one for group in objects(found.get("validation-errors")) for one in objects(group.get("errors"))]
    named = sorted({f"{words(one.get('path'))} {words(one.get('code'))}".strip() for one in errors})[:5]
    return f" ({', '.join(named)})"[:200] if named else ""


async def ask_for_token(transport: Transport, fields: Mapping[str, str]) -> Grant:
    """A grant. The token to renew with is good for one use and for three months.

    Raises:
        CrmAuthFailed: it refuses. CrmUnreachable: it is away.
    """
    answer = await transport.ask("POST", "oauth2/access_token", json=dict(fields))
    found = as_object(answer.json())
    access, refresh = words_of_token(found, "access_token"), words_of_token(found, "refresh_token")
    if answer.status >= 400 or not access or not refresh:
        raise CrmAuthFailed(f"amoCRM gives no token: {words(found.get('hint') or found.get('title'))[:80]}.")
    return Grant(access=access, refresh=refresh, seconds=whole(found.get("expires_in")) or 86400)


def words_of_token(found: Mapping[str, Any], name: str) -> str:
    """A token; they are longer than other words."""
    value = found.get(name)
    return value.strip() if isinstance(value, str) and len(value) < 10_000 else ""


def ids(rows: Any) -> list[int]:
    """Numbers of rows."""
    return [whole(one.get("id")) for one in objects(as_list(rows)) if whole(one.get("id"))]
