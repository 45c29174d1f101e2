"""Transcripts of a recording beside each other: asked for once more, chosen, and corrections that come along."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import retranscribing, transcripts
from agent.web import transcripts as acts
from agent.web.api import shapes
from agent.web.api.answers import Made, answer, begin, perform
from agent.web.api.interactions import check_entry
from agent.web.api.reading import Asked, read_body, read_query
from agent.web.services import number_in


class CarriedAnswer(Asked):
    """Whether a correction of an earlier transcript holds for this one."""

    take: bool


async def ask_again(request: web.Request) -> web.StreamResponse:
    """The models of the settings listen once more; what is there stays."""

    async def act(connection: AsyncConnection) -> Made:
        number = await acts.transcribe_again(request, connection, number_in(request))
        place = f"{shapes.API}/interactions/{number}/transcripts"
        return Made(content={"interaction_id": number}, location=place, status=202)

    return await perform(request, act)


async def show_transcript(request: web.Request) -> web.StreamResponse:
    """From now on everybody sees this one."""
    async with begin(request) as connection:
        await acts.choose_transcript(request, connection, number_in(request))
    return web.Response(status=204)


async def list_carried(request: web.Request) -> web.StreamResponse:
    """Corrections of earlier transcripts that somebody should look at."""
    read_query(request, Asked)
    number = number_in(request)
    async with begin(request) as connection:
        await check_entry(request, connection, number)
        shown = await transcripts.list_transcripts(connection, [number])
        found = await retranscribing.list_open(connection, [one.id for one in shown])
    items = [
        {
            "id": one.id,
            "transcript_id": one.transcript_id,
            "utterance_id": one.utterance_id,
            "start": one.start,
            "text": one.text,
            "machine": one.machine,
            "by": one.by,
            "at": shapes.time(one.at),
        }
        for one in found
    ]
    return await answer(request, {"items": items, "next": None})


async def settle_carried(request: web.Request) -> web.StreamResponse:
    """It holds for this transcript too, or it does not."""
    asked = await read_body(request, CarriedAnswer)
    async with begin(request) as connection:
        await acts.settle(request, connection, number_in(request), take=asked.take)
    return web.Response(status=204)
