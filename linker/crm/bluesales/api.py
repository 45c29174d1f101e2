"""Commands of BlueSales: all by POST to one address, login and digest in the query, JSON in the body.

Facts from its public clients, as its vendor publishes no page: ``isValid: false`` with an ``error`` in Russian is a
refusal; where somebody is at work under the same login, that error counts down seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from linker.crm.protocol import CrmAuthFailed, CrmLimit, CrmRefused, CrmRightsMissing, CrmUnreachable
from linker.crm.shapes import as_object, in_its_words, words
from linker.crm.transport import Pace, Transport

_PATH = "app/Customers/WebServer.aspx"
_COUNTDOWN = re.compile(r"class=['\"]countdown['\"]>\s*(\d{1,5})\s*<")
_WAIT_SECONDS = 60.0


class Api:
    """One account. A request at a time and one a second: more looks like a second user to it."""

    def __init__(self, url: str, login: str, digest: str, *, a_second: float = 1.0) -> None:
        self._login = login
        self._digest = digest
        self._transport = Transport(url, pace=Pace(a_second), within=60)

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def ask(self, command: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a command answers.

        Raises:
            CrmLimit: somebody else is online under this login. CrmAuthFailed, CrmRefused, CrmUnreachable.
        """
        query = {"login": self._login, "password": self._digest, "command": command}
        answer = await self._transport.ask("POST", _PATH, query=query, json=dict(body or {}))
        if answer.status == 404:
            raise CrmRightsMissing(f"BlueSales knows no command {command}.")
        if answer.status >= 300:
            raise CrmUnreachable(f"BlueSales answers {answer.status}.")
        found = answer.json()
        if as_object(found).get("isValid") is False:
            raise _refusal(words(as_object(found).get("error")))
        return found if isinstance(found, dict) else {"rows": found}


def _refusal(error: str) -> Exception:
    lower = error.lower()
    if "другой пользователь" in lower and "онлайн" in lower:
        counted = _COUNTDOWN.search(error)
        seconds = float(counted[1]) + 1 if counted else _WAIT_SECONDS
        return CrmLimit("Somebody is at work in BlueSales under the same login.", retry_after=seconds)
    if "логин" in lower and "парол" in lower:
        return CrmAuthFailed("BlueSales refuses login or password.")
    if "прав" in lower and ("нет" in lower or "недостаточно" in lower):
        return CrmRightsMissing("BlueSales does not allow it.")
    plain = re.sub(r"<[^<>]*>", " ", error)[:150].strip()
    return CrmRefused(
        in_its_words("BlueSales", "", plain), remedy="Correct in BlueSales what it names, then try again."
    )
