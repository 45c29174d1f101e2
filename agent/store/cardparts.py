"""What there is on a card at all, asked in one statement: most cards have few of the things that a card can have."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, BigInteger, bindparam, text

from agent.store.asking import Query


class CardPart(StrEnum):
    """Something a card may have."""

    NOTES = "notes"
    STAGES = "stages"
    PROPOSALS = "proposals"
    RUNS = "runs"
    RULES = "rules"
    MERGES = "merges"
    TASKS = "tasks"
    LIVE = "live"


_FIND = text(
    """
    SELECT EXISTS (SELECT FROM card_note WHERE client_card_id = ANY(:cards)) AS notes,
        EXISTS (SELECT FROM card_stage WHERE client_card_id = ANY(:cards)) AS stages,
        EXISTS (SELECT FROM contact_proposal WHERE client_card_id = ANY(:cards)) AS proposals,
        EXISTS (SELECT FROM relink_run WHERE client_card_id = ANY(:cards) AND finished_at IS NULL) AS runs,
        EXISTS (SELECT FROM link_rule WHERE client_card_id = ANY(:cards)) AS rules,
        EXISTS (SELECT FROM card_merge WHERE kept_id = ANY(:cards)) AS merges,
        EXISTS (SELECT FROM task WHERE client_card_id = ANY(:cards)) AS tasks,
        EXISTS (
            SELECT FROM call JOIN link USING (interaction_id)
            WHERE call.disposition = 'in_progress' AND link.client_card_id = ANY(:cards)
        ) AS live
    """
).bindparams(bindparam("cards", type_=ARRAY(BigInteger)))


def parts_of(card_ids: Sequence[int]) -> Query[frozenset[CardPart]]:
    """What any of these cards has, or had once; what is not among it need not be asked for."""
    return Query(statement=_FIND, values={"cards": list(card_ids)}, read=_read)


def _read(rows: Sequence[Any]) -> frozenset[CardPart]:
    return frozenset(part for part in CardPart if getattr(rows[0], part))
