"""What people note beside the history: tasks of cards, comments on calls, words of transcripts put right."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store import audit, comments, history, rights, tasks, transcripts
from agent.store.comments import Comment
from agent.store.tasks import Task
from agent.transcribe.masks.masker import mask_written
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, perform
from agent.web.api.cards import seen_card
from agent.web.api.interactions import check_entry
from agent.web.api.reading import Asked, Id, Limit, Words, read_body, read_query
from agent.web.employees import account_of
from agent.web.problems import Refused
from agent.web.services import caller_of, login_of, number_in


def _day(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else value


Day = Annotated[date, BeforeValidator(_day)]
TaskText = Annotated[Words, Field(max_length=500)]


class TaskQuery(Asked):
    """``mine``: one's own, and what one has noted for nobody; ``all``: of every card one sees."""

    list: Literal["mine", "all", "done"] = "mine"
    limit: Limit = 50


class NewTask(Asked):
    """What is to be done, by whom and until when; ``interaction_id`` is where it was promised."""

    text: TaskText
    due: Day | None = None
    employee_id: Id | None = None
    interaction_id: Id | None = None


class TaskChange(Asked):
    """What is named is changed."""

    text: TaskText | None = None
    due: Day | None = None
    employee_id: Id | None = None
    done: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> TaskChange:
        if not self.model_fields_set:
            raise ValueError("name what shall change")
        if any(getattr(self, one) is None for one in self.model_fields_set & {"text", "done"}):
            raise ValueError("text and done cannot be taken away")
        return self


class NewComment(Asked):
    """A comment; with ``recording_id`` and ``second`` it is at a place of the sound."""

    text: Annotated[Words, Field(max_length=4000)]
    recording_id: Id | None = None
    second: Annotated[float, Field(ge=0, le=1e6, strict=False)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> NewComment:
        if (self.recording_id is None) != (self.second is None):
            raise ValueError("recording_id and second belong together")
        return self


class Correction(Asked):
    """What was really said."""

    text: Words


# --- Tasks ------------------------------------------------------------------------------------------------------------


async def list_tasks(request: web.Request) -> web.StreamResponse:
    """Open ones by their day, or done ones."""
    asked, login = read_query(request, TaskQuery), login_of(request)
    async with begin(request) as connection:
        found = await tasks.list_tasks(
            connection,
            login.viewer,
            whose="mine" if asked.list == "mine" else "all",
            login=login.login,
            is_done=asked.list == "done",
            limit=asked.limit,
        )
    return await answer(request, {"items": [_task(one) for one in found], "next": None})


async def list_card_tasks(request: web.Request) -> web.StreamResponse:
    """The open ones of a card."""
    read_query(request, Asked)
    async with begin(request) as connection:
        card = await seen_card(request, connection, number_in(request))
        found = await tasks.list_of_cards(connection, [card.id])
    return await answer(request, {"items": [_task(one) for one in found], "next": None})


def _task(one: Task) -> Json:
    return {
        "id": one.id,
        "card_id": one.card_id,
        "card_name": one.card_name,
        "interaction_id": one.interaction_id,
        "employee": {"id": one.employee_id, "name": one.employee} if one.employee_id is not None else None,
        "text": one.text,
        "due": one.due.isoformat() if one.due else None,
        "made_by": one.made_by,
        "made": shapes.time(one.made),
        "done_by": one.done_by,
        "done": shapes.time(one.done),
    }


async def add_task(request: web.Request) -> web.StreamResponse:
    """For a card that the caller sees."""
    asked = await read_body(request, NewTask)

    async def act(connection: AsyncConnection) -> Made:
        card = await seen_card(request, connection, number_in(request))
        await _check_employee(connection, asked.employee_id)
        if asked.interaction_id is not None:
            viewer = login_of(request).viewer
            if not await rights.may_see_interaction(connection, viewer, asked.interaction_id):
                raise Refused(422, "There is no such interaction.", faults=[("/interaction_id", "no interaction")])
        task_id = await tasks.add_task(
            connection,
            card.id,
            asked.text,
            by=login_of(request).login,
            employee_id=asked.employee_id,
            due=asked.due,
            interaction_id=asked.interaction_id,
        )
        subject = {"card_id": card.id, "task_id": task_id, "interaction_id": asked.interaction_id}
        await audit.add_entry(connection, account_of(request), audit.TASK_ADDED, subject)
        return Made(content={"id": task_id}, location=f"{shapes.API}/cards/{card.id}/tasks")

    return await perform(request, act)


async def change_task(request: web.Request) -> web.StreamResponse:
    """Other words, another day, another colleague's; done, or not done after all."""
    asked, login = await read_body(request, TaskChange), login_of(request)
    async with begin(request) as connection:
        found = await tasks.find_task(connection, number_in(request), login.viewer)
        if found is None:
            raise Refused(404, "There is no such task of yours.")
        await _check_employee(connection, asked.employee_id)
        names = {"text": "text", "due": "due_on", "employee_id": "employee_id"}
        values = {column: getattr(asked, one) for one, column in names.items() if one in asked.model_fields_set}
        subject = {"card_id": found.card_id, "task_id": found.id}
        if values:
            await tasks.change_task(connection, found.id, values)
            await audit.add_entry(connection, account_of(request), audit.TASK_CHANGED, subject)
        if asked.done and await tasks.finish_task(connection, found.id, by=login.login):
            await audit.add_entry(connection, account_of(request), audit.TASK_DONE, subject)
        if asked.done is False and await tasks.reopen_task(connection, found.id):
            await audit.add_entry(connection, account_of(request), audit.TASK_REOPENED, subject)
    return web.Response(status=204)


async def _check_employee(connection: AsyncConnection, employee_id: int | None) -> None:
    if employee_id is not None and not await history.list_employee_names(connection, [employee_id]):
        raise Refused(422, "There is no such employee.", faults=[("/employee_id", "no employee")])


# --- Comments and corrections -----------------------------------------------------------------------------------------


async def list_comments(request: web.Request) -> web.StreamResponse:
    """Those of the whole call first, then by their second."""
    read_query(request, Asked)
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        found = await comments.list_comments(connection, number)
    return await answer(request, {"items": [_comment(one) for one in found], "next": None})


def _comment(one: Comment) -> Json:
    return {
        "id": one.id,
        "recording_id": one.recording_id,
        "second": one.at_ms / 1000 if one.at_ms is not None else None,
        "text": one.text,
        "by": one.author,
        "at": shapes.time(one.created),
    }


async def add_comment(request: web.Request) -> web.StreamResponse:
    """On a call that the caller may see; a comment is somebody's, so a token needs an account."""
    asked, number = await read_body(request, NewComment), number_in(request)
    account_id = caller_of(request).account_id
    if account_id is None:
        raise Refused(403, "A comment is somebody's: use a token that belongs to an account.")

    async def act(connection: AsyncConnection) -> Made:
        await check_entry(request, connection, number)
        at_ms = round(asked.second * 1000) if asked.second is not None else None
        made = await comments.add_comment(
            connection, number, asked.text, account_id=account_id, recording_id=asked.recording_id, at_ms=at_ms
        )
        if made is None:
            raise Refused(422, "It is no recording of this call.", faults=[("/recording_id", "of another call")])
        subject = {"interaction_id": number, "comment_id": made}
        await audit.add_entry(connection, account_id, audit.COMMENT_ADDED, subject)
        return Made(content={"id": made}, location=f"{shapes.API}/interactions/{number}/comments")

    return await perform(request, act)


async def remove_comment(request: web.Request) -> web.StreamResponse:
    """One's own; an administrator any."""
    comment_id, viewer = number_in(request), login_of(request).viewer
    async with begin(request) as connection:
        found = await comments.find_comment(connection, comment_id)
        is_seen = found is not None and await rights.may_see_interaction(connection, viewer, found[0])
        if found is None or not is_seen:
            raise Refused(404, "There is no such comment, or it is not yours to see.")
        if viewer.role is not UserRole.ADMINISTRATOR and (not viewer.account_id or found[1] != viewer.account_id):
            raise Refused(403, "It is somebody else's.")
        await comments.remove_comment(connection, comment_id)
        subject = {"interaction_id": found[0], "comment_id": comment_id}
        await audit.add_entry(connection, account_of(request), audit.COMMENT_REMOVED, subject)
    return web.Response(status=204)


async def correct_utterance(request: web.Request) -> web.StreamResponse:
    """These words were said; the machine's stay beside them."""
    asked = await read_body(request, Correction)
    return await _correct(request, asked.text)


async def restore_utterance(request: web.Request) -> web.StreamResponse:
    """The machine's words again."""
    return await _correct(request, None)


async def _correct(request: web.Request, words: str | None) -> web.StreamResponse:
    number, login = number_in(request), login_of(request)
    async with begin(request) as connection:
        found = await transcripts.find_spoken(connection, number)
        if found is None or not await rights.may_see_interaction(connection, login.viewer, found[0]):
            raise Refused(404, "There is no such utterance, or it is not yours to see.")
        machine = found[2].machine or found[2].text
        told = machine if words is None else await mask_written(connection, words)
        if await transcripts.correct(connection, number, told, by=login.login):
            subject = {"interaction_id": found[0], "utterance_id": number, "undone": words is None}
            await audit.add_entry(connection, account_of(request), audit.TRANSCRIPT_CORRECTED, subject)
    return web.Response(status=204)
