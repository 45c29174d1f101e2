"""What is read of amoCRM: users, cards, stages, leads, and what changed.

Sources: amocrm.ru/developers, *Контакты*, *Компании*, *Сделки*, *Воронки и статусы*, *Пользователи*, *События*. Rows go
by ``updated_at``, a page of 250 at a time and the next one from the last time on. Events have no order, so they are
read by closed spans of time, all pages of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from linker.crm.amocrm.api import EVENTS_PAGE, PAGE, Api, embedded
from linker.crm.facts import (
    Changes,
    CrmCard,
    CrmDeal,
    CrmStage,
    CrmUser,
    DealState,
    ExternalId,
    Gone,
    StageChange,
)
from linker.crm.shapes import Identifier, as_object, id_of, last_digits, moment, money, objects, whole, words

_PATHS = {"contact": "contacts", "company": "companies", "lead": "leads"}
_WITH = {"contact": "leads", "company": "leads", "lead": "contacts,loss_reason,source"}
_STATES = {142: DealState.WON, 143: DealState.LOST}  # the same numbers in every pipeline
_DELETED = {f"{kind}_deleted": kind for kind in _PATHS}
_RETURNED = {f"{kind}_restored": kind for kind in _PATHS}
_MOVED = "lead_status_changed"
_HISTORY = timedelta(days=90)
_SPAN = timedelta(days=7)
_SETTLED = 10  # seconds after which no event of a second is written any more
_MOST_FOUND = 50
_MOST_VALUES = 10


class Reading:
    """Reads one account."""

    def __init__(self, api: Api, installation: Settings) -> None:
        self._api = api
        self._identify = Identifier(installation)

    async def list_users(self) -> list[CrmUser]:
        """Pages of 250."""
        found: list[CrmUser] = []
        for page in range(1, 100):
            rows = await self._api.rows("users", "users", {"limit": PAGE, "page": page})
            found += [_user(row) for row in rows]
            if len(rows) < PAGE:
                break
        return found

    async def find_cards(self, identities: Sequence[Identity]) -> list[CrmCard]:
        """``query`` finds digits anywhere, so what it finds is checked again."""
        wanted = [one for one in identities if one.kind in (IdentityKind.PHONE, IdentityKind.ADDRESS)]
        found: dict[ExternalId, CrmCard] = {}
        for one in wanted[:_MOST_VALUES]:
            sought = last_digits(one.value) if one.kind is IdentityKind.PHONE else one.value
            for kind in ("contact", "company") if sought else ():
                rows = await self._api.rows(_PATHS[kind], _PATHS[kind], {"query": sought, "limit": _MOST_FOUND})
                for card in (self._card(kind, row) for row in rows):
                    if one in card.identities:
                        found[card.id] = card
        return list(found.values())[:_MOST_FOUND]

    async def list_stages(self) -> list[CrmStage]:
        """Won is 142 and lost is 143 everywhere."""
        return [
            CrmStage(
                pipeline=id_of(pipeline.get("id")),
                id=id_of(row.get("id")),
                name=words(row.get("name")),
                place=whole(row.get("sort")),
                state=_STATES.get(whole(row.get("id")), DealState.OPEN),
                pipeline_name=words(pipeline.get("name")),
            )
            for pipeline in await self._api.rows("leads/pipelines", "pipelines")
            for row in embedded(pipeline, "statuses")
        ]

    # --- What changed -------------------------------------------------------------------------------------------------

    async def read_changes(self, cursor: str) -> Changes:
        """A page of each sort, and a page of events."""
        at = as_object(json.loads(cursor)) if cursor else {}
        rows = {kind: await self._page(kind, at) for kind in _PATHS if not at.get(f"{kind}_over")}
        events = await self._events(at)
        await self._fetch(rows, events)
        histories = _histories(events)
        cards = [self._card(kind, row) for kind in ("contact", "company") for row in rows.get(kind, ())]
        deals = [_deal(row, tuple(histories.get(id_of(row.get("id")), ()))) for row in rows.get("lead", ())]
        is_last = all(at.get(f"{kind}_over") for kind in _PATHS) and not at.get("events_page")
        if is_last:
            at = {name: value for name, value in at.items() if not name.endswith("_over")}
        return Changes(cursor=json.dumps(at), cards=cards, deals=deals, gone=_gone(events), is_last=is_last)

    async def _page(self, kind: str, at: dict[str, Any]) -> list[dict[str, Any]]:
        since, page = whole(at.get(kind)), whole(at.get(f"{kind}_page")) or 1
        query: dict[str, Any] = {"limit": PAGE, "page": page, "with": _WITH[kind], "order": {"updated_at": "asc"}}
        if since:
            query["filter"] = {"updated_at": {"from": since}}
        rows = await self._api.rows(_PATHS[kind], _PATHS[kind], query)
        last = max((whole(row.get("updated_at")) for row in rows), default=since)
        is_full = len(rows) >= PAGE
        # The next page begins at the last time, so that what moves meanwhile is not skipped; by number within a second.
        at[f"{kind}_page"] = page + 1 if is_full and last == since else 1
        at[kind] = last
        at[f"{kind}_over"] = not is_full
        return rows

    async def _events(self, at: dict[str, Any]) -> list[dict[str, Any]]:
        now = self._api.now()
        since = whole(at.get("events")) or int((now - _HISTORY).timestamp())
        until = whole(at.get("events_until")) or min(
            since + int(_SPAN.total_seconds()), int(now.timestamp()) - _SETTLED
        )
        if until <= since:
            at |= {"events": since, "events_until": 0, "events_page": 0}
            return []
        page = whole(at.get("events_page")) or 1
        kinds = [_MOVED, *_DELETED, *_RETURNED]
        query = {
            "limit": EVENTS_PAGE,
            "page": page,
            "filter": {"created_at": {"from": since, "to": until}, "type": ",".join(kinds)},
        }
        rows = await self._api.rows("events", "events", query)
        if len(rows) >= EVENTS_PAGE:
            at |= {"events": since, "events_until": until, "events_page": page + 1}
        else:
            is_now = until >= int(now.timestamp()) - _SETTLED
            at |= {"events": until, "events_until": 0, "events_page": 0 if is_now else 1}
        return rows

    async def _fetch(self, rows: dict[str, list[dict[str, Any]]], events: Sequence[Mapping[str, Any]]) -> None:
        """Leads that moved and cards that returned, whole, where they are not in the page anyway."""
        for kind in _PATHS:
            known = {id_of(row.get("id")) for row in rows.get(kind, ())}
            wanted = {
                id_of(one.get("entity_id"))
                for one in events
                if _RETURNED.get(words(one.get("type"))) == kind or (kind == "lead" and one.get("type") == _MOVED)
            }
            if missing := sorted(wanted - known - {""}):
                query = {"limit": PAGE, "with": _WITH[kind], "filter": {"id": missing}}
                rows[kind] = [*rows.get(kind, ()), *await self._api.rows(_PATHS[kind], _PATHS[kind], query)]

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _card(self, kind: str, row: Mapping[str, Any]) -> CrmCard:
        company = next((id_of(one.get("id")) for one in embedded(row, "companies")), "")
        return CrmCard(
            id=ExternalId(kind=kind, id=id_of(row.get("id"))),
            name=words(row.get("name")) or "—",
            kind="company" if kind == "company" else "person",
            identities=self._identify(_values(row, "PHONE"), _values(row, "EMAIL")),
            responsible=id_of(row.get("responsible_user_id")) or None,
            company=ExternalId(kind="company", id=company) if company else None,
            modified=moment(row.get("updated_at")),
        )


def _values(row: Mapping[str, Any], code: str) -> list[str]:
    return [
        words(value.get("value"))
        for field in objects(row.get("custom_fields_values"))
        if field.get("field_code") == code
        for value in objects(field.get("values"))
    ]


def _deal(row: Mapping[str, Any], history: tuple[StageChange, ...]) -> CrmDeal:
    contacts = embedded(row, "contacts")
    main = next((one for one in contacts if one.get("is_main")), contacts[0] if contacts else {})
    company = next(iter(embedded(row, "companies")), {})
    owner = ("contact", id_of(main.get("id"))) if main else ("company", id_of(company.get("id")))
    state = _STATES.get(whole(row.get("status_id")), DealState.OPEN)
    reason, source = embedded(row, "loss_reason"), as_object(as_object(row.get("_embedded")).get("source"))
    return CrmDeal(
        id=ExternalId(kind="lead", id=id_of(row.get("id"))),
        card=ExternalId(kind=owner[0], id=owner[1]) if owner[1] else None,
        title=words(row.get("name")),
        pipeline=id_of(row.get("pipeline_id")),
        stage=id_of(row.get("status_id")),
        state=state,
        amount=money(row.get("price")),
        source=words(source.get("name")),
        loss_reason=words(reason[0].get("name")) if reason and state is DealState.LOST else "",
        created=moment(row.get("created_at")),
        closed=moment(row.get("closed_at")),
        responsible=id_of(row.get("responsible_user_id")) or None,
        history=history,
    )


def _histories(events: Sequence[Mapping[str, Any]]) -> dict[str, list[StageChange]]:
    found: dict[str, list[StageChange]] = {}
    for one in events:
        at = moment(one.get("created_at"))
        after = next(iter(objects(one.get("value_after"))), {})
        stage = id_of(as_object(after.get("lead_status")).get("id"))
        if one.get("type") == _MOVED and at is not None and stage:
            found.setdefault(id_of(one.get("entity_id")), []).append(StageChange(stage=stage, at=at))
    return {number: sorted(changes, key=lambda each: each.at) for number, changes in found.items()}


def _gone(events: Sequence[Mapping[str, Any]]) -> list[Gone]:
    """Deleted ones that were not restored later in the same page."""
    latest: dict[ExternalId, tuple[int, bool]] = {}
    for one in events:
        kind = words(one.get("type"))
        if kind in _DELETED or kind in _RETURNED:
            card = ExternalId(kind=(_DELETED | _RETURNED)[kind], id=id_of(one.get("entity_id")))
            latest[card] = max(latest.get(card, (0, False)), (whole(one.get("created_at")), kind in _DELETED))
    return [Gone(id=card) for card, (_, is_gone) in latest.items() if is_gone and card.id]


def _user(row: Mapping[str, Any]) -> CrmUser:
    return CrmUser(
        id=id_of(row.get("id")),
        name=words(row.get("name")),
        address=words(row.get("email")),
        is_active=as_object(row.get("rights")).get("is_active") is not False,
    )
