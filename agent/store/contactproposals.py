"""Contact points that the signature of a mail offers for a card: a person takes or dismisses each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.store.engine import AnyRow
from agent.store.schema import contact_proposal

OPEN, TAKEN, DISMISSED = "open", "taken", "dismissed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactProposal:
    """A number or address with the mail it stands in."""

    id: int
    card_id: int
    identity: Identity
    label: str
    interaction_id: int
    found: datetime


def _proposal(row: AnyRow) -> ContactProposal:
    return ContactProposal(
        id=row.id,
        card_id=row.client_card_id,
        identity=Identity(kind=IdentityKind(row.kind), value=row.value),
        label=row.label,
        interaction_id=row.interaction_id,
        found=row.found_at,
    )


_SIGNATURES = text(
    """
    SELECT m.interaction_id, string_agg(substr(m.text, (span ->> 1)::int + 1,
                                               least((span ->> 2)::int - (span ->> 1)::int, 3000)), E'\\n') AS words
    FROM message m CROSS JOIN LATERAL jsonb_array_elements(m.spans) AS span
    WHERE m.interaction_id = ANY(:ids) AND span ->> 0 = 'signature'
    GROUP BY m.interaction_id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def list_signatures(connection: AsyncConnection, message_ids: Sequence[int]) -> Mapping[int, str]:
    """The signatures of those of the mails that have one."""
    rows = await connection.execute(_SIGNATURES, {"ids": list(message_ids)})
    return {row.interaction_id: row.words for row in rows}


_OFFER = text(
    """
    INSERT INTO contact_proposal (client_card_id, kind, value, label, interaction_id)
    SELECT r.card, r.kind, r.value, r.label, r.mail
    FROM jsonb_to_recordset(:rows) AS r(place int, card bigint, kind text, value text, label text, mail bigint)
    WHERE NOT EXISTS (SELECT FROM contact_point p WHERE p.kind = r.kind AND p.value = r.value
                      AND p.client_card_id = r.card)
      AND NOT EXISTS (SELECT FROM employee_identity e WHERE e.kind = r.kind AND e.value = r.value)
    ORDER BY r.place ON CONFLICT DO NOTHING
    """
).bindparams(bindparam("rows", type_=JSONB))


async def offer(connection: AsyncConnection, offered: Sequence[tuple[int, Identity, str, int]]) -> None:
    """Card, identity, label, mail: what the card has already, what is ours and what was answered before is left out."""
    rows = [
        {"place": place, "card": card, "kind": one.kind, "value": one.value, "label": label, "mail": mail}
        for place, (card, one, label, mail) in enumerate(offered)
    ]
    if rows:
        await connection.execute(_OFFER, {"rows": rows})


async def list_open(connection: AsyncConnection, card_id: int) -> list[ContactProposal]:
    """What is offered for a card, in the order in which it was found."""
    query = select(contact_proposal).where(
        contact_proposal.c.client_card_id == card_id, contact_proposal.c.state == OPEN
    )
    return [_proposal(row) for row in await connection.execute(query.order_by(contact_proposal.c.id).limit(20))]


async def settle(connection: AsyncConnection, proposal_id: int, card_id: int, state: str) -> ContactProposal | None:
    """A person's answer; None where it was answered before, or is another card's."""
    columns = contact_proposal.c
    statement = (
        update(contact_proposal)
        .where(columns.id == proposal_id, columns.client_card_id == card_id, columns.state == OPEN)
        .values(state=state)
        .returning(contact_proposal)
    )
    row = (await connection.execute(statement)).first()
    return _proposal(row) if row else None
