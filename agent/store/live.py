"""Calls now in progress, and who may see, hear or pause them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Disposition, Identity, IdentityKind
from agent.store.engine import is_any
from agent.store.hosts import silent_since
from agent.store.recordings import OPEN
from agent.store.rights import Viewer, handles, is_visible_card, is_visible_interaction
from agent.store.schema import call, capture, employee_identity, interaction, link, party

MOST = 500  # on one page
_LAST_DIGITS = 10  # by which a number nobody has normalised yet is found, whatever stands before them


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCall:
    """A call that is being recorded now: the capture it lies in, and on which host.

    ``is_handled`` says whether the viewer may listen in and pause (`rights.handles`).
    ``silent_since`` is when its host was last heard, where that is too long ago.
    """

    interaction_id: int
    capture_id: str
    host: str
    started: datetime
    answered: datetime | None
    paused: datetime | None
    is_handled: bool
    silent_since: datetime | None


def _live(
    viewer: Viewer,
) -> Select[tuple[int, str, str, datetime, datetime | None, datetime | None, bool, datetime | None]]:
    return (
        select(
            interaction.c.id,
            capture.c.id.label("capture_id"),
            capture.c.host,
            interaction.c.started_at,
            call.c.answered_at,
            capture.c.paused_at,
            handles(viewer, interaction.c.id).label("is_handled"),
            silent_since().label("silent_since"),
        )
        .join(capture, capture.c.interaction_id == interaction.c.id)
        .join(call, call.c.interaction_id == interaction.c.id)
        .where(
            call.c.disposition == Disposition.IN_PROGRESS,
            capture.c.state == OPEN,
            is_visible_interaction(viewer, interaction.c.id),
        )
        .order_by(interaction.c.started_at.desc(), interaction.c.id.desc(), capture.c.id)
        .limit(MOST)
    )


async def _load(connection: AsyncConnection, query: Select[tuple[object, ...]]) -> list[LiveCall]:
    return [
        LiveCall(
            interaction_id=row.id,
            capture_id=row.capture_id,
            host=row.host,
            started=row.started_at,
            answered=row.answered_at,
            paused=row.paused_at,
            is_handled=row.is_handled,
            silent_since=row.silent_since,
        )
        for row in await connection.execute(query)
    ]


async def list_live(connection: AsyncConnection, viewer: Viewer) -> list[LiveCall]:
    """Calls in progress that exist for the viewer, the newest first. Two recorders on one call make two entries."""
    return await _load(connection, _live(viewer))


async def list_live_of_cards(connection: AsyncConnection, viewer: Viewer, card_ids: Sequence[int]) -> list[LiveCall]:
    """Those linked with any of the cards."""
    linked = exists(
        select(link.c.id).where(link.c.interaction_id == interaction.c.id, is_any(link.c.client_card_id, card_ids))
    )
    return await _load(connection, _live(viewer).where(linked))


async def find_live(connection: AsyncConnection, viewer: Viewer, interaction_id: int) -> list[LiveCall]:
    """The captures of one call in progress which the viewer may handle; none where it ended or is not his."""
    return await _load(
        connection, _live(viewer).where(interaction.c.id == interaction_id, handles(viewer, interaction.c.id))
    )


async def find_live_with(connection: AsyncConnection, viewer: Viewer, identity: Identity) -> list[LiveCall]:
    """Calls in progress of somebody who has this number or extension, as far as the viewer may handle them.

    A call rings before the linker has looked at it: then what the source said is compared, digits with digits.
    """
    held = select(employee_identity.c.employee_id).where(
        employee_identity.c.kind == identity.kind,
        employee_identity.c.value == identity.value,
        or_(employee_identity.c.valid_from.is_(None), employee_identity.c.valid_from <= interaction.c.started_at),
        or_(employee_identity.c.valid_to.is_(None), interaction.c.started_at < employee_identity.c.valid_to),
    )
    digits = func.regexp_replace(party.c.value, "[^0-9]", "", "g")
    wanted = "".join(one for one in identity.value if one.isdigit())
    if identity.kind is IdentityKind.PHONE:
        digits, wanted = func.right(digits, _LAST_DIGITS), wanted[-_LAST_DIGITS:]
    fits = or_(
        and_(party.c.identity_kind == identity.kind, party.c.identity_value == identity.value),
        party.c.employee_id.in_(held),
        and_(party.c.identity_kind.is_(None), digits == wanted),
    )
    takes_part = exists(select(party.c.id).where(party.c.interaction_id == interaction.c.id, fits))
    return await _load(connection, _live(viewer).where(takes_part, handles(viewer, interaction.c.id)))


async def list_visible(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> dict[int, list[int]]:
    """Those among the interactions that exist for the viewer, each with the cards on which he sees it."""
    query = (
        select(interaction.c.id, link.c.client_card_id)
        .select_from(interaction)
        .outerjoin(
            link,
            and_(link.c.interaction_id == interaction.c.id, is_visible_card(viewer, link.c.client_card_id)),
        )
        .where(interaction.c.id.in_(ids), is_visible_interaction(viewer, interaction.c.id))
    )
    found: dict[int, list[int]] = {}
    for row in await connection.execute(query):
        cards = found.setdefault(row.id, [])
        if row.client_card_id is not None:
            cards.append(row.client_card_id)
    return found
