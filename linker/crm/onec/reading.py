"""What is read of 1C: users, partners with their contact information, deals.

OData of 1C has no feed of changes outside of exchange plans. So partners are read by a field with the time of change
where the configuration has one (options.partner_changed), else all of them, a page at a time, in sweeps; a sweep that
has ended begins again after options.sweep_minutes. Marks of deletion are read with the rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from linker.crm.facts import Changes, CrmCard, CrmDeal, CrmStage, CrmUser, DealState, ExternalId, Gone
from linker.crm.onec.api import EMPTY, Api, aware, literal
from linker.crm.shapes import Identifier, as_object, last_digits, money, whole, words

PARTNER = "partner"
DEAL = "deal"
_PAGE = 500
_MOST_PAGES = 100
_OVERLAP = 20  # rows of the page before: what was deleted for good meanwhile must not let others be skipped
_AT_ONCE = 40  # keys in one filter; an address has no more than some thousand characters
_MOST_FOUND = 50


class Reading:
    """Reads one information base."""

    def __init__(self, api: Api, installation: Settings, names: Mapping[str, str], zone: str) -> None:
        self._api = api
        self._names = names
        self._zone = zone
        self._identify = Identifier(installation)

    async def list_users(self) -> list[CrmUser]:
        """The whole catalogue."""
        found: list[CrmUser] = []
        for _ in range(_MOST_PAGES):
            query = {"$top": str(_PAGE), "$skip": str(len(found)), "$orderby": "Ref_Key"}
            rows = await self._api.rows(self._names["users"], query)
            found += [self._user(row) for row in rows]
            if len(rows) < _PAGE:
                break
        return found

    def _user(self, row: Mapping[str, Any]) -> CrmUser:
        is_gone = row.get("DeletionMark") is True or row.get(self._names["user_gone"]) is True
        return CrmUser(id=words(row.get("Ref_Key")), name=words(row.get("Description")), is_active=not is_gone)

    async def find_cards(self, identities: Sequence[Identity]) -> list[CrmCard]:
        """1C keeps numbers as they were typed, and beside them in digits: the end is compared, then all of it here."""
        wanted = {one for one in identities if one.kind in (IdentityKind.PHONE, IdentityKind.ADDRESS)}
        keys: dict[str, None] = {}
        for one in list(wanted)[:10]:
            asked = {"$filter": self._condition(one), "$top": str(_MOST_FOUND)}
            for row in await self._api.rows(self._names["contacts"], asked):
                keys[words(row.get("Ref_Key"))] = None
        cards = await self._cards(list(keys)[:_MOST_FOUND])
        return [card for card in cards if wanted & set(card.identities)]

    def _condition(self, identity: Identity) -> str:
        shown = self._names["contact_shown"]
        if identity.kind is IdentityKind.ADDRESS:
            field = self._names["contact_address"] or shown
            return f"{field} eq {literal(identity.value)}"
        field, end = self._names["contact_phone"] or shown, last_digits(identity.value)
        either = [f"endswith({field}, {literal(end)})"]
        if shown and len(end) == 10:  # as 1C formats it: +7 (495) 000-00-01
            parts = f"({end[:3]}) {end[3:6]}-{end[6:8]}-{end[8:]}"
            either.append(f"endswith({shown}, {literal(parts)})")
        return " or ".join(either)

    async def _cards(self, keys: Sequence[str]) -> list[CrmCard]:
        found: list[CrmCard] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = [key for key in keys[start : start + _AT_ONCE] if key]
            if some:
                asked = " or ".join(f"Ref_Key eq guid'{key}'" for key in some)
                rows = await self._api.rows(self._names["partners"], {"$filter": f"({asked})"})
                found += await self._with_contacts([row for row in rows if row.get("DeletionMark") is not True])
        return found

    async def _with_contacts(self, rows: Sequence[Mapping[str, Any]]) -> list[CrmCard]:
        table = self._names["contacts"].rpartition("_")[2]
        contacts: dict[str, list[Mapping[str, Any]]] = {}
        bare = [words(row.get("Ref_Key")) for row in rows if not isinstance(row.get(table), list)]
        for start in range(0, len(bare), _AT_ONCE):
            asked = " or ".join(f"Ref_Key eq guid'{key}'" for key in bare[start : start + _AT_ONCE])
            for one in await self._api.rows(self._names["contacts"], {"$filter": f"({asked})"}):
                contacts.setdefault(words(one.get("Ref_Key")), []).append(one)
        return [
            self._card(row, row.get(table) if isinstance(row.get(table), list) else contacts.get(_ref(row), ()))
            for row in rows
        ]

    def _card(self, row: Mapping[str, Any], contacts: Any) -> CrmCard:
        names = self._names
        lines = [one for one in contacts if isinstance(one, Mapping)]
        phones = [words(one.get(names["contact_shown"])) or words(one.get(names["contact_phone"])) for one in lines]
        is_phone = ["телефон" in words(one.get(names["contact_kind"])).lower() for one in lines]
        addresses = [words(one.get(names["contact_address"])) for one in lines]
        responsible = words(row.get(names["partner_responsible"]))
        kind = words(row.get(names["partner_kind"]))
        return CrmCard(
            id=ExternalId(kind=PARTNER, id=_ref(row)),
            name=words(row.get(names["partner_name"])) or "—",
            kind="person" if kind == names["partner_person"] else "company",
            identities=self._identify(
                (phone for phone, yes in zip(phones, is_phone, strict=True) if yes and phone),
                (address for address in addresses if address),
            ),
            responsible=responsible if responsible not in ("", EMPTY) else None,
            modified=aware(row.get(names["partner_changed"]), self._zone) if names["partner_changed"] else None,
        )

    def contact_rows(self, identities: Iterable[Identity]) -> list[dict[str, Any]]:
        """Lines of the table of contact information."""
        made: list[dict[str, Any]] = []
        for one in identities:
            is_phone = one.kind is IdentityKind.PHONE
            if not is_phone and one.kind is not IdentityKind.ADDRESS:
                continue
            field = self._names["contact_phone" if is_phone else "contact_address"]
            line = {
                "LineNumber": str(len(made) + 1),
                self._names["contact_kind"]: "Телефон" if is_phone else "АдресЭлектроннойПочты",
                self._names["contact_shown"]: one.value,
                field: one.value.lstrip("+") if is_phone else one.value,
            }
            made.append({name: value for name, value in line.items() if name})
        return made

    async def list_stages(self) -> list[CrmStage]:
        """The values of an enumeration are in $metadata only; so those that end a deal, and whatever rows have."""
        if not self._names["deals"]:
            return []
        ends = {self._names["deal_won"]: DealState.WON, self._names["deal_lost"]: DealState.LOST}
        seen = {"ВРаботе": DealState.OPEN, **ends}
        return [
            CrmStage(pipeline="", id=name, name=name, place=place, state=state)
            for place, (name, state) in enumerate(seen.items())
            if name
        ]

    # --- What changed -------------------------------------------------------------------------------------------------

    async def read_changes(self, cursor: str) -> Changes:
        """A page of partners and one of deals."""
        at = as_object(json.loads(cursor)) if cursor else {}
        partners = await self._page("partners", at)
        deals = await self._page("deals", at) if self._names["deals"] else []
        alive = [row for row in partners if row.get("DeletionMark") is not True]
        gone = [Gone(id=ExternalId(kind=PARTNER, id=_ref(row))) for row in partners if row.get("DeletionMark") is True]
        gone += [Gone(id=ExternalId(kind=DEAL, id=_ref(row))) for row in deals if row.get("DeletionMark") is True]
        is_last = not any(as_object(at.get(name)).get("more") for name in ("partners", "deals"))
        return Changes(
            cursor=json.dumps(at),
            cards=await self._with_contacts(alive),
            deals=[self._deal(row) for row in deals if row.get("DeletionMark") is not True],
            gone=gone,
            is_last=is_last,
        )

    async def _page(self, option: str, at: dict[str, Any]) -> list[dict[str, Any]]:
        place = as_object(at.get(option))
        changed = self._names["partner_changed"] if option == "partners" else ""
        if changed:
            return await self._page_by_time(option, changed, at, place)
        if place.get("due", 0) > time.time() and not place.get("more"):
            return []
        skip = max(0, whole(place.get("skip")) - _OVERLAP) if place.get("more") else 0
        rows = await self._rows(option, {"$skip": str(skip), "$orderby": "Ref_Key"})
        is_full = len(rows) >= _PAGE
        due = time.time() + float(self._names["sweep_minutes"]) * 60
        at[option] = {"skip": skip + len(rows), "more": True} if is_full else {"due": due}
        return rows

    async def _page_by_time(
        self, option: str, changed: str, at: dict[str, Any], place: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        since, skip = words(place.get("since")) or "0001-01-01T00:00:00", whole(place.get("skip"))
        query = {"$filter": f"{changed} ge datetime'{since}'", "$orderby": f"{changed},Ref_Key", "$skip": str(skip)}
        rows = await self._rows(option, query)
        last, is_full = words(rows[-1].get(changed)) if rows else since, len(rows) >= _PAGE
        same = skip + len(rows) if is_full and last == since else 0
        at[option] = {"since": last or since, "skip": same, "more": is_full}
        return rows

    async def _rows(self, option: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return await self._api.rows(self._names[option], {**query, "$top": str(_PAGE)})

    def _deal(self, row: Mapping[str, Any]) -> CrmDeal:
        names = self._names
        stage, partner = words(row.get(names["deal_state"])), words(row.get(names["deal_partner"]))
        states = {names["deal_won"]: DealState.WON, names["deal_lost"]: DealState.LOST}
        state = states.get(stage, DealState.OPEN)
        responsible = words(row.get(names["deal_responsible"]))
        return CrmDeal(
            id=ExternalId(kind=DEAL, id=_ref(row)),
            card=ExternalId(kind=PARTNER, id=partner) if partner not in ("", EMPTY) else None,
            title=words(row.get("Description")) or words(row.get("Number")),
            pipeline="",
            stage=stage,
            state=state,
            amount=money(row.get(names["deal_amount"])),
            created=aware(row.get(names["deal_created"]), self._zone),
            closed=aware(row.get(names["deal_closed"]), self._zone) if state is not DealState.OPEN else None,
            responsible=responsible if responsible not in ("", EMPTY) else None,
        )


def _ref(row: Mapping[str, Any]) -> str:
    return words(row.get("Ref_Key"))
