"""Comments on a call, at a second of its recording; and what was said, put right."""

from __future__ import annotations

import re

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store import audit, comments, recordings, rights, transcripts
from agent.transcribe.masks.masker import mask_written
from agent.web.callpage import load_notes, show_said
from agent.web.pages import page
from agent.web.services import login_of, number_in, services

_LONGEST = 4000  # characters
_CLOCK = re.compile(r"(?:(\d{1,2}):)?(?:(\d{1,3}):)?(\d{1,6}(?:[.,]\d{1,3})?)")


def parse_clock(text: str) -> int | None:
    """``73.2``, ``1:13``, ``1:02:03`` → milliseconds; None for nothing or nonsense."""
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        return None
    first, second, seconds = found.groups()
    hours, minutes = (first, second) if second is not None else (None, first)
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
    return round(whole * 1000)


async def add_comment(request: web.Request) -> web.StreamResponse:
    """On a call that whoever writes it may see."""
    number, login = number_in(request), login_of(request)
    words, place = await _text(request), (await _field(request, "at"))
    recording, at_ms = await _field(request, "recording"), parse_clock(place)
    is_wrong = not words or (place.strip() and at_ms is None)
    async with services(request).store.begin() as connection:
        await _check(request, connection, number)
        if not is_wrong:
            made = await comments.add_comment(
                connection,
                number,
                words,
                account_id=login.viewer.account_id,
                recording_id=int(recording) if recording.isascii() and recording.isdigit() else None,
                at_ms=at_ms,
            )
            if made is None:
                raise web.HTTPNotFound
            subject = {"interaction_id": number, "comment_id": made}
            await audit.add_entry(connection, login.viewer.account_id, audit.COMMENT_ADDED, subject)
    return await _comments(request, number, problem="comment_wrong" if is_wrong else "")


async def remove_comment(request: web.Request) -> web.StreamResponse:
    """One's own; an administrator's hand reaches further."""
    comment_id, viewer = number_in(request), login_of(request).viewer
    async with services(request).store.begin() as connection:
        found = await comments.find_comment(connection, comment_id)
        if found is None:
            raise web.HTTPNotFound
        number, author = found
        await _check(request, connection, number)
        if author != viewer.account_id and viewer.role is not UserRole.ADMINISTRATOR:
            raise web.HTTPForbidden
        await comments.remove_comment(connection, comment_id)
        subject = {"interaction_id": number, "comment_id": comment_id}
        await audit.add_entry(connection, viewer.account_id, audit.COMMENT_REMOVED, subject)
    return await _comments(request, number)


async def correct_utterance(request: web.Request) -> web.StreamResponse:
    """What was really said, by whoever may see the call; ``undo`` gives the machine's words back."""
    utterance_id, login = number_in(request), login_of(request)
    words, undo = await _text(request), await _field(request, "undo")
    async with services(request).store.begin() as connection:
        found = await transcripts.find_spoken(connection, utterance_id)
        if found is None:
            raise web.HTTPNotFound
        number, _, spoken = found
        await _check(request, connection, number)
        if undo:
            words = spoken.machine or spoken.text
        elif words:
            words = await mask_written(connection, words)
        if words and await transcripts.correct(connection, utterance_id, words, by=login.login):
            subject = {"interaction_id": number, "utterance_id": utterance_id, "undone": bool(undo)}
            await audit.add_entry(connection, login.viewer.account_id, audit.TRANSCRIPT_CORRECTED, subject)
    if "HX-Request" in request.headers:
        return await show_said(request, number, utterance_id)
    raise web.HTTPSeeOther(f"/interactions/{number}?at={spoken.start:.1f}#u{utterance_id}")


async def _comments(request: web.Request, number: int, *, problem: str = "") -> web.StreamResponse:
    """The list of comments alone for a page that replaces it, the whole page for one that does not."""
    if "HX-Request" not in request.headers:
        raise web.HTTPSeeOther(f"/interactions/{number}{f'?problem={problem}' if problem else ''}#comments")
    async with services(request).store.begin() as connection:
        notes = await load_notes(request, connection, number)
        sounds = await recordings.list_recordings(connection, [number])
    recording_id = sounds[0].id if sounds else ""
    return page(request, "_comments.html", call_id=number, recording_id=recording_id, notes=notes, problem=problem)


async def _check(request: web.Request, connection: AsyncConnection, number: int) -> None:
    if not await rights.may_see_interaction(connection, login_of(request).viewer, number):
        raise web.HTTPNotFound


async def _field(request: web.Request, name: str) -> str:
    return str((await request.post()).get(name, ""))[:18]


async def _text(request: web.Request) -> str:
    """The words of the form; lines stay lines."""
    text = str((await request.post()).get("text", "")).replace("\0", "").replace("\r\n", "\n")
    return text.strip()[:_LONGEST]
