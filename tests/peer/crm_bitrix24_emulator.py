"""An emulator of Bitrix24's REST API, with what the real one refuses.

Written from apidocs.bitrix24.com: *REST API limits* (bucket of 50, two a second, 503 QUERY_LIMIT_EXCEEDED; 429
OPERATION_TIME_LIMIT), *How to execute batch requests* (at most 50, ``$result[…]`` put into values, no nesting),
*Statuses and system error codes*, *telephony.externalCall.register* (the same parameters give the same CALL_ID for
thirty minutes; applications only), *…finish*, *…attachRecord* (mp3 and wav, uploadUrl, a second one replaces),
*telephony.call.attachTranscription*, *crm.activity.add* (a completed outgoing mail is sent),
*crm.activity.binding.move* (within one type), *crm.duplicate.findbycomm* (20 values; 20 hits of a type hide the
others), *Offline events*, lists of fifty rows, *OAuth 2.0* (a token lives an hour).
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.peer.crm_emulator import Emulator, Standing, json_of, last_ten

_ACTS = re.compile(
    r"\.(add|update|delete|move)$|externalcall\.(register|finish|attachrecord)|attachtranscription|event\.bind",
    re.IGNORECASE,
)
_RESULT = re.compile(r"\$result((?:\[[^\[\]]*\])+)")
_KINDS = {"lead": 1, "contact": 3, "company": 4}
_REGISTERED_SECONDS = 1800


class Refused(Exception):
    """An error code of the API."""

    def __init__(self, code: str, text: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": text or code}
        self.status = status


class Bitrix24Emulator(Emulator):
    """One portal with an application, a webhook, two users and a pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.webhook = "w3bh00k"
        self.client = ("local.1", "s3cret")
        self.refresh_token = "r0"
        self.code = ""
        self.scopes = ["crm", "user", "telephony", "disk"]
        self.bucket, self.bucket_at, self.leak, self.size = 0.0, time.monotonic(), 2.0, 50
        self.blocked_methods: set[str] = set()
        self.now: Callable[[], float] = time.time
        self.users: dict[str, dict[str, Any]] = {
            "1": {"ID": "1", "NAME": "Пётр", "LAST_NAME": "Иванов", "EMAIL": "p@example.com", "UF_PHONE_INNER": "101"},
            "2": {"ID": "2", "NAME": "Вера", "LAST_NAME": "Петрова", "EMAIL": "v@example.com", "ACTIVE": True},
        }
        self.cards: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in (*_KINDS, "deal")}
        self.activities: dict[str, dict[str, Any]] = {}
        self.statistics: list[dict[str, Any]] = []
        self.registered: dict[str, dict[str, Any]] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.transcripts: dict[str, list[dict[str, Any]]] = {}
        self.history: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.bound: set[str] = set()
        self.batches = 0
        self._tokens: dict[str, float] = {}
        self._uploads: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/rest/upload.json", self._upload),
            web.post("/rest/{user}/{code}/{method}", self._webhook),
            web.post("/rest/{method}", self._application),
            web.post("/oauth/token/", self._token),
        ]

    async def is_act(self, request: web.Request) -> bool:
        if "upload" in request.path:
            return True
        if "oauth" in request.path:
            return False
        method, body = request.match_info["method"].removesuffix(".json"), await request.json()
        return any(_ACTS.search(one.split("?")[0]) for one in [method, *dict(body.get("cmd") or {}).values()])

    def limited(self) -> web.Response:
        return json_of({"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"}, 503)

    def expire(self) -> None:
        self._tokens.clear()

    # --- Authorisation ------------------------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        asked = await request.post()
        grant = asked.get("grant_type")
        is_known = (asked.get("client_id"), asked.get("client_secret")) == self.client
        given = asked.get("refresh_token") if grant == "refresh_token" else asked.get("code")
        wanted = self.refresh_token if grant == "refresh_token" else self.code
        if not is_known or not given or given != wanted:
            return json_of({"error": "invalid_grant"}, 400)
        token, self.refresh_token = secrets.token_hex(8), secrets.token_hex(8)
        self._tokens[token] = self.now() + 3600
        return json_of({"access_token": token, "refresh_token": self.refresh_token, "expires_in": 3600})

    async def _webhook(self, request: web.Request) -> web.Response:
        if (request.match_info["user"], request.match_info["code"]) != ("1", self.webhook):
            return json_of({"error": "INVALID_CREDENTIALS", "error_description": "Invalid request credentials"}, 401)
        return await self._answer(request, await request.json(), is_application=False)

    async def _application(self, request: web.Request) -> web.Response:
        body = await request.json()
        token = body.pop("auth", "")
        if not token:
            return json_of({"error": "NO_AUTH_FOUND", "error_description": "Wrong authorization data"}, 401)
        if self._tokens.get(token, 0) <= self.now():
            return json_of(
                {"error": "expired_token", "error_description": "The access token provided has expired"}, 401
            )
        return await self._answer(request, body, is_application=True)

    async def _answer(self, request: web.Request, body: dict[str, Any], *, is_application: bool) -> web.Response:
        now = time.monotonic()
        self.bucket = max(0.0, self.bucket - (now - self.bucket_at) * self.leak) + 1
        self.bucket_at = now
        if self.bucket > self.size:
            return self.limited()
        method = request.match_info["method"].removesuffix(".json").lower()
        try:
            return json_of(self._run(method, body, is_application=is_application))
        except Refused as refused:
            return json_of(refused.body, refused.status)

    def _run(self, method: str, body: Mapping[str, Any], *, is_application: bool) -> dict[str, Any]:
        if method in self.blocked_methods:
            raise Refused("OPERATION_TIME_LIMIT", status=429)
        if method == "batch":
            return {"result": self._batch(body, is_application=is_application)}
        only_applications = method.startswith(("telephony.externalcall.register", "telephony.externalcall.finish"))
        if (only_applications or method.startswith(("event.", "app."))) and not is_application:
            raise Refused("WRONG_AUTH_TYPE", "Current authorization type is denied for this method", 403)
        scope = {"telephony": "telephony", "voximplant": "telephony", "crm": "crm", "user": "user", "disk": "disk"}
        needed = scope.get(method.split(".")[0])
        if needed and needed not in self.scopes:
            raise Refused("insufficient_scope", "The request requires higher privileges", 401)
        handler = getattr(self, "_do_" + method.replace(".", "_"), None)
        if handler is None:
            parts = method.split(".")
            if len(parts) == 3 and parts[0] == "crm" and parts[1] in self.cards and parts[2] in ("get", "list", "add"):
                return dict(getattr(self, f"_card_{parts[2]}")(parts[1], body))
            raise Refused("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        if _ACTS.search(method):
            self.acts += 1
        return dict(handler(body))

    def _batch(self, body: Mapping[str, Any], *, is_application: bool) -> dict[str, Any]:
        self.batches += 1
        commands = dict(body.get("cmd") or {})
        if len(commands) > 50:
            raise Refused("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
        results: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        nexts: dict[str, Any] = {}
        for name, command in commands.items():
            method, _, query = command.partition("?")
            if method == "batch":
                raise Refused("ERROR_BATCH_METHOD_NOT_ALLOWED")
            params = _nested((key, _put_in(value, results)) for key, value in parse_qsl(query, keep_blank_values=True))
            try:
                answer = self._run(method.lower(), params, is_application=is_application)
            except Refused as refused:
                errors[name] = refused.body
                if int(body.get("halt") or 0):
                    break
                continue
            results[name] = answer["result"]
            if "next" in answer:
                nexts[name] = answer["next"]
        # PHP writes empty objects as lists
        return {"result": results or [], "result_error": errors or [], "result_next": nexts or []}

    # --- Telephony ----------------------------------------------------------------------------------------------------

    def _do_telephony_externalcall_register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        user, phone = str(body.get("USER_ID") or ""), str(body.get("PHONE_NUMBER") or "")
        if not user and not body.get("USER_PHONE_INNER"):
            raise Refused("ERROR_CORE", "USER_ID or USER_PHONE_INNER should be set")
        if user not in self.users:
            raise Refused("ERROR_CORE", "User is not found or is not active")
        if str(body.get("TYPE")) not in "12345":
            raise Refused("ERROR_CORE", "Unknown TYPE")
        if len(last_ten(phone)) < 3:
            raise Refused("ERROR_CORE", "Unsupported phone number format")
        began = datetime.fromisoformat(str(body["CALL_START_DATE"]))
        if began.tzinfo is None:
            raise Refused("ERROR_CORE", "CALL_START_DATE should be in the ISO-8601 format")
        same = [phone, str(body["TYPE"]), user, body.get("LINE_NUMBER"), body.get("EXTERNAL_CALL_ID")]
        for call_id, known in self.registered.items():
            if known["same"] == same and self.now() - known["at"] < _REGISTERED_SECONDS:
                return {"result": {"CALL_ID": call_id}}
        card = (str(body.get("CRM_ENTITY_TYPE", "")).lower(), str(body.get("CRM_ENTITY_ID", "")))
        if card[1] not in self.cards.get(card[0], {}):
            card = self._by_number(phone)
        call_id = f"externalCall.{secrets.token_hex(8)}.{int(self.now())}"
        self.registered[call_id] = {"same": same, "at": self.now(), "body": dict(body), "card": card}
        return {"result": {"CALL_ID": call_id, "CRM_ENTITY_TYPE": card[0].upper(), "CRM_ENTITY_ID": card[1]}}

    def _by_number(self, phone: str) -> tuple[str, str]:
        for kind in _KINDS:
            for number, row in self.cards[kind].items():
                if any(last_ten(one["VALUE"]) == last_ten(phone) for one in row.get("PHONE", [])):
                    return kind, number
        return "", ""

    def _do_telephony_externalcall_finish(self, body: Mapping[str, Any]) -> dict[str, Any]:
        known = self.registered.get(str(body.get("CALL_ID")))
        if known is None:
            raise Refused("ERROR_CORE", "Call is not found (call should be registered prior to finishing)")
        if str(body.get("USER_ID")) not in self.users:
            raise Refused("ERROR_CORE", "User is not found or is not active")
        asked, card = known["body"], known["card"]
        duration, code = int(body.get("DURATION") or 0), str(body.get("STATUS_CODE") or "")
        row: dict[str, Any] = {
            "ID": self._number(),
            "CALL_ID": body["CALL_ID"],
            "EXTERNAL_CALL_ID": asked.get("EXTERNAL_CALL_ID"),
            "PORTAL_USER_ID": str(body["USER_ID"]),
            "PHONE_NUMBER": asked["PHONE_NUMBER"],
            "CALL_TYPE": str(asked["TYPE"]),
            "CALL_DURATION": str(duration),
            "CALL_START_DATE": asked["CALL_START_DATE"],
            "CALL_FAILED_CODE": code or ("200" if duration else "304"),
            "CRM_ENTITY_TYPE": card[0].upper(),
            "CRM_ENTITY_ID": card[1],
            "CRM_ACTIVITY_ID": None,
            "REST_APP_NAME": "Cardline",
        }
        del self.registered[str(body["CALL_ID"])]
        if card[1]:
            row["CRM_ACTIVITY_ID"] = self._activity(
                {
                    "OWNER_TYPE_ID": str(_KINDS[card[0]]),
                    "OWNER_ID": card[1],
                    "TYPE_ID": "2",
                    "DIRECTION": "2" if str(asked["TYPE"]) == "1" else "1",
                    "RESPONSIBLE_ID": str(body["USER_ID"]),
                    "START_TIME": asked["CALL_START_DATE"],
                    "COMPLETED": "Y",
                    "SUBJECT": "Звонок",
                    "ORIGIN_ID": "",
                    "COMMUNICATIONS": [{"TYPE": "PHONE", "VALUE": asked["PHONE_NUMBER"]}],
                }
            )
        self.statistics.append(row)
        return {"result": row}

    def _finished(self, body: Mapping[str, Any]) -> dict[str, Any]:
        for row in self.statistics:
            if row["CALL_ID"] == body.get("CALL_ID"):
                return row
        raise Refused("", "Call is not found in the statistic table. It looks like it is not finished yet.")

    def _do_telephony_externalcall_attachrecord(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row, name = self._finished(body), str(body.get("FILENAME") or "")
        if not name.endswith((".mp3", ".wav")):
            raise Refused("ERROR_CORE", "Wrong file extension. Only wav and mp3 are allowed")
        if body.get("RECORD_URL"):
            return {"result": {"FILE_ID": self._attach(row, str(body["RECORD_URL"]), b"fetched")}}
        token = secrets.token_hex(8)
        self._uploads[token] = json.dumps([row["CALL_ID"], name])
        return {"result": {"uploadUrl": f"{self.url}/rest/upload.json?token={token}", "fieldName": "file"}}

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        call_id, name = json.loads(self._uploads.pop(request.query["token"]))
        file = form["file"]
        assert isinstance(file, web.FileField)
        self.acts += 1
        row = next(one for one in self.statistics if one["CALL_ID"] == call_id)
        return json_of({"result": {"FILE_ID": int(self._attach(row, name, file.file.read()))}})

    def _attach(self, row: dict[str, Any], name: str, content: bytes) -> str:
        self.files.pop(str(row.get("RECORD_FILE_ID") or ""), None)
        number = self._number()
        self.files[number] = (name, content)
        row["RECORD_FILE_ID"] = number
        return number

    def _do_telephony_call_attachtranscription(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row, messages = self._finished(body), body.get("MESSAGES")
        if not isinstance(messages, list) or not messages:
            raise Refused("ERROR_CORE", "MESSAGES should be an array")
        for place, one in enumerate(messages):
            if one.get("SIDE") not in ("User", "Client"):
                raise Refused("ERROR_CORE", f"MESSAGES[{place}][SIDE] should be either Client or User")
            if not isinstance(one.get("START_TIME"), int) or one["START_TIME"] < 0 or int(one["STOP_TIME"]) < 1:
                raise Refused("ERROR_CORE", f"MESSAGES[{place}][STOP_TIME] should be greater than zero")
            if not one.get("MESSAGE"):
                raise Refused("ERROR_CORE", f"MESSAGES[{place}][MESSAGE] is empty")
        row["TRANSCRIPT_ID"] = self._number()
        self.transcripts[row["CALL_ID"]] = messages
        return {"result": {"TRANSCRIPT_ID": int(row["TRANSCRIPT_ID"])}}

    def _do_voximplant_statistic_get(self, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = _filtered(self.statistics, body.get("FILTER"))
        return _page(sorted(rows, key=lambda one: int(one["ID"]), reverse=body.get("ORDER") == "DESC"), body)

    def _do_disk_file_delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.files.pop(str(body.get("id")), None) is None:
            raise Refused("ERROR_NOT_FOUND", "Could not find entity with id")
        for row in self.statistics:
            if row.get("RECORD_FILE_ID") == str(body["id"]):
                row["RECORD_FILE_ID"] = None
        return {"result": True}

    # --- Activities ---------------------------------------------------------------------------------------------------

    def _activity(self, fields: Mapping[str, Any]) -> str:
        number = self._number()
        self.activities[number] = {"ORIGINATOR_ID": "", "DESCRIPTION": "", **fields, "ID": number}
        return number

    def _do_crm_activity_add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        fields = {**body["fields"]}
        for name in ("SUBJECT", "RESPONSIBLE_ID", "TYPE_ID", "COMMUNICATIONS"):
            if not fields.get(name):
                raise Refused("", f"The field {name} is not defined or empty")
        if str(fields["RESPONSIBLE_ID"]) not in self.users:
            raise Refused("", "The field RESPONSIBLE_ID is not defined or invalid")
        if len(fields["COMMUNICATIONS"]) > 1:
            raise Refused("", "The only one communication is allowed for activity of specified type")
        kind = next((one for one, number in _KINDS.items() if str(number) == str(fields["OWNER_TYPE_ID"])), "")
        if str(fields["OWNER_ID"]) not in self.cards.get(kind, {}):
            raise Refused("", "Could not build binding. Please ensure that owner info is defined correctly")
        self._send(fields)
        for name in ("OWNER_TYPE_ID", "OWNER_ID", "TYPE_ID", "DIRECTION", "RESPONSIBLE_ID"):
            fields[name] = str(fields[name])
        return {"result": int(self._activity(fields))}

    def _send(self, fields: Mapping[str, Any]) -> None:
        if str(fields.get("TYPE_ID")) == "4" and str(fields.get("DIRECTION")) == "2" and fields.get("COMPLETED") == "Y":
            self.sent.append(str(fields["SUBJECT"]))

    def _one(self, body: Mapping[str, Any], name: str = "id") -> dict[str, Any]:
        row = self.activities.get(str(body.get(name)))
        if row is None:
            raise Refused("NOT_FOUND" if name != "id" else "", "Activity is not found")
        return row

    def _do_crm_activity_get(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": self._one(body)}

    def _do_crm_activity_update(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row = self._one(body)
        if fixed := {"OWNER_ID", "OWNER_TYPE_ID", "TYPE_ID"} & set(body["fields"]):
            raise Refused("", f"{min(fixed)} is immutable")
        if str(body["fields"].get("RESPONSIBLE_ID", "1")) not in self.users:
            raise Refused("", "The field RESPONSIBLE_ID is not defined or invalid")
        fields = {**body["fields"]}
        for file in fields.pop("FILES", ()):
            name, encoded = file["fileData"]
            self.files.pop(str(row.get("_file")), None)
            row["_file"] = self._number()
            self.files[row["_file"]] = (name, base64.b64decode(encoded, validate=True))
        row.update(fields)
        return {"result": True}

    def _do_crm_activity_delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.files.pop(str(self._one(body).get("_file")), None)
        del self.activities[str(body["id"])]
        return {"result": True}

    def _do_crm_activity_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return _page(_filtered(self.activities.values(), body.get("filter")), body)

    def _do_crm_activity_fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": {"ID": {"type": "integer"}}}

    def _do_crm_activity_binding_move(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row = self._one(body, "activityId")
        if str(body["sourceEntityTypeId"]) != str(body["targetEntityTypeId"]):
            raise Refused("SOURCE_AND_TARGET_ENTITY_TYPES_ARE_NOT_EQUAL")
        if (row["OWNER_TYPE_ID"], row["OWNER_ID"]) != (str(body["sourceEntityTypeId"]), str(body["sourceEntityId"])):
            raise Refused("BINDING_NOT_FOUND")
        if str(body["sourceEntityId"]) == str(body["targetEntityId"]):
            raise Refused("SOURCE_AND_TARGET_ENTITY_ID_ARE_EQUAL_ERROR")
        row["OWNER_ID"] = str(body["targetEntityId"])
        return {"result": True}

    def _do_crm_activity_binding_add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self._one(body, "activityId")["_bound"] = (str(body["entityTypeId"]), str(body["entityId"]))
        return {"result": True}

    def _do_crm_activity_binding_delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        row = self._one(body, "activityId")
        if "_bound" not in row:
            raise Refused("LAST_BINDING_CANNOT_BE_DELETED")
        row["OWNER_TYPE_ID"], row["OWNER_ID"] = row.pop("_bound")
        return {"result": True}

    # --- Cards, deals, users ------------------------------------------------------------------------------------------

    def _number(self) -> str:
        return str(next(self._numbers))

    def add_card(self, kind: str, **fields: Any) -> str:
        """A person makes it."""
        number = self._number()
        stamp = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="seconds")
        self.cards[kind][number] = {"ID": number, "DATE_MODIFY": stamp, "ASSIGNED_BY_ID": "1", **fields}
        return number

    def delete_card(self, kind: str, number: str) -> None:
        """A person deletes it."""
        del self.cards[kind][number]
        name = f"ONCRM{kind.upper()}DELETE"
        if name in self.bound:
            data = {"FIELDS": {"ID": int(number)}}
            self.events.append({"ID": self._number(), "EVENT_NAME": name, "EVENT_DATA": data})

    def _card_get(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        row = self.cards[kind].get(str(body.get("id") or body.get("ID")))
        if row is None:
            raise Refused("", "Not found")
        return {"result": row}

    def _card_add(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.acts += 1
        return {"result": int(self.add_card(kind, **dict(body["fields"])))}

    def _card_list(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = _filtered(self.cards[kind].values(), body.get("filter"))
        if "DATE_MODIFY" in (body.get("order") or {}):
            rows.sort(key=lambda one: (one["DATE_MODIFY"], int(one["ID"])))
        else:
            rows.sort(key=lambda one: int(one["ID"]))
        return _page(rows, body)

    def _do_crm_duplicate_findbycomm(self, body: Mapping[str, Any]) -> dict[str, Any]:
        values = list(body.get("values") or [])
        if not values or len(values) > 20:
            raise Refused("", "Communication values is not defined")
        found: dict[str, list[int]] = {}
        for kind in [str(body["entity_type"]).lower()] if body.get("entity_type") else ["lead", "contact", "company"]:
            hits = [
                int(number)
                for number, row in self.cards[kind].items()
                for one in row.get(str(body["type"]), [])
                if _bare(one["VALUE"]) in {_bare(value) for value in values}
            ]
            if hits:
                found[kind.upper()] = hits[:20]
            if len(hits) >= 20:
                break
        return {"result": found or []}

    def _do_crm_category_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": {"categories": [{"id": 0, "name": "Продажи"}, {"id": 3, "name": "Опт"}]}}

    def _do_crm_status_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        which = body["filter"]["ENTITY_ID"]
        if which == "SOURCE":
            return {"result": [{"STATUS_ID": "CALL", "NAME": "Звонок"}]}
        prefix = "" if which == "DEAL_STAGE" else "C3:"
        rows = [("NEW", "Новая", None), ("WON", "Успех", "S"), ("LOSE", "Дорого", "F")]
        return {
            "result": [
                {"STATUS_ID": prefix + one, "NAME": name, "SORT": str(place * 10), "SEMANTICS": semantics}
                for place, (one, name, semantics) in enumerate(rows)
            ]
        }

    def _do_crm_stagehistory_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = _page(_filtered(self.history, body.get("filter")), body)
        return {**answer, "result": {"items": answer["result"]}}

    def _do_user_get(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return _page(list(self.users.values()), body)

    def _do_profile(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": {"ID": "1", "ADMIN": True, "NAME": "Пётр", "LAST_NAME": "Иванов"}}

    def _do_scope(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": self.scopes}

    def _do_app_info(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": {"ID": 1, "CODE": "Cardline"}}

    def _do_event_bind(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bound.add(str(body["event"]).upper())
        return {"result": True}

    def _do_event_offline_list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = _filtered(self.events, body.get("filter"))
        return {"result": rows[:50], "total": len(rows)}

    # --- What a person sees -------------------------------------------------------------------------------------------

    def standing(self) -> list[Standing]:
        """Activities that are ours."""
        kinds = {str(number): kind for kind, number in _KINDS.items()}
        found = []
        for number, row in self.activities.items():
            call = next((one for one in self.statistics if one["CRM_ACTIVITY_ID"] == number), {})
            key = call.get("EXTERNAL_CALL_ID") or row["ORIGIN_ID"]
            if not str(key).startswith("cardline-"):
                continue
            told = str(row["DESCRIPTION"])
            links = [line[2:] for line in told.split("\n") if line.startswith("▶ ")]
            file = self.files.get(str(call.get("RECORD_FILE_ID") or row.get("_file")), ("", b""))[0]
            said = "\n".join(one["MESSAGE"] for one in self.transcripts.get(call.get("CALL_ID", ""), []))
            is_call = row["TYPE_ID"] == "2"
            found.append(
                Standing(
                    key=str(key),
                    card=(kinds[str(row["OWNER_TYPE_ID"])], str(row["OWNER_ID"])),
                    is_call=is_call,
                    employee=str(row["RESPONSIBLE_ID"]),
                    inbound=str(row["DIRECTION"]) == "1",
                    seconds=int(call["CALL_DURATION"]) if call else -1,
                    started=datetime.fromisoformat(row["START_TIME"]),
                    text=told,
                    recording=file or (links[-1] if links and is_call else ""),
                    transcript=said or (told.partition("\n≡\n")[2] if is_call else ""),
                )
            )
        return found


def _bare(value: str) -> str:
    return value.lower() if "@" in value else "".join(one for one in value if one.isdigit())


def _nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``a[b][0]=1`` as PHP reads it; what has keys from 0 on is a list."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        parts = [part.rstrip("]") for part in name.split("[")]
        place = root
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value
    return {key: _listed(value) for key, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = {key: _listed(one) for key, one in value.items()}
    return list(made.values()) if list(made) == [str(place) for place in range(len(made))] else made


def _put_in(value: str, results: Mapping[str, Any]) -> str:
    def found(match: re.Match[str]) -> str:
        place: Any = results
        for part in re.findall(r"\[([^\[\]]*)\]", match[1]):
            place = place.get(part, "") if isinstance(place, dict) else ""
        return str(place)

    return _RESULT.sub(found, value)


def _filtered(rows: Iterable[dict[str, Any]], wanted: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    def fits(row: Mapping[str, Any]) -> bool:
        for name, value in (wanted or {}).items():
            field = name.lstrip("<>=@!%")
            sign, have = name[: len(name) - len(field)], row.get(field)
            if sign == "@" or isinstance(value, list):
                if str(have) not in {str(one) for one in value}:
                    return False
            elif sign in (">", ">=", "<", "<="):
                left, right = _comparable(have), _comparable(value)
                if not {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[sign]:
                    return False
            elif str(have) != str(value):
                return False
        return True

    return [row for row in rows if fits(row)]


def _comparable(value: Any) -> float:
    text = str(value)
    return float(text) if text.isdecimal() else datetime.fromisoformat(text).timestamp()


def _page(rows: list[dict[str, Any]], body: Mapping[str, Any]) -> dict[str, Any]:
    start = int(body.get("start") or 0)
    if start > 0 and start % 50:
        raise Refused("ERROR_ARGUMENT", "start is no multiple of 50")
    first = max(start, 0)
    answer: dict[str, Any] = {"result": rows[first : first + 50]}
    if start >= 0 and len(rows) > first + 50:
        answer["next"] = first + 50
    return answer
