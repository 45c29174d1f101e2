"""What a benchmark says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure of ours and the same of a peer, measured in the same run on the same work.

    ``ratio`` says how many times better ours is (above 1 is better), ``goal`` is the figure to reach in words, and
    ``holds`` whether it was reached. ``details`` are further figures.
    """

    bench: str
    work: str
    unit: str
    ours: float
    peer: float | None
    ratio: float | None
    goal: str
    holds: bool
    details: Mapping[str, Any] = field(default_factory=dict)
