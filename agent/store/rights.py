"""Who sees what: the one place where it is written down in SQL.

Administrators and supervisors see everything. A manager sees the cards he is responsible for and those linked with an
interaction he took part in, with their whole history, and besides them the interactions he himself took part in.
Teams will narrow the supervisor here, and nowhere else. A private mail is shown to nobody, neither to the administrator
nor to the employee who has it in his mailbox; so is a meeting that only private mails tell of.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState, MessageCategory, UserRole
from agent.store.schema import client_card, interaction, link, meeting, message, party


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """For whom a page is made."""

    account_id: int
    role: UserRole
    employee_id: int | None

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden."""
        return self.role in (UserRole.ADMINISTRATOR, UserRole.SUPERVISOR)


def took_part(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the viewer's employee is a party of the interaction."""
    if viewer.employee_id is None:
        return false()
    own = party.alias()
    return exists(
        select(own.c.id).where(own.c.interaction_id == interaction_id, own.c.employee_id == viewer.employee_id)
    )


def is_visible_card(viewer: Viewer, card_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition on a column of card ids."""
    if viewer.sees_all:
        return true()
    if viewer.employee_id is None:
        return false()
    card, linked, own = client_card.alias(), link.alias(), party.alias()
    return or_(
        exists(select(card.c.id).where(card.c.id == card_id, card.c.responsible_id == viewer.employee_id)),
        exists(
            select(linked.c.id)
            .join(own, own.c.interaction_id == linked.c.interaction_id)
            .where(linked.c.client_card_id == card_id, own.c.employee_id == viewer.employee_id)
        ),
    )


def is_not_private(interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether rules let anybody see it: those of mail, and numbers that a person has called private."""
    mail, arranged = message.alias(), meeting.alias()
    private_mail = select(mail.c.interaction_id).where(
        mail.c.interaction_id == interaction_id, mail.c.category == MessageCategory.PRIVATE
    )
    hidden = select(arranged.c.interaction_id).where(arranged.c.interaction_id == interaction_id, arranged.c.hidden)
    decided = link.alias()
    private = select(decided.c.id).where(
        decided.c.interaction_id == interaction_id, decided.c.state == LinkState.PRIVATE
    )
    return and_(~exists(private_mail), ~exists(hidden), ~exists(private))


def is_visible_interaction(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition on a column of interaction ids."""
    if viewer.sees_all:
        return is_not_private(interaction_id)
    linked = link.alias()
    on_visible_card = exists(
        select(linked.c.id).where(
            linked.c.interaction_id == interaction_id,
            linked.c.client_card_id.is_not(None),
            is_visible_card(viewer, linked.c.client_card_id),
        )
    )
    return and_(or_(took_part(viewer, interaction_id), on_visible_card), is_not_private(interaction_id))


async def may_see_card(connection: AsyncConnection, viewer: Viewer, card_id: int) -> bool:
    """Whether this card exists for the viewer; one that does not exist and one that is hidden look the same."""
    query = select(client_card.c.id).where(client_card.c.id == card_id, is_visible_card(viewer, client_card.c.id))
    return (await connection.execute(query)).first() is not None


async def may_see_interaction(connection: AsyncConnection, viewer: Viewer, interaction_id: int) -> bool:
    """Whether this interaction exists for the viewer."""
    query = select(interaction.c.id).where(
        interaction.c.id == interaction_id, is_visible_interaction(viewer, interaction.c.id)
    )
    return (await connection.execute(query)).first() is not None
