"""Which hits of a search fit what was asked for besides words: conditions on a hit ``h`` of a statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.store.sight import Sight

FILE, NOTE = "file", "note"  # kinds beside those of interactions


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a hit must be besides; None and empty ask for nothing. Seconds are of talking; ``until`` is exclusive."""

    kind: str = ""
    direction: str = ""
    employee_id: int | None = None
    card_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    at_least: int | None = None
    at_most: int | None = None
    tag: str = ""

    @property
    def are_any(self) -> bool:
        """Whether anything is asked for."""
        return self != Filters()


def may_be_shown(sight: Sight, filters: Filters) -> tuple[str, dict[str, object]]:
    """That the viewer may see a hit and that the filters let it through, with the values that this names."""
    fits, values = _fits(filters)
    ways = []
    if filters.kind != NOTE:
        ways.append(" AND ".join(("h.interaction_id IS NOT NULL", *fits, sight.of_interaction("h.interaction_id"))))
    if filters.kind == NOTE or not replace(filters, since=None, until=None).are_any:
        noted = f"SELECT FROM card_note n WHERE n.id = h.card_note_id AND {sight.of_card('n.client_card_id')}"
        ways.append(f"h.card_note_id IS NOT NULL AND EXISTS ({noted})")
    wanted = f"(({') OR ('.join(ways)}))"
    return (f"h.part > 0 AND {wanted}" if filters.kind == FILE else wanted), {**values, **sight.values}


def _fits(filters: Filters) -> tuple[list[str], dict[str, object]]:
    asked = {name: value for name, value in _values(filters).items() if value not in (None, "")}
    found = []
    of_entry = [part for name, part in _OF_ENTRY.items() if name in asked]
    if of_entry:
        ways = " AND ".join(of_entry)
        found.append(f"EXISTS (SELECT FROM interaction i WHERE i.id = h.interaction_id AND {ways})")
    found += [part for name, part in _OTHER.items() if name in asked]
    return found, asked


def _values(filters: Filters) -> Mapping[str, object]:
    return {
        "kind": filters.kind if filters.kind not in (FILE, NOTE) else "",
        "direction": filters.direction,
        "employee": filters.employee_id,
        "card": filters.card_id,
        "at_least": filters.at_least,
        "at_most": filters.at_most,
        "tag": filters.tag,
    }


_OF_ENTRY = {"kind": "i.kind = :kind", "direction": "i.direction = :direction"}
_TALKED = "EXISTS (SELECT FROM call c WHERE c.interaction_id = h.interaction_id AND c.ended_at - c.answered_at"
_OTHER = {
    "employee": "EXISTS (SELECT FROM party f WHERE f.interaction_id = h.interaction_id AND f.employee_id = :employee)",
    "card": "EXISTS (SELECT FROM link f WHERE f.interaction_id = h.interaction_id AND f.client_card_id = :card)",
    "at_least": f"{_TALKED} >= make_interval(secs => :at_least))",
    "at_most": f"{_TALKED} <= make_interval(secs => :at_most))",
    "tag": "EXISTS (SELECT FROM message f WHERE f.interaction_id = h.interaction_id AND"
    " (f.category = :tag OR f.tags @> jsonb_build_array(jsonb_build_array(CAST(:tag AS text)))))",
}
