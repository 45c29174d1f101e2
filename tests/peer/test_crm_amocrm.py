"""amoCRM against its emulator: the contract by OAuth2, and what is its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from pydantic import SecretStr

from agent.errors import Misconfigured
from linker.crm.amocrm import connect, log_in
from linker.crm.facts import CallToLog, DealState, ExternalId
from linker.crm.protocol import Crm, CrmAuthFailed, CrmLimit, CrmUnreachable
from tests.peer.crm_amocrm_emulator import AmoCrmEmulator
from tests.peer.crm_contract import (
    ADDRESS,
    OTHER_PHONE,
    PHONE,
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


class AmoLab(Lab):
    """An account with two contacts."""

    emulator: AmoCrmEmulator

    def __init__(self, emulator: AmoCrmEmulator, *, calls: str = "card") -> None:
        self.emulator = emulator
        self.vault = MemoryVault({"refresh_token": "r0"})
        self.employee, self.other_employee = "1", "2"
        self.settings = crm_settings(
            "amocrm",
            emulator.url,
            client_id=emulator.client[0],
            client_secret=emulator.client[1],
            options={"redirect_uri": emulator.client[2], "requests_a_second": "1000", "calls": calls},
        )
        self.crm = connect(self.settings, whole_settings(), self.vault)
        self.card = ExternalId(
            kind="contact",
            id=str(emulator.add_card("contacts", "Анна", phone=PHONE.value, address=ADDRESS.value)),
        )
        self.other_card = self.add_card(OTHER_PHONE.value)

    def standing(self) -> Sequence[Standing]:
        return self.emulator.standing()

    def add_card(self, phone: str) -> ExternalId:
        return ExternalId(kind="contact", id=str(self.emulator.add_card("contacts", "Клиент", phone=phone)))

    def delete_card(self, card: ExternalId) -> None:
        self.emulator.delete_card("contacts", int(card.id))
        for event in self.emulator.events:
            event["created_at"] -= 60  # it was a minute ago

    async def wrong_key(self) -> Crm:
        wrong = self.settings.model_copy(update={"key": SecretStr("wrong")})
        return connect(wrong, whole_settings(), MemoryVault())

    def log_foreign(self, call: CallToLog) -> str:
        params = {
            "uniq": "x1",
            "duration": 100,
            "source": "Виджет",
            "phone": call.phone.lstrip("+"),
            "link": "https://x",
        }
        stamps = {"created_at": int(call.ended.timestamp()) + 20, "responsible_user_id": int(call.employee or 0)}
        note = {"note_type": "call_in", "params": params, **stamps}
        return str(self.emulator.add_note("contacts", int(call.card.id), note))


@pytest.fixture
async def lab() -> AsyncIterator[AmoLab]:
    """An integration."""
    async with AmoCrmEmulator() as emulator:
        emulator.a_second = 10_000
        lab = AmoLab(emulator)
        yield lab
        await lab.crm.close()


@pytest.fixture
async def by_number() -> AsyncIterator[AmoLab]:
    """The same with options.calls = "number"."""
    async with AmoCrmEmulator() as emulator:
        emulator.a_second = 10_000
        lab = AmoLab(emulator, calls="number")
        yield lab
        await lab.crm.close()


class TestAmoCrm(CrmContract):
    """The contract; deletions are events, which are read ten seconds after they have settled."""

    async def test_a_deleted_card_is_told_of(self, lab: Lab) -> None:
        assert isinstance(lab, AmoLab)
        lab.emulator.add_event("contact_deleted", 777, at=int(lab.emulator.now()) - 100)
        lab.emulator.add_event("contact_deleted", 778, at=int(lab.emulator.now()) - 100)
        lab.emulator.add_event("contact_restored", 778, at=int(lab.emulator.now()) - 99)
        pages, cursor = await read_all(lab.crm)
        assert [one.id.id for page in pages for one in page.gone] == ["777"]
        pages, _ = await read_all(lab.crm, cursor)
        assert [one for page in pages for one in page.gone if one.id.id != "777"] == []


class TestByNumber(TestAmoCrm):
    """The contract through POST /api/v4/calls."""

    @pytest.fixture
    async def lab(self, by_number: AmoLab) -> AmoLab:
        return by_number


async def test_by_number_a_call_goes_into_the_open_lead_of_the_card(by_number: AmoLab) -> None:
    lab, emulator = by_number, by_number.emulator
    lead = emulator.add_card("leads", "Поставка", status_id=11)
    emulator.rows["contacts"][int(lab.card.id)]["_embedded"]["leads"] = [{"id": lead}]
    logged = await lab.crm.log_call(a_call(lab))
    assert [one.card for one in lab.standing()] == [("lead", str(lead))]
    found = await lab.crm.find_logged(sought(a_call(lab)))
    assert found is not None
    assert found.id == logged.id
    assert await lab.crm.update(logged, a_call(lab)) == logged


async def test_by_number_a_shared_number_never_puts_a_call_on_the_wrong_card(by_number: AmoLab) -> None:
    lab = by_number
    twin = lab.add_card(PHONE.value)
    await lab.crm.log_call(a_call(lab, card=twin))
    assert [one.card for one in lab.standing()] == [("contact", twin.id)]


async def test_by_number_a_call_that_was_dropped_goes_on_the_card_after_all(by_number: AmoLab) -> None:
    lab = by_number
    await lab.crm.log_call(a_call(lab, phone="+74950000077"))
    assert [one.card for one in lab.standing()] == [("contact", lab.card.id)]


async def test_the_limit_of_seven_is_kept_without_being_told(lab: AmoLab) -> None:
    lab.emulator.a_second = 7
    options = {"redirect_uri": lab.emulator.client[2]}
    crm = connect(lab.settings.model_copy(update={"options": options}), whole_settings(), lab.vault)
    try:
        for _ in range(9):
            await crm.list_users()
    finally:
        await crm.close()


async def test_a_blocked_address_waits(lab: AmoLab) -> None:
    lab.emulator.blocked = True
    with pytest.raises(CrmLimit) as limit:
        await lab.crm.list_users()
    assert limit.value.retry_after


async def test_a_refresh_token_is_used_once_and_kept_before_it_is_needed(lab: AmoLab) -> None:
    await lab.crm.list_users()
    lab.emulator.expire()
    await lab.crm.list_users()
    assert lab.vault.saves == 2
    assert lab.vault.kept["refresh_token"] == lab.emulator.refresh_token


async def test_tokens_that_another_process_has_renewed_are_taken_over(lab: AmoLab) -> None:
    """`cardline crm check` beside the service: the refresh token of one is spent by the other."""
    await lab.crm.list_users()
    other = connect(lab.settings, whole_settings(), lab.vault)
    try:
        lab.emulator.expire()
        await other.list_users()
        await lab.crm.list_users()
        assert lab.vault.saves == 2
    finally:
        await other.close()


async def test_a_person_logs_in_with_a_code(lab: AmoLab) -> None:
    vault = MemoryVault()
    crm = connect(lab.settings, whole_settings(), vault)
    try:
        with pytest.raises(CrmAuthFailed, match="cardline crm login office"):
            await crm.list_users()
        lab.emulator.code = "c0de"
        await log_in(lab.settings, vault, "c0de")
        assert len(await crm.list_users()) == 2
        with pytest.raises(CrmAuthFailed):
            await log_in(lab.settings, vault, "c0de")
    finally:
        await crm.close()


async def test_a_long_lived_token_needs_no_login(lab: AmoLab) -> None:
    settings = crm_settings("amocrm", lab.emulator.url, key=lab.emulator.long_lived)
    crm = connect(settings, whole_settings(), MemoryVault())
    try:
        assert len(await crm.list_users()) == 2
    finally:
        await crm.close()


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(Misconfigured):
        connect(crm_settings("amocrm", "https://example.amocrm.ru"), whole_settings(), MemoryVault())
    wrong = crm_settings("amocrm", "https://example.amocrm.ru", key="k", options={"colour": "red"})
    with pytest.raises(Misconfigured, match="colour"):
        connect(wrong, whole_settings(), MemoryVault())


async def test_a_lost_answer_to_a_transcript_leaves_one(lab: AmoLab) -> None:
    call = a_call(lab)
    logged = await lab.crm.log_call(call)
    lab.emulator.faults.append(Fault.LOSES_ANSWER)
    with pytest.raises(CrmUnreachable):
        await lab.crm.attach_transcript(logged, call, a_transcript("Алло?"))
    await lab.crm.attach_transcript(logged, call, a_transcript("Да?"))
    assert "Да?" in lab.standing()[0].transcript


async def test_a_move_that_was_cut_in_the_middle_ends_with_one(lab: AmoLab) -> None:
    call = a_call(lab)
    logged = await lab.crm.attach_recording(await lab.crm.log_call(call), call, a_recording(1, upload=False))
    moved = a_call(lab, card=lab.other_card)
    lab.emulator.faults.append(Fault.LOSES_ANSWER)
    with pytest.raises(CrmUnreachable):
        await lab.crm.update(logged, moved)
    assert len(lab.standing()) == 2
    await lab.crm.update(logged, moved)
    assert [one.card for one in lab.standing()] == [("contact", lab.other_card.id)]
    assert "token1" in lab.standing()[0].recording


async def test_a_foreign_recording_is_left_alone(lab: AmoLab) -> None:
    call = a_call(lab)
    number = lab.log_foreign(call)
    found = await lab.crm.find_foreign(call)
    assert found is not None
    found = await lab.crm.attach_recording(found, call, a_recording(1, upload=False))
    await lab.crm.withdraw(found)
    assert lab.emulator.notes[int(number)]["params"]["link"] == "https://x"


async def test_what_is_withdrawn_keeps_no_number_and_no_word(lab: AmoLab) -> None:
    for activity in (a_call(lab), a_mail(lab)):
        logged = await (lab.crm.log_call(activity) if isinstance(activity, CallToLog) else lab.crm.log_mail(activity))
        await lab.crm.withdraw(logged)
    rest = str([note["params"] for note in lab.emulator.notes.values()])
    assert PHONE.value not in rest
    assert "счёт" not in rest


async def test_leads_have_stages_histories_and_reasons(lab: AmoLab) -> None:
    contacts = [{"id": int(lab.card.id), "is_main": True}]
    number = lab.emulator.add_card(
        "leads",
        "Поставка",
        status_id=143,
        pipeline_id=5,
        price=120000,
        created_at=int(START.timestamp()),
        closed_at=int((START + timedelta(days=2)).timestamp()),
        _embedded={"contacts": contacts, "loss_reason": [{"id": 1, "name": "Дорого"}]},
    )
    for place, stage in enumerate((12, 143)):
        after = [{"lead_status": {"id": stage, "pipeline_id": 5}}]
        at = int(lab.emulator.now()) - 1000 + place
        lab.emulator.add_event("lead_status_changed", number, at=at, value_after=after)
    pages, _ = await read_all(lab.crm)
    deals = [one for page in pages for one in page.deals]
    assert {one.id.id for one in deals} == {str(number)}
    assert {change.stage for one in deals for change in one.history} == {"12", "143"}
    deal = deals[-1]
    assert (deal.card, deal.state, deal.loss_reason, str(deal.amount)) == (lab.card, DealState.LOST, "Дорого", "120000")
    assert [(one.id, one.state) for one in await lab.crm.list_stages()][2:] == [
        ("142", DealState.WON),
        ("143", DealState.LOST),
    ]


async def test_nothing_is_skipped_where_hundreds_changed_in_one_second(lab: AmoLab) -> None:
    _, cursor = await read_all(lab.crm)
    at = int(lab.emulator.now()) + 5
    many = {str(lab.emulator.add_card("contacts", "К", updated_at=at)) for _ in range(600)}
    pages, _ = await read_all(lab.crm, cursor)
    assert {card.id.id for page in pages for card in page.cards} >= many


async def test_another_widget_is_named(lab: AmoLab) -> None:
    lab.log_foreign(a_call(lab))
    assert any("Виджет" in one.text and one.level == "warning" for one in await lab.crm.check())


@pytest.mark.parametrize("hours", [-2, -1, 1, 2])
async def test_its_clock_may_be_hours_wrong(lab: AmoLab, hours: int) -> None:
    """What an attempt without an answer has made is found all the same, and no event is skipped."""
    lab.emulator.now = lambda: START.timestamp() + 130 + hours * 3600
    call = a_call(lab)
    lab.emulator.faults.append(Fault.LOSES_ANSWER)
    with pytest.raises(CrmUnreachable):
        await lab.crm.log_call(call)
    assert await lab.crm.find_logged(sought(call)) is not None
    begun = time.time() + hours * 3600
    lab.emulator.now = lambda: begun
    _, cursor = await read_all(lab.crm)
    lab.emulator.now = lambda: begun + 60
    lab.emulator.add_event("contact_deleted", 777, at=int(begun) + 30)
    pages, _ = await read_all(lab.crm, cursor)
    assert "777" in {one.id.id for page in pages for one in page.gone}
