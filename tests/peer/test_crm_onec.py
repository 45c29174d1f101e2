"""1C against its emulator: the contract, names of configurations, and what is its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import SecretStr

from agent.errors import Misconfigured
from agent.model import Direction
from linker.crm.facts import CallToLog, DealState, ExternalId
from linker.crm.onec import connect, propose_names
from linker.crm.onec.api import local
from linker.crm.onec.names import USUAL, propose, read_metadata
from linker.crm.protocol import Crm, CrmAuthFailed, CrmLimit, CrmRefused
from tests.peer.crm_contract import (
    ADDRESS,
    OTHER_PHONE,
    PHONE,
    START,
    CrmContract,
    Lab,
    a_call,
    a_mail,
    read_all,
)
from tests.peer.crm_emulator import Fault, Standing
from tests.peer.crm_lab import MemoryVault, crm_settings, whole_settings
from tests.peer.crm_onec_emulator import OneCEmulator


class OneCLab(Lab):
    """A base with two partners."""

    emulator: OneCEmulator

    def __init__(self, emulator: OneCEmulator) -> None:
        self.emulator = emulator
        self.employee, self.other_employee = emulator.users
        self.settings = crm_settings("onec", f"{emulator.url}/base", user=emulator.login[0], password=emulator.login[1])
        self.crm = connect(self.settings, whole_settings(), MemoryVault())
        self.card = self.add_card("+7 (495) 000-00-01")
        lines = emulator.sets["Catalog_Партнеры"][self.card.id]["КонтактнаяИнформация"]
        lines.append({"Тип": "АдресЭлектроннойПочты", "Представление": ADDRESS.value, "АдресЭП": ADDRESS.value})
        self.other_card = self.add_card(OTHER_PHONE.value)

    def standing(self) -> Sequence[Standing]:
        return self.emulator.standing()

    def add_card(self, phone: str) -> ExternalId:
        digits = "".join(one for one in phone if one.isdigit())
        line = {"Тип": "Телефон", "Представление": phone, "НомерТелефона": digits}
        made = self.emulator.add(
            "Catalog_Партнеры", Description="Анна", ЮрФизЛицо="ЧастноеЛицо", КонтактнаяИнформация=[line]
        )
        return ExternalId(kind="partner", id=made)

    def delete_card(self, card: ExternalId) -> None:
        self.emulator.sets["Catalog_Партнеры"][card.id]["DeletionMark"] = True

    async def wrong_key(self) -> Crm:
        wrong = self.settings.model_copy(update={"password": SecretStr("wrong")})
        return connect(wrong, whole_settings(), MemoryVault())

    def log_foreign(self, call: CallToLog) -> str:
        return self.emulator.add(
            "Document_ТелефонныйЗвонок",
            Date=local(call.started, "Europe/Moscow"),
            АбонентКакСвязаться="8 (495) 000-00-01",
            Описание="Звонок из панели телефонии",
        )


@pytest.fixture
async def lab() -> AsyncIterator[OneCLab]:
    """A base."""
    async with OneCEmulator() as emulator:
        lab = OneCLab(emulator)
        yield lab
        await lab.crm.close()


class TestOneC(CrmContract):
    """The contract."""

    def after_a_while(self, cursor: str) -> str:
        at = json.loads(cursor)
        return json.dumps({name: {**place, "due": 0} for name, place in at.items()})


async def test_between_sweeps_nothing_is_read(lab: OneCLab) -> None:
    _, cursor = await read_all(lab.crm)
    before = lab.emulator.requests
    changes = await lab.crm.read_changes(cursor)
    assert (changes.cards, changes.is_last, lab.emulator.requests) == ([], True, before)


async def test_a_field_with_the_time_of_change_spares_sweeps(lab: OneCLab) -> None:
    for fields in (lab.emulator.fields["Catalog_Партнеры"],):
        fields.append("ДатаИзменения")
    rows = lab.emulator.sets["Catalog_Партнеры"]
    for row in rows.values():
        row["ДатаИзменения"] = "2026-03-01T10:00:00"
    settings = lab.settings.model_copy(update={"options": {"partner_changed": "ДатаИзменения"}})
    crm = connect(settings, whole_settings(), MemoryVault())
    try:
        _, cursor = await read_all(crm)
        rows[lab.other_card.id]["ДатаИзменения"] = "2026-03-01T10:00:01"
        pages, cursor = await read_all(crm, cursor)
        assert lab.other_card in {card.id for page in pages for card in page.cards}
        pages, _ = await read_all(crm, cursor)
        assert {card.id for page in pages for card in page.cards} == {lab.other_card}
    finally:
        await crm.close()


async def test_an_outgoing_mail_is_in_the_state_in_which_it_is_not_sent(lab: OneCLab) -> None:
    logged = await lab.crm.log_mail(a_mail(lab, direction=Direction.OUTBOUND))
    assert logged.id.kind == "mails_out"
    assert lab.emulator.sent == []
    crm = connect(lab.settings.model_copy(update={"options": {"mail_state": ""}}), whole_settings(), MemoryVault())
    try:
        with pytest.raises(CrmRefused, match="mail_state"):
            await crm.log_mail(a_mail(lab, key="cardline-2", direction=Direction.OUTBOUND))
        assert len(lab.standing()) == 1
    finally:
        await crm.close()


async def test_a_foreign_mail_is_found_by_its_message_id(lab: OneCLab) -> None:
    mail = a_mail(lab, message_id="o'brien@example.com")
    place = "Document_ЭлектронноеПисьмоВходящее"
    theirs = lab.emulator.add(place, ИдентификаторСообщения="<o'brien@example.com>")
    found = await lab.crm.find_foreign(mail)
    assert found is not None
    assert (found.id.id, found.is_foreign) == (theirs, True)
    await lab.crm.update(found, mail)
    row = lab.emulator.sets[place][theirs]
    assert (row["Партнер_Key"], row["Текст"]) == (lab.card.id, "")


async def test_what_is_withdrawn_keeps_no_number_and_no_word(lab: OneCLab) -> None:
    await lab.crm.withdraw(await lab.crm.log_call(a_call(lab)))
    await lab.crm.withdraw(await lab.crm.log_mail(a_mail(lab)))
    rest = str([lab.emulator.sets[name] for name in lab.emulator.sets if name.startswith("Document")])
    assert PHONE.value not in rest
    assert "счёт" not in rest


async def test_an_object_that_is_not_published_is_named_with_its_remedy(lab: OneCLab) -> None:
    del lab.emulator.sets["Document_ТелефонныйЗвонок"]
    with pytest.raises(CrmRefused, match="cardline crm metadata"):
        await lab.crm.log_call(a_call(lab))
    findings = {one.subject: one.level for one in await lab.crm.check()}
    assert findings["Document_ТелефонныйЗвонок"] == "fault"


async def test_a_busy_server_says_when(lab: OneCLab) -> None:
    lab.emulator.faults.append(Fault.LIMITS)
    with pytest.raises(CrmLimit) as limit:
        await lab.crm.log_call(a_call(lab))
    assert limit.value.retry_after == 7


async def test_deals_have_a_state_and_an_amount(lab: OneCLab) -> None:
    lab.emulator.add(
        "Catalog_СделкиСКлиентами",
        Description="Поставка",
        Партнер_Key=lab.card.id,
        Статус="Проиграна",
        ПотенциальнаяСуммаПродажи=1500.5,
        ДатаНачала=local(START, "Europe/Moscow"),
    )
    pages, _ = await read_all(lab.crm)
    (deal,) = [one for page in pages for one in page.deals]
    assert (deal.card, deal.state, str(deal.amount), deal.created) == (lab.card, DealState.LOST, "1500.5", START)


async def test_names_are_proposed_from_the_metadata(lab: OneCLab) -> None:
    assert [one for one in await propose_names(lab.settings) if one.note] == []
    fields = lab.emulator.fields
    fields["Catalog_Контрагенты"] = fields.pop("Catalog_Партнеры")
    fields["Document_ТелефонныйЗвонок"].remove("АбонентКонтакт_Key")
    fields["Document_ТелефонныйЗвонок"].append("Контрагент_Key")
    proposed = {one.option: one for one in await propose_names(lab.settings)}
    assert proposed["partners"].name == "Catalog_Контрагенты"
    assert proposed["call_partner"].name == "Контрагент_Key"
    assert "АбонентКонтакт_Key is not there" in proposed["call_partner"].note
    wrong = lab.settings.model_copy(update={"password": SecretStr("wrong")})
    with pytest.raises(CrmAuthFailed):
        await propose_names(wrong)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><x/>'.encode("utf-16"),
    ],
)
def test_what_is_no_metadata_is_refused(document: bytes) -> None:
    with pytest.raises(Misconfigured):
        read_metadata(document)


def test_metadata_of_nothing_proposes_nothing() -> None:
    assert {one.name for one in propose({}, USUAL) if one.option != "partner_changed"} == {""}
