"""What a card's page shows beside its history: notes, stages, what is offered, duplicates, decisions, and the forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import cardmerges, contactproposals, duplicates, employees, linkrules, notes, relinks, rights
from agent.store.cardmerges import Merge
from agent.store.cards import ClientCard
from agent.store.contactproposals import ContactProposal
from agent.store.duplicates import Duplicate
from agent.store.employees import Employee
from agent.store.linkrules import LinkRule
from agent.store.notes import CardNote, CardStage
from agent.store.relinks import RelinkRun
from agent.store.rights import Viewer
from agent.web.services import login_of, services

_PROBLEMS = ("contact_wrong", "split_wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPanel:
    """For the template; ``may_merge``: a supervisor. ``login`` is whose notes the viewer may remove."""

    notes: Sequence[CardNote]
    stages: Sequence[CardStage]
    stage_choices: Sequence[str]
    proposals: Sequence[ContactProposal]
    runs: Sequence[RelinkRun]
    rules: Sequence[LinkRule]
    merges: Sequence[Merge]
    duplicates: Sequence[Duplicate]
    employees: Sequence[Employee]
    may_merge: bool
    login: str
    problem: str


async def load_panel(request: web.Request, connection: AsyncConnection, card: ClientCard) -> CardPanel:
    """Everything of one card."""
    login, problem = login_of(request), request.query.get("problem", "")
    viewer = login.viewer
    return CardPanel(
        notes=await notes.list_notes(connection, card.id),
        stages=await notes.list_stages(connection, card.id),
        stage_choices=services(request).settings.linking.stages,
        proposals=await contactproposals.list_open(connection, card.id),
        runs=await relinks.list_open_runs(connection, [card.id]),
        rules=await linkrules.list_rules(connection, card_id=card.id),
        merges=await cardmerges.list_merges(connection, card.id) if viewer.supervises else (),
        duplicates=await _duplicates(connection, viewer, card.id) if viewer.supervises else (),
        employees=await employees.list_employees(connection),
        may_merge=viewer.supervises,
        login="" if viewer.supervises else login.login,
        problem=problem if problem in _PROBLEMS else "",
    )


async def _duplicates(connection: AsyncConnection, viewer: Viewer, card_id: int) -> list[Duplicate]:
    """Cards that may be this one, as far as they exist for the viewer."""
    found = await duplicates.list_duplicates(connection, card_id=card_id)
    ids = sorted({one for pair in found for one in (pair.first_id, pair.second_id)})
    seen = await rights.list_seen_cards(connection, viewer, ids) if ids else set()
    return [one for one in found if one.first_id in seen and one.second_id in seen]
