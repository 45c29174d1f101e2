"""What is read of Bitrix24: users, cards, stages, deals, and what changed.

Sources: apidocs.bitrix24.com, *crm.duplicate.findbycomm*, *crm.contact.list* and its siblings, *crm.stagehistory.list*,
*crm.category.list*, *crm.status.list*, *Offline events*. Pages have fifty rows. The first pass goes by number
(``start = -1`` spares Bitrix24 the counting), then by DATE_MODIFY from a little before the pass began.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from linker.crm.bitrix24.api import PAGE, Api, Batch, Command
from linker.crm.bitrix24.fields import ENTITY_TYPES
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
from linker.crm.protocol import CrmRefused, CrmRightsMissing
from linker.crm.shapes import Identifier, as_list, as_object, id_of, moment, money, objects, whole, words

log = structlog.get_logger()

_MOST_FOUND = 50
_MOST_VALUES = 20  # of findbycomm
_OVERLAP = timedelta(hours=26)  # its clock may be hours wrong, and changes were being written
_NAMES = {
    "contact": ["ID", "NAME", "SECOND_NAME", "LAST_NAME", "COMPANY_ID", "ASSIGNED_BY_ID", "DATE_MODIFY"],
    "company": ["ID", "TITLE", "ASSIGNED_BY_ID", "DATE_MODIFY"],
    "lead": ["ID", "TITLE", "NAME", "LAST_NAME", "COMPANY_TITLE", "ASSIGNED_BY_ID", "DATE_MODIFY"],
}
_DEAL = ["ID", "TITLE", "CATEGORY_ID", "STAGE_ID", "STAGE_SEMANTIC_ID", "OPPORTUNITY", "CURRENCY_ID", "SOURCE_ID"]
_DEAL += ["CONTACT_ID", "COMPANY_ID", "LEAD_ID", "ASSIGNED_BY_ID", "DATE_CREATE", "DATE_MODIFY", "CLOSEDATE", "CLOSED"]
_STATES = {"S": DealState.WON, "F": DealState.LOST}
_SEMANTICS = {**_STATES, "success": DealState.WON, "failure": DealState.LOST, "apology": DealState.LOST}
_DELETED = {f"ONCRM{kind.upper()}DELETE": kind for kind in (*_NAMES, "deal")}


class Reading:
    """Reads one portal."""

    def __init__(self, api: Api, installation: Settings) -> None:
        self._api = api
        self._identify = Identifier(installation)
        self._stage_names: Mapping[str, str] = {}
        self._source_names: Mapping[str, str] = {}

    async def list_users(self) -> list[CrmUser]:
        """Pages of fifty until there are no more."""
        found: list[CrmUser] = []
        start: int | None = 0
        while start is not None:
            page = await self._api.page("user.get", {"SORT": "ID", "ORDER": "ASC", "start": start})
            found += [_user(row) for row in objects(page.rows)]
            start = page.next
        return found

    async def find_cards(self, identities: Sequence[Identity]) -> list[CrmCard]:
        """Numbers as people write them, since Bitrix24 compares what was typed in; what it finds is checked again."""
        wanted = {one for one in identities if one.kind in (IdentityKind.PHONE, IdentityKind.ADDRESS)}
        phones = [form for one in wanted if one.kind is IdentityKind.PHONE for form in spellings(one.value)]
        addresses = [one.value for one in wanted if one.kind is IdentityKind.ADDRESS]
        commands: dict[str, Command] = {}
        for sort, values in (("PHONE", phones), ("EMAIL", addresses)):
            for kind in _NAMES if values else ():
                asked = {"type": sort, "values": values[:_MOST_VALUES], "entity_type": kind.upper()}
                commands[f"{sort}_{kind}"] = ("crm.duplicate.findbycomm", asked)
        if not commands:
            return []
        batch = await self._api.batch(commands)
        numbers: dict[str, list[str]] = {}
        for name in commands:
            kind = name.partition("_")[2]
            numbers.setdefault(kind, []).extend(
                id_of(one) for one in as_list(as_object(batch[name]).get(kind.upper())) if id_of(one)
            )
        cards = await self._cards({kind: sorted(set(ids))[:_MOST_FOUND] for kind, ids in numbers.items() if ids})
        return [card for card in cards if wanted & set(card.identities)]

    async def _cards(self, numbers: Mapping[str, list[str]]) -> list[CrmCard]:
        if not numbers:
            return []
        batch = await self._api.batch(
            {
                kind: (f"crm.{kind}.list", {"filter": {"@ID": ids}, "select": _selected(kind), "start": -1})
                for kind, ids in numbers.items()
            }
        )
        return [self._card(kind, row) for kind in numbers for row in batch.rows(kind)]

    def multifields(self, identities: Sequence[Identity]) -> dict[str, Any]:
        """Numbers and addresses as Bitrix24 takes them."""
        made: dict[str, list[dict[str, str]]] = {"PHONE": [], "EMAIL": []}
        for one in identities:
            if one.kind in (IdentityKind.PHONE, IdentityKind.ADDRESS):
                sort = "PHONE" if one.kind is IdentityKind.PHONE else "EMAIL"
                made[sort].append({"VALUE": one.value, "VALUE_TYPE": "WORK"})
        return {sort: values for sort, values in made.items() if values}

    async def list_stages(self) -> list[CrmStage]:
        """Pipelines (there called directions) and their stages, in two requests."""
        found = as_object(await self._api.call("crm.category.list", {"entityTypeId": 2}))
        pipelines = [(id_of(one.get("id")) or "0", words(one.get("name"))) for one in objects(found.get("categories"))]
        commands: dict[str, Command] = {
            f"stages_{number}": (
                "crm.status.list",
                {"filter": {"ENTITY_ID": _stage_list(number)}, "order": {"SORT": "ASC"}},
            )
            for number, _ in pipelines[:45]
        }
        commands["sources"] = ("crm.status.list", {"filter": {"ENTITY_ID": "SOURCE"}})
        batch = await self._api.batch(commands)
        stages = [
            _stage(number, name, row) for number, name in pipelines[:45] for row in batch.rows(f"stages_{number}")
        ]
        self._stage_names = {one.id: one.name for one in stages}
        self._source_names = {words(row.get("STATUS_ID")): words(row.get("NAME")) for row in batch.rows("sources")}
        return stages

    # --- What changed -------------------------------------------------------------------------------------------------

    async def read_changes(self, cursor: str) -> Changes:
        """One page of each sort in one request; a second one for the histories of the deals in it."""
        at = _Place.read(cursor)
        if not cursor and self._api.is_application:
            await self._bind_deletions()
        if not self._stage_names:
            await self.list_stages()
        commands = {kind: at.command(kind) for kind in at.kinds if not at.is_over(kind)}
        if self._api.is_application:
            asked = {"filter": {">ID": at.event}, "order": {"ID": "ASC"}, "limit": PAGE}
            commands["events"] = ("event.offline.list", asked)
        batch = await self._api.batch(commands)
        cards, deals = [], []
        for kind in commands.keys() - {"events"}:
            rows = batch.rows(kind)
            at.go_on(kind, rows)
            if kind == "deal":
                histories = await self._histories([id_of(row.get("ID")) for row in rows])
                deals = [self._deal(row, histories.get(id_of(row.get("ID")), ())) for row in rows]
            else:
                cards += [self._card(kind, row) for row in rows]
        gone = self._gone(batch, at)
        is_last = at.take_round()
        return Changes(cursor=at.text(), cards=cards, deals=deals, gone=gone, is_last=is_last)

    async def _bind_deletions(self) -> None:
        commands: dict[str, Command] = {
            name: ("event.bind", {"event": name, "event_type": "offline"}) for name in _DELETED
        }
        batch = await self._api.batch(commands)
        if any(isinstance(error, CrmRightsMissing) for error in batch.errors.values()):
            log.warning("crm_tells_no_deletions", reason="offline events are not in the plan")

    def _gone(self, batch: Batch, at: _Place) -> list[Gone]:
        if isinstance(batch.errors.get("events"), (CrmRightsMissing, CrmRefused)) or not self._api.is_application:
            return []
        found = []
        for row in batch.rows("events"):
            at.event = max(at.event, whole(row.get("ID")))
            kind = _DELETED.get(words(row.get("EVENT_NAME")).upper(), "")
            number = id_of(as_object(as_object(row.get("EVENT_DATA")).get("FIELDS")).get("ID"))
            if kind and number:
                found.append(Gone(id=ExternalId(kind=kind, id=number)))
        return found

    async def _histories(self, numbers: Sequence[str]) -> dict[str, tuple[StageChange, ...]]:
        found: dict[str, list[StageChange]] = {}
        start: int | None = 0 if numbers else None
        while start is not None:
            asked = {"entityTypeId": 2, "filter": {"@OWNER_ID": list(numbers)}, "order": {"ID": "ASC"}, "start": start}
            batch = await self._api.batch({"history": ("crm.stagehistory.list", asked)})
            for row in batch.rows("history", "items"):
                if (at := moment(row.get("CREATED_TIME"))) is not None:
                    change = StageChange(stage=words(row.get("STAGE_ID")), at=at)
                    found.setdefault(id_of(row.get("OWNER_ID")), []).append(change)
            following = batch.nexts.get("history", 0)
            start = following if following > start else None
        return {number: tuple(changes) for number, changes in found.items()}

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _card(self, kind: str, row: Mapping[str, Any]) -> CrmCard:
        parts = ("LAST_NAME", "NAME", "SECOND_NAME")
        person = " ".join(filter(None, (words(row.get(part)) for part in parts)))
        title = words(row.get("COMPANY_TITLE")) or words(row.get("TITLE"))
        company = id_of(row.get("COMPANY_ID"))
        return CrmCard(
            id=ExternalId(kind=kind, id=id_of(row.get("ID"))),
            name=(title if kind == "company" else person or title) or "—",
            kind="company" if kind == "company" else "person",
            identities=self._identify(_values(row, "PHONE"), _values(row, "EMAIL")),
            responsible=id_of(row.get("ASSIGNED_BY_ID")) or None,
            company=ExternalId(kind="company", id=company) if company and kind == "contact" else None,
            modified=moment(row.get("DATE_MODIFY")),
        )

    def _deal(self, row: Mapping[str, Any], history: tuple[StageChange, ...]) -> CrmDeal:
        state = _STATES.get(words(row.get("STAGE_SEMANTIC_ID")), DealState.OPEN)
        stage, source = words(row.get("STAGE_ID")), words(row.get("SOURCE_ID"))
        owners = [
            ExternalId(kind=kind, id=number)
            for kind in ("contact", "company", "lead")
            if (number := id_of(row.get(f"{kind.upper()}_ID")))
        ]
        ended = max((one.at for one in history), default=None) or moment(row.get("CLOSEDATE"))
        return CrmDeal(
            id=ExternalId(kind="deal", id=id_of(row.get("ID"))),
            card=owners[0] if owners else None,
            title=words(row.get("TITLE")),
            pipeline=id_of(row.get("CATEGORY_ID")) or "0",
            stage=stage,
            state=state,
            amount=money(row.get("OPPORTUNITY")),
            currency=words(row.get("CURRENCY_ID")),
            source=self._source_names.get(source, source),
            loss_reason=self._stage_names.get(stage, stage) if state is DealState.LOST else "",
            created=moment(row.get("DATE_CREATE")),
            closed=ended if state is not DealState.OPEN else None,
            responsible=id_of(row.get("ASSIGNED_BY_ID")) or None,
            history=history,
        )


class _Place:
    """Where reading goes on: for each sort the last number of the first pass, then time and offset; the last event."""

    def __init__(self, places: dict[str, list[Any]], event: int, full: dict[str, bool]) -> None:
        self.kinds = (*_NAMES, "deal")
        self.event = event
        self._places = places
        self._full = full  # whether a sort may have more in this round

    @classmethod
    def read(cls, cursor: str) -> _Place:
        found = as_object(json.loads(cursor)) if cursor else {}
        since = (datetime.now(UTC) - _OVERLAP).isoformat(timespec="seconds")
        places = {kind: as_list(found.get(kind)) or ["all", 0, since] for kind in (*_NAMES, "deal")}
        full = {kind: bool(one) for kind, one in as_object(found.get("full")).items()}
        return cls(places, whole(found.get("event")), full)

    def text(self) -> str:
        return json.dumps({**self._places, "event": self.event, "full": self._full})

    def is_over(self, kind: str) -> bool:
        """In this round of pages; the next round begins anew."""
        return not self._full.get(kind, True)

    def command(self, kind: str) -> Command:
        select = _DEAL if kind == "deal" else _selected(kind)
        phase, place, since = self._places[kind]
        if phase == "all":
            asked = {"filter": {">ID": place}, "order": {"ID": "ASC"}, "select": select, "start": -1}
        else:
            order = {"DATE_MODIFY": "ASC", "ID": "ASC"}
            asked = {"filter": {">=DATE_MODIFY": since}, "order": order, "select": select, "start": place}
        return f"crm.{kind}.list", asked

    def go_on(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        phase, place, since = self._places[kind]
        is_full = len(rows) >= PAGE
        if phase == "all":
            last = max((whole(row.get("ID")) for row in rows), default=place)
            self._places[kind] = ["all", last, since] if is_full else ["changed", 0, since]
        elif is_full:
            last_time = words(rows[-1].get("DATE_MODIFY")) or since
            # A page is left by its time, so that what moves meanwhile is not skipped; by offset within one second only.
            self._places[kind] = ["changed", place + PAGE if last_time == since else 0, last_time]
        elif rows:
            self._places[kind] = ["changed", 0, words(rows[-1].get("DATE_MODIFY")) or since]
        self._full[kind] = is_full

    def take_round(self) -> bool:
        """Whether all sorts are read; then the next call asks for all of them again."""
        is_last = not any(self._full.get(kind, True) for kind in self.kinds)
        if is_last:
            self._full = {}
        return is_last


def _selected(kind: str) -> list[str]:
    return [*_NAMES[kind], "PHONE", "EMAIL"]


def _values(row: Mapping[str, Any], name: str) -> list[str]:
    return [words(one.get("VALUE")) for one in objects(row.get(name))]


def _stage_list(pipeline: str) -> str:
    return "DEAL_STAGE" if pipeline == "0" else f"DEAL_STAGE_{pipeline}"


def _stage(pipeline: str, name: str, row: Mapping[str, Any]) -> CrmStage:
    semantics = words(row.get("SEMANTICS")) or words(as_object(row.get("EXTRA")).get("SEMANTICS"))
    return CrmStage(
        pipeline=pipeline,
        id=words(row.get("STATUS_ID")),
        name=words(row.get("NAME")),
        place=whole(row.get("SORT")),
        state=_SEMANTICS.get(semantics, DealState.OPEN),
        pipeline_name=name,
    )


def _user(row: Mapping[str, Any]) -> CrmUser:
    return CrmUser(
        id=id_of(row.get("ID")),
        name=" ".join(filter(None, (words(row.get("NAME")), words(row.get("LAST_NAME"))))),
        address=words(row.get("EMAIL")),
        extension=words(row.get("UF_PHONE_INNER")),
        is_active=row.get("ACTIVE") not in (False, "N", "false"),
    )


def spellings(phone: str) -> list[str]:
    """How a number may stand on a card: with + and without, and in Russia and Kazakhstan with 8 and as ten digits."""
    digits = phone.lstrip("+")
    forms = [phone, digits]
    if digits.startswith("7") and len(digits) == 11:
        forms += [f"8{digits[1:]}", digits[1:]]
    return forms


assert set(_NAMES) == set(ENTITY_TYPES)
