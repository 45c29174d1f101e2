"""Transcripts beside each other: have a recording transcribed once more, choose which is shown, settle corrections."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent import jobs
from agent.store import audit, recordings, retranscribing, rights, transcripts
from agent.transcribe.masks.masker import mask_written
from agent.web.services import caller_of, login_of, number_in, services


async def ask_again(request: web.Request) -> web.StreamResponse:
    """Have the models of the settings listen once more; what is there stays."""
    recording_id = number_in(request)
    async with services(request).store.begin() as connection:
        number = await transcribe_again(request, connection, recording_id)
    raise web.HTTPSeeOther(f"/interactions/{number}?asked={recording_id}#recording-{recording_id}")


async def transcribe_again(request: web.Request, connection: AsyncConnection, recording_id: int) -> int:
    """The same for the API; returns the interaction.

    Raises:
        HTTPNotFound: it is hidden. HTTPConflict: it was erased, or nothing is transcribed here.
    """
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
    return found.interaction_id


async def show_transcript(request: web.Request) -> web.StreamResponse:
    """From now on everybody sees this one: pages, search, CRMs."""
    async with services(request).store.begin() as connection:
        interaction_id, recording_id = await choose_transcript(request, connection, number_in(request))
    raise web.HTTPSeeOther(f"/interactions/{interaction_id}#recording-{recording_id}")


async def choose_transcript(request: web.Request, connection: AsyncConnection, transcript_id: int) -> tuple[int, int]:
    """The same for the API; returns the interaction and the recording.

    Raises:
        HTTPNotFound: it is hidden.
    """
    found = await retranscribing.find_transcript(connection, transcript_id)
    if found is None:
        raise web.HTTPNotFound
    await _check(request, connection, found[0])
    await retranscribing.show(connection, transcript_id)
    subject = {"interaction_id": found[0], "transcript_id": transcript_id}
    await audit.add_entry(connection, login_of(request).viewer.account_id, audit.TRANSCRIPT_CHOSEN, subject)
    return found


async def settle_correction(request: web.Request) -> web.StreamResponse:
    """A correction of an earlier transcript: it holds for the line beside it too (``take``), or it does not."""
    take = bool((await request.post()).get("take"))
    async with services(request).store.begin() as connection:
        interaction_id, start = await settle(request, connection, number_in(request), take=take)
    raise web.HTTPSeeOther(f"/interactions/{interaction_id}?at={start:.1f}")


async def settle(request: web.Request, connection: AsyncConnection, number: int, *, take: bool) -> tuple[int, float]:
    """The same for the API; returns the interaction, and the second of what was corrected.

    Raises:
        HTTPNotFound: it is hidden, or settled.
    """
    login = login_of(request)
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
    return interaction_id, waiting.start


async def _check(request: web.Request, connection: AsyncConnection, interaction_id: int) -> None:
    if not await rights.may_see_interaction(connection, login_of(request).viewer, interaction_id):
        raise web.HTTPNotFound
