"""Which folders a round looks into, by a clock of the test (pure)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.mail.imap import mailbox
from agent.mail.imap.folders import Choice


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[str]]:
    """A round in which each look takes so many seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    nothing: Any = None
    made = mailbox._Visit(nothing, nothing, nothing, nothing, nothing)
    made.choice = Choice(read=("INBOX", "A", "B", "C"))

    def go(seconds: float) -> list[str]:
        looked = []
        for folder in made.due(["C", "B", "A", "INBOX"], 300):
            looked.append(folder)
            now[0] += seconds
        return looked

    return go


def test_all_folders_the_first_one_last(visit: Callable[[float], list[str]]) -> None:
    for _ in range(3):
        assert visit(0.1) == ["C", "B", "A", "INBOX"]


def test_a_long_round_looks_into_the_first_one_meanwhile_and_is_not_repeated_at_each_news(
    visit: Callable[[float], list[str]],
) -> None:
    assert visit(6.0) == ["C", "B", "INBOX", "A", "INBOX"]
    for _ in range(50):  # 300 seconds
        assert visit(6.0) == ["INBOX"]
    for _ in range(2):
        assert visit(1.0) == ["C", "B", "A", "INBOX"]
