"""What a card's page shows beside its history: notes, stages, what is offered, duplicates, decisions, and the forms."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import cardmerges, contactproposals, duplicates, linkrules, notes, relinks, rights
from agent.store.cardmerges import Merge
from agent.store.cardparts import CardPart
from agent.store.cards import ClientCard
from agent.store.contactproposals import ContactProposal
from agent.store.duplicates import Duplicate
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
    employees: Mapping[int, str]
    may_merge: bool
    login: str
    problem: str


async def load_panel(
    request: web.Request,
    connection: AsyncConnection,
    card: ClientCard,
    has: Container[CardPart],
    names: Mapping[int, str],
) -> CardPanel:
    """Everything of one card; ``has`` says what there is to be asked for, ``names`` are everybody's of us."""
    login, problem = login_of(request), request.query.get("problem", "")
    viewer, may_merge = login.viewer, login.viewer.supervises
    return CardPanel(
        notes=await notes.list_notes(connection, card.id) if CardPart.NOTES in has else (),
        stages=await notes.list_stages(connection, card.id) if CardPart.STAGES in has else (),
        stage_choices=services(request).settings.linking.stages,
        proposals=await contactproposals.list_open(connection, card.id) if CardPart.PROPOSALS in has else (),
        runs=await relinks.list_open_runs(connection, [card.id]) if CardPart.RUNS in has else (),
        rules=await linkrules.list_rules(connection, card_id=card.id) if CardPart.RULES in has else (),
        merges=await cardmerges.list_merges(connection, card.id) if may_merge and CardPart.MERGES in has else (),
        duplicates=await _duplicates(connection, viewer, card.id) if may_merge else (),
        employees=names,
        may_merge=may_merge,
        login="" if viewer.supervises else login.login,
        problem=problem if problem in _PROBLEMS else "",
    )


async def _duplicates(connection: AsyncConnection, viewer: Viewer, card_id: int) -> list[Duplicate]:
    """Cards that may be this one, as far as they exist for the viewer."""
    found = await duplicates.list_duplicates(connection, card_id=card_id)
    ids = sorted({one for pair in found for one in (pair.first_id, pair.second_id)})
    seen = await rights.list_seen_cards(connection, viewer, ids) if ids else set()
    return [one for one in found if one.first_id in seen and one.second_id in seen]
