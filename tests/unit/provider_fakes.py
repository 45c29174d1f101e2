"""Providers as HTTP servers: their APIs and their recordings, answering as the public documents say.

One server plays them all; it checks what it is signed with, and forgets nothing that was asked.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from sqlalchemy import text

from agent.store.engine import Store
from tests.unit.provider_stories import KEY, ROWS, SECRET, ZONE, Story, mango_sign

_PAGE = 1000


class FakeProviders:
    """``stories`` is what happened; ``sound`` is every recording's file. ``troubles`` are answers given first."""

    def __init__(self, stories: Sequence[Story], sound: bytes) -> None:
        self.stories = list(stories)
        self.sound = sound
        self.troubles: list[web.Response] = []
        self.asked: list[str] = []
        self.not_ready = 2  # times that Mango's statistics are not ready
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/v1/statistics/pbx/", self._zadarma_statistics)
        app.router.add_get("/v1/pbx/record/request/", self._zadarma_record)
        app.router.add_get("/v1/pbx/internal/", self._zadarma_internal)
        app.router.add_post("/", self._uis)
        app.router.add_post("/api/statistic/export", self._sipuni_export)
        app.router.add_post("/api/statistic/record", self._sipuni_record)
        app.router.add_post("/vpbx/stats/request", self._mango_order)
        app.router.add_post("/vpbx/stats/result", self._mango_result)
        app.router.add_post("/vpbx/queries/recording/post", self._mango_recording)
        app.router.add_post("/vpbx/config/users/request", self._mango_users)
        app.router.add_get("/files/{name}", self._file)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        """End it."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self.troubles:
            return self.troubles.pop(0)
        found: web.StreamResponse = await handler(request)
        return found

    def _rows(self, preset: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        happened = [one for one in self.stories if since <= one.started <= until]
        return [row for one in happened for row in ROWS[preset](one)]

    # --- Zadarma ------------------------------------------------------------------------------------------------------

    def _is_zadarma(self, request: web.Request) -> bool:
        parameters = sorted(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        query = urlencode(parameters)
        text = request.path + query + hashlib.md5(query.encode()).hexdigest()
        digest = hmac.new(SECRET.encode(), text.encode(), "sha1").hexdigest()
        return request.headers.get("Authorization") == f"{KEY}:{base64.b64encode(digest.encode()).decode()}"

    async def _zadarma_statistics(self, request: web.Request) -> web.Response:
        if not self._is_zadarma(request):
            return web.json_response({"status": "error", "message": "Not authorized"}, status=401)
        words = request.query
        rows = self._rows("zadarma", _read(words["start"]), _read(words["end"]))
        skip, limit = int(words["skip"]), min(int(words["limit"]), _PAGE)
        return web.json_response({"status": "success", "version": 2, "stats": rows[skip : skip + limit]})

    async def _zadarma_record(self, request: web.Request) -> web.Response:
        if not self._is_zadarma(request):
            return web.json_response({"status": "error", "message": "Not authorized"}, status=401)
        link = f"{self.url}/files/{request.query['call_id']}.wav"
        return web.json_response({"status": "success", "link": link, "lifetime_till": "2030-01-01 00:00:00"})

    async def _zadarma_internal(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "pbx_id": 1234, "numbers": ["100", "101"]})

    # --- UIS ----------------------------------------------------------------------------------------------------------

    async def _uis(self, request: web.Request) -> web.Response:
        asked = await request.json()
        parameters = asked["params"]
        if parameters["access_token"] != SECRET:
            error = {"code": -32001, "message": "wrong", "data": {"mnemonic": "access_token_invalid"}}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        rows: list[dict[str, Any]]
        if asked["method"] == "get.employees":
            rows = [{"full_name": "Anna Ivanova", "extension": {"extension_phone_number": "101"}}, {"full_name": "B"}]
        else:
            rows = self._rows("uis", _read(parameters["date_from"]), _read(parameters["date_till"]))
            for row in rows:
                if row["full_record_file_link"]:
                    row["full_record_file_link"] = f"{self.url}/files/{row['id']}.wav"
            rows = [{name: row[name] for name in parameters["fields"]} for row in rows]
        offset, limit = parameters.get("offset", 0), parameters["limit"]
        result = {"data": rows[offset : offset + limit], "metadata": {"total_items": len(rows)}}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    # --- Sipuni -------------------------------------------------------------------------------------------------------

    async def _is_sipuni(self, request: web.Request, *names: str) -> dict[str, str] | None:
        words = {name: str(value) for name, value in (await request.post()).items()}
        text = "+".join([*(words[name] for name in names), SECRET])
        return words if words["hash"] == hashlib.md5(text.encode()).hexdigest() and words["user"] == KEY else None

    async def _sipuni_export(self, request: web.Request) -> web.Response:
        names = ("anonymous", "firstTime", "from", "fromNumber", "state", "to", "toAnswer", "toNumber", "tree", "type")
        words = await self._is_sipuni(request, *names, "user")
        if words is None:
            return web.Response(text="Ошибка: неверный hash")
        since = datetime.strptime(words["from"], "%d.%m.%Y").replace(tzinfo=ZONE)
        until = datetime.strptime(words["to"], "%d.%m.%Y").replace(tzinfo=ZONE) + timedelta(days=1)
        rows = self._rows("sipuni", since, until)
        file = io.StringIO()
        columns = list(ROWS["sipuni"](Story())[0])
        table = csv.DictWriter(file, columns, delimiter=";")
        table.writeheader()
        table.writerows(rows)
        return web.Response(body=("\ufeff" + file.getvalue()).encode(), content_type="text/csv")

    async def _sipuni_record(self, request: web.Request) -> web.Response:
        if await self._is_sipuni(request, "id", "user") is None:
            return web.Response(status=404)
        return web.Response(body=self.sound, content_type="audio/mpeg")

    # --- Mango --------------------------------------------------------------------------------------------------------

    async def _is_mango(self, request: web.Request) -> dict[str, Any] | None:
        words = {name: str(value) for name, value in (await request.post()).items()}
        is_right = words.get("vpbx_api_key") == KEY and words.get("sign") == mango_sign(words.get("json", ""))
        found: dict[str, Any] | None = json.loads(words["json"]) if is_right else None
        return found

    async def _mango_order(self, request: web.Request) -> web.Response:
        order = await self._is_mango(request)
        if order is None:
            return web.json_response({"name": "Unauthorized"}, status=401)
        key = base64.b64encode(f"{order['date_from']}-{order['date_to']}-{order['fields']}".encode()).decode()
        return web.json_response({"key": key})

    async def _mango_result(self, request: web.Request) -> web.Response:
        order = await self._is_mango(request)
        if order is None:
            return web.json_response({"name": "Unauthorized"}, status=401)
        if self.not_ready > 0:
            self.not_ready -= 1
            return web.Response(status=204)
        since, until, fields = base64.b64decode(order["key"]).decode().split("-")
        times = [datetime.fromtimestamp(int(one), ZONE) for one in (since, until)]
        rows = self._rows("mango", *times)
        lines = [";".join(row[name] for name in fields.split(",")) for row in rows]
        return web.Response(text="\n".join(lines), content_type="text/csv")

    async def _mango_recording(self, request: web.Request) -> web.Response:
        asked = await self._is_mango(request)
        if asked is None:
            return web.json_response({"name": "Unauthorized"}, status=401)
        return web.Response(status=302, headers={"Location": f"{self.url}/files/{asked['recording_id']}.wav"})

    async def _mango_users(self, request: web.Request) -> web.Response:
        anna = {"general": {"name": "Anna Ivanova", "user_id": 1}, "telephony": {"extension": "101", "numbers": []}}
        return web.json_response({"users": [anna, {"general": {"name": "Boris"}, "telephony": {"extension": ""}}]})

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.sound, content_type="audio/x-wav")


def _read(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZONE)


_TABLES = (
    "notification",
    "provider_call",
    "provider_recording",
    "provider_status",
    "source_status",
    "party",
    "call",
    "recording",
    "evidence",
    "interaction",
    "procrastinate_jobs",
)


async def empty(store: Store) -> None:
    """As if nothing had been told: faster than a database a test."""
    async with store.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))  # whatever refers to what
        for table in _TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))
