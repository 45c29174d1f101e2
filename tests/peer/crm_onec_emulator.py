"""An emulator of the standard OData interface of 1C:Предприятие, with what the real one refuses.

Written from its.1c.ru, v8.3 developer's guide, chapter 17 *Стандартный интерфейс OData*, and 1cfresh.com, *Работа с
данными … OData*: Basic authentication, objects by ``guid'…'``, filters with eq, ge, le, and, or, endswith, strings
of unlimited length that cannot be compared, unknown fields refused, dates without zones, a mark in place of deletion,
objects that are not published, ``$metadata``.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from tests.peer.crm_emulator import Emulator, Standing, json_of

EMPTY = "00000000-0000-0000-0000-000000000000"
_ZONE = ZoneInfo("Europe/Moscow")
_TOKEN = re.compile(
    r"(endswith)\((\w+),\s*'((?:[^']|'')*)'\)|(\w+) (eq|ge|le) (?:guid|datetime)?'((?:[^']|'')*)'|\b(and|or)\b|([()])"
)
_COMMON = ["Ref_Key", "DataVersion", "DeletionMark"]
FIELDS: dict[str, list[str]] = {
    "Catalog_Партнеры": ["Code", "Description", "ЮрФизЛицо", "ОсновнойМенеджер_Key", "КонтактнаяИнформация"],
    "Catalog_Пользователи": ["Description", "Недействителен"],
    "Document_ТелефонныйЗвонок": [
        "Number", "Date", "Posted", "Входящий", "Тема", "Описание", "Ответственный_Key", "АбонентКонтакт_Key",
        "АбонентПредставление", "АбонентКакСвязаться", "Комментарий",
    ],
    "Document_ЭлектронноеПисьмоВходящее": [
        "Number", "Date", "Тема", "Текст", "Ответственный_Key", "Партнер_Key", "ИдентификаторСообщения", "Комментарий",
    ],
    "Document_ЭлектронноеПисьмоИсходящее": [
        "Number", "Date", "Тема", "Текст", "Ответственный_Key", "Партнер_Key", "ИдентификаторСообщения", "СтатусПисьма",
        "Комментарий",
    ],
    "Catalog_СделкиСКлиентами": [
        "Description", "Партнер_Key", "Статус", "ПотенциальнаяСуммаПродажи", "Ответственный_Key", "ДатаНачала",
        "ДатаОкончания",
    ],
}  # fmt: skip
_UNLIMITED = ("Комментарий", "Описание", "Текст")
_LONGEST = {"Тема": 150, "Description": 100, "АбонентПредставление": 100, "АбонентКакСвязаться": 100}
_CONTACTS = "Catalog_Партнеры_КонтактнаяИнформация"


class Refused(Exception):
    """An ``odata.error``."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"odata.error": {"code": code, "message": {"lang": "ru", "value": text}}}


class OneCEmulator(Emulator):
    """One base with two users."""

    def __init__(self) -> None:
        super().__init__()
        self.login = ("Кардлайн", "пароль")
        self.fields = {name: [*_COMMON, *fields] for name, fields in FIELDS.items()}
        self.sets: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.fields}
        self.users = [self.add("Catalog_Пользователи", Description=name) for name in ("Иванов Пётр", "Петрова Вера")]

    def routes(self) -> list[web.RouteDef]:
        base = "/base/odata/standard.odata"
        return [
            web.get(f"{base}/$metadata", self._metadata),
            web.route("*", f"{base}/{{name}}", self._guarded),
        ]

    async def is_act(self, request: web.Request) -> bool:
        return request.method in ("POST", "PATCH")

    def limited(self) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "7"})

    def add(self, name: str, **fields: Any) -> str:
        """A person makes an object."""
        key = str(uuid.uuid4())
        blank = {field: EMPTY if field.endswith("_Key") else "" for field in self.fields[name]}
        self.sets[name][key] = {**blank, "DeletionMark": False, **fields, "Ref_Key": key}
        return key

    # --- The interface ------------------------------------------------------------------------------------------------

    def _is_let_in(self, request: web.Request) -> bool:
        wanted = base64.b64encode(":".join(self.login).encode()).decode()
        return request.headers.get("Authorization") == f"Basic {wanted}"

    async def _guarded(self, request: web.Request) -> web.Response:
        if not self._is_let_in(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        try:
            return await self._answer(request)
        except Refused as refused:
            return json_of(refused.body, refused.status)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.query.get("$format") != "json":
            raise Refused(406, "0", "application/json is asked for by $format")
        found = re.fullmatch(r"(\w+)(?:\(guid'([0-9a-f-]{36})'\))?", request.match_info["name"])
        if found is None or (found[1] not in self.sets and found[1] != _CONTACTS):
            raise Refused(404, "8", f"Тип сущности '{request.match_info['name']}' не найден")
        name, key = found[1], found[2]
        if request.method == "GET" and key is None:
            return json_of({"odata.metadata": "…", "value": self._list(name, request.query)})
        if request.method == "POST" and key is None:
            self.acts += 1
            fields = await request.json()
            self._judge(name, fields)
            made = self.sets[name][self.add(name, **fields)]
            self._send(name, made)
            return json_of(made, 201)
        row = self.sets[name].get(key)
        if row is None:
            raise Refused(404, "9", "Экземпляр сущности не найден")
        if request.method == "PATCH":
            self.acts += 1
            fields = await request.json()
            self._judge(name, fields)
            row.update(fields)
            self._send(name, row)
        return json_of(row)

    def _judge(self, name: str, fields: Mapping[str, Any]) -> None:
        for field, value in fields.items():
            if field not in self.fields[name]:
                raise Refused(400, "10", f"Свойство '{field}' не найдено")
            if field.endswith("_Key") and not re.fullmatch(r"[0-9a-f-]{36}", str(value)):
                raise Refused(400, "1", "Ошибка разбора ссылки")
            if field == "Date" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(value)):
                raise Refused(400, "1", "Ошибка разбора даты")
            if len(str(value)) > _LONGEST.get(field, 10**6):
                raise Refused(400, "1", f"Значение '{field}' слишком длинное")

    def _send(self, name: str, row: Mapping[str, Any]) -> None:
        if name.endswith("Исходящее") and row["СтатусПисьма"] != "Отправлено":
            self.sent.append(row["Тема"])

    def _list(self, name: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        rows = self._contacts() if name == _CONTACTS else [dict(row) for row in self.sets[name].values()]
        if wanted := query.get("$filter"):
            known = set(rows[0]) if rows else None
            condition = compiled(wanted, known)
            rows = [row for row in rows if condition(row)]
        for order in reversed(query.get("$orderby", "").split(",")):
            field, _, way = order.partition(" ")
            if field:
                rows.sort(key=lambda row, by=field: str(row.get(by)), reverse=way == "desc")  # type: ignore[misc]
        skip = int(query.get("$skip", 0))
        return rows[skip : skip + int(query.get("$top", 10**9))]

    def _contacts(self) -> list[dict[str, Any]]:
        return [
            {"НомерТелефона": "", "АдресЭП": "", "Представление": "", "Тип": "", **line, "Ref_Key": key}
            for key, row in self.sets["Catalog_Партнеры"].items()
            for line in row["КонтактнаяИнформация"] or []
        ]

    async def _metadata(self, request: web.Request) -> web.Response:
        if not self._is_let_in(request):
            return web.Response(status=401)
        types = dict(self.fields)
        types[_CONTACTS] = ["Ref_Key", "LineNumber", "Тип", "Представление", "АдресЭП", "НомерТелефона"]
        entities = "".join(
            f'<EntityType Name="{name}"><Key><PropertyRef Name="Ref_Key"/></Key>'
            + "".join(f'<Property Name="{field}" Type="Edm.String"/>' for field in fields)
            + "</EntityType>"
            for name, fields in types.items()
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><edmx:Edmx xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx">'
            '<edmx:DataServices><Schema xmlns="http://schemas.microsoft.com/ado/2009/11/edm" Namespace="StandardODATA">'
            f"{entities}</Schema></edmx:DataServices></edmx:Edmx>"
        )
        return web.Response(text=body, content_type="application/xml")

    # --- What a person sees -------------------------------------------------------------------------------------------

    def standing(self) -> list[Standing]:
        """Documents with our key that are not marked."""
        found = []
        for name, rows in self.sets.items():
            is_call = name.endswith("Звонок")
            for row in rows.values():
                key = next(iter(re.findall(r"cardline-[\w-]+", str(row.get("Комментарий")))), "")
                if row["DeletionMark"] or not key:
                    continue
                text = row["Описание" if is_call else "Текст"]
                links = [line[2:] for line in text.split("\n") if line.startswith("▶ ")]
                found.append(
                    Standing(
                        key=key,
                        card=("partner", row["АбонентКонтакт_Key" if is_call else "Партнер_Key"]),
                        is_call=is_call,
                        employee=row["Ответственный_Key"].replace(EMPTY, ""),
                        inbound=row["Входящий"] if is_call else name.endswith("Входящее"),
                        seconds=-1,
                        started=datetime.fromisoformat(row["Date"]).replace(tzinfo=_ZONE),
                        text=text,
                        recording=links[-1] if links and is_call else "",
                        transcript=text.partition("\n≡\n")[2] if is_call else "",
                    )
                )
        return found


def compiled(text: str, known: set[str] | None) -> Any:
    """A filter as a function of a row. Unlimited strings cannot be compared, nor unknown fields named."""
    made, at = [], 0
    for token in _TOKEN.finditer(text):
        if text[at : token.start()].strip():
            raise Refused(400, "14", f"Ошибка разбора опции запроса: {text[at : token.start()]}")
        at = token.end()
        field = token[2] or token[4]
        if field and (field in _UNLIMITED or (known is not None and field not in known)):
            raise Refused(400, "10", f"Свойство '{field}' не найдено или не сравнивается")
        if token[1]:
            made.append(f"str(row.get({field!r})).endswith({token[3].replace(chr(39) * 2, chr(39))!r})")
        elif token[4]:
            sign = {"eq": "==", "ge": ">=", "le": "<="}[token[5]]
            made.append(f"str(row.get({field!r})) {sign} {token[6].replace(chr(39) * 2, chr(39))!r}")
        else:
            made.append(token[7] or token[8])
    if text[at:].strip():
        raise Refused(400, "14", "Ошибка разбора опции запроса")
    return eval(f"lambda row: {' '.join(made)}")
