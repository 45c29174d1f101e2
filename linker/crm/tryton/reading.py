"""Parties and opportunities of Tryton, and what changed: a pass by ids, bounded by what was newest at its start."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from agent.model import Identity, IdentityKind
from linker.crm.facts import Changes, CrmCard, CrmDeal, DealState, ExternalId, Gone, StageChange
from linker.crm.protocol import CrmRightsMissing
from linker.crm.tryton.rpc import Rpc
from linker.normalize import normalize_address, normalize_phone

PARTY, OPPORTUNITY = "party", "opportunity"
_PAGE = 200
_OVERLAP = timedelta(minutes=5)  # a long transaction over there shows what it stamped earlier
_MOST_REVISIONS = 20
_PHONES = ("phone", "mobile", "fax")
_INACTIVE_TOO = {"active_test": False}  # a clause on ``active`` is lost within OR
_ANY = ["active", "in", [True, False]]
_DEAL = ["party", "amount", "currency.code", "description", "number", "state", "lost_reason", "create_date", "end_date"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """``since`` bounds this pass from below and ``mark`` the next one (ISO times; empty: everything); ``id`` is the
    last one read of what ``phase`` reads."""

    phase: str = PARTY
    id: int = 0
    since: str = ""
    mark: str = ""

    @classmethod
    def load(cls, text: str) -> Cursor:
        """Of what `dump` wrote, or empty."""
        return cls(**json.loads(text)) if text else cls()

    def dump(self) -> str:
        """As text."""
        return json.dumps(asdict(self))


def phone_pattern(phone: str) -> str:
    """A number as people write it: its last ten digits with anything between them. ``value_compact`` would be simpler,
    but only Tryton's own clients fill it."""
    return f"%{'%'.join(phone.lstrip('+')[-10:])}%"


class Reader:
    """Reads with what the connector is logged in as."""

    def __init__(self, rpc: Rpc, *, region: str, extension_digits: int) -> None:
        self._rpc = rpc
        self._region = region
        self._digits = extension_digits

    async def is_there(self, party: int) -> bool:
        """Whether there is such a party, active or not."""
        return bool(await self._rpc.call("party.party", "search", [["id", "=", party], _ANY], 0, 1, None))

    async def heirs(self, party: int) -> list[int]:
        """The party and those that have taken its place, one after the other; none where it was deleted."""
        found: list[int] = []
        number: int | None = party
        while number is not None and number not in found:
            domain = [["id", "=", number], _ANY]
            rows = await self._rpc.call("party.party", "search_read", domain, 0, 1, None, ["replaced_by"])
            if not rows:
                break
            found.append(number)
            number = rows[0]["replaced_by"]
        return found

    async def cards(self, ids: Sequence[int]) -> list[CrmCard]:
        """These parties, as far as they are active."""
        if not ids:
            return []
        rows = await self._parties([["id", "in", list(ids)]], len(ids))
        cards, _ = await self._as_cards(rows)
        return cards

    async def _parties(self, domain: list[Any], limit: int) -> list[dict[str, Any]]:
        fields = ["name", "active", "replaced_by", "write_date", "create_date"]
        found: list[dict[str, Any]] = await self._rpc.call(
            "party.party", "search_read", domain, 0, limit, [["id", "ASC"]], fields, context=_INACTIVE_TOO
        )
        return found

    async def _as_cards(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[CrmCard], list[Gone]]:
        living = [row for row in rows if row["active"]]
        points = await self._points([row["id"] for row in living])
        cards = [
            CrmCard(
                id=_party(row["id"]),
                name=row["name"] or "",
                kind="person",
                identities=tuple(points[row["id"]]),
                modified=row["write_date"] or row["create_date"],
            )
            for row in living
        ]
        gone = [
            Gone(id=_party(row["id"]), merged_into=_party(row["replaced_by"]) if row["replaced_by"] else None)
            for row in rows
            if not row["active"]
        ]
        return cards, gone

    async def _points(self, parties: Sequence[int]) -> defaultdict[int, list[Identity]]:
        found: defaultdict[int, list[Identity]] = defaultdict(list)
        if not parties:
            return found
        rows = await self._rpc.call(
            "party.contact_mechanism",
            "search_read",
            [["party", "in", list(parties)]],
            0,
            None,
            [["id", "ASC"]],
            ["party", "type", "value"],
        )
        for row in rows:
            identity = self._identity(row["type"], row["value"] or "")
            if identity is not None and identity not in found[row["party"]]:
                found[row["party"]].append(identity)
        return found

    def _identity(self, kind: str, value: str) -> Identity | None:
        if kind == "email":
            return normalize_address(value)
        if kind not in _PHONES:
            return None
        found = normalize_phone(value, region=self._region, extension_digits=self._digits)
        return found if found is not None and found.kind is IdentityKind.PHONE else None

    # --- What changed -------------------------------------------------------------------------------------------------

    async def read_changes(self, cursor: str, states: Mapping[str, DealState]) -> Changes:
        """A page."""
        at = Cursor.load(cursor)
        if not at.mark:
            at = replace(at, mark=await self._newest())
        if at.phase == PARTY:
            return await self._party_page(at)
        return await self._deal_page(at, states)

    async def _newest(self) -> str:
        """The newest stamp of anything now; what comes later belongs to the next pass."""
        stamps = [datetime(1970, 1, 1, tzinfo=UTC)]
        for model in ("party.party", "party.contact_mechanism"):
            for field in ("create_date", "write_date"):
                rows = await self._rpc.call(
                    model, "search_read", [_ANY, [field, "!=", None]], 0, 1, [[field, "DESC"]], [field]
                )
                stamps += [row[field] for row in rows]
        return max(stamps).isoformat()

    async def _party_page(self, at: Cursor) -> Changes:
        domain: list[Any] = [["id", ">", at.id]]
        if at.since:
            since = datetime.fromisoformat(at.since) - _OVERLAP
            changed = _changed(since)
            points = [[f"contact_mechanisms.{one[0]}", *one[1:]] for one in changed]
            domain.append(["OR", *changed, *points])
        rows = await self._parties(domain, _PAGE)
        cards, gone = await self._as_cards(rows)
        last = rows[-1]["id"] if rows else at.id
        going_on = replace(at, id=last) if len(rows) == _PAGE else replace(at, phase=OPPORTUNITY, id=0)
        return Changes(cursor=going_on.dump(), cards=cards, gone=gone, is_last=False)

    async def _deal_page(self, at: Cursor, states: Mapping[str, DealState]) -> Changes:
        done = Cursor(since=at.mark)
        domain: list[Any] = [["id", ">", at.id]]
        if at.since:
            domain.append(["OR", *_changed(datetime.fromisoformat(at.since) - _OVERLAP)])
        try:
            rows = await self._rpc.call("sale.opportunity", "search_read", domain, 0, _PAGE, [["id", "ASC"]], _DEAL)
        except CrmRightsMissing:
            return Changes(cursor=done.dump())  # no such module, or not for us: `check` says so
        deals = [await self._deal(row, states) for row in rows]
        if len(rows) == _PAGE:
            return Changes(cursor=replace(at, id=rows[-1]["id"]).dump(), deals=deals, is_last=False)
        return Changes(cursor=done.dump(), deals=deals)

    async def _deal(self, row: Mapping[str, Any], states: Mapping[str, DealState]) -> CrmDeal:
        end = row["end_date"]
        currency = row.get("currency.") or {}
        return CrmDeal(
            id=ExternalId(kind=OPPORTUNITY, id=str(row["id"])),
            card=_party(row["party"]) if row["party"] else None,
            title=row["description"] or row["number"] or "",
            pipeline="",
            stage=row["state"],
            state=states.get(row["state"], DealState.OPEN),
            amount=row["amount"],
            currency=currency.get("code") or "",
            loss_reason=row["lost_reason"] or "",
            created=row["create_date"],
            closed=datetime(end.year, end.month, end.day, tzinfo=UTC) if isinstance(end, date) else None,
            history=await self._history(row["id"]),
        )

    async def _history(self, number: int) -> tuple[StageChange, ...]:
        """The state after each revision, where it changed (trytond/model/modelsql.py, history_revisions)."""
        revisions = await self._rpc.call("sale.opportunity", "history_revisions", [number])
        changes: list[StageChange] = []
        for moment in sorted(one[0] for one in revisions)[-_MOST_REVISIONS:]:
            state = await self._rpc.read_at("sale.opportunity", number, "state", moment)
            if state and (not changes or changes[-1].stage != state):
                changes.append(StageChange(stage=state, at=moment))
        return tuple(changes)


def _changed(since: datetime) -> list[list[Any]]:
    return [["write_date", ">=", since], ["create_date", ">=", since]]


def _party(number: int) -> ExternalId:
    return ExternalId(kind=PARTY, id=str(number))
