"""The whole API under schemathesis, with the hostile company: nothing it makes of the specification breaks a call, and
every answer is as the specification says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from agent.store.engine import Store
from agent.web.api import spec
from agent.web.app import WebServer
from tests.unit.api_lab import make_token
from tests.unit.web_pages import server, world

__all__ = ["server", "world"]

EXAMPLES = int(os.environ.get("CARDLINE_API_EXAMPLES", "3"))
_PARTS = 4  # each within the time of one test
_ENDLESS = ("streamEvents",)
_CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)
_REFUSED = {400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 416, 422}


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.api.limits.Buckets.take", lambda self, owner: 0.0)


def _operations(base: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(dict(spec.load()))
    schema.config.update(base_url=base)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] not in _ENDLESS:
            yield operation


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str], examples: int) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        phases=(Phase.generate,),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def once(case: Any) -> None:
        answer = case.call(headers=headers, timeout=20)
        if answer.status_code == 400 and "Got more than" in answer.text:
            return  # the address is longer than the HTTP server reads: nothing of ours was asked
        case.validate_response(answer, checks=list(_CHECKS))
        if mode is GenerationMode.NEGATIVE:
            assert answer.status_code in _REFUSED or answer.status_code < 400, answer.status_code

    once()


def _walk(base: str, headers: dict[str, str], examples: int, part: slice = slice(None)) -> tuple[int, list[str]]:
    """How many calls were tried, and what was wrong with them."""
    tried, wrong = 0, []
    for operation in list(_operations(base))[part]:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(operation, mode, headers, examples)
            except Exception as error:  # what schemathesis raises is a group of its own failures
                wrong.append(f"{operation.method.upper()} {operation.path} {mode}: {_words(error)}")
            tried += 1
    return tried, wrong


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(one) for one in error.exceptions)
    return f"{type(error).__name__} {error}"[:1500]


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("login", ["admin", "anna", ""])
async def test_nothing_that_the_specification_allows_or_forbids_breaks_a_call(
    server: WebServer, store: Store, login: str, part: int
) -> None:
    base = f"http://{server.address[0]}:{server.address[1]}"
    headers = {"Authorization": f"Bearer {await make_token(store, f'fuzz {login} {part}', login)}"} if login else {}
    examples = EXAMPLES if login else 1
    tried, wrong = await asyncio.to_thread(_walk, base, headers, examples, slice(part, None, _PARTS))
    assert tried > 150 // _PARTS
    assert wrong == [], "\n".join(wrong)


@pytest.mark.soak
@pytest.mark.parametrize("login", ["admin", "boss", "anna"])
async def test_the_same_for_long(server: WebServer, store: Store, login: str) -> None:
    base = f"http://{server.address[0]}:{server.address[1]}"
    headers = {"Authorization": f"Bearer {await make_token(store, f'soak {login}', login)}"}
    _, wrong = await asyncio.to_thread(_walk, base, headers, 200)
    assert wrong == [], "\n".join(wrong)
