"""Meetings: what calendars and people say of them, in any order, gives one entry on the card."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from agent.intake import Intake
from agent.model import Disposition, InteractionKind, LinkState, MeetingState, MessageCategory, UserRole
from agent.model_mail import ParsedAttendee, ParsedInvitation, ParsedMessage
from agent.settings import Settings
from agent.store import cards, employees, erasures, interactions, links, meetings, rights, rules
from agent.store.engine import Store
from agent.store.meetings import Meeting
from agent.store.rights import Viewer
from agent.store.rules import MailRule
from linker.link import Linker
from linker.normalize import normalize_address, normalize_phone
from tests.unit.linking import accept_mail, captured_call, do_link_jobs, parsed_mail, parties_of

ANNA, PETROV, BANK = "anna@cardline.example.com", "petrov@client.example.org", "manager@bank.example.net"
NOW = datetime.now(UTC).replace(microsecond=0)
TOMORROW, YESTERDAY = NOW + timedelta(days=1), NOW - timedelta(days=1)
_numbers = itertools.count(1)


def person(address: str, status: str = "needs-action") -> ParsedAttendee:
    return ParsedAttendee(address=address, name="", status=status)


def invitation(method: str = "REQUEST", **more: Any) -> ParsedInvitation:
    facts: dict[str, Any] = {
        "part": 1,
        "method": method,
        "uid": "meeting-1@calendar.example.com",
        "sequence": 0,
        "recurrence_id": None,
        "start": TOMORROW,
        "end": TOMORROW + timedelta(hours=1),
        "is_all_day": False,
        "is_recurring": False,
        "status": "confirmed",
        "organizer": person(ANNA),
        "attendees": (person(ANNA, "accepted"), person(PETROV)),
        "summary": "Показ столов",
        "location": "Zoom",
    }
    return ParsedInvitation(**{**facts, **more})


def mail(sender: str, recipient: str, *told: ParsedInvitation, sent: datetime | None = None) -> ParsedMessage:
    number = next(_numbers)
    found = parsed_mail(f"mail-{number}", parties_of(f"{sender} > {recipient}", "mail"))
    return replace(found, invitations=told, sent=sent or NOW - timedelta(days=3) + timedelta(minutes=number))


def reply(status: str, **more: Any) -> ParsedInvitation:
    return invitation("REPLY", attendees=(person(PETROV, status),), **more)


@pytest.fixture
async def linker(store: Store) -> Linker:
    """On empty tables, with Anna at 101 and one client."""
    async with store.begin() as connection:
        tables = "interaction, client_card, employee, evidence, procrastinate_jobs"
        await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        anna = await employees.insert_employee(connection, "Anna")
        petrov = await cards.insert_card(connection, "Petrov")
        for raw, owner in ((ANNA, "anna"), ("101", "anna"), (PETROV, "petrov"), ("+7 916 000-00-01", "petrov")):
            one = normalize_address(raw) if "@" in raw else normalize_phone(raw, region="RU", extension_digits=5)
            assert one is not None
            if owner == "anna":
                await employees.insert_identity(connection, anna, one)
            else:
                await cards.insert_contact_point(connection, petrov, one)
    return Linker(store, Settings(region="RU", extension_digits=5))


async def arrive(store: Store, intake: Intake, linker: Linker, *mails: ParsedMessage) -> list[int]:
    ids = [await accept_mail(intake, one, received=NOW) for one in mails]
    await do_link_jobs(store, linker)
    return ids


async def known(store: Store) -> list[Meeting]:
    async with store.begin() as connection:
        rows = await connection.execute(text("SELECT interaction_id FROM meeting ORDER BY uid, occurrence, organizer"))
        ids = list(rows.scalars())
        found = {one.interaction_id: one for one in await meetings.list_meetings(connection, ids)}
    return [found[one] for one in ids]


async def only(store: Store) -> Meeting:
    (one,) = await known(store)
    return one


async def on_card(store: Store, number: int) -> tuple[LinkState, str]:
    async with store.begin() as connection:
        (one,) = await links.list_links(connection, [number])
    return one.state, one.reason


async def test_an_invitation_becomes_an_unconfirmed_meeting_on_the_card(
    store: Store, intake: Intake, linker: Linker
) -> None:
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()))
    one = await only(store)
    assert (one.state, one.confirmed, one.summary, one.location) == (MeetingState.PLANNED, "", "Показ столов", "Zoom")
    assert await on_card(store, one.interaction_id) == (LinkState.LINKED, f"address {PETROV} is the card's")
    async with store.begin() as connection:
        (entry,) = await interactions.find_interactions(connection, [one.interaction_id])
        people = (await interactions.list_parties(connection, [one.interaction_id]))[one.interaction_id]
    assert (entry.kind, entry.started, entry.direction) == (InteractionKind.MEETING, TOMORROW, "outbound")
    assert [(each.position, each.value, each.role) for each in people] == [
        ("organizer", ANNA, "employee"),
        ("attendee", PETROV, "client"),
    ]


async def test_the_other_sides_answer_confirms_and_our_own_does_not(
    store: Store, intake: Intake, linker: Linker
) -> None:
    ours = invitation("REPLY", attendees=(person(ANNA, "accepted"),))
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()), mail(ANNA, PETROV, ours))
    assert (await only(store)).confirmed == ""
    await arrive(store, intake, linker, mail(PETROV, ANNA, reply("accepted")))
    one = await only(store)
    assert (one.state, one.confirmed) == (MeetingState.PLANNED, f"{PETROV} has accepted")
    await arrive(store, intake, linker, mail(PETROV, ANNA, reply("declined")))
    assert ((await only(store)).confirmed, (await only(store)).answers[PETROV]) == ("", "declined")


async def test_nobody_answers_for_another(store: Store, intake: Intake, linker: Linker) -> None:
    forged = mail("stranger@evil.example", ANNA, reply("accepted"))
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()), forged)
    assert (await only(store)).confirmed == ""


async def test_only_the_organizer_cancels_or_moves(store: Store, intake: Intake, linker: Linker) -> None:
    later = invitation(sequence=5, start=TOMORROW + timedelta(days=9), end=TOMORROW + timedelta(days=9, hours=1))
    gone = invitation("CANCEL", sequence=6)
    strange = [mail("stranger@evil.example", ANNA, one) for one in (later, gone)]
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()), *strange)
    one = await only(store)
    assert (one.state, one.ends) == (MeetingState.PLANNED, TOMORROW + timedelta(hours=1))


async def test_at_a_public_provider_a_neighbour_is_no_colleague(store: Store, intake: Intake, linker: Linker) -> None:
    organizer = person("client@gmail.com")
    mine = invitation(organizer=organizer, attendees=(organizer, person(ANNA)))
    gone = invitation("CANCEL", sequence=1, organizer=organizer)
    await arrive(store, intake, linker, mail("client@gmail.com", ANNA, mine), mail("other@gmail.com", ANNA, gone))
    assert (await only(store)).state is MeetingState.PLANNED


async def test_a_meeting_of_yesterday_was_held_if_something_confirms_it(
    store: Store, intake: Intake, linker: Linker
) -> None:
    past: dict[str, Any] = {"start": YESTERDAY, "end": YESTERDAY + timedelta(hours=1)}
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation(**past)))
    assert (await only(store)).state is MeetingState.PLANNED
    call = captured_call(
        "call-1",
        parties_of("101 > +7 916 000-00-01", "call"),
        started=YESTERDAY + timedelta(minutes=2),
        answered=YESTERDAY + timedelta(minutes=3),
        ended=YESTERDAY + timedelta(minutes=40),
        disposition=Disposition.ANSWERED,
    )
    number = await intake.open_call(call)
    while await do_link_jobs(store, linker):
        pass
    one = await only(store)
    assert (one.state, one.confirmed) == (MeetingState.HELD, f"call No. {number} was at that time")


@pytest.mark.parametrize(("minutes", "held"), [(-40, False), (-10, True), (85, True), (95, False)])
async def test_only_a_call_at_its_time_confirms(
    store: Store, intake: Intake, linker: Linker, minutes: int, held: bool
) -> None:
    start = YESTERDAY + timedelta(minutes=minutes)
    call = captured_call(
        "call-1",
        parties_of("101 > +7 916 000-00-01", "call"),
        started=start,
        answered=start,
        ended=start + timedelta(minutes=5),
        disposition=Disposition.ANSWERED,
    )
    await intake.open_call(call)
    past: dict[str, Any] = {"start": YESTERDAY, "end": YESTERDAY + timedelta(hours=1)}
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation(**past)))
    assert ((await only(store)).state is MeetingState.HELD) is held


async def test_a_persons_word_counts_most(store: Store, intake: Intake, linker: Linker) -> None:
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()), mail(ANNA, PETROV, invitation("CANCEL")))
    number = (await only(store)).interaction_id
    said = []
    for word in ("held", "not_held", ""):
        async with store.begin() as connection:
            assert await meetings.say(connection, number, word, "boss")
        await linker.link([number])
        said.append(((await only(store)).state, (await only(store)).reason))
    assert said == [
        (MeetingState.HELD, "said by boss"),
        (MeetingState.CANCELLED, "did not take place, said by boss"),
        (MeetingState.CANCELLED, "the organizer has cancelled it"),
    ]


async def test_it_is_looked_at_again_when_its_time_has_passed(store: Store, intake: Intake, linker: Linker) -> None:
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()))
    async with store.begin() as connection:
        query = "SELECT scheduled_at, args FROM procrastinate_jobs WHERE task_name = 'link'"
        (job,) = (await connection.execute(text(query))).all()
    assert job.args == {"interaction_ids": [(await only(store)).interaction_id]}
    assert job.scheduled_at > TOMORROW + timedelta(hours=1)


MOVED = TOMORROW + timedelta(days=2)
STORY = (
    (ANNA, PETROV, invitation()),
    (PETROV, ANNA, reply("accepted")),
    (ANNA, PETROV, invitation(sequence=1, start=MOVED, end=MOVED + timedelta(hours=1))),
    (PETROV, ANNA, reply("tentative", sequence=1, start=MOVED, end=MOVED + timedelta(hours=1))),
    (PETROV, ANNA, invitation("COUNTER", sequence=1, attendees=(person(PETROV),))),
    (PETROV, ANNA, reply("accepted", sequence=1, start=MOVED, end=MOVED + timedelta(hours=1))),
)


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_arrival_tells_the_same(store: Store, intake: Intake, linker: Linker, seed: int) -> None:
    mails = [mail(*one, sent=NOW - timedelta(hours=20 - at)) for at, one in enumerate(STORY)]
    random.Random(seed).shuffle(mails)
    for each in mails:
        await arrive(store, intake, linker, each, each)
    one = await only(store)
    assert (one.state, one.moved_from, one.ends) == (MeetingState.MOVED, TOMORROW, MOVED + timedelta(hours=1))
    assert (one.confirmed, dict(one.answers)) == (f"{PETROV} has accepted", {ANNA: "accepted", PETROV: "accepted"})


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_a_cancelled_series_takes_its_occurrences_along(
    store: Store, intake: Intake, linker: Linker, order: Sequence[int]
) -> None:
    week = TOMORROW + timedelta(days=7)
    series = invitation(is_recurring=True)
    moved = invitation(recurrence_id=week, start=week + timedelta(hours=2), end=week + timedelta(hours=3))
    mails = [
        mail(ANNA, PETROV, one, sent=NOW - timedelta(hours=9 - at))
        for at, one in enumerate((series, moved, invitation("CANCEL", sequence=1, is_recurring=True)))
    ]
    await arrive(store, intake, linker, *(mails[at] for at in order))
    found = await known(store)
    assert [(one.state, one.is_recurring) for one in found] == [
        (MeetingState.CANCELLED, True),
        (MeetingState.CANCELLED, False),
    ]


async def test_an_answer_to_an_invitation_that_never_came_by_is_a_meeting_too(
    store: Store, intake: Intake, linker: Linker
) -> None:
    await arrive(store, intake, linker, mail(PETROV, ANNA, reply("accepted")))
    one = await only(store)
    assert (one.state, one.confirmed) == (MeetingState.PLANNED, f"{PETROV} has accepted")
    assert (await on_card(store, one.interaction_id))[0] is LinkState.LINKED


async def test_among_colleagues_it_stands_on_no_card(store: Store, intake: Intake, linker: Linker) -> None:
    async with store.begin() as connection:
        boris = normalize_address("boris@cardline.example.com")
        assert boris is not None
        await employees.insert_identity(connection, await employees.insert_employee(connection, "Boris"), boris)
    told = invitation(attendees=(person(ANNA), person("boris@cardline.example.com")))
    await arrive(store, intake, linker, mail(ANNA, "boris@cardline.example.com", told))
    assert await on_card(store, (await only(store)).interaction_id) == (
        LinkState.INTERNAL,
        "only employees took part",
    )


@pytest.mark.parametrize(
    "told",
    [
        invitation("PUBLISH", attendees=()),
        invitation("REFRESH"),
        invitation(uid=""),
    ],
    ids=["a ticket", "a request to say it again", "without a name"],
)
async def test_what_arranges_nothing_is_no_meeting(
    store: Store, intake: Intake, linker: Linker, told: ParsedInvitation
) -> None:
    await arrive(store, intake, linker, mail(ANNA, PETROV, told))
    assert await known(store) == []


async def test_a_meeting_that_only_private_mails_tell_of_is_shown_to_nobody(
    store: Store, intake: Intake, linker: Linker
) -> None:
    async with store.begin() as connection:
        private = MailRule(
            id=0, place=0, name="Bank", conditions={"anyone": ["@bank.example.net"]}, category=MessageCategory.PRIVATE
        )
        rule_id = await rules.save_rule(connection, private)
    bank = person(BANK)
    told = invitation(organizer=bank, attendees=(bank, person(ANNA)))
    (number,) = await arrive(store, intake, linker, mail(BANK, ANNA, told))
    one = await only(store)
    admin = Viewer(account_id=1, role=UserRole.ADMINISTRATOR, employee_id=None)
    async with store.begin() as connection:
        seen = [await rights.may_see_interaction(connection, admin, each) for each in (number, one.interaction_id)]
    assert (one.hidden, seen) == (True, [False, False])
    assert (await on_card(store, one.interaction_id))[0] is LinkState.PRIVATE
    async with store.begin() as connection:
        assert await rules.remove_rule(connection, rule_id)
    await linker.link([number])
    async with store.begin() as connection:
        assert await rights.may_see_interaction(connection, admin, one.interaction_id)


async def test_many_at_once_are_one_meeting(store: Store, intake: Intake, linker: Linker) -> None:

    mails = [mail(*one, sent=NOW - timedelta(hours=20 - at)) for at, one in enumerate(STORY)]
    ids = await asyncio.gather(*(accept_mail(intake, one, received=NOW) for one in mails))
    async with store.begin() as connection:
        jobs = (
            await connection.execute(text("SELECT args FROM procrastinate_jobs WHERE task_name = 'link'"))
        ).scalars()
        batches = [one["interaction_ids"] for one in jobs]
    await asyncio.gather(*(linker.link(one) for one in batches))
    assert len(set(ids)) == len(STORY)
    one = await only(store)
    assert (one.state, one.confirmed) == (MeetingState.MOVED, f"{PETROV} has accepted")


async def test_an_erased_meeting_does_not_come_back(store: Store, intake: Intake, linker: Linker) -> None:
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation()))
    number = (await only(store)).interaction_id
    async with store.begin() as connection:
        erasure = await erasures.insert_erasure(
            connection, at=NOW, by="admin", reason="asked", basis="law", subject="1", links=[], blobs=0
        )
        await erasures.wipe(connection, [number], erasure.id, "erased")
    await arrive(store, intake, linker, mail(ANNA, PETROV, invitation(sequence=1)))
    one = await only(store)
    assert (one.summary, one.location, dict(one.answers)) == ("", "", {})
