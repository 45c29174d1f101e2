"""Bitrix24 against its emulator: the contract as an application and as a webhook, and what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from agent.model import Disposition
from linker.crm.bitrix24 import connect, log_in
from linker.crm.facts import CallToLog, DealState, ExternalId
from linker.crm.protocol import Crm, CrmAuthFailed, CrmLimit, CrmRefused, CrmRightsMissing, CrmUnreachable
from tests.peer.crm_bitrix24_emulator import Bitrix24Emulator
from tests.peer.crm_contract import (
    ADDRESS,
    OTHER_PHONE,
    PHONE,
    SOUND,
    START,
    CrmContract,
    Lab,
    a_call,
    a_mail,
    a_recording,
    a_transcript,
    read_all,
    sought,
)
from tests.peer.crm_emulator import Fault, Standing
from tests.peer.crm_lab import MemoryVault, crm_settings, whole_settings


class BitrixLab(Lab):
    """A portal with two contacts."""

    emulator: Bitrix24Emulator

    def __init__(self, emulator: Bitrix24Emulator, *, is_application: bool) -> None:
        self.emulator = emulator
        self.vault = MemoryVault({"refresh_token": "r0"})
        self.employee, self.other_employee = "1", "2"
        more: dict[str, object] = {"user": "1", "key": emulator.webhook}
        if is_application:
            more = {"client_id": emulator.client[0], "client_secret": emulator.client[1]}
        options = {"oauth_url": f"{emulator.url}/oauth/token", "requests_a_second": "1000"}
        self.settings = crm_settings("bitrix24", emulator.url, options=options, **more)
        self.crm = connect(self.settings, whole_settings(), self.vault)
        self.card = self.add_card(PHONE.value)
        emulator.cards["contact"][self.card.id]["EMAIL"] = [{"VALUE": ADDRESS.value}]
        self.other_card = self.add_card(OTHER_PHONE.value)

    def standing(self) -> Sequence[Standing]:
        return self.emulator.standing()

    def add_card(self, phone: str) -> ExternalId:
        return ExternalId(kind="contact", id=self.emulator.add_card("contact", NAME="Анна", PHONE=[{"VALUE": phone}]))

    def delete_card(self, card: ExternalId) -> None:
        self.emulator.delete_card(card.kind, card.id)

    async def wrong_key(self) -> Crm:
        wrong = self.settings.model_copy(update={"client_id": "", "user": "1", "key": SecretStr("wrong")})
        return connect(wrong, whole_settings(), MemoryVault())

    def log_foreign(self, call: CallToLog) -> str:
        body = {
            "USER_ID": call.employee,
            "PHONE_NUMBER": call.phone.lstrip("+"),
            "TYPE": 2,
            "CALL_START_DATE": (call.started + timedelta(seconds=20)).isoformat(),
            "CRM_ENTITY_TYPE": call.card.kind.upper(),
            "CRM_ENTITY_ID": call.card.id,
        }
        run = self.emulator._run
        made = run("telephony.externalcall.register", body, is_application=True)["result"]
        ended = {"CALL_ID": made["CALL_ID"], "USER_ID": call.employee, "DURATION": 100}
        return str(run("telephony.externalcall.finish", ended, is_application=True)["result"]["CRM_ACTIVITY_ID"])

    def stored_sound(self, file: str) -> bytes:
        return next(content for name, content in self.emulator.files.values() if name == file)


@pytest.fixture
async def lab() -> AsyncIterator[BitrixLab]:
    """An application."""
    async with Bitrix24Emulator() as emulator:
        emulator.size = 10_000
        lab = BitrixLab(emulator, is_application=True)
        yield lab
        await lab.crm.close()


@pytest.fixture
async def webhook() -> AsyncIterator[BitrixLab]:
    """A webhook of the same portal."""
    async with Bitrix24Emulator() as emulator:
        emulator.size = 10_000
        lab = BitrixLab(emulator, is_application=False)
        yield lab
        await lab.crm.close()


class TestApplication(CrmContract):
    """The contract."""


class TestWebhook(CrmContract):
    """The contract, with what a webhook can."""

    @pytest.fixture
    async def lab(self, webhook: BitrixLab) -> BitrixLab:
        return webhook


async def test_a_call_is_registered_and_finished_in_one_request(lab: BitrixLab) -> None:
    await lab.crm.list_users()
    before = lab.emulator.requests
    await lab.crm.log_call(a_call(lab))
    assert lab.emulator.requests == before + 1
    (row,) = lab.emulator.statistics
    assert (row["CALL_DURATION"], row["CALL_FAILED_CODE"], row["EXTERNAL_CALL_ID"]) == ("120", "200", a_call(lab).key)


@pytest.mark.parametrize(
    ("disposition", "code"),
    [(Disposition.NO_ANSWER, "304"), (Disposition.BUSY, "486"), (Disposition.FAILED, "503")],
)
async def test_each_end_of_a_call_has_its_code(lab: BitrixLab, disposition: Disposition, code: str) -> None:
    await lab.crm.log_call(a_call(lab, disposition=disposition, answered=None))
    assert lab.emulator.statistics[0]["CALL_FAILED_CODE"] == code
    assert lab.emulator.statistics[0]["CALL_DURATION"] == "0"


async def test_the_same_call_within_thirty_minutes_is_registered_once(lab: BitrixLab) -> None:
    """A batch that was cut between register and finish: the next attempt gets the same CALL_ID."""
    lab.emulator.blocked_methods.add("telephony.externalcall.finish")
    with pytest.raises(CrmLimit):
        await lab.crm.log_call(a_call(lab))
    assert len(lab.emulator.registered) == 1
    assert await lab.crm.find_logged(sought(a_call(lab))) is None
    lab.emulator.blocked_methods.clear()
    await lab.crm.log_call(a_call(lab))
    assert (len(lab.emulator.statistics), len(lab.emulator.registered)) == (1, 0)


async def test_the_limit_is_kept_without_being_told(lab: BitrixLab) -> None:
    """With the real pace and half of the bucket taken by others nobody runs into it."""
    lab.emulator.size = 27
    settings = lab.settings.model_copy(update={"options": {"oauth_url": f"{lab.emulator.url}/oauth/token"}})
    crm = connect(settings, whole_settings(), lab.vault)
    try:
        for number in range(28):
            await crm.find_logged(replace(sought(a_mail(lab)), key=f"cardline-{number}"))
        assert lab.emulator.bucket <= 27
    finally:
        await crm.close()


async def test_a_full_bucket_and_a_blocked_method_say_when(lab: BitrixLab) -> None:
    lab.emulator.size = 0
    with pytest.raises(CrmLimit) as full:
        await lab.crm.list_users()
    lab.emulator.size = 1000
    lab.emulator.blocked_methods.add("user.get")
    with pytest.raises(CrmLimit) as blocked:
        await lab.crm.list_users()
    assert full.value.retry_after
    assert (blocked.value.retry_after or 0) > full.value.retry_after


async def test_a_missing_scope_is_a_missing_right(lab: BitrixLab) -> None:
    lab.emulator.scopes.remove("telephony")
    with pytest.raises(CrmRightsMissing):
        await lab.crm.log_call(a_call(lab))
    findings = {one.subject: one.level for one in await lab.crm.check()}
    assert findings["scope telephony"] == "fault"


async def test_a_user_who_left_is_no_reason_to_try_again(lab: BitrixLab) -> None:
    with pytest.raises(CrmRefused):
        await lab.crm.log_call(a_call(lab, employee="77"))


async def test_twenty_leads_do_not_hide_the_contact(lab: BitrixLab) -> None:
    for _ in range(25):
        lab.emulator.add_card("lead", TITLE="Заявка", PHONE=[{"VALUE": PHONE.value}])
    assert lab.card in {card.id for card in await lab.crm.find_cards([PHONE])}


async def test_a_call_moves_from_a_contact_to_a_company(lab: BitrixLab) -> None:
    company = ExternalId(kind="company", id=lab.emulator.add_card("company", TITLE="ООО Ромашка"))
    logged = await lab.crm.log_call(a_call(lab))
    await lab.crm.update(logged, a_call(lab, card=company))
    assert [one.card for one in lab.standing()] == [("company", company.id)]


async def test_an_upload_whose_answer_is_lost_is_made_again_and_there_is_one(lab: BitrixLab) -> None:
    call = a_call(lab)
    logged = await lab.crm.log_call(call)
    lab.emulator.faults.extend([Fault.LOSES_ANSWER])
    with pytest.raises(CrmUnreachable):
        await lab.crm.attach_recording(logged, call, a_recording(1, upload=True))
    await lab.crm.attach_recording(logged, call, a_recording(2, upload=True))
    assert [content for _, content in lab.emulator.files.values()] == [SOUND + bytes([2])]


async def test_a_call_with_a_hidden_number_has_its_sound_as_a_file(lab: BitrixLab) -> None:
    call = a_call(lab, phone="")
    logged = await lab.crm.log_call(call)
    for number in (1, 2):
        await lab.crm.attach_recording(logged, call, a_recording(number, upload=True))
    assert [content for _, content in lab.emulator.files.values()] == [SOUND + bytes([2])]
    await lab.crm.withdraw(logged)
    assert lab.emulator.files == {}


async def test_what_is_withdrawn_leaves_neither_sound_nor_words(lab: BitrixLab) -> None:
    call = a_call(lab)
    logged = await lab.crm.attach_recording(await lab.crm.log_call(call), call, a_recording(1, upload=True))
    logged = await lab.crm.attach_transcript(logged, call, a_transcript("Секрет."))
    await lab.crm.withdraw(logged)
    assert lab.emulator.files == {}
    assert "Секрет" not in str(lab.emulator.transcripts)


async def test_seconds_of_a_transcript_are_whole_and_never_zero_long(lab: BitrixLab) -> None:
    call = a_call(lab)
    await lab.crm.attach_transcript(await lab.crm.log_call(call), call, a_transcript("Да.", "Нет.", "Да."))
    said = next(iter(lab.emulator.transcripts.values()))
    assert [one["SIDE"] for one in said] == ["Client", "User", "Client"]
    assert all(one["STOP_TIME"] > one["START_TIME"] for one in said)


async def test_a_foreign_recording_is_neither_replaced_nor_taken_away(lab: BitrixLab) -> None:
    call = a_call(lab)
    lab.log_foreign(call)
    lab.emulator._attach(lab.emulator.statistics[0], "theirs.mp3", b"theirs")
    found = await lab.crm.find_foreign(call)
    assert found is not None
    found = await lab.crm.attach_recording(found, call, a_recording(1, upload=True))
    await lab.crm.withdraw(found)
    assert list(lab.emulator.files.values()) == [("theirs.mp3", b"theirs")]


async def test_deals_have_stages_histories_and_reasons(lab: BitrixLab) -> None:
    number = lab.emulator.add_card(
        "deal",
        TITLE="Поставка",
        CATEGORY_ID="0",
        STAGE_ID="LOSE",
        STAGE_SEMANTIC_ID="F",
        OPPORTUNITY="1200.50",
        CURRENCY_ID="RUB",
        SOURCE_ID="CALL",
        CONTACT_ID=lab.card.id,
        DATE_CREATE=START.isoformat(),
    )
    for place, stage in enumerate(("NEW", "LOSE")):
        at = (START + timedelta(days=place)).isoformat()
        lab.emulator.history.append({"ID": place + 1, "OWNER_ID": int(number), "STAGE_ID": stage, "CREATED_TIME": at})
    pages, _ = await read_all(lab.crm)
    (deal,) = [one for page in pages for one in page.deals]
    assert (deal.card, deal.state, str(deal.amount), deal.currency) == (lab.card, DealState.LOST, "1200.50", "RUB")
    assert (deal.source, deal.loss_reason) == ("Звонок", "Дорого")
    assert [one.stage for one in deal.history] == ["NEW", "LOSE"]
    stages = {(one.pipeline, one.id): one.state for one in await lab.crm.list_stages()}
    assert stages["3", "C3:WON"] is DealState.WON
    assert stages["0", "LOSE"] is DealState.LOST


async def test_what_changed_later_is_read_and_nothing_is_skipped_within_one_second(lab: BitrixLab) -> None:
    _, cursor = await read_all(lab.crm)
    many = {lab.add_card(f"+7495000{number:04}").id for number in range(2000, 2130)}
    pages, _ = await read_all(lab.crm, cursor)
    assert {card.id.id for page in pages for card in page.cards} >= many


async def test_a_person_logs_in_with_a_code(lab: BitrixLab) -> None:
    vault = MemoryVault()
    crm = connect(lab.settings, whole_settings(), vault)
    try:
        with pytest.raises(CrmAuthFailed, match="cardline crm login office"):
            await crm.list_users()
        lab.emulator.code = "c0de"
        with pytest.raises(CrmAuthFailed):
            await log_in(lab.settings, vault, "wrong")
        await log_in(lab.settings, vault, "c0de")
        assert len(await crm.list_users()) == 2
    finally:
        await crm.close()


async def test_other_telephony_is_named(lab: BitrixLab) -> None:
    lab.log_foreign(a_call(lab, started=START))
    lab.emulator.statistics[0]["REST_APP_NAME"] = "Другая АТС"
    lab.emulator.statistics[0]["CALL_START_DATE"] = "2099-01-01T00:00:00+00:00"
    assert any("Другая АТС" in one.text and one.level == "warning" for one in await lab.crm.check())
