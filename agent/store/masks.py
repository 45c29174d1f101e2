"""What is masked in the text of calls: the rules, what was masked, and runs over transcripts of before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.engine import AnyRow, is_any
from agent.store.runs import TRANSCRIPTS, Run
from agent.store.schema import mask_rule, transcript_mask


class MaskKind(StrEnum):
    """What a rule looks for."""

    CARDS = "cards"  # numbers of bank cards
    PATTERN = "pattern"  # a regular expression
    WORDS = "words"  # a word or phrase a line


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """One rule; ``text`` is its expression or its lines. ``preset`` names one that comes with the program."""

    id: int
    name: str
    kind: MaskKind
    text: str = ""
    enabled: bool = True
    preset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A stretch of a transcript that was masked, in milliseconds of the recording: why, never what."""

    transcript_id: int
    why: str
    rule: str
    channel: int
    start_ms: int
    end_ms: int


_LOCK = text("LOCK TABLE mask_rule IN SHARE ROW EXCLUSIVE MODE")


async def lock_rules(connection: AsyncConnection) -> None:
    """Whoever changes one by what he has read of it changes it alone, until his transaction ends."""
    await connection.execute(_LOCK)


async def list_rules(connection: AsyncConnection) -> list[MaskRule]:
    """All rules, the oldest first."""
    return [_rule(row) for row in await connection.execute(select(mask_rule).order_by(mask_rule.c.id))]


async def hold_rules(connection: AsyncConnection) -> list[MaskRule]:
    """The same for whoever stores a transcript: no rule changes before it is there, so that a run over the older ones,
    which begins with the change, misses none."""
    await connection.execute(text("LOCK TABLE mask_rule IN SHARE MODE"))
    return await list_rules(connection)


async def save_rule(connection: AsyncConnection, rule: MaskRule) -> int:
    """Change a rule, or add one (its id is 0), once nobody stores a transcript by the old ones. Returns its id."""
    await connection.execute(_LOCK)
    values = {"name": rule.name, "kind": rule.kind.value, "text": rule.text, "enabled": rule.enabled}
    if rule.id:
        await connection.execute(update(mask_rule).where(mask_rule.c.id == rule.id).values(**values))
        return rule.id
    return int((await connection.execute(insert(mask_rule).values(**values).returning(mask_rule.c.id))).scalar_one())


async def remove_rule(connection: AsyncConnection, rule_id: int) -> bool:
    """Forget a rule that was made here; what it has masked stays masked."""
    statement = delete(mask_rule).where(mask_rule.c.id == rule_id, mask_rule.c.preset == "")
    return (await connection.execute(statement.returning(mask_rule.c.id))).first() is not None


async def add_masks(connection: AsyncConnection, masks: Sequence[Masked]) -> None:
    """Note what was masked."""
    rows = [
        {
            "transcript_id": one.transcript_id,
            "why": one.why,
            "rule": one.rule,
            "channel": one.channel,
            "start_ms": one.start_ms,
            "end_ms": one.end_ms,
        }
        for one in masks
    ]
    if rows:
        await connection.execute(insert(transcript_mask), rows)


async def list_masks(connection: AsyncConnection, transcript_ids: Sequence[int]) -> dict[int, list[Masked]]:
    """What was masked in these, in order of time."""
    query = select(transcript_mask).where(is_any(transcript_mask.c.transcript_id, transcript_ids))
    found: dict[int, list[Masked]] = {}
    for row in await connection.execute(query.order_by(transcript_mask.c.start_ms, transcript_mask.c.id)):
        found.setdefault(row.transcript_id, []).append(
            Masked(
                transcript_id=row.transcript_id,
                why=row.why,
                rule=row.rule,
                channel=row.channel,
                start_ms=row.start_ms,
                end_ms=row.end_ms,
            )
        )
    return found


async def start_run(connection: AsyncConnection, by: str) -> Run:
    """A run through all transcripts of before, in the transaction that changes the rules."""
    await connection.execute(_LOCK)
    return await TRANSCRIPTS.start(connection, by)


def _rule(row: AnyRow) -> MaskRule:
    return MaskRule(
        id=row.id, name=row.name, kind=MaskKind(row.kind), text=row.text, enabled=row.enabled, preset=row.preset
    )
