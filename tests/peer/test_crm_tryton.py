"""The connector against a live Tryton: what it finds, logs, changes, withdraws and reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from agent.errors import Misconfigured
from agent.model import Direction, Disposition, Identity, IdentityKind, Role
from agent.settings import Settings
from linker.crm.facts import (
    CallToLog,
    CardToCreate,
    Changes,
    CrmDeal,
    DealState,
    ExternalId,
    Gone,
    MailParty,
    MailToLog,
    RecordingToAttach,
    Said,
    Sought,
    TranscriptToAttach,
)
from linker.crm.protocol import CrmAuthFailed, CrmGone, CrmUnreachable
from linker.crm.registry import connect
from linker.crm.tryton.connector import Tryton
from tests.peer.tryton_lab import PASSWORD, TrytonServer

pytestmark = pytest.mark.timeout(600)  # the first time a database with all its modules is made
_WHEN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_PHONE = Identity(kind=IdentityKind.PHONE, value="+74950000001")
_ADDRESS = Identity(kind=IdentityKind.ADDRESS, value="office@works.example.com")


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TrytonServer]:
    server = TrytonServer(tmp_path_factory.mktemp("tryton"))
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


class _NoVault:
    def alone(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()

    async def load(self) -> dict[str, str]:
        return {}

    async def save(self, kept: Any) -> None:
        raise AssertionError("Tryton has no tokens to keep")


@pytest.fixture
async def crm(server: TrytonServer) -> AsyncIterator[Tryton]:
    crm = connect(server.settings(), Settings(), _NoVault())
    assert isinstance(crm, Tryton)
    yield crm
    await crm.close()


def _party(server: TrytonServer, name: str) -> ExternalId:
    return ExternalId(kind="party", id=str(server.ids[name]))


def _call(card: ExternalId, key: str, **more: Any) -> CallToLog:
    values: dict[str, Any] = {
        "employee": None,
        "direction": Direction.INBOUND,
        "disposition": Disposition.ANSWERED,
        "started": _WHEN,
        "answered": _WHEN.replace(second=12),
        "ended": _WHEN.replace(minute=3, second=37),
        "phone": "+74950000001",
        "line": "101",
        "title": "Incoming call",
        "page_url": "https://cardline.example.com/interactions/7",
    }
    return CallToLog(key=key, card=card, **{**values, **more})


async def test_cards_are_found_however_numbers_are_written(server: TrytonServer, crm: Tryton) -> None:
    (petrova,) = await crm.find_cards([_PHONE])
    assert (petrova.id, petrova.name) == (_party(server, "Petrova"), "Petrova")
    assert petrova.identities == (
        _PHONE,
        Identity(kind=IdentityKind.ADDRESS, value="petrova@client.example.org"),
    )
    (works,) = await crm.find_cards([_ADDRESS])
    assert works.id == _party(server, "Works")
    assert await crm.find_cards([Identity(kind=IdentityKind.PHONE, value="+74950000099")]) == []
    assert await crm.find_cards([]) == ()


async def test_a_call_stands_on_the_party_with_times_recording_and_transcript(
    server: TrytonServer, crm: Tryton
) -> None:
    party, anna = _party(server, "Petrova"), str(server.ids["anna"])
    call = _call(party, "cardline-call-1", employee=anna)
    logged = await crm.log_call(call)
    text = next(one for one in await server.notes(int(party.id)) if "cardline-call-1" in one)
    assert text.splitlines() == [
        "Incoming call, talk 3:25, ringing 0:12",
        "02.03.2026 12:00:00 +0300 – 02.03.2026 12:03:37 +0300",
        "+74950000001 → Anna 101",
        "Open: https://cardline.example.com/interactions/7",
        "cardline-call-1",
    ]
    link = RecordingToAttach(url="https://cardline.example.com/shared/a.mp3", file_name="a.mp3", seconds=205)
    said = (Said(side=Role.CLIENT, start=61.4, end=63, text="Grey paint"),)
    transcript = TranscriptToAttach(language="en", said=said, names={Role.CLIENT: "Petrova"})
    for _ in range(2):  # an answer was lost, so it is done again
        logged = await crm.attach_recording(logged, call, link)
        logged = await crm.attach_transcript(logged, call, transcript)
    files = [one for one in await server.files(int(party.id)) if "cardline-call-1" in one["name"]]
    assert sorted((one["type"], one["link"], one["description"]) for one in files) == [
        ("data", None, "01:01 Petrova: Grey paint"),
        ("link", "https://cardline.example.com/shared/a.mp3", None),
    ]

    async def read() -> bytes:
        return b"mp3"

    await crm.attach_recording(logged, call, replace(link, read=read))
    files = [one for one in await server.files(int(party.id)) if one["name"].endswith("cardline-call-1.mp3")]
    assert [(one["type"], one["link"]) for one in files] == [("data", None)]
    await crm.withdraw(logged)
    await crm.withdraw(logged)
    assert not [one for one in await server.notes(int(party.id)) if "cardline-call-1" in one]
    assert not [one for one in await server.files(int(party.id)) if "cardline-call-1" in one["name"]]


async def test_what_was_logged_is_found_by_its_key_and_moved(server: TrytonServer, crm: Tryton) -> None:
    petrova, works = _party(server, "Petrova"), _party(server, "Works")
    call = _call(petrova, "cardline-call-2")
    sought = Sought(key=call.key, is_call=True, card=petrova, at=_WHEN)
    assert await crm.find_logged(sought) is None
    logged = await crm.log_call(call)
    assert await crm.find_logged(sought) == logged
    await crm.attach_recording(
        logged, call, RecordingToAttach(url="https://example.com/b.mp3", file_name="b", seconds=1)
    )
    moved = await crm.update(logged, replace(call, card=works, disposition=Disposition.BUSY, title="Missed call"))
    assert moved == await crm.update(
        moved, replace(call, card=works, disposition=Disposition.BUSY, title="Missed call")
    )
    assert not [one for one in await server.notes(int(petrova.id)) if call.key in one]
    (text,) = [one for one in await server.notes(int(works.id)) if call.key in one]
    assert text.startswith("Missed call, ringing")
    assert [one["link"] for one in await server.files(int(works.id))] == ["https://example.com/b.mp3"]
    await crm.withdraw(moved)
    with pytest.raises(CrmGone):
        await crm.update(moved, call)


async def test_a_mail_stands_on_the_party(server: TrytonServer, crm: Tryton) -> None:
    works = _party(server, "Works")
    mail = MailToLog(
        key="cardline-mail-1",
        card=works,
        employee=None,
        direction=Direction.OUTBOUND,
        sent=_WHEN,
        message_id="1@cardline.example.com",
        subject="Offer",
        text="Here it is.",
        parties=(
            MailParty(position="from", address="anna@cardline.example.com", name="Anna"),
            MailParty(position="to", address="office@works.example.com"),
        ),
        attachments=("offer.pdf",),
    )
    await crm.log_mail(mail)
    (text,) = [one for one in await server.notes(int(works.id)) if mail.key in one]
    for line in ("Outgoing mail: Offer", "From: Anna <anna@cardline.example.com>", "Attachments: offer.pdf",
                 "Message-ID: <1@cardline.example.com>", "Here it is."):  # fmt: skip
        assert line in text.splitlines()


async def test_a_card_is_made_once(server: TrytonServer, crm: Tryton) -> None:
    identity = Identity(kind=IdentityKind.PHONE, value="+74950000031")
    card = CardToCreate(key="cardline-card-1", name="Newcomer", kind="person", identities=(identity,))
    first = await crm.create_card(card)
    assert await crm.create_card(card) == first
    assert [one.id for one in await crm.find_cards([identity])] == [first]


async def test_refusals_name_who_must_act(server: TrytonServer, crm: Tryton) -> None:
    with pytest.raises(CrmGone):
        await crm.log_call(_call(ExternalId(kind="party", id="99999"), "cardline-call-3"))
    stranger = server.settings().model_copy(update={"password": type(server.settings().password)("wrong")})
    for settings, error in (
        (stranger, CrmAuthFailed),
        (server.settings(url=f"http://127.0.0.1:{server.port}/nowhere"), CrmAuthFailed),
        (server.settings(url="http://127.0.0.1:9/crm"), CrmUnreachable),
    ):
        other = connect(settings, Settings(), _NoVault())
        with pytest.raises(error):
            await other.list_users()
        await other.close()
    with pytest.raises(Misconfigured):
        connect(server.settings(user=""), Settings(), _NoVault())
    assert PASSWORD not in str(stranger)


async def test_check_proves_rights_and_leaves_nothing(server: TrytonServer, crm: Tryton) -> None:
    before = [await server.notes(server.ids[name]) for name in ("Petrova", "Works")]
    assert {one.level for one in await crm.check()} == {"ok"}
    guest = connect(server.settings("guest"), Settings(), _NoVault())
    try:
        lacking = {one.subject: one.text for one in await guest.check() if one.level != "ok"}
    finally:
        await guest.close()
    assert list(lacking) == ["sale.opportunity"]
    assert "May not read. Give the user a group" in lacking["sale.opportunity"]
    assert [await server.notes(server.ids[name]) for name in ("Petrova", "Works")] == before


async def test_a_session_that_expired_is_opened_anew(server: TrytonServer, crm: Tryton) -> None:
    assert await crm.list_users()
    await server.stop()
    with pytest.raises(CrmUnreachable):
        await crm.list_users()
    await server.start()
    rpc = server.rpc()
    assert await rpc.call("res.user", "search", [], 0, 1, None)
    rpc._session = "Session YWRtaW46MTpiYWQ="  # what a server that forgot it would see
    assert await rpc.call("res.user", "search", [], 0, 1, None)
    await rpc.close()
    users = {one.address: one.name for one in await crm.list_users()}
    assert users["anna@cardline.example.com"] == "Anna"


async def test_cards_and_deals_are_read_incrementally(server: TrytonServer, crm: Tryton) -> None:
    pages = [await crm.read_changes("")]
    while not pages[-1].is_last:
        pages.append(await crm.read_changes(pages[-1].cursor))
    cards = {one.name: one for page in pages for one in page.cards}
    assert cards["Petrova"].identities[0] == _PHONE
    (deal,) = [one for page in pages for one in page.deals]
    assert isinstance(deal, CrmDeal)
    assert (deal.card, deal.title, str(deal.amount), deal.currency) == (
        cards["Petrova"].id,
        "Grey paint",
        "1200.50",
        "RUB",
    )
    assert (deal.state, [one.stage for one in deal.history]) == (DealState.OPEN, ["lead"])

    rpc = server.rpc()
    try:
        (double,) = await rpc.call("party.party", "create", [{"name": "Petrova"}])
        (spare,) = await rpc.call("party.party", "create", [{"name": "Spare"}])
        await rpc.call("party.party", "write", [spare], {"active": False})
        await rpc.call("sale.opportunity", "lost", [server.ids["sale"]])
        await _replace(server, double, server.ids["Petrova"])
    finally:
        await rpc.close()
    cursor = pages[-1].cursor
    news: list[Changes] = []
    while not news or not news[-1].is_last:
        news.append(await crm.read_changes(news[-1].cursor if news else cursor))
    gone = [one for page in news for one in page.gone]
    assert Gone(id=ExternalId(kind="party", id=str(double)), merged_into=cards["Petrova"].id) in gone
    assert Gone(id=ExternalId(kind="party", id=str(spare))) in gone
    (lost,) = [one for page in news for one in page.deals]
    assert (lost.state, [one.stage for one in lost.history]) == (DealState.LOST, ["lead", "lost"])


async def _replace(server: TrytonServer, source: int, destination: int) -> None:
    """The wizard «Replace» on a party, as a person runs it."""
    rpc = server.rpc()
    await rpc.call("res.user", "search", [], 0, 1, None)
    session = {"Authorization": rpc._session}
    await rpc.close()
    context = {"active_model": "party.party", "active_id": source, "active_ids": [source], "language": "en"}

    async def post(method: str, *params: Any) -> Any:
        body = {"id": 1, "method": f"wizard.party.replace.{method}", "params": [*params, context]}
        async with aiohttp.ClientSession() as web, web.post(f"{server.url}/rpc/", json=body, headers=session) as answer:
            found = await answer.json(content_type=None)
        assert "error" not in found, found
        return found["result"]

    number = (await post("create"))[0]
    await post("execute", number, {"ask": {"source": source, "destination": destination}}, "replace")
