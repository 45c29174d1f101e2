"""HTTP towards a CRM: bounded in size and time, paced, its failures in the words of `linker.crm.protocol`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any

import aiohttp
from yarl import URL

from agent.errors import connection_words
from linker.crm.protocol import CrmAuthFailed, CrmLimit, CrmRightsMissing, CrmUnreachable

_CONNECT_SECONDS = 10
_LONGEST_PAUSE = 86400.0
_MOST_BYTES = 32 * 1024 * 1024


class Pace:
    """At most ``a_second`` requests a second, ``burst`` of them at once (a leaking bucket, as CRMs count)."""

    def __init__(self, a_second: float, *, burst: int = 1) -> None:
        self._interval = 1 / a_second
        self._room = (burst - 1) * self._interval
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until a request may be made."""
        now = monotonic()
        self._next = max(self._next, now - self._room) + self._interval
        if (wait := self._next - self._interval - now) > 0:
            await asyncio.sleep(wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``status`` below 500 and no 429; the connector judges the rest. ``body`` fits into memory."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            CrmUnreachable: it is none, as when a proxy answers in place of the CRM.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise CrmUnreachable(f"The answer (status {self.status}) is no JSON.") from None


class Transport:
    """Requests to one address. Redirects are not followed: they would carry keys elsewhere."""

    def __init__(
        self,
        base: str,
        *,
        pace: Pace | None = None,
        within: float = 30.0,
        headers: Mapping[str, str] | None = None,
        judge: Callable[[Answer], None] | None = None,
    ) -> None:
        """``base`` is a URL that ends where paths begin; ``within`` is the time of a whole request in seconds.

        ``judge`` sees each answer first and may raise what it means, as where a 503 says that requests are too many.
        """
        self._base = URL(base.rstrip("/") + "/")
        self._pace = pace
        self._within = within
        self._judge = judge
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=dict(headers or {}),
            connector=aiohttp.TCPConnector(limit_per_host=8),
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        data: bytes | aiohttp.FormData | None = None,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
    ) -> Answer:
        """One request; ``path`` is relative to the base, or a whole URL of the same or another host.

        Raises:
            CrmUnreachable: no answer, a broken one, or 5xx. CrmLimit: 429.
        """
        if self._pace is not None:
            await self._pace.turn()
        url = self._base.join(URL(path, encoded="%" in path))
        try:
            async with (
                asyncio.timeout(within or self._within),
                self._session.request(
                    method,
                    url,
                    params=dict(query) if query else None,
                    json=json,
                    data=data if data is not None else (dict(form) if form is not None else None),
                    headers=dict(headers or {}),
                    allow_redirects=False,
                ) as answer,
            ):
                return await _read(answer, self._judge)
        except TimeoutError:
            raise CrmUnreachable(f"{url.host} did not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CrmUnreachable(f"{url.host} does not answer: {connection_words(error)}.") from error


async def _read(answer: aiohttp.ClientResponse, judge: Callable[[Answer], None] | None) -> Answer:
    body = bytearray()
    async for piece in answer.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > _MOST_BYTES:
            raise CrmUnreachable("The answer is longer than 32 MB.")
    found = Answer(status=answer.status, headers=answer.headers.copy(), body=bytes(body))
    if judge is not None:
        judge(found)
    if answer.status == 429:
        raise CrmLimit("The CRM asks for fewer requests.", retry_after=retry_after(answer.headers))
    if answer.status >= 500:
        raise CrmUnreachable(f"{answer.url.host} answers {answer.status}.")
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, from seconds or a date (RFC 9110, 10.2.3), a day at most. A date is by the clock of the
    server, which may be wrong; its Date says how it goes (RFC 9110, 6.6.1)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:9]), _LONGEST_PAUSE))
    until, now = moment_of(value), moment_of(headers.get("Date", "")) or datetime.now(UTC)
    return min(max(0.0, (until - now).total_seconds()), _LONGEST_PAUSE) if until is not None else None


def moment_of(value: str) -> datetime | None:
    """A date of HTTP; None where it is none."""
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else None


def judge_access(status: int, what: str) -> None:
    """401 and 403 as most CRMs mean them: not let in; let in and not allowed ``what``."""
    if status == 401:
        raise CrmAuthFailed(f"The CRM does not let us in ({what}).")
    if status == 403:
        raise CrmRightsMissing(f"The CRM does not allow: {what}.")
