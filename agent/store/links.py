"""Links: which card an interaction belongs to, in which state, for which reason, and who decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import changes, outbox, search
from agent.store.asking import Query, ask
from agent.store.engine import is_any
from agent.store.interactions import Party
from agent.store.linking import Resolved, lock_for_decision, rows_of_parties
from agent.store.schema import link

BY_RULE = "rule"

RankedCard = tuple[int, int, tuple[str, ...]]
"""A card that could be meant: its id, how sure it is in per cent, and what speaks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The decision about one interaction. ``card_id`` is None in every state but LINKED.

    ``confidence`` is in per cent; ``candidates`` are the cards an ambiguous one could mean, the best first; ``rule_id``
    names the decision of a person that was remembered (`agent.store.linkrules`), if it was made by one.
    """

    interaction_id: int
    card_id: int | None
    started: datetime
    state: LinkState
    reason: str
    decided_by: str = BY_RULE
    confidence: int = 100
    candidates: tuple[RankedCard, ...] = ()
    rule_id: int | None = None


def link_of(row: Any) -> Link:
    """From a row with the columns of a link."""
    return Link(
        interaction_id=row.interaction_id,
        card_id=row.client_card_id,
        started=row.started_at,
        state=LinkState(row.state),
        reason=row.reason,
        decided_by=row.decided_by,
        confidence=row.confidence,
        candidates=tuple((card, sure, tuple(why)) for card, sure, why in row.candidates),
        rule_id=row.link_rule_id,
    )


async def list_links(connection: AsyncConnection, interaction_ids: Sequence[int]) -> list[Link]:
    """The links of these interactions."""
    query = select(link).where(is_any(link.c.interaction_id, interaction_ids)).order_by(link.c.id)
    return [link_of(row) for row in await connection.execute(query)]


# One statement for all that a decision writes. What stays as it is is not written again; rows of links that go and rows
# that come or change are never the same.
_SAVE = text(
    f"""
    WITH sides AS (
        UPDATE party SET identity_kind = r.kind, identity_value = r.value, role = r.role, employee_id = r.employee
        FROM jsonb_to_recordset(:parties) AS r(id bigint, kind text, value text, role text, employee bigint)
        WHERE party.id = r.id RETURNING party.interaction_id
    ), outlines AS (
        UPDATE interaction
        SET direction = r.direction, flags = ARRAY(SELECT jsonb_array_elements_text(r.flags))
        FROM jsonb_to_recordset(:outlines) AS r(id bigint, direction text, flags jsonb)
        WHERE interaction.id = r.id RETURNING interaction.id
    ), new AS (
        SELECT r.* FROM jsonb_to_recordset(:rows) AS r(interaction_id bigint, client_card_id bigint,
            started_at timestamptz, state text, reason text, decided_by text, confidence smallint, candidates jsonb,
            link_rule_id bigint)
        WHERE NOT EXISTS (SELECT FROM link WHERE link.interaction_id = r.interaction_id AND link.decided_by <> 'rule')
    ), gone AS (
        DELETE FROM link WHERE link.interaction_id = ANY(:ids) AND link.decided_by = 'rule'
            AND NOT EXISTS (SELECT FROM new WHERE new.interaction_id = link.interaction_id
                            AND new.client_card_id IS NOT DISTINCT FROM link.client_card_id)
        RETURNING link.interaction_id
    ), kept AS (
        INSERT INTO link (interaction_id, client_card_id, started_at, state, reason, decided_by, confidence, candidates,
                          link_rule_id)
        SELECT interaction_id, client_card_id, started_at, state, reason, decided_by, confidence, candidates,
               link_rule_id
        FROM new
        ON CONFLICT (interaction_id, client_card_id) DO UPDATE
        SET started_at = excluded.started_at, state = excluded.state, reason = excluded.reason,
            confidence = excluded.confidence, candidates = excluded.candidates, link_rule_id = excluded.link_rule_id,
            decided_at = now()
        WHERE (link.started_at, link.state, link.reason, link.confidence, link.candidates, link.link_rule_id)
            IS DISTINCT FROM (excluded.started_at, excluded.state, excluded.reason, excluded.confidence,
                              excluded.candidates, excluded.link_rule_id)
        RETURNING interaction_id
    ), changed AS (
        SELECT interaction_id FROM gone UNION SELECT interaction_id FROM kept
    ), touched AS ({changes.TOUCH.format(ids="changed")}
    ), due AS (
        INSERT INTO search_due (interaction_id)
        SELECT interaction_id FROM sides UNION SELECT id FROM outlines RETURNING id
    ), {search.BEHIND}
    SELECT ARRAY(SELECT interaction_id FROM changed) AS changed, (SELECT count(*) FROM deferred)
    """  # noqa: S608 - our own constants
).bindparams(*(bindparam(one, type_=JSONB) for one in ("parties", "outlines", "rows")))


async def replace_links(
    connection: AsyncConnection,
    interaction_ids: Sequence[int],
    links: Sequence[Link],
    *,
    parties: Sequence[Party] = (),
    outlines: Sequence[Resolved] = (),
    commit: bool = False,
) -> set[int]:
    """Lay down what the rules decide now; an interaction about which a person has decided keeps that decision, and what
    is as it was is not touched. With it what has changed of parties and interactions. The caller holds them
    (`agent.store.linking.lock`). Returns the interactions whose links have changed; whom to tell of it is
    the caller's (`agent.store.outbox.want`). ``commit``: nothing comes after it in this transaction.
    """
    once = {(one.interaction_id, one.card_id): one for one in reversed(links)}
    values = {
        "ids": list(interaction_ids),
        "rows": [_values(one) for one in once.values()],
        "parties": rows_of_parties(parties),
        "outlines": [{"id": one.interaction_id, "direction": one.direction, "flags": one.flags} for one in outlines],
    }
    save = Query(statement=_SAVE, values=values, read=lambda rows: set(rows[0].changed))
    (changed,) = await ask(connection, save, commit=commit)
    return changed


async def decide_link(connection: AsyncConnection, decision: Link) -> None:
    """A person's decision replaces all others of this interaction, also those of a job that decides just now."""
    await lock_for_decision(connection, [decision.interaction_id])
    await connection.execute(delete(link).where(link.c.interaction_id == decision.interaction_id))
    await connection.execute(insert(link).values(_values(decision) | {"started_at": decision.started}))
    await changes.touch(connection, [decision.interaction_id])
    await outbox.want(connection, [decision.interaction_id])


async def take_off(connection: AsyncConnection, decision: Link, card_id: int) -> bool:
    """A person says that an interaction is not this client's; ``decision`` is what becomes of it where it stands on no
    other card: it waits. Where it stands on others, it stays there. False where it is not on the card."""
    number = decision.interaction_id
    await lock_for_decision(connection, [number])
    here = (link.c.interaction_id == number) & (link.c.client_card_id == card_id)
    if (await connection.execute(delete(link).where(here).returning(link.c.id))).first() is None:
        return False
    others = update(link).where(link.c.interaction_id == number, link.c.client_card_id.is_not(None))
    kept = await connection.execute(others.values(decided_by=decision.decided_by).returning(link.c.id))
    if kept.first() is None:
        await connection.execute(delete(link).where(link.c.interaction_id == number))
        await connection.execute(insert(link).values(_values(decision) | {"started_at": decision.started}))
    await outbox.want(connection, [number])
    return True


async def forget_decision(connection: AsyncConnection, interaction_id: int) -> bool:
    """What a person has decided about it holds no more; the caller has it decided by the rules. False where nobody had
    decided."""
    await lock_for_decision(connection, [interaction_id])
    by_person = (link.c.interaction_id == interaction_id) & (link.c.decided_by != BY_RULE)
    return (await connection.execute(delete(link).where(by_person).returning(link.c.id))).first() is not None


def _values(one: Link) -> dict[str, Any]:
    return {
        "interaction_id": one.interaction_id,
        "client_card_id": one.card_id,
        "started_at": one.started.isoformat(),
        "state": one.state,
        "reason": one.reason,
        "decided_by": one.decided_by,
        "confidence": one.confidence,
        "candidates": [list(each) for each in one.candidates],
        "link_rule_id": one.rule_id,
    }
