"""What the tests of calls told by several sources share: a call made of a line of text."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.model import CapturedCall, CapturedParty, IdentityKind

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_CALL = re.compile(r"(\S+) (.+?) ([>~]) (.+?) @([\d.]+)(?: \^([\d.]+))?$")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(line: str, **more: Any) -> CapturedCall:
    """``source caller > callee, callee @start ^answered``; each is a call of its own key."""
    found = _CALL.fullmatch(line.strip())
    assert found is not None, line
    source, caller, way, callees, started, answered = found.groups()
    places = ("caller", "callee") if way == ">" else ("participant", "participant")
    named = [(places[0], caller), *((places[1], one) for one in callees.split(","))]
    parties = tuple(
        CapturedParty(position=place, kind=IdentityKind.PHONE, value=value.strip())
        for place, value in named
        if value.strip() != "-"
    )
    values: dict[str, Any] = {
        "source": source,
        "key": uuid.uuid4().hex,
        "started": at(float(started)),
        "answered": at(float(answered)) if answered else None,
        "parties": parties,
    }
    return CapturedCall(**{**values, **more})
