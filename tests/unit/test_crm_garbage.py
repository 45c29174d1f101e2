"""Whatever answers in place of a CRM, a connector says what is wrong in words of ours and never breaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.errors import CardlineError
from linker.crm import registry
from linker.crm.facts import ExternalId, Logged
from linker.crm.protocol import Crm, CrmAuthFailed, CrmRefused, CrmUnreachable
from tests.peer.crm_contract import ADDRESS, PHONE, Place, a_call, a_mail, a_recording, a_transcript, sought
from tests.peer.crm_lab import MemoryVault, crm_settings, whole_settings

_DEEP: object = 1
for _ in range(50):
    _DEEP = [_DEEP]
_ROW = {"ID": [], "id": {}, "Ref_Key": 5, "comments": 7, "params": [], "updated_at": "x", "created_at": -1, "phone": {}}
GARBAGE: dict[str, tuple[int, bytes]] = {
    "a page of a proxy": (200, b"<html>Sign in</html>"),
    "nothing": (200, b""),
    "half of an answer": (200, b'{"result": {"result": {"card'),
    "null": (200, b"null"),
    "a list": (200, b"[[], {}, null, 5]"),
    "no text": (200, b"\xff\xfe\x00"),
    "deep": (200, json.dumps({"result": _DEEP, "value": _DEEP, "_embedded": _DEEP, "customers": _DEEP}).encode()),
    "wrong types": (
        200,
        json.dumps(
            {
                "result": {"result": [5, "x", None], "result_error": 5, "result_next": "x", "items": 7},
                "value": [_ROW, 5],
                "_embedded": {
                    name: [_ROW, 5] for name in ("contacts", "companies", "leads", "notes", "events", "users")
                },
                "customers": [_ROW, None],
                "users": {"a": _ROW},
                "next": "zzz",
                "count": None,
            }
        ).encode(),
    ),
    "an error of no shape": (400, b'{"error": {"a": 1}, "odata.error": 5, "validation-errors": {"x": [1]}}'),
    "an error with 200": (200, b'{"title": "Error", "status": 500, "detail": "x", "odata.error": {"code": "1"}}'),
    "another error with 200": (200, b'{"error": "internal", "isValid": null, "message": "Oops"}'),
    "no list where one should be": (
        200,
        b'{"result": false, "value": null, "_embedded": {}, "customers": "x", "users": 5, "isValid": true}',
    ),
    "gone": (404, b""),
    "a redirect": (302, b""),
    "a fault": (500, b"\x00"),
}


@pytest.fixture
async def server() -> AsyncIterator[tuple[TestServer, list[str]]]:
    """Answers everything with the garbage that is named last in the list."""
    which: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        status, body = GARBAGE[which[-1]]
        return web.Response(status=status, body=body, content_type="application/json")

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    running = TestServer(application, host="127.0.0.1")
    await running.start_server()
    yield running, which
    await running.close()


def _connect(kind: str, url: str) -> Crm:
    options = {"requests_a_second": "100000"} if kind != "tryton" else {}
    settings = crm_settings(kind, url, user="u", password="p", key="k", options=options)
    return registry.connect(settings, whole_settings(), MemoryVault())


_GUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
_NOTE = {"card_kind": "contact", "card": "1"}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    ("kind", "card", "logged"),
    [
        ("bitrix24", ("contact", "1"), Logged(id=ExternalId(kind="activity", id="2"), details={"call": "c"})),
        ("amocrm", ("contact", "1"), Logged(id=ExternalId(kind="note", id="2"), details=_NOTE)),
        ("onec", ("partner", _GUID), Logged(id=ExternalId(kind="calls", id=_GUID))),
        ("bluesales", ("customer", "1"), Logged(id=ExternalId(kind="comment", id="cardline-1"), details={"card": "1"})),
    ],
)  # fmt: skip
async def test_garbage_is_an_error_of_ours_or_nothing(
    server: tuple[TestServer, list[str]], kind: str, card: tuple[str, str], logged: Logged, garbage: str
) -> None:
    running, which = server
    which.append(garbage)
    place = Place()
    place.crm, place.card, place.employee = (
        _connect(kind, str(running.make_url("/"))),
        ExternalId(kind=card[0], id=card[1]),
        "1",
    )
    crm, call, mail = place.crm, a_call(place), a_mail(place)
    if kind == "onec":
        call, mail = a_call(place, employee=None), a_mail(place, employee=None)
    try:
        for asked in (
            lambda: crm.check(),
            lambda: crm.list_users(),
            lambda: crm.find_cards([PHONE, ADDRESS]),
            lambda: crm.find_logged(sought(call)),
            lambda: crm.find_foreign(call),
            lambda: crm.find_foreign(mail),
            lambda: crm.log_call(call),
            lambda: crm.log_mail(mail),
            lambda: crm.attach_recording(logged, call, a_recording(1, upload=kind == "bitrix24")),
            lambda: crm.attach_transcript(logged, call, a_transcript("Алло?")),
            lambda: crm.update(logged, call),
            lambda: crm.withdraw(logged),
            lambda: crm.list_stages(),
            lambda: crm.read_changes(""),
        ):
            try:
                await asked()
            except CardlineError as error:
                assert error.remedy
    finally:
        await crm.close()


_NO_LISTS = ("a page of a proxy", "nothing", "half of an answer", "null", "a list", "an error with 200",
             "another error with 200", "no list where one should be")  # fmt: skip


@pytest.mark.parametrize("garbage", _NO_LISTS)
@pytest.mark.parametrize(
    ("kind", "card"),
    [
        ("bitrix24", "contact/1"),
        ("amocrm", "contact/1"),
        ("onec", f"partner/{_GUID}"),
        ("bluesales", "customer/1"),
        ("tryton", "party/1"),
    ],
)
async def test_what_is_no_list_says_nothing_of_what_is_there(
    server: tuple[TestServer, list[str]], kind: str, card: str, garbage: str
) -> None:
    """Else what was logged would be taken for missing and logged twice, and whoever works there for gone."""
    running, which = server
    which.append(garbage)
    place = Place()
    place.crm, place.card, place.employee = (
        _connect(kind, str(running.make_url("/"))),
        ExternalId(kind=card.partition("/")[0], id=card.partition("/")[2]),
        "1",
    )
    try:
        for activity in (a_call(place), a_mail(place)):
            with pytest.raises((CrmUnreachable, CrmRefused, CrmAuthFailed)):
                await place.crm.find_logged(sought(activity))
        with pytest.raises((CrmUnreachable, CrmRefused, CrmAuthFailed)):
            await place.crm.read_changes("")
        with suppress(CrmUnreachable, CrmRefused, CrmAuthFailed):
            assert list(await place.crm.list_users()) == [], "nobody at all is no answer either"
    finally:
        await place.crm.close()
