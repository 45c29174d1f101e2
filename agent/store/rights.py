"""Who sees what: the one place where it is written down in SQL.

Administrators see everything, and so do supervisors of all teams. A supervisor of some teams sees the interactions in
which a member took part while he was one, the cards whose responsible employee is a member today, and the cards linked
with such interactions, with their whole history. A manager sees the same of himself, or of his whole team where
``web.managers_see`` says so. What belongs to nobody (an unknown extension, an unreadable mail) is for those who see
everything. A private mail is shown to nobody, neither to the administrator nor to the employee who has it in his
mailbox; so is a meeting that only private mails tell of.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Dialect,
    and_,
    bindparam,
    exists,
    false,
    literal_column,
    or_,
    select,
    text,
    true,
    union,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState, MessageCategory, UserRole
from agent.store.asking import Query, ask
from agent.store.engine import is_any
from agent.store.schema import (
    client_card,
    interaction,
    link,
    meeting,
    message,
    party,
    team_member,
    team_supervisor,
)

# Made once: an alias costs as much as the rest of a condition, and every page has several. Each is used in one place,
# so that no condition within another takes its table for the outer one's.
_OWN, _TOOK_PART, _TOOK_PART_AT = party.alias(), party.alias(), interaction.alias()
_CARD, _CARD_LINK, _CARD_PARTY, _LINKED = client_card.alias(), link.alias(), party.alias(), link.alias()
# Written out, so that whatever the plan the small indexes of what is private serve.
_PRIVATE_CATEGORY: ColumnElement[str] = literal_column(f"'{MessageCategory.PRIVATE.value}'")
_PRIVATE_STATE: ColumnElement[str] = literal_column(f"'{LinkState.PRIVATE.value}'")
_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_PRIVATE_MAIL, _PRIVATE_MEETING, _PRIVATE_LINK = message.alias(), meeting.alias(), link.alias()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """An employee in a team, from when (inclusive) to when (exclusive); None is open."""

    employee_id: int
    since: datetime | None = None
    until: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether he was a member at that time."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """For whom a page is made. ``all_teams`` matters for a supervisor only; ``colleagues`` are whose work the viewer
    sees beside his own: the members of teams he supervises, or of his own team."""

    account_id: int
    role: UserRole
    employee_id: int | None
    all_teams: bool = True
    colleagues: tuple[Tenure, ...] = ()

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden."""
        return self.role is UserRole.ADMINISTRATOR or (self.role is UserRole.SUPERVISOR and self.all_teams)

    @property
    def supervises(self) -> bool:
        """Whether he may correct what others did, among what he sees."""
        return self.role in (UserRole.ADMINISTRATOR, UserRole.SUPERVISOR)

    @property
    def tenures(self) -> tuple[Tenure, ...]:
        """Everybody whose work he sees, himself for all time."""
        own = () if self.employee_id is None else (Tenure(employee_id=self.employee_id),)
        return own + tuple(one for one in self.colleagues if one.employee_id != self.employee_id)


async def make_viewer(
    connection: AsyncConnection,
    *,
    account_id: int,
    role: UserRole,
    employee_id: int | None,
    all_teams: bool,
    managers_see_team: bool = False,
) -> Viewer:
    """The viewer of an account, with today's teams. Whoever sees all, or only himself, costs no statement."""
    teams = None
    if role is UserRole.SUPERVISOR and not all_teams:
        teams = select(team_supervisor.c.team_id).where(team_supervisor.c.account_id == account_id)
    elif role is UserRole.MANAGER and managers_see_team and employee_id is not None:
        now = datetime.now(UTC)
        own = team_member.alias()
        teams = select(own.c.team_id).where(
            own.c.employee_id == employee_id,
            or_(own.c.valid_from.is_(None), own.c.valid_from <= now),
            or_(own.c.valid_to.is_(None), own.c.valid_to > now),
        )
    colleagues: tuple[Tenure, ...] = ()
    if teams is not None:
        query = select(team_member).where(team_member.c.team_id.in_(teams)).order_by(team_member.c.id)
        colleagues = tuple(
            Tenure(employee_id=row.employee_id, since=row.valid_from, until=row.valid_to)
            for row in await connection.execute(query)
        )
    return Viewer(account_id=account_id, role=role, employee_id=employee_id, all_teams=all_teams, colleagues=colleagues)


def is_own(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the viewer's own employee is a party of the interaction."""
    if viewer.employee_id is None:
        return false()
    own = _OWN
    return exists(
        select(own.c.id).where(own.c.interaction_id == interaction_id, own.c.employee_id == viewer.employee_id)
    )


def is_among(viewer: Viewer, employee_ids: Collection[int | None]) -> bool:
    """The same of an interaction whose parties are known."""
    return viewer.employee_id is not None and viewer.employee_id in employee_ids


def took_part(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the viewer, or one whose work he sees, is a party of the interaction."""
    own, found = _TOOK_PART, _TOOK_PART_AT
    always, ways = _always(viewer.tenures), []
    if always:
        ways.append(
            exists(select(own.c.id).where(own.c.interaction_id == interaction_id, is_any(own.c.employee_id, always)))
        )
    if bounded := _bounded(viewer.tenures, own.c.employee_id, found.c.started_at):
        joined = select(own.c.id).join(found, found.c.id == own.c.interaction_id)
        ways.append(exists(joined.where(own.c.interaction_id == interaction_id, or_(*bounded))))
    return or_(*ways) if ways else false()


def handles(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the viewer may listen in to a call and pause it: a manager only in one of his own, whatever he sees."""
    if viewer.sees_all:
        return true()
    return took_part(viewer, interaction_id) if viewer.supervises else is_own(viewer, interaction_id)


def _always(tenures: Sequence[Tenure]) -> list[int]:
    return sorted({one.employee_id for one in tenures if one.since is None and one.until is None})


def _bounded(
    tenures: Sequence[Tenure], employee_id: ColumnElement[int | None], at: ColumnElement[datetime]
) -> list[ColumnElement[bool]]:
    always = set(_always(tenures))
    return [
        and_(
            employee_id == one.employee_id,
            *(() if one.since is None else (at >= one.since,)),
            *(() if one.until is None else (at < one.until,)),
        )
        for one in tenures
        if one.employee_id not in always
    ]


def is_visible_card(viewer: Viewer, card_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition on a column of card ids."""
    if viewer.sees_all:
        return true()
    responsible = _responsible(viewer)
    card, linked, own = _CARD, _CARD_LINK, _CARD_PARTY
    on_card = (
        select(linked.c.id)
        .join(own, own.c.interaction_id == linked.c.interaction_id)
        .where(linked.c.client_card_id == card_id)
    )
    ways: list[ColumnElement[bool]] = []
    if responsible:
        ways.append(exists(select(card.c.id).where(card.c.id == card_id, is_any(card.c.responsible_id, responsible))))
    if always := _always(viewer.tenures):
        ways.append(exists(on_card.where(is_any(own.c.employee_id, always))))
    if bounded := _bounded(viewer.tenures, own.c.employee_id, linked.c.started_at):
        ways.append(exists(on_card.where(or_(*bounded))))
    return or_(*ways) if ways else false()


def is_visible_bare_card(viewer: Viewer) -> ColumnElement[bool]:
    """The same on `client_card`, of cards on which nothing stands: there the responsible employee alone counts."""
    return true() if viewer.sees_all else is_any(client_card.c.responsible_id, _responsible(viewer))


def _responsible(viewer: Viewer) -> list[int]:
    """Whose cards are the viewer's today."""
    now = datetime.now(UTC)
    return sorted({one.employee_id for one in viewer.tenures if one.is_valid(now)})


def is_not_private(interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether rules let anybody see it: those of mail, and numbers that a person has called private."""
    mail, arranged, decided = _PRIVATE_MAIL, _PRIVATE_MEETING, _PRIVATE_LINK
    private_mail = select(mail.c.interaction_id).where(
        mail.c.interaction_id == interaction_id, mail.c.category == _PRIVATE_CATEGORY
    )
    hidden = select(arranged.c.interaction_id).where(arranged.c.interaction_id == interaction_id, arranged.c.hidden)
    private = select(decided.c.id).where(decided.c.interaction_id == interaction_id, decided.c.state == _PRIVATE_STATE)
    return and_(~exists(private_mail), ~exists(hidden), ~exists(private))


def not_private(interaction_id: str) -> str:
    """The same for a statement that is written out; ``interaction_id`` is a column as it stands there."""
    return str(is_not_private(literal_column(interaction_id)).compile(dialect=_DIALECT))


_SHOWN = text(f"SELECT FROM interaction i WHERE i.id = :id AND {not_private('i.id')}").bindparams(
    bindparam("id", type_=BigInteger)
)


def _shown(interaction_id: int) -> Query[bool]:
    return Query(statement=_SHOWN, values={"id": interaction_id}, read=bool)


def is_visible_interaction(viewer: Viewer, interaction_id: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition on a column of interaction ids."""
    if viewer.sees_all:
        return is_not_private(interaction_id)
    linked = _LINKED
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


async def list_seen_cards(connection: AsyncConnection, viewer: Viewer, ids: Sequence[int]) -> set[int]:
    """Those among the cards, which there are, that exist for the viewer."""
    if viewer.sees_all:
        return set(ids)
    query = select(client_card.c.id).where(is_any(client_card.c.id, ids), is_visible_card(viewer, client_card.c.id))
    return set((await connection.execute(query)).scalars())


def cards_near(viewer: Viewer) -> CompoundSelect[int]:
    """Every card that exists for the viewer, and maybe more: for a first, quick no where there is much to look through.
    What it lets through has to be asked for by the conditions above."""
    employees = sorted({one.employee_id for one in viewer.tenures})
    linked = (
        select(link.c.client_card_id)
        .join(party, party.c.interaction_id == link.c.interaction_id)
        .where(is_any(party.c.employee_id, employees), link.c.client_card_id.is_not(None))
    )
    own = select(client_card.c.id).where(is_any(client_card.c.responsible_id, employees))
    return union(linked, own)


async def may_see_interaction(connection: AsyncConnection, viewer: Viewer, interaction_id: int) -> bool:
    """Whether this interaction exists for the viewer."""
    if viewer.sees_all:
        (found,) = await ask(connection, _shown(interaction_id))
        return found
    query = select(interaction.c.id).where(
        interaction.c.id == interaction_id, is_visible_interaction(viewer, interaction.c.id)
    )
    return (await connection.execute(query)).first() is not None
