"""What each source told of a call, as rows (`agent.store.told` says what it means)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import CapturedCall, EvidenceState
from agent.store import evidence as evidences
from agent.store import sameness
from agent.store.engine import AnyRow
from agent.store.sameness import Other
from agent.store.schema import call_number, call_view, evidence
from agent.store.told import Told, View, as_json, from_json

Query = Select[*tuple[object, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredView:
    """The evidence of a call, with the view of its source; ``told`` is None before its first snapshot is stored.
    ``kept_apart``: a person has said that it is a call of its own."""

    id: int
    interaction_id: int | None
    details: dict[str, object]
    told: Told | None
    source: str
    kept_apart: bool

    @property
    def view(self) -> View:
        """Of one that was told."""
        assert self.told is not None
        return View(source=self.source, told=self.told)


def _known(row: AnyRow) -> StoredView:
    return StoredView(
        id=row.id,
        interaction_id=row.interaction_id,
        details=row.details,
        told=from_json(row.told) if row.told is not None else None,
        source=row.source,
        kept_apart=bool(row.kept_apart),
    )


_COLUMNS = (
    evidence.c.id,
    evidence.c.interaction_id,
    evidence.c.details,
    evidence.c.source,
    call_view.c.told,
    call_view.c.kept_apart,
)


def _views() -> Query:
    return select(*_COLUMNS).join(call_view, call_view.c.evidence_id == evidence.c.id).order_by(evidence.c.id)


def _by_key(call: CapturedCall) -> Query:
    known = select(*_COLUMNS).outerjoin(call_view, call_view.c.evidence_id == evidence.c.id)
    return known.where(evidence.c.source == call.source, evidence.c.key == call.key)


async def _list(connection: AsyncConnection, query: Query) -> list[StoredView]:
    return [_known(row) for row in await connection.execute(query)]


async def find_view(connection: AsyncConnection, evidence_id: int) -> StoredView | None:
    """What one piece of evidence tells of a call."""
    found = await _list(connection, _views().where(evidence.c.id == evidence_id))
    return found[0] if found else None


async def find_told(connection: AsyncConnection, call: CapturedCall) -> StoredView | None:
    """What this source has told of this call before, None where it has not."""
    row = (await connection.execute(_by_key(call))).first()
    return _known(row) if row else None


async def list_views(connection: AsyncConnection, *interaction_ids: int) -> list[StoredView]:
    """Everything that was told of these calls, the first to tell first."""
    return await _list(connection, _views().where(evidence.c.interaction_id.in_(interaction_ids)))


async def lock_view(connection: AsyncConnection, call: CapturedCall, *, is_new: bool) -> StoredView:
    """The evidence of a call, made where it is new, held to the end of the transaction so that two updates wait.

    It is read once it is held: a statement that waits for a lock has looked at other tables before it waited, and
    would give the telling as it was then.
    """
    if is_new:  # or somebody else tells of it for the first time at this moment
        await evidences.insert_evidence(
            connection,
            source=call.source,
            key=call.key,
            details=dict(call.details),
            received_at=datetime.now(UTC),
            state=EvidenceState.STORED,
        )
    held = select(evidence.c.id).where(evidence.c.source == call.source, evidence.c.key == call.key).with_for_update()
    await connection.execute(held)
    return _known((await connection.execute(_by_key(call))).one())


async def list_others(
    connection: AsyncConnection, interaction_id: int, told: Told, sources: Collection[str]
) -> list[Other]:
    """Calls of other sources with one of the numbers that began about then: by one index, however many there are."""
    first, last = sameness.window(told)
    nearby = (
        select(evidence.c.interaction_id)
        .join(call_number, call_number.c.evidence_id == evidence.c.id)
        .where(call_number.c.tail.in_(sameness.tails(told)), call_number.c.started_at.between(first, last))
        .where(evidence.c.source.not_in(sources), evidence.c.interaction_id != interaction_id)
    )
    query = _views().where(evidence.c.interaction_id.in_(nearby))
    groups: dict[int, list[StoredView]] = {}
    for one in await _list(connection, query):
        groups.setdefault(one.interaction_id or 0, []).append(one)
    return [
        Other(interaction_id=number, views=[one.view for one in group], kept_apart=any(one.kept_apart for one in group))
        for number, group in groups.items()
    ]


async def save_view(connection: AsyncConnection, evidence_id: int, told: Told, before: Told | None) -> None:
    """What a source has told by now, and by which numbers and from when another's telling is compared with it."""
    statement = insert(call_view).values(evidence_id=evidence_id, told=as_json(told))
    upsert = statement.on_conflict_do_update(
        index_elements=[call_view.c.evidence_id], set_={"told": statement.excluded.told}
    )
    await connection.execute(upsert)
    tails = sameness.tails(told)
    if not tails or (before and before.started == told.started and sameness.tails(before) == tails):
        return
    rows = [{"evidence_id": evidence_id, "tail": one, "started_at": told.started} for one in tails]
    numbers = insert(call_number).values(rows)
    await connection.execute(
        numbers.on_conflict_do_update(
            index_elements=[call_number.c.evidence_id, call_number.c.tail],
            set_={"started_at": numbers.excluded.started_at},
        )
    )
