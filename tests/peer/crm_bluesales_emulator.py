"""An emulator of BlueSales' web server of commands, with what the real one refuses.

Written from what its public clients do, as the vendor publishes no page: login and upper-case MD5 in the query; the
commands ``customers.get`` (at most 500 a page, ``startRowNumber``, filters ids and phone), ``customers.add``,
``customers.update``, ``users.get``; ``isValid: false`` with an error in Russian, and the countdown where another user
is online under the same login.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from tests.peer.crm_emulator import Emulator, Standing, json_of

_BLOCK = re.compile(r"^\[(cardline-[\w-]+)\]\n(.*?)\n\[/\1\]$", re.DOTALL | re.MULTILINE)
_WHEN = re.compile(r"(\d\d\.\d\d\.\d{4} \d\d:\d\d(?::\d\d)?)")
_LONGEST_COMMENT = 32_000


class BlueSalesEmulator(Emulator):
    """One account with two users."""

    def __init__(self) -> None:
        super().__init__()
        self.login = ("cardline@example.com", "пароль")
        self.online_seconds = 0
        self.customers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/app/Customers/WebServer.aspx", self._answer)]

    async def is_act(self, request: web.Request) -> bool:
        return request.query.get("command") in ("customers.add", "customers.update")

    def limited(self) -> web.Response:
        text = "Другой пользователь находится онлайн под логином. Осталось <span class='countdown'>42</span> сек."
        return json_of({"isValid": False, "error": text})

    def add_card(self, **fields: Any) -> int:
        """A person makes a customer."""
        number = next(self._numbers)
        self.customers[number] = {"phone": "", "email": "", "comments": None, "manager": None, **fields, "id": number}
        return number

    async def _answer(self, request: web.Request) -> web.Response:
        digest = hashlib.md5(self.login[1].encode()).hexdigest().upper()
        if (request.query.get("login"), request.query.get("password")) != (self.login[0], digest):
            return json_of({"isValid": False, "error": "Неправильный логин или пароль."})
        if self.online_seconds:
            return self.limited()
        body = await request.json()
        match request.query.get("command"):
            case "users.get":
                names = {"p": "Пётр Иванов", "v": "Вера Петрова"}
                rows = [
                    {"id": place, "login": one, "fullName": name} for place, (one, name) in enumerate(names.items())
                ]
                return json_of({"count": 2, "users": rows})
            case "customers.get":
                return self._list(body)
            case "customers.add":
                self.acts += 1
                number = self.add_card(**body)
                return json_of(self.customers[number])
            case "customers.update":
                return self._update(body)
        return web.Response(status=404)

    def _list(self, body: dict[str, Any]) -> web.Response:
        size, start = int(body.get("pageSize", 500)), int(body.get("startRowNumber", 0))
        if size > 500:
            return json_of({"isValid": False, "error": "Слишком много клиентов в запросе."})
        rows = [
            row
            for number, row in sorted(self.customers.items())
            if body.get("ids") in (None, []) or number in body["ids"]
        ]
        if phone := body.get("phone"):
            digits = "".join(one for one in str(phone) if one.isdigit())[-10:]
            rows = [row for row in rows if "".join(c for c in str(row["phone"]) if c.isdigit()).endswith(digits)]
        page = rows[start : start + size]
        return json_of({"count": len(page), "notReturnedCount": max(0, len(rows) - start - size), "customers": page})

    def _update(self, body: dict[str, Any]) -> web.Response:
        row = self.customers.get(body.get("id", 0))
        if row is None:
            return json_of({"isValid": False, "error": "Клиент не найден."})
        if len(str(body.get("comments", ""))) > _LONGEST_COMMENT:
            return json_of({"isValid": False, "error": "Комментарий слишком длинный."})
        self.acts += 1
        row.update(body)
        return json_of(row)

    def standing(self) -> list[Standing]:
        """Entries in comments."""
        found = []
        for number, row in self.customers.items():
            for key, text in _BLOCK.findall((row["comments"] or "").rstrip("\n")):
                first = text.split("\n")[0]
                is_call = "письмо" not in first
                links = [line[2:] for line in text.split("\n") if line.startswith("▶ ")]
                at = _WHEN.search(first)
                assert at is not None, first
                form = "%d.%m.%Y %H:%M:%S" if at[1].count(":") == 2 else "%d.%m.%Y %H:%M"
                talk = re.search(r"разговор (\d+):(\d\d)$", first)
                found.append(
                    Standing(
                        key=key,
                        card=("customer", str(number)),
                        is_call=is_call,
                        employee="",
                        inbound="сходящ" not in first,
                        seconds=int(talk[1]) * 60 + int(talk[2]) if talk else -1,
                        started=datetime.strptime(at[1], form)
                        .replace(tzinfo=ZoneInfo("Europe/Moscow"))
                        .astimezone(UTC),
                        text=text,
                        recording=links[-1] if links and is_call else "",
                        transcript=text.partition("\n≡\n")[2] if is_call else "",
                    )
                )
        return found
