"""An emulator of amoCRM's API v4, with what the real one refuses.

Written from amocrm.ru/developers: *Ограничения* (seven requests a second, 429; 250 rows, 100 events), *OAuth 2.0* (a
refresh token is good once), *Звонки* (the card is found by the last ten digits; one active lead gets the call; what
nobody matches is dropped with an error, not refused), *События и примечания* (notes are never deleted and never moved;
events have their own filters and no order), *Контакты*, *Сделки* (142 won, 143 lost); lists without rows are 204.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from aiohttp import web

from tests.peer.crm_emulator import Emulator, Standing, json_of, last_ten

_PATHS = ("contacts", "companies", "leads")
_SINGULAR = {"contacts": "contact", "companies": "company", "leads": "lead"}


class AmoCrmEmulator(Emulator):
    """One account with two users, a pipeline, an integration and a long-lived token."""

    def __init__(self) -> None:
        super().__init__()
        self.long_lived = "long-lived"
        self.client = ("uuid-1", "s3cret", "https://cardline.example.com/")
        self.refresh_token, self.code = "r0", ""
        self.a_second = 7
        self.blocked = False
        self.now: Callable[[], float] = time.time
        self.users = {1: "Пётр Иванов", 2: "Вера Петрова"}
        self.rows: dict[str, dict[int, dict[str, Any]]] = {path: {} for path in _PATHS}
        self.notes: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._tokens: dict[str, float] = {}
        self._recent: deque[float] = deque()

    def routes(self) -> list[web.RouteDef]:
        api = "/api/v4"
        return [
            web.post("/oauth2/access_token", self._token),
            web.get(f"{api}/account", self._guarded(self._account)),
            web.get(f"{api}/users", self._guarded(self._list_users)),
            web.get(f"{api}/leads/pipelines", self._guarded(self._pipelines)),
            web.get(f"{api}/events", self._guarded(self._events)),
            web.post(f"{api}/calls", self._guarded(self._calls)),
            web.get(f"{api}/{{path}}/notes", self._guarded(self._list_notes)),
            web.get(f"{api}/{{path}}/{{id}}/notes", self._guarded(self._list_notes)),
            web.post(f"{api}/{{path}}/{{id}}/notes", self._guarded(self._add_notes)),
            web.get(f"{api}/{{path}}/{{id}}/notes/{{note}}", self._guarded(self._get_note)),
            web.patch(f"{api}/{{path}}/{{id}}/notes/{{note}}", self._guarded(self._change_note)),
            web.get(f"{api}/{{path}}/{{id}}", self._guarded(self._get)),
            web.get(f"{api}/{{path}}", self._guarded(self._list)),
            web.post(f"{api}/{{path}}", self._guarded(self._add)),
        ]

    async def is_act(self, request: web.Request) -> bool:
        return request.method in ("POST", "PATCH") and "oauth2" not in request.path

    def limited(self) -> web.Response:
        return json_of({"title": "Too Many Requests", "status": 429}, 429)

    def expire(self) -> None:
        self._tokens.clear()

    # --- The gate -----------------------------------------------------------------------------------------------------

    def _guarded(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.Response:
            if self.blocked:
                return web.Response(status=403, text="<html>blocked</html>")
            now = time.monotonic()
            self._recent.append(now)
            while self._recent[0] <= now - 1:
                self._recent.popleft()
            if len(self._recent) > self.a_second:
                return self.limited()
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token != self.long_lived and self._tokens.get(token, 0) <= self.now():
                return _problem(401, "Unauthorized")
            if request.method != "GET":
                self.acts += 1
            answer = handler(request)
            answer = await answer if hasattr(answer, "__await__") else answer
            answer.headers["Date"] = formatdate(self.now(), usegmt=True)
            return answer  # type: ignore[no-any-return]

        return guarded

    async def _token(self, request: web.Request) -> web.Response:
        asked = await request.json()
        own = tuple(asked.get(name) for name in ("client_id", "client_secret", "redirect_uri"))
        is_refresh = asked.get("grant_type") == "refresh_token"
        given, wanted = (
            (asked.get("refresh_token"), self.refresh_token) if is_refresh else (asked.get("code"), self.code)
        )
        if own != self.client or not given or given != wanted:
            return json_of({"hint": "Token has been revoked", "title": "Некорректный запрос", "status": 400}, 400)
        token, self.refresh_token = secrets.token_hex(500), secrets.token_hex(200)
        self._tokens[token] = self.now() + 86400
        self.code = ""
        return json_of({"access_token": token, "refresh_token": self.refresh_token, "expires_in": 86400})

    def _account(self, request: web.Request) -> web.Response:
        return json_of({"id": 1, "name": "Отдел продаж", "current_user_id": 1})

    def _list_users(self, request: web.Request) -> web.Response:
        rows = [
            {"id": number, "name": name, "email": f"u{number}@example.com", "rights": {"is_active": True}}
            for number, name in self.users.items()
        ]
        return self._page(request, "users", rows)

    def _pipelines(self, request: web.Request) -> web.Response:
        stages = [(11, "Новая"), (12, "В работе"), (142, "Успешно"), (143, "Закрыто")]
        statuses = [{"id": number, "name": name, "sort": place} for place, (number, name) in enumerate(stages)]
        one = {"id": 5, "name": "Воронка", "_embedded": {"statuses": statuses}}
        return json_of({"_embedded": {"pipelines": [one]}})

    # --- Cards --------------------------------------------------------------------------------------------------------

    def add_card(self, path: str, name: str, *, phone: str = "", address: str = "", **more: Any) -> int:
        """A person makes it."""
        fields = [
            {"field_code": code, "values": [{"value": value, "enum_code": "WORK"}]}
            for code, value in (("PHONE", phone), ("EMAIL", address))
            if value
        ]
        return self._keep(path, {"name": name, "custom_fields_values": fields or None, **more})

    def _keep(self, path: str, row: Mapping[str, Any]) -> int:
        number = next(self._numbers)
        embedded = {"companies": [], "contacts": [], "leads": [], **row.get("_embedded", {})}
        stamped = {"updated_at": int(self.now()), "responsible_user_id": 1, **row, "id": number, "_embedded": embedded}
        self.rows[path][number] = stamped
        return number

    def delete_card(self, path: str, number: int) -> None:
        """A person deletes it."""
        del self.rows[path][number]
        self.add_event(f"{_SINGULAR[path]}_deleted", number)

    def add_event(self, kind: str, number: int, *, at: int = 0, **more: Any) -> None:
        """Something that is told in the list of events."""
        made = {"id": secrets.token_hex(8), "type": kind, "entity_id": number, "created_at": at or int(self.now())}
        self.events.insert(0, {**made, **more})

    def _row(self, request: web.Request) -> dict[str, Any] | None:
        return self.rows.get(request.match_info["path"], {}).get(int(request.match_info["id"]))

    def _get(self, request: web.Request) -> web.Response:
        row = self._row(request)
        return json_of(row) if row is not None else _problem(404, "Not found")

    def _list(self, request: web.Request) -> web.Response:
        path, query = request.match_info["path"], request.query
        if path not in _PATHS:
            return _problem(404, "Not found")
        rows = list(self.rows[path].values())
        if wanted := query.get("query"):
            rows = [row for row in rows if any(_matches(wanted, value) for value in _values(row))]
        since = int(query.get("filter[updated_at][from]", 0))
        numbers = {int(value) for name, value in query.items() if name.startswith("filter[id]")}
        rows = [row for row in rows if row["updated_at"] >= since and (not numbers or row["id"] in numbers)]
        rows.sort(key=lambda row: (row["updated_at"] if query.get("order[updated_at]") == "asc" else 0, row["id"]))
        return self._page(request, path, rows)

    async def _add(self, request: web.Request) -> web.Response:
        path, made = request.match_info["path"], []
        for one in await request.json():
            if not isinstance(one.get("name"), str):
                return _problem(400, "Bad Request")
            made.append({"id": self._keep(path, one), "request_id": one.get("request_id")})
        return json_of({"_embedded": {path: made}})

    def _page(self, request: web.Request, name: str, rows: list[dict[str, Any]]) -> web.Response:
        most = 100 if name == "events" else 250
        limit, page = min(int(request.query.get("limit", 50)), most), int(request.query.get("page", 1))
        rows = rows[(page - 1) * limit : page * limit]
        if not rows:
            return web.Response(status=204)
        return json_of({"_page": page, "_embedded": {name: rows}})

    def _events(self, request: web.Request) -> web.Response:
        query = request.query
        since, until = int(query.get("filter[created_at][from]", 0)), int(query.get("filter[created_at][to]", 2**40))
        kinds = set(query.get("filter[type]", "").split(","))
        rows = [one for one in self.events if since <= one["created_at"] <= until and one["type"] in kinds]
        return self._page(request, "events", rows)

    # --- Notes --------------------------------------------------------------------------------------------------------

    def _list_notes(self, request: web.Request) -> web.Response:
        path, query = request.match_info["path"], request.query
        if "id" in request.match_info and self._row(request) is None:
            return _problem(404, "Not found")
        number = int(request.match_info.get("id", 0))
        kinds = {value for name, value in query.items() if name.startswith("filter[note_type]")}
        since = int(query.get("filter[updated_at][from]", 0))
        rows = [
            note
            for note in self.notes.values()
            if note["_path"] == path
            and number in (0, note["entity_id"])
            and (not kinds or note["note_type"] in kinds)
            and note["updated_at"] >= since
        ]
        rows.sort(
            key=lambda note: int(note["id"]), reverse="desc" in (query.get("order[id]"), query.get("order[updated_at]"))
        )
        return self._page(request, "notes", rows)

    async def _add_notes(self, request: web.Request) -> web.Response:
        if self._row(request) is None:
            return _problem(404, "Not found")
        made = []
        for one in await request.json():
            if problem := self._wrong(one):
                return problem
            path, number = request.match_info["path"], int(request.match_info["id"])
            made.append({"id": self.add_note(path, number, one), "entity_id": number})
        return json_of({"_embedded": {"notes": made}})

    def _wrong(self, note: Mapping[str, Any]) -> web.Response | None:
        params = note.get("params") or {}
        needed = ("text",) if note.get("note_type") == "common" else ("duration", "source", "phone")
        if note.get("note_type") not in ("common", "call_in", "call_out") or any(name not in params for name in needed):
            return _problem(400, "Bad Request", note_type="InvalidType")
        if note.get("created_by") not in (None, *self.users):
            return _problem(400, "Bad Request", created_by="NotSupportedChoice")
        return None

    def add_note(self, path: str, number: int, note: Mapping[str, Any]) -> int:
        """One that lies there; calls are told as events too."""
        found = next(self._numbers)
        stamp = int(self.now())
        kept = {"created_at": stamp, "created_by": 0, "responsible_user_id": 0, **note}
        self.notes[found] = {**kept, "id": found, "entity_id": number, "_path": path, "updated_at": stamp}
        return found

    def _note_of(self, request: web.Request) -> dict[str, Any] | None:
        note = self.notes.get(int(request.match_info["note"]))
        own = (request.match_info["path"], int(request.match_info["id"]))
        return note if note is not None and (note["_path"], note["entity_id"]) == own else None

    def _get_note(self, request: web.Request) -> web.Response:
        note = self._note_of(request)
        return json_of(note) if note is not None else web.Response(status=204)

    async def _change_note(self, request: web.Request) -> web.Response:
        note, fresh = self._note_of(request), await request.json()
        if note is None:
            return _problem(404, "Not found")
        if problem := self._wrong({"note_type": note["note_type"], **fresh}):
            return problem
        if fresh.get("note_type", note["note_type"]) != note["note_type"] or "created_at" in fresh:
            return _problem(400, "Bad Request", note_type="NotSupportedChoice")
        note.update({**fresh, "updated_at": int(self.now())})
        return json_of({"id": note["id"], "updated_at": note["updated_at"]})

    async def _calls(self, request: web.Request) -> web.Response:
        made, errors = [], []
        for one in await request.json():
            if any(name not in one for name in ("direction", "duration", "source", "phone")):
                return _problem(400, "Bad Request", phone="FieldMissing")
            place = self._place_of(one["phone"])
            if place is None:
                errors.append({"title": "Entity not found", "status": 263, "request_id": one.get("request_id")})
                continue
            kind = "call_in" if one["direction"] == "inbound" else "call_out"
            stamps = {name: one[name] for name in ("created_at", "created_by", "responsible_user_id") if name in one}
            number = self.add_note(*place, {"note_type": kind, "params": {"link": "", **one}, **stamps})
            made.append({"id": number, "entity_id": place[1], "entity_type": _SINGULAR[place[0]]})
        return json_of({"_embedded": {"calls": made}, "errors": errors})

    def _place_of(self, phone: str) -> tuple[str, int] | None:
        for path in ("contacts", "companies"):
            for number, row in self.rows[path].items():
                if any(len(last_ten(phone)) == 10 and last_ten(value) == last_ten(phone) for value in _values(row)):
                    leads = [one["id"] for one in row["_embedded"]["leads"] if one["id"] in self.rows["leads"]]
                    active = [one for one in leads if self.rows["leads"][one].get("status_id") not in (142, 143)]
                    return ("leads", active[0]) if len(active) == 1 else (path, number)
        return None

    # --- What a person sees -------------------------------------------------------------------------------------------

    def standing(self) -> list[Standing]:
        """Notes that are ours and have not been emptied; a transcript belongs to its call."""
        found, transcripts = [], {}
        for note in self.notes.values():
            params = note["params"]
            mark = str(params.get("text", "")).rstrip().rpartition("#")[2]
            place = (_SINGULAR[note["_path"]], str(note["entity_id"]))
            if mark.startswith("cardline-") and mark.endswith("-t"):
                assert (mark, place) not in transcripts, "two transcripts of one call"
                transcripts[mark, place] = params["text"]
                continue
            is_call = note["note_type"] != "common"
            key = params.get("uniq", "") if is_call else mark
            if not str(key).startswith("cardline-"):
                continue
            found.append((key, place, is_call, note))
        return [
            Standing(
                key=key,
                card=place,
                is_call=is_call,
                employee=str(note["responsible_user_id"] or ""),
                inbound=note["note_type"] != "call_out",
                seconds=int(note["params"].get("duration", -1)),
                started=datetime.fromtimestamp(note["created_at"], UTC),
                text=str(note["params"].get("text", "")),
                recording=str(note["params"].get("link", "")),
                transcript=str(transcripts.get((f"{key}-t", place), "")),
            )
            for key, place, is_call, note in found
        ]


def _problem(status: int, title: str, **fields: str) -> web.Response:
    errors = [{"path": path, "code": code, "detail": "…"} for path, code in fields.items()]
    body = {"title": title, "status": status, "detail": title, "validation-errors": [{"errors": errors}]}
    return web.json_response(body, status=status, content_type="application/problem+json")


def _values(row: Mapping[str, Any]) -> list[str]:
    return [str(one["value"]) for field in row.get("custom_fields_values") or [] for one in field["values"]]


def _matches(wanted: str, value: str) -> bool:
    if "@" in wanted:
        return wanted.lower() in value.lower()
    return wanted in "".join(one for one in value if one.isdigit())
