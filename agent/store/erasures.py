"""Rows of acts of erasure, and what an act takes: wrapped keys and text. What is left of an interaction is a tombstone.

`WIPED` names every column that holds what was said, written or known of somebody; a test walks the schema and asks of
each column of text around an interaction that it stands there or in `KEPT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection as DriverConnection
from psycopg import Error, sql
from sqlalchemy import Column, Select, Table, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import DatabaseUnavailable
from agent.model import Role
from agent.store import outbox
from agent.store.engine import AnyRow
from agent.store.schema import (
    answered_window,
    attachment,
    blob,
    call_number,
    call_view,
    capture,
    card_note,
    carried_correction,
    chain_link,
    client_card,
    comment,
    contact_point,
    contact_proposal,
    crm_card,
    delivery,
    erasure,
    evidence,
    interaction,
    invitation,
    kept_log,
    link,
    link_rule,
    live_answer,
    meeting,
    message,
    notification,
    party,
    provider_recording,
    recording,
    recording_mark,
    recording_outline,
    search_entry,
    talk,
    task,
    thread,
    thread_subject,
    transcript,
    transcript_mask,
    transcription,
    utterance,
    utterance_correction,
)

# Rows that go whole.
DELETED: tuple[Table, ...] = (
    carried_correction,
    utterance_correction,
    utterance,
    transcript_mask,
    transcript,
    answered_window,
    transcription,
    live_answer,
    talk,
    recording_mark,
    recording_outline,
    comment,
    search_entry,
    attachment,
    call_view,
    call_number,
    invitation,
    contact_proposal,
    task,
)

# What is set back in rows that stay.
WIPED: Mapping[Table, Mapping[str, Any]] = {
    message: {
        "subject": "",
        "text": "",
        "html": "",
        "message_id": "",
        "category_reason": "",
        "spans": [],
        "facts": {},
        "marked_reason": "",
        "tags": [],
        "returned_id": "",
    },
    meeting: {"summary": "", "location": "", "reason": "", "confirmed": "", "answers": {}},
    party: {"value": "", "name": "", "identity_value": None, "identity_kind": None},
    evidence: {"details": {}, "problem": ""},
    provider_recording: {"url": "", "problem": ""},
    thread: {"subject": ""},
    delivery: {"problem": "", "remedy": ""},
}

# What stays, and why. A table alone stands for all of its columns.
KEPT: Mapping[str, str] = {
    "interaction.kind": "a call or a mail it was",
    "interaction.direction": "who began says nothing of what was said",
    "interaction.conversation_key": "the exchange's own number of a conversation",
    "interaction.flags": "replaced by the words of the erasure",
    "evidence.source": "stands in the chain",
    "evidence.key": "so that the same copy is not archived again",
    "evidence.state": "no content",
    "message.logical_key": "so that another copy of the mail is recognised and does not bring it back",
    "message.id_key": "as the logical key",
    "message.category": "no content",
    "message.marked": "no content",
    "meeting.uid": "made by a calendar; so that the same invitation is recognised",
    "meeting.organizer": "a digest of the address, for the same",
    "meeting.occurrence": "for the same",
    "meeting.state": "no content",
    "meeting.said": "one word of ours",
    "meeting.said_by": "one of us",
    "thread_reference": "message ids hold threads together; they are made by mail servers",
    "party.position": "no content",
    "party.kind": "no content",
    "party.role": "no content",
    "party.credited_by": "one of us",
    "provider_recording.provider": "a virtual PBX",
    "provider_recording.call_key": "so that it is not fetched again",
    "provider_recording.reference": "so that it is not fetched again",
    "provider_recording.state": "no content",
    "link.reason": "replaced by the words of the erasure",
    "link.candidates": "emptied beside the reason",
    "link.state": "no content",
    "link.decided_by": "a rule or an employee",
    "call.disposition": "no content",
    "call_command": "who of us paused when",
    "capture": "names of folders on our disks; the folder is gone once assembled",
    "recording.gaps": "when no sound came",
    "recording.capture_id": "name of a folder that is gone",
    "recording.reference": "so that the same file is not taken in again; a digest",
    "mailbox_copy": "where in our mailboxes a copy lies: folder and number",
    "sound_file": "so that the same file is not taken in again",
    "kept_log": "its blob is erased",
    "delivery.key": "our own number of it, by which a CRM is told to forget",
    "delivery.state": "no content",
    "delivery.failure": "no content",
    "delivery.logged": "numbers of objects in a CRM, to be withdrawn there",
    "delivery.parts": "digests",
}


async def list_card_interactions(connection: AsyncConnection, card_id: int) -> list[int]:
    """Everything that stands on a card."""
    query = select(link.c.interaction_id).where(link.c.client_card_id == card_id).distinct()
    return sorted((await connection.execute(query)).scalars())


async def list_shared(connection: AsyncConnection, interaction_ids: Sequence[int], card_id: int) -> set[int]:
    """Those among the interactions that stand on other cards as well."""
    query = select(link.c.interaction_id).where(
        link.c.interaction_id.in_(interaction_ids), link.c.client_card_id.is_not(None), link.c.client_card_id != card_id
    )
    return set((await connection.execute(query)).scalars())


async def list_unfinished(connection: AsyncConnection, interaction_ids: Sequence[int]) -> set[int]:
    """Those whose packet logs are still being written or assembled: their sound would come after the erasure."""
    query = select(capture.c.interaction_id).where(
        capture.c.interaction_id.in_(interaction_ids), capture.c.state != "assembled"
    )
    return set((await connection.execute(query)).scalars())


async def list_blob_ids(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[int]:
    """All blobs that vouch for these interactions and still have their keys: mails, recordings, logs kept aside."""
    queries: tuple[Select[Any], ...] = (
        select(evidence.c.blob_id).where(evidence.c.interaction_id.in_(interaction_ids)),
        select(recording.c.blob_id).where(recording.c.interaction_id.in_(interaction_ids)),
        select(kept_log.c.blob_id).join(capture).where(capture.c.interaction_id.in_(interaction_ids)),
    )
    ids: set[int] = set()
    for query in queries:
        ids.update(one for one in (await connection.execute(query)).scalars() if one is not None)
    living = select(blob.c.id).where(blob.c.id.in_(ids), blob.c.wrapped_key.is_not(None))
    return sorted((await connection.execute(living)).scalars())


async def list_positions(connection: AsyncConnection, blob_ids: Sequence[int]) -> list[int]:
    """Where these blobs stand in the chain."""
    query = select(chain_link.c.sequence).where(chain_link.c.blob_id.in_(blob_ids)).order_by(chain_link.c.sequence)
    return list((await connection.execute(query)).scalars())


async def insert_erasure(
    connection: AsyncConnection,
    *,
    at: datetime,
    by: str,
    reason: str,
    basis: str,
    subject: str,
    links: Sequence[Sequence[int]],
    blobs: int,
) -> AnyRow:
    """A new act; returns its row."""
    values = {
        "at": at,
        "by": by,
        "reason": reason,
        "basis": basis,
        "subject": subject,
        "links": [list(one) for one in links],
        "blobs": blobs,
    }
    row: AnyRow = (await connection.execute(insert(erasure).values(**values).returning(erasure))).one()
    return row


async def destroy_keys(connection: AsyncConnection, blob_ids: Sequence[int]) -> None:
    """Forget the wrapped keys: what these blobs hold can never be read again."""
    statement = update(blob).where(blob.c.id.in_(blob_ids)).values(wrapped_key=None, erased_at=func.now())
    await connection.execute(statement)


async def wipe(connection: AsyncConnection, interaction_ids: Sequence[int], erasure_id: int, words: str) -> None:
    """Take the text out of everything that belongs to the interactions; ``words`` say on pages what happened."""
    sounds = select(recording.c.id).where(recording.c.interaction_id.in_(interaction_ids))
    spoken = select(transcript.c.id).where(transcript.c.interaction_id.in_(interaction_ids))
    said = select(utterance.c.id).where(utterance.c.transcript_id.in_(spoken))
    for table in (carried_correction, transcript_mask):
        await connection.execute(delete(table).where(table.c.transcript_id.in_(spoken)))
    await connection.execute(delete(utterance_correction).where(utterance_correction.c.utterance_id.in_(said)))
    await connection.execute(delete(utterance).where(utterance.c.transcript_id.in_(spoken)))
    for table in (recording_outline, recording_mark, talk, answered_window, transcription):
        await connection.execute(delete(table).where(table.c.recording_id.in_(sounds)))
    captures = select(capture.c.id).where(capture.c.interaction_id.in_(interaction_ids))
    await connection.execute(delete(live_answer).where(live_answer.c.capture_id.in_(captures)))
    proofs = select(evidence.c.id).where(evidence.c.interaction_id.in_(interaction_ids))
    for table in (call_view, call_number):
        await connection.execute(delete(table).where(table.c.evidence_id.in_(proofs)))
    for table in (transcript, attachment, contact_proposal, comment, task, search_entry):
        await connection.execute(delete(table).where(table.c.interaction_id.in_(interaction_ids)))
    about = or_(invitation.c.message_id.in_(interaction_ids), invitation.c.meeting_id.in_(interaction_ids))
    await connection.execute(delete(invitation).where(about))
    for table in (message, meeting, evidence, provider_recording, delivery):
        statement = update(table).where(table.c.interaction_id.in_(interaction_ids))
        await connection.execute(statement.values(**WIPED[table]))
    strangers = party.c.role.is_distinct_from(Role.EMPLOYEE)
    of_these = update(party).where(party.c.interaction_id.in_(interaction_ids), strangers)
    await connection.execute(of_these.values(**WIPED[party]))
    await connection.execute(
        update(link).where(link.c.interaction_id.in_(interaction_ids)).values(reason=words, candidates=[])
    )
    mine = update(interaction).where(interaction.c.id.in_(interaction_ids))
    await connection.execute(mine.values(erasure_id=erasure_id, flags=[words]))
    await _wipe_threads(connection, interaction_ids)
    await _wipe_notifications(connection, interaction_ids)
    await outbox.want(connection, interaction_ids)  # CRMs are told to forget it too


async def _wipe_threads(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """A thread's subject goes with the last of its messages."""
    threads = select(message.c.thread_id).where(message.c.interaction_id.in_(interaction_ids))
    alive = (
        select(message.c.thread_id)
        .join(interaction, interaction.c.id == message.c.interaction_id)
        .where(interaction.c.erasure_id.is_(None))
    )
    statement = update(thread).where(thread.c.id.in_(threads), thread.c.id.not_in(alive))
    await connection.execute(statement.values(**WIPED[thread]))
    dead = thread_subject.c.thread_id.in_(threads) & thread_subject.c.thread_id.not_in(alive)
    await connection.execute(delete(thread_subject).where(dead))


async def _wipe_notifications(connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
    """What virtual PBXs told of these calls, in their own words. The digest stays: said again it is no news."""
    calls = select(evidence.c.key).where(
        evidence.c.interaction_id.in_(interaction_ids),
        evidence.c.source == literal("provider:") + notification.c.provider,
    )
    statement = update(notification).where(notification.c.call_key.in_(calls))
    await connection.execute(statement.values(query="", body=b"", tail=""))


async def wipe_card(connection: AsyncConnection, card_id: int) -> None:
    """Take name, contact points, notes and what was decided about its numbers from a card and from those that became
    it; what comes from there later is unknown again."""
    family = or_(client_card.c.id == card_id, client_card.c.merged_into_id == card_id)
    ids = list((await connection.execute(select(client_card.c.id).where(family))).scalars())
    for table in (contact_point, contact_proposal, card_note, task):
        await connection.execute(delete(table).where(table.c.client_card_id.in_(ids)))
    said = update(link_rule).where(link_rule.c.client_card_id.in_(ids))
    ended = {"revoked_at": func.coalesce(link_rule.c.revoked_at, func.now()), "revoked_by": "erasure"}
    await connection.execute(said.values(value="", note="", **ended))
    await connection.execute(update(client_card).where(client_card.c.id.in_(ids)).values(name="—"))
    mirrored = update(crm_card).where(crm_card.c.client_card_id.in_(ids))
    await connection.execute(mirrored.values(name="", identities=[], is_erased=True))


async def lock_interactions(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[int]:
    """Those that exist, held until the transaction ends, so that nothing is added to them meanwhile."""
    query = select(interaction.c.id).where(interaction.c.id.in_(interaction_ids)).order_by(interaction.c.id)
    return list((await connection.execute(query.with_for_update())).scalars())


def text_columns() -> list[Column[Any]]:
    """For the test: every column of text or JSON in a table that refers to an interaction or to what belongs to one."""
    from agent.store.schema import metadata

    mine = {"interaction"}
    grown = True
    while grown:
        found = {
            table.name
            for table in metadata.tables.values()
            if any(f.column.table.name in mine for f in table.foreign_keys)
        }
        grown = not found <= mine
        mine |= found
    kinds = ("TEXT", "JSONB", "ARRAY", "TSVECTOR")
    tables = [metadata.tables[name] for name in sorted(mine | {"thread"})]
    return [one for table in tables for one in table.c if str(one.type).upper().startswith(kinds)]


async def purge(url: str) -> None:
    """Write the tables anew without the rows that were changed or deleted, whose bytes PostgreSQL keeps for a while.

    Each table is locked meanwhile. Its log (WAL), replicas and backups are not touched.
    """
    tables = {*DELETED, *WIPED, blob, link, interaction, contact_point, client_card, card_note, link_rule}
    tables.add(crm_card)
    try:
        async with await DriverConnection.connect(url, autocommit=True) as connection:
            for table in sorted(tables, key=lambda one: one.name):
                await connection.execute(sql.SQL("VACUUM (FULL) {}").format(sql.Identifier(table.name)))
            await connection.execute("CHECKPOINT")
    except Error as error:
        raise DatabaseUnavailable(f"The tables could not be written anew: {str(error).strip()}.") from error
