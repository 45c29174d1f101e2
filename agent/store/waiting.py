"""Everything that waits for a person, by sort: how much of each (counted no further than one shows), and the newest of
each. What is unknown or ambiguous is in `agent.store.unsorted`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, String, cast, exists, func, literal_column, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import EvidenceState, Identity, IdentityKind, LinkState, SourceState
from agent.store import blobs
from agent.store.contactproposals import OPEN, ContactProposal
from agent.store.evidence import Evidence, evidence_of
from agent.store.links import BY_RULE
from agent.store.rights import Viewer, is_visible_card, is_visible_interaction, took_part
from agent.store.schema import (
    blob,
    client_card,
    contact_proposal,
    delivery,
    evidence,
    interaction,
    link,
    source_status,
)
from agent.store.unsorted import MOST_COUNTED, newest_waiting

_NEAR = re.compile(r"may be the same call as No\. (\d+) \((.+?)\): (.+)")
_NEAR_LIKE = "may be the same call as No. %"
_FLAGGED = 5000  # entries with flags, the newest, among which calls that may be one are looked for
_SET_ASIDE = "set_aside"
_BROKEN = (SourceState.LOGIN_FAILED, SourceState.FOLDER_MISSING, SourceState.UNREACHABLE, SourceState.DAMAGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOff:
    """An entry that a person took off a card: it stands nowhere."""

    interaction_id: int
    started: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCalls:
    """Two calls that may be one, with the reason why no rule took them for it."""

    first: int
    second: int
    started: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingProposal:
    """What a signature offers, and for whom."""

    proposal: ContactProposal
    card_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """Work that was given up after several attempts."""

    id: int
    task: str
    attempts: int
    failed: datetime | None


async def count_waiting(connection: AsyncConnection, viewer: Viewer) -> dict[str, int]:
    """By sort, each up to one more than `MOST_COUNTED`: then there are more. Technical sorts only for whoever sees
    everything."""
    queries = {
        "unknown": select(newest_waiting(viewer, LinkState.UNKNOWN, MOST_COUNTED + 1).c.interaction_id),
        "ambiguous": select(newest_waiting(viewer, LinkState.AMBIGUOUS, MOST_COUNTED + 1).c.interaction_id),
        "taken_off": _taken_off(viewer).with_only_columns(link.c.id),
        "proposals": _proposals(viewer).with_only_columns(contact_proposal.c.id),
    }
    if viewer.supervises:
        queries["near"] = _near(viewer)
    if viewer.sees_all:
        queries |= {
            "undelivered": select(delivery.c.id).where(delivery.c.state == "failed"),
            "unreadable": _unreadable().with_only_columns(evidence.c.id),
            "sources": _broken().with_only_columns(source_status.c.source),
        }
    counts = [
        select(func.count()).select_from(query.limit(MOST_COUNTED + 1).subquery()).scalar_subquery().label(name)
        for name, query in queries.items()
    ]
    row = (await connection.execute(select(*counts))).one()
    return dict(row._mapping)


# --- Entries ----------------------------------------------------------------------------------------------------------


def _taken_off(viewer: Viewer) -> Select[*tuple[Any, ...]]:
    query = select(link).where(
        link.c.client_card_id.is_(None),
        link.c.decided_by != literal_column(f"'{BY_RULE}'"),
        link.c.state == LinkState.UNKNOWN,
    )
    return query if viewer.sees_all else query.where(is_visible_interaction(viewer, link.c.interaction_id))


async def list_taken_off(connection: AsyncConnection, viewer: Viewer, *, limit: int, offset: int = 0) -> list[TakenOff]:
    """The newest entries first."""
    query = _taken_off(viewer).order_by(link.c.started_at.desc()).limit(limit).offset(offset)
    return [
        TakenOff(interaction_id=row.interaction_id, started=row.started_at, reason=row.reason)
        for row in await connection.execute(query)
    ]


def _near(viewer: Viewer) -> Select[*tuple[Any, ...]]:
    """Of two that may be one the later, which carries the note."""
    flagged = (
        select(interaction.c.id, interaction.c.started_at, interaction.c.flags)
        .where(interaction.c.flags != cast([], interaction.c.flags.type))
        .order_by(interaction.c.started_at.desc())
        .limit(_FLAGGED)
        .subquery("flagged")
    )
    flag = func.unnest(flagged.c.flags).table_valued("flag").render_derived(name="each")
    query = (
        select(flagged.c.id, flagged.c.started_at, cast(flag.c.flag, String).label("flag"))
        .select_from(flagged.join(flag, true()))
        .where(cast(flag.c.flag, String).like(_NEAR_LIKE))
        .order_by(flagged.c.started_at.desc())
    )
    return query if viewer.sees_all else query.where(took_part(viewer, flagged.c.id))


async def list_near(connection: AsyncConnection, viewer: Viewer, *, limit: int, offset: int = 0) -> list[NearCalls]:
    """The newest first, each pair once."""
    pairs: dict[tuple[int, int], NearCalls] = {}
    for row in await connection.execute(_near(viewer).limit(limit * 2).offset(offset)):
        if (found := _NEAR.fullmatch(row.flag)) is None:
            continue
        one, other = sorted((row.id, int(found[1])))
        pairs.setdefault((one, other), NearCalls(first=one, second=other, started=row.started_at, reason=found[3]))
    return list(pairs.values())[:limit]


_FORGET_NEAR = text(
    """
    UPDATE interaction SET flags = ARRAY(
        SELECT flag FROM unnest(flags) WITH ORDINALITY AS each(flag, place)
        WHERE flag NOT LIKE 'may be the same call as No. ' || CAST(:other AS text) || ' (%' ORDER BY place)
    WHERE id = :id
    """
)


async def forget_near(connection: AsyncConnection, first: int, second: int) -> None:
    """A person says that these are two calls: neither says any more that it may be the other."""
    for one, other in ((first, second), (second, first)):
        await connection.execute(_FORGET_NEAR, {"id": one, "other": str(other)})


# --- Contact points that signatures offer -----------------------------------------------------------------------------


def _proposals(viewer: Viewer) -> Select[*tuple[Any, ...]]:
    return (
        select(contact_proposal, client_card.c.name.label("card_name"))
        .join(client_card, client_card.c.id == contact_proposal.c.client_card_id)
        .where(contact_proposal.c.state == OPEN, is_visible_card(viewer, contact_proposal.c.client_card_id))
    )


async def list_proposals(
    connection: AsyncConnection, viewer: Viewer, *, limit: int, offset: int = 0
) -> list[WaitingProposal]:
    """Those found last come first."""
    query = _proposals(viewer).order_by(contact_proposal.c.id.desc()).limit(limit).offset(offset)
    return [
        WaitingProposal(
            proposal=ContactProposal(
                id=row.id,
                card_id=row.client_card_id,
                identity=Identity(kind=IdentityKind(row.kind), value=row.value),
                label=row.label,
                interaction_id=row.interaction_id,
                found=row.found_at,
            ),
            card_name=row.card_name,
        )
        for row in await connection.execute(query)
    ]


# --- What could not be read -------------------------------------------------------------------------------------------


def _unreadable() -> Select[*tuple[Any, ...]]:
    return (
        select(evidence, *blobs.COLUMNS)
        .outerjoin(blob, blob.c.id == evidence.c.blob_id)
        .where(evidence.c.state == EvidenceState.UNREADABLE, ~evidence.c.details.has_key(_SET_ASIDE))
    )


async def list_unreadable(connection: AsyncConnection, *, limit: int, offset: int = 0) -> list[Evidence]:
    """The newest first, apart from what a person has set aside."""
    query = _unreadable().order_by(evidence.c.id.desc()).limit(limit).offset(offset)
    return [evidence_of(row) for row in await connection.execute(query)]


async def set_evidence_aside(connection: AsyncConnection, evidence_id: int, *, by: str) -> bool:
    """A person has looked at it; it stays archived and unreadable. False where it does not wait."""
    mine = (evidence.c.id == evidence_id) & (evidence.c.state == EvidenceState.UNREADABLE)
    details = evidence.c.details + func.jsonb_build_object(_SET_ASIDE, by)
    return (await connection.execute(update(evidence).where(mine).values(details=details))).rowcount > 0


async def read_again(connection: AsyncConnection, evidence_id: int) -> bool:
    """It counts as never read; the caller has it read. False where it is no unreadable mail."""
    mail = select(blob.c.id).where(blob.c.id == evidence.c.blob_id, blob.c.media_type == "message/rfc822")
    mine = (evidence.c.id == evidence_id) & (evidence.c.state == EvidenceState.UNREADABLE) & exists(mail)
    values = {"state": EvidenceState.STORED, "problem": ""}
    return (await connection.execute(update(evidence).where(mine).values(**values))).rowcount > 0


# --- Sources and jobs -------------------------------------------------------------------------------------------------


def _broken() -> Select[*tuple[Any, ...]]:
    return select(source_status).where(source_status.c.state.in_(_BROKEN))


async def list_broken(connection: AsyncConnection) -> list[tuple[str, SourceState, str, datetime]]:
    """Sources that need a person: name, state, why, since when."""
    rows = await connection.execute(_broken().order_by(source_status.c.changed_at.desc()).limit(200))
    return [(row.source, SourceState(row.state), row.detail, row.changed_at) for row in rows]


_FAILED_JOBS = text(
    """
    SELECT job.id, job.task_name, job.attempts, (
        SELECT max(event.at) FROM procrastinate_events event WHERE event.job_id = job.id) AS failed
    FROM procrastinate_jobs job WHERE job.status = 'failed' ORDER BY job.id DESC LIMIT :most OFFSET :skipped
    """
)
_COUNT_FAILED_JOBS = text(
    "SELECT count(*) FROM (SELECT FROM procrastinate_jobs WHERE status = 'failed' LIMIT :most) AS failed"
)
_RETRY_JOB = text(
    """
    SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL)
    FROM procrastinate_jobs WHERE id = :id AND status = 'failed'
    """
)
_FORGET_JOB = text("DELETE FROM procrastinate_jobs WHERE id = :id AND status = 'failed' RETURNING id")


async def list_failed_jobs(connection: AsyncConnection, *, limit: int, offset: int = 0) -> list[FailedJob]:
    """The newest first."""
    rows = await connection.execute(_FAILED_JOBS, {"most": limit, "skipped": offset})
    return [FailedJob(id=row.id, task=row.task_name, attempts=row.attempts, failed=row.failed) for row in rows]


async def count_failed_jobs(connection: AsyncConnection) -> int:
    """Up to one more than `MOST_COUNTED`."""
    return int((await connection.execute(_COUNT_FAILED_JOBS, {"most": MOST_COUNTED + 1})).scalar_one())


async def retry_job(connection: AsyncConnection, job_id: int) -> bool:
    """Have it done again; False where it did not fail."""
    return (await connection.execute(_RETRY_JOB, {"id": job_id})).first() is not None


async def forget_job(connection: AsyncConnection, job_id: int) -> bool:
    """It is not to be done any more; False where it did not fail."""
    return (await connection.execute(_FORGET_JOB, {"id": job_id})).first() is not None
