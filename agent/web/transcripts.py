"""Transcripts beside each other: have a recording transcribed once more, choose which is shown, settle corrections."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.store import audit, recordings, retranscribing, rights, transcripts
from agent.transcribe.masker import mask_written
from agent.web.services import caller_of, login_of, number_in, services


async def ask_again(request: web.Request) -> web.StreamResponse:
    """Have the models of the settings listen once more; what is there stays."""
    recording_id = number_in(request)
    async with services(request).store.begin() as connection:
        found = await recordings.find_recording(connection, recording_id)
        if found is None:
            raise web.HTTPNotFound
        await _check(request, connection, found.interaction_id)
        if found.blob.wrapped_key is None or not services(request).settings.transcribe.enabled:
            raise web.HTTPConflict
        again = await retranscribing.next_round(connection, recording_id)
        work = jobs.Job(
            task=jobs.TRANSCRIBE,
            args={"recording_id": recording_id, "round": again},
            priority=jobs.speech_priority(found.started),
        )
        await jobs.defer(connection, [work])
        subject = {"interaction_id": found.interaction_id, "recording_id": recording_id}
        await audit.add_entry(connection, caller_of(request).account_id, audit.TRANSCRIPTION_ASKED, subject)
    raise web.HTTPSeeOther(f"/interactions/{found.interaction_id}?asked={recording_id}#recording-{recording_id}")


async def show_transcript(request: web.Request) -> web.StreamResponse:
    """From now on everybody sees this one: pages, search, CRMs."""
    transcript_id = number_in(request)
    async with services(request).store.begin() as connection:
        found = await retranscribing.find_transcript(connection, transcript_id)
        if found is None:
            raise web.HTTPNotFound
        interaction_id, recording_id = found
        await _check(request, connection, interaction_id)
        await retranscribing.show(connection, transcript_id)
        subject = {"interaction_id": interaction_id, "transcript_id": transcript_id}
        await audit.add_entry(connection, login_of(request).viewer.account_id, audit.TRANSCRIPT_CHOSEN, subject)
    raise web.HTTPSeeOther(f"/interactions/{interaction_id}#recording-{recording_id}")


async def settle_correction(request: web.Request) -> web.StreamResponse:
    """A correction of an earlier transcript: it holds for the line beside it too (``take``), or it does not."""
    number, login = number_in(request), login_of(request)
    take = bool((await request.post()).get("take"))
    async with services(request).store.begin() as connection:
        found = await retranscribing.find_open(connection, number)
        if found is None:
            raise web.HTTPNotFound
        interaction_id, waiting = found
        await _check(request, connection, interaction_id)
        subject = {"interaction_id": interaction_id, "carried_correction_id": number}
        if take and waiting.utterance_id is not None:
            words = await mask_written(connection, waiting.text)
            await transcripts.correct(connection, waiting.utterance_id, words, by=login.login)
            await audit.add_entry(connection, login.viewer.account_id, audit.TRANSCRIPT_CORRECTED, subject)
        else:
            await audit.add_entry(connection, login.viewer.account_id, audit.CORRECTION_LEFT, subject)
        await retranscribing.settle(connection, number, by=login.login)
    raise web.HTTPSeeOther(f"/interactions/{interaction_id}?at={waiting.start:.1f}")


async def _check(request: web.Request, connection: AsyncConnection, interaction_id: int) -> None:
    if not await rights.may_see_interaction(connection, login_of(request).viewer, interaction_id):
        raise web.HTTPNotFound
