"""What every connector must do, whatever the CRM: one suite for all of them, with faults.

A test class of a connector inherits it and gives a `Lab`. What a connector lacks by its scorecard is not asked of it;
everything it claims is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.model import Direction, Disposition, Identity, IdentityKind, Role
from linker.crm.facts import (
    Activity,
    CallToLog,
    CardToCreate,
    Changes,
    ExternalId,
    Logged,
    MailParty,
    MailToLog,
    RecordingToAttach,
    Said,
    Sought,
    TranscriptToAttach,
)
from linker.crm.protocol import Capability, Crm, CrmAuthFailed, CrmGone, CrmLimit, CrmUnreachable
from tests.peer.crm_emulator import Emulator, Fault, Standing

START = datetime(2026, 3, 2, 9, 30, 15, tzinfo=UTC)
PHONE = Identity(kind=IdentityKind.PHONE, value="+74950000001")
OTHER_PHONE = Identity(kind=IdentityKind.PHONE, value="+74950000002")
ADDRESS = Identity(kind=IdentityKind.ADDRESS, value="anna@example.com")
HOSTILE = (
    "Так \"и\" 'эдак' <b>&amp;</b> $result[card][ID] \\ %00 [/cardline-x] ≡ 😀\n≡\n▶ https://example.com/not-ours\n"
)
SOUND = b"ID3" + bytes(range(256)) * 400


class Place:
    """A connector with a card and an employee over there."""

    crm: Crm
    card: ExternalId
    employee: str


class Lab(Place, ABC):
    """With an emulator to speak to. ``card`` has PHONE and ADDRESS, ``other_card`` has OTHER_PHONE."""

    other_card: ExternalId
    other_employee: str
    emulator: Emulator

    @abstractmethod
    def standing(self) -> Sequence[Standing]:
        """All of ours that stands on cards now."""

    @abstractmethod
    def add_card(self, phone: str) -> ExternalId:
        """A person in the CRM makes a card."""

    @abstractmethod
    def delete_card(self, card: ExternalId) -> None:
        """A person in the CRM deletes it."""

    @abstractmethod
    async def wrong_key(self) -> Crm:
        """The same CRM with a key that is refused."""

    def log_foreign(self, call: CallToLog) -> str:
        """Another integration logs this call; returns the id that `find_foreign` must name."""
        raise NotImplementedError

    def stored_sound(self, file: str) -> bytes:
        """What was uploaded under that name."""
        raise NotImplementedError


def a_call(place: Place, key: str = "cardline-0123456789abcdef0123", **changed: object) -> CallToLog:
    """An answered incoming call of two minutes."""
    call = CallToLog(
        key=key,
        card=place.card,
        employee=place.employee,
        direction=Direction.INBOUND,
        disposition=Disposition.ANSWERED,
        started=START,
        answered=START + timedelta(seconds=8),
        ended=START + timedelta(seconds=128),
        phone=PHONE.value,
        line="101",
        page_url="https://cardline.example.com/interactions/7",
        title="Входящий звонок",
    )
    return replace(call, **changed)  # type: ignore[arg-type]


def a_mail(place: Place, key: str = "cardline-fedcba98765432100000", **changed: object) -> MailToLog:
    """An incoming mail."""
    mail = MailToLog(
        key=key,
        card=place.card,
        employee=place.employee,
        direction=Direction.INBOUND,
        sent=START,
        message_id="1@example.com",
        subject="Счёт № 7",
        text="Пришлите, пожалуйста, счёт.",
        parties=(
            MailParty(position="from", address=ADDRESS.value, name="Анна"),
            MailParty(position="to", address="sales@example.org"),
        ),
        attachments=("order.pdf",),
    )
    return replace(mail, **changed)  # type: ignore[arg-type]


def a_transcript(*lines: str) -> TranscriptToAttach:
    """Each line a second and a half."""
    said = tuple(
        Said(side=Role.EMPLOYEE if place % 2 else Role.CLIENT, start=place * 1.5, end=place * 1.5 + 1.2, text=line)
        for place, line in enumerate(lines)
    )
    return TranscriptToAttach(language="ru", said=said, names={Role.EMPLOYEE: "Пётр", Role.CLIENT: "Анна"})


def a_recording(number: int, *, upload: bool) -> RecordingToAttach:
    """Its link, and its bytes where it is to be uploaded."""

    async def read() -> bytes:
        return SOUND + bytes([number])

    url = f"https://cardline.example.com/r/token{number}.mp3"
    return RecordingToAttach(url=url, file_name=f"call-{number}.mp3", seconds=120, read=read if upload else None)


def sought(activity: Activity) -> Sought:
    """As the outbox asks after an answer was lost."""
    is_call = isinstance(activity, CallToLog)
    at = activity.started if isinstance(activity, CallToLog) else activity.sent
    return Sought(key=activity.key, is_call=is_call, card=activity.card, at=at)


async def log(lab: Lab, activity: Activity) -> Logged:
    """One or the other."""
    return await (lab.crm.log_call(activity) if isinstance(activity, CallToLog) else lab.crm.log_mail(activity))


async def read_all(crm: Crm, cursor: str = "") -> tuple[list[Changes], str]:
    """Pages until there are no more."""
    pages: list[Changes] = []
    while True:
        pages.append(await crm.read_changes(cursor))
        cursor = pages[-1].cursor
        if pages[-1].is_last:
            return pages, cursor
        assert len(pages) < 100, "reading does not come to an end"


def wants(lab: Lab, capability: Capability) -> None:
    """Skip what the scorecard says it lacks."""
    if not lab.crm.scorecard.can(capability):
        pytest.skip(f"by its scorecard: {lab.crm.scorecard.lacks[capability]}")


class CrmContract:
    """Tests that each connector passes; the fixture ``lab`` is the connector's."""

    async def test_a_call_stands_on_its_card_once_and_is_found_by_its_key(self, lab: Lab) -> None:
        call = a_call(lab)
        logged = await lab.crm.log_call(call)
        (one,) = lab.standing()
        assert (one.key, one.card, one.is_call) == (call.key, (lab.card.kind, lab.card.id), True)
        assert one.inbound
        assert one.started == START
        if one.seconds >= 0:
            assert one.seconds == 120
        found = await lab.crm.find_logged(sought(call))
        assert found is not None
        assert found.id == logged.id
        assert await lab.crm.find_logged(sought(a_call(lab, key="cardline-ffffffffffffffffffff"))) is None

    async def test_the_employee_is_who_was_on_the_phone(self, lab: Lab) -> None:
        await lab.crm.log_call(a_call(lab, employee=lab.other_employee))
        assert lab.standing()[0].employee in (lab.other_employee, "")

    async def test_a_missed_call_is_not_an_answered_one(self, lab: Lab) -> None:
        await lab.crm.log_call(
            a_call(lab, disposition=Disposition.NO_ANSWER, answered=None, title="Пропущенный звонок", employee=None)
        )
        assert lab.standing()[0].seconds <= 0

    async def test_a_call_with_a_hidden_number_stands_there_too(self, lab: Lab) -> None:
        call = a_call(lab, phone="")
        await lab.crm.log_call(call)
        assert [one.key for one in lab.standing()] == [call.key]
        assert await lab.crm.find_logged(sought(call)) is not None

    async def test_two_calls_of_the_same_second_stay_two(self, lab: Lab) -> None:
        for key in ("cardline-aaaaaaaaaaaaaaaaaaaa", "cardline-bbbbbbbbbbbbbbbbbbbb"):
            await lab.crm.log_call(a_call(lab, key=key))
        assert len({one.key for one in lab.standing()}) == 2

    @pytest.mark.parametrize("make", [a_call, a_mail])
    async def test_an_answer_that_was_lost_leaves_one_that_is_found(self, lab: Lab, make: object) -> None:
        activity: Activity = make(lab)  # type: ignore[operator]
        lab.emulator.faults.append(Fault.LOSES_ANSWER)
        with pytest.raises(CrmUnreachable):
            await log(lab, activity)
        found = await lab.crm.find_logged(sought(activity))
        if found is None:  # it was the first of several requests
            found = await log(lab, activity)
        assert [one.key for one in lab.standing()] == [activity.key]
        await lab.crm.update(found, activity)
        assert [one.key for one in lab.standing()] == [activity.key]
        assert lab.emulator.sent == []

    @pytest.mark.parametrize("make", [a_call, a_mail])
    async def test_a_fault_of_the_server_leaves_nothing(self, lab: Lab, make: object) -> None:
        activity: Activity = make(lab)  # type: ignore[operator]
        lab.emulator.faults.append(Fault.FAILS)
        with pytest.raises(CrmUnreachable):
            await log(lab, activity)
        assert list(lab.standing()) == []
        assert await lab.crm.find_logged(sought(activity)) is None
        await log(lab, activity)
        assert len(lab.standing()) == 1

    async def test_a_limit_is_told_as_one_and_nothing_was_done(self, lab: Lab) -> None:
        lab.emulator.faults.append(Fault.LIMITS)
        with pytest.raises(CrmLimit):
            await lab.crm.log_call(a_call(lab))
        assert list(lab.standing()) == []

    async def test_a_token_that_ends_in_the_middle_is_renewed(self, lab: Lab) -> None:
        lab.emulator.faults.append(Fault.EXPIRES)
        await lab.crm.log_call(a_call(lab))
        await lab.crm.log_mail(a_mail(lab))
        assert len(lab.standing()) == 2

    async def test_a_mail_stands_on_its_card_and_is_never_sent(self, lab: Lab) -> None:
        for direction, key in ((Direction.INBOUND, "cardline-in"), (Direction.OUTBOUND, "cardline-out")):
            mail = a_mail(lab, key=f"{key}0000000000", direction=direction)
            await lab.crm.log_mail(mail)
            assert await lab.crm.find_logged(sought(mail)) is not None
        assert len(lab.standing()) == 2
        assert all("Пришлите" in one.text for one in lab.standing())
        assert lab.emulator.sent == []

    async def test_hostile_words_are_words(self, lab: Lab) -> None:
        mail = a_mail(lab, text=HOSTILE, subject=HOSTILE, attachments=(HOSTILE,))
        logged = await lab.crm.log_mail(mail)
        assert "$result[card][ID]" in lab.standing()[0].text
        call = a_call(lab, phone=PHONE.value, title=HOSTILE)
        logged_call = await lab.crm.log_call(call)
        logged_call = await lab.crm.attach_transcript(logged_call, call, a_transcript(HOSTILE, "Да."))
        await lab.crm.attach_transcript(logged_call, call, a_transcript("Нет."))
        told = next(one for one in lab.standing() if one.key == call.key)
        assert "Нет." in told.transcript
        assert "Да." not in told.transcript
        await lab.crm.withdraw(logged)
        await lab.crm.withdraw(logged_call)
        assert list(lab.standing()) == []

    async def test_a_recording_is_attached_and_replaced(self, lab: Lab) -> None:
        call = a_call(lab)
        logged = await lab.crm.log_call(call)
        for number in (1, 2):
            logged = await lab.crm.attach_recording(logged, call, a_recording(number, upload=False))
        assert "token2" in lab.standing()[0].recording
        assert len(lab.standing()) == 1
        if lab.crm.scorecard.can(Capability.UPLOAD_RECORDING):
            await lab.crm.attach_recording(logged, call, a_recording(3, upload=True))
            assert lab.stored_sound(lab.standing()[0].recording) == SOUND + bytes([3])

    async def test_a_transcript_is_attached_and_replaced(self, lab: Lab) -> None:
        call = a_call(lab)
        logged = await lab.crm.log_call(call)
        logged = await lab.crm.attach_recording(logged, call, a_recording(1, upload=False))
        await lab.crm.attach_transcript(logged, call, a_transcript("Алло?", "Добрый день."))
        await lab.crm.attach_transcript(logged, call, a_transcript("Алло?", "Здравствуйте."))
        (one,) = lab.standing()
        assert "Здравствуйте." in one.transcript
        assert "Добрый день." not in one.transcript
        assert "token1" in one.recording

    async def test_a_call_goes_over_to_another_card_with_all_it_has(self, lab: Lab) -> None:
        call = a_call(lab)
        logged = await lab.crm.log_call(call)
        logged = await lab.crm.attach_recording(logged, call, a_recording(1, upload=False))
        logged = await lab.crm.attach_transcript(logged, call, a_transcript("Алло?"))
        moved = replace(call, card=lab.other_card, employee=lab.other_employee)
        logged = await lab.crm.update(logged, moved)
        (one,) = lab.standing()
        assert (one.key, one.card) == (call.key, (lab.other_card.kind, lab.other_card.id))
        assert "token1" in one.recording
        assert "Алло?" in one.transcript
        logged = await lab.crm.update(logged, moved)
        logged = await lab.crm.update(logged, call)
        assert [each.card for each in lab.standing()] == [(lab.card.kind, lab.card.id)]
        await lab.crm.withdraw(logged)
        assert list(lab.standing()) == []

    async def test_a_mail_goes_over_to_another_card(self, lab: Lab) -> None:
        mail = a_mail(lab)
        logged = await lab.crm.update(await lab.crm.log_mail(mail), replace(mail, card=lab.other_card))
        assert [one.card for one in lab.standing()] == [(lab.other_card.kind, lab.other_card.id)]
        await lab.crm.withdraw(logged)
        assert list(lab.standing()) == []
        assert lab.emulator.sent == []

    async def test_what_is_withdrawn_leaves_nothing_and_may_be_withdrawn_again(self, lab: Lab) -> None:
        call = a_call(lab)
        logged = await lab.crm.log_call(call)
        logged = await lab.crm.attach_recording(logged, call, a_recording(1, upload=False))
        logged = await lab.crm.attach_transcript(logged, call, a_transcript("Секрет."))
        for _ in range(2):
            await lab.crm.withdraw(logged)
            assert list(lab.standing()) == []
        await lab.crm.log_call(call)
        assert len(lab.standing()) == 1

    async def test_a_card_that_is_gone_is_said_to_be(self, lab: Lab) -> None:
        lab.delete_card(lab.other_card)
        for activity in (a_call(lab, card=lab.other_card), a_mail(lab, card=lab.other_card)):
            with pytest.raises(CrmGone):
                await log(lab, activity)
        assert list(lab.standing()) == []

    async def test_a_card_of_an_unknown_kind_is_said_to_be_gone(self, lab: Lab) -> None:
        with pytest.raises(CrmGone):
            await lab.crm.log_call(a_call(lab, card=ExternalId(kind="spaceship", id="1")))

    async def test_cards_are_found_however_the_number_is_written(self, lab: Lab) -> None:
        lab.add_card("8 (495) 000-00-03")
        for value in ("+74950000001", "+74950000003"):
            found = await lab.crm.find_cards([Identity(kind=IdentityKind.PHONE, value=value)])
            assert [value in {one.value for one in card.identities} for card in found] == [True]
        nobody = Identity(kind=IdentityKind.PHONE, value="+74950000099")
        assert list(await lab.crm.find_cards([nobody])) == []
        assert list(await lab.crm.find_cards([])) == []

    async def test_cards_are_found_by_address(self, lab: Lab) -> None:
        if "address" in lab.crm.scorecard.does[Capability.FIND_CARDS].partition("no search")[2]:
            pytest.skip(lab.crm.scorecard.does[Capability.FIND_CARDS])
        assert [card.id for card in await lab.crm.find_cards([ADDRESS])] == [lab.card]

    async def test_a_card_is_made_once(self, lab: Lab) -> None:
        wants(lab, Capability.CREATE_CARDS)
        phone = Identity(kind=IdentityKind.PHONE, value="+74950000009")
        card = CardToCreate(
            key="cardline-c0", name="Иван", kind="person", identities=(phone,), responsible=lab.employee
        )
        lab.emulator.faults.append(Fault.LOSES_ANSWER)
        with pytest.raises(CrmUnreachable):
            await lab.crm.create_card(card)
        made = await lab.crm.create_card(card)
        found = await lab.crm.find_cards([phone])
        assert [(one.id, one.name, one.responsible) for one in found] == [(made, "Иван", lab.employee)]

    async def test_all_cards_are_read_over_pages_and_then_what_changed(self, lab: Lab) -> None:
        wants(lab, Capability.READ_CARDS)
        many = [lab.add_card(f"+7495000{number:04}") for number in range(1000, 1620)]
        pages, cursor = await read_all(lab.crm)
        seen = {card.id for page in pages for card in page.cards}
        assert seen >= {*many, lab.card, lab.other_card}
        assert all(len(page.cards) <= 1000 for page in pages)
        late = lab.add_card("+74950003333")
        pages, _ = await read_all(lab.crm, self.after_a_while(cursor))
        assert late in {card.id for page in pages for card in page.cards}

    async def test_a_deleted_card_is_told_of(self, lab: Lab) -> None:
        wants(lab, Capability.READ_DELETIONS)
        _, cursor = await read_all(lab.crm)
        lab.delete_card(lab.other_card)
        pages, _ = await read_all(lab.crm, self.after_a_while(cursor))
        assert lab.other_card in {one.id for page in pages for one in page.gone}

    def after_a_while(self, cursor: str) -> str:
        """The cursor as it is when the next round is due."""
        return cursor

    async def test_users_have_names(self, lab: Lab) -> None:
        users = {one.id: one for one in await lab.crm.list_users()}
        assert users.keys() >= {lab.employee, lab.other_employee}
        assert users[lab.employee].name

    async def test_a_call_of_somebody_else_is_found_and_only_completed(self, lab: Lab) -> None:
        wants(lab, Capability.FIND_FOREIGN)
        call = a_call(lab)
        assert await lab.crm.find_foreign(call) is None
        number = lab.log_foreign(call)
        found = await lab.crm.find_foreign(call)
        assert found is not None
        assert (found.id.id, found.is_foreign) == (number, True)
        assert await lab.crm.find_foreign(replace(call, phone="+74950000055")) is None
        later = replace(call, started=call.started + timedelta(hours=1), ended=call.ended + timedelta(hours=1))
        assert await lab.crm.find_foreign(later) is None
        found = await lab.crm.attach_transcript(found, call, a_transcript("Алло?"))
        await lab.crm.update(found, call)
        await lab.crm.withdraw(found)
        assert await lab.crm.find_foreign(call) is not None

    async def test_our_own_call_is_no_foreign_one(self, lab: Lab) -> None:
        wants(lab, Capability.FIND_FOREIGN)
        call = a_call(lab)
        await lab.crm.log_call(call)
        assert await lab.crm.find_foreign(call) is None

    async def test_the_check_is_green_and_changes_nothing(self, lab: Lab) -> None:
        acts = lab.emulator.acts
        findings = await lab.crm.check()
        assert {one.level for one in findings} <= {"ok", "warning"}, [one for one in findings if one.level == "fault"]
        assert lab.emulator.acts == acts

    async def test_a_wrong_key_is_a_fault_with_a_remedy(self, lab: Lab) -> None:
        crm = await lab.wrong_key()
        try:
            with pytest.raises(CrmAuthFailed):
                await crm.log_call(a_call(lab))
            assert "fault" in {one.level for one in await crm.check()}
        finally:
            await crm.close()
        assert list(lab.standing()) == []
