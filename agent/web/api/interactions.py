"""Calls, mails and meetings: listed by time or by what changed, read with their transcripts and evidence, corrected."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Direction, InteractionKind, LinkState
from agent.store import (
    audit,
    changes,
    evidence,
    history,
    interactionlist,
    masks,
    meetings,
    notices,
    rights,
    talks,
    transcripts,
)
from agent.store.evidence import Evidence
from agent.store.interactionlist import Wanted
from agent.web import corrections, decisions
from agent.web.api import shapes, shapes_calls
from agent.web.api.answers import Json, Made, answer, answer_page, begin, perform
from agent.web.api.cursors import read_cursor
from agent.web.api.reading import (
    Asked,
    Contact,
    Cursor,
    Flag,
    Id,
    Limit,
    Moment,
    QueryId,
    read_body,
    read_query,
)
from agent.web.employees import account_of
from agent.web.problems import Refused
from agent.web.services import login_of, number_in, services

_NO_ENTRY = "There is no such interaction, or it is not yours to see."


class InteractionQuery(Asked):
    """``updated_since`` lists by what changed, the oldest change first; else the newest start comes first."""

    card: QueryId | None = None
    employee: QueryId | None = None
    thread: QueryId | None = None
    kind: Literal["call", "message", "meeting"] | None = None
    direction: Literal["inbound", "outbound", "internal"] | None = None
    state: Literal["linked", "ambiguous", "unknown", "internal", "ignored"] | None = None
    started_from: Moment | None = None
    started_to: Moment | None = None
    updated_since: Moment | None = None
    cursor: Cursor = ""
    limit: Limit = 50


class TranscriptQuery(Asked):
    """``words``: each word with its time; ``all``: older transcripts too."""

    words: Flag = False
    all: Flag = False


class CardDecision(Asked):
    """Where an interaction belongs. ``always`` is a number or address of the other side for which it holds from now
    on."""

    decision: Literal["card", "ignore", "rules"]
    card_id: Id | None = None
    always: Contact | None = None

    @model_validator(mode="after")
    def _whole(self) -> CardDecision:
        if (self.decision == "card") != (self.card_id is not None):
            raise ValueError("give card_id with the decision card, and with no other")
        if self.decision == "rules" and self.always is not None:
            raise ValueError("rules decide about one interaction; revoke the rule of the number instead")
        return self


class MeetingWord(Asked):
    """What a person says of a meeting; an empty word takes it back."""

    said: Literal["held", "not_held", ""]


class OtherInteraction(Asked):
    """The second of two entries that are one call."""

    other_id: Id


class Credit(Asked):
    """Whose call it was; None takes it back."""

    party_id: Id
    employee_id: Id | None = Field(...)


# --- Reading ----------------------------------------------------------------------------------------------------------


async def list_interactions(request: web.Request) -> web.StreamResponse:
    """Newest first, or what changed."""
    asked = read_query(request, InteractionQuery)
    after = read_cursor(request.path, asked, asked.cursor)
    wanted = Wanted(
        card_id=asked.card,
        employee_id=asked.employee,
        thread_id=asked.thread,
        kind=InteractionKind(asked.kind) if asked.kind else None,
        direction=Direction(asked.direction) if asked.direction else None,
        state=LinkState(asked.state) if asked.state else None,
        started_from=asked.started_from,
        started_to=asked.started_to,
    )
    viewer = login_of(request).viewer
    async with begin(request) as connection:
        if wanted.card_id is not None and not await rights.may_see_card(connection, viewer, wanted.card_id):
            raise Refused(404, "There is no such card, or it is not yours to see.")
        if asked.updated_since is not None:
            complete = await changes.complete_upto(connection)
            found = await interactionlist.list_changed(
                connection, viewer, wanted, since=asked.updated_since, after=after, limit=asked.limit
            )
            rows, last = found.positions, found.last
            more: Json = {"gone": list(found.gone), "complete_upto": shapes.time(complete)}
        else:
            positions = await interactionlist.list_positions(
                connection, viewer, wanted, after=after, limit=asked.limit + 1
            )
            rows, more = tuple(positions[: asked.limit]), {}
            last = rows[-1] if len(positions) > asked.limit else None
        outlines = await interactionlist.load_outlines(connection, viewer, [one.id for one in rows])
    return await answer_page(request, asked, [shapes.outline(one) for one in outlines], last, **more)


async def show_interaction(request: web.Request) -> web.StreamResponse:
    """One, with everything but its transcripts and evidence."""
    read_query(request, Asked)
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        content = await interaction_content(request, connection, number)
    return await answer(request, content)


async def check_entry(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """What is not the viewer's does not exist for him.

    Raises:
        Refused: so it is (404).
    """
    if not await rights.may_see_interaction(connection, login_of(request).viewer, number):
        raise Refused(404, _NO_ENTRY)


async def interaction_content(request: web.Request, connection: AsyncConnection, number: int) -> Json:
    """As it is told; the caller has asked for the right."""
    viewer = login_of(request).viewer
    (entry,) = await history.load_entries(connection, [number])
    changed = await interactionlist.list_changes(connection, [number])
    cards = await interactionlist.list_card_names(connection, viewer, interactionlist.cards_of(entry.links))
    people = sorted({one.employee_id for one in entry.parties if one.employee_id is not None})
    employees = await history.list_employee_names(connection, people)
    about = await meetings.list_mails_about(connection, number) if entry.meeting is not None else []
    seen = [one for one in about if await rights.may_see_interaction(connection, viewer, one)]
    measured = await talks.list_talks(connection, [one.id for one in entry.recordings]) if entry.recordings else {}
    return shapes.entry(
        entry, changed=changed.get(number), cards=cards, employees=employees, about=seen, measured=measured
    )


async def list_transcripts(request: web.Request) -> web.StreamResponse:
    """What was understood of each recording, as people have corrected it."""
    asked = read_query(request, TranscriptQuery)
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        found = await transcripts.list_transcripts(connection, [number], words=asked.words, every=asked.all)
        hidden = await masks.list_masks(connection, [one.id for one in found])
    items = [shapes_calls.transcript(one, hidden.get(one.id, ()), words=asked.words) for one in found]
    return await answer(request, {"items": items, "next": None})


async def list_evidence(request: web.Request) -> web.StreamResponse:
    """What vouches for an interaction: what each source delivered, its digest and its place in the chain."""
    read_query(request, Asked)
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        found = await evidence.list_evidence_of(connection, number)
        names = [one.blob.name for one in found if one.blob]
        chain = await history.list_chain_sequences(connection, names)
    items = [_evidence(one, chain.get(one.blob.name) if one.blob else None) for one in found]
    return await answer(request, {"items": items, "next": None})


def _evidence(one: Evidence, sequence: int | None) -> Json:
    blob = one.blob
    return {
        "id": one.id,
        "source": one.source,
        "received": shapes.time(one.received),
        "state": one.state.value,
        "problem": one.problem,
        "original": {
            "url": f"{shapes.API}/evidence/{one.id}/original",
            "blob": blob.name,
            "salted_digest": blob.salted_digest.hex(),
            "media_type": blob.media_type,
            "size": blob.plain_size,
            "erased": blob.wrapped_key is None,
            "chain_position": sequence,
        }
        if blob is not None
        else None,
    }


async def list_unreadable(request: web.Request) -> web.StreamResponse:
    """Evidence that could not be read, the newest first."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await evidence.list_unreadable(connection, 200)
    return await answer(request, {"items": [_evidence(one, None) for one in found], "next": None})


# --- Correcting -------------------------------------------------------------------------------------------------------


async def decide_card(request: web.Request) -> web.StreamResponse:
    """Where it belongs: on a card, nowhere, or where the rules put it."""
    asked, number = await read_body(request, CardDecision), number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        if asked.card_id is not None:
            await check_card(request, connection, asked.card_id, "/card_id")
        always = None
        if asked.always is not None:
            always = (await decisions.outside_of(connection, number)).get(asked.always)
            if always is None:
                detail = "always must be the identity of a client among the parties."
                raise Refused(422, detail, faults=[("/always", "no such party")])
        await decisions.settle_entry(request, connection, number, asked.decision, card_id=asked.card_id, always=always)
        is_seen = await rights.may_see_interaction(connection, login_of(request).viewer, number)
        content = await interaction_content(request, connection, number) if is_seen else None
    if content is None:  # by his own decision it is on nobody's card of his
        return web.Response(status=204)
    return await answer(request, content)


async def check_card(request: web.Request, connection: AsyncConnection, card_id: int, at: str) -> None:
    """A card that something is put on: one that the viewer sees, and that did not become another.

    Raises:
        Refused: there is none such (422).
    """
    seen = await interactionlist.list_card_names(connection, login_of(request).viewer, [card_id])
    if card_id not in seen or await interactionlist.is_merged(connection, card_id):
        raise Refused(422, "There is no such card, or it is not yours to see.", faults=[(at, "no card")])


async def say_of_meeting(request: web.Request) -> web.StreamResponse:
    """A word that counts more than what calendars say."""
    asked, number = await read_body(request, MeetingWord), number_in(request)
    login = login_of(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        if not await meetings.say(connection, number, asked.said, login.login):
            raise Refused(404, "It is no meeting.")
        subject = {"interaction_id": number, "said": asked.said}
        await audit.add_entry(connection, account_of(request), audit.MEETING_DECIDED, subject)
        await services(request).linker.relink(connection, [number])
        await notices.notify(connection, notices.INTERACTIONS, number)
    return web.Response(status=204)


async def unite(request: web.Request) -> web.StreamResponse:
    """Two entries are one call."""
    asked = await read_body(request, OtherInteraction)

    async def act(connection: AsyncConnection) -> Made:
        kept = await corrections.unite(request, connection, number_in(request), asked.other_id)
        return Made(content={"id": kept}, location=f"{shapes.API}/interactions/{kept}", status=200)

    return await perform(request, act)


async def separate(request: web.Request) -> web.StreamResponse:
    """What one source told is a call of its own."""

    async def act(connection: AsyncConnection) -> Made:
        _, new = await corrections.separate(request, connection, number_in(request))
        return Made(content={"id": new}, location=f"{shapes.API}/interactions/{new}")

    return await perform(request, act)


async def credit(request: web.Request) -> web.StreamResponse:
    """Whose call on a shared phone it was."""
    asked = await read_body(request, Credit)
    async with begin(request) as connection:
        await corrections.credit(request, connection, number_in(request), asked.party_id, asked.employee_id)
    return web.Response(status=204)
