"""The whole API under schemathesis, with the hostile company: nothing it makes of the specification breaks a call, and
every answer is as the specification says.

The soak tries a call the more often the more of it can vary: of 144 calls 81 have nothing but an id. All examples go
with the role that may everything, whose calls get furthest; a quarter of them with the others, whose refusals
api_roles.py tells one by one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
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
_LEAST, _EACH, _MOST = 50, 60, 400  # examples of a call in the soak, and for each value that can vary in it
_KNOWN = 12  # ids up to this one are there in the company of the tests
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


def _thorough(operation: Any) -> int:
    """How often to try a call in the soak."""
    raw: Mapping[str, Any] = operation.definition.raw
    parameters = [_resolved(one) for one in raw.get("parameters", ())]
    varied: int = sum(one.get("in") == "query" for one in parameters)
    for content in raw.get("requestBody", {}).get("content", {}).values():
        varied += _values(content.get("schema", {}))
    return min(_LEAST + _EACH * varied, _MOST)


def _values(schema: Mapping[str, Any]) -> int:
    schema = _resolved(schema)
    return len(schema.get("properties", ())) + sum(map(_values, schema.get("allOf", ())))


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = part
    if "$ref" in part:
        found = spec.load()
        for word in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found[word]
    return dict(found)


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str], examples: int) -> None:
    reads = mode is GenerationMode.POSITIVE and operation.method == "get"

    @given(case=operation.as_strategy(generation_mode=mode), known=st.integers(0, _KNOWN if reads else 0))
    @settings(
        max_examples=examples,
        deadline=None,
        phases=(Phase.generate,),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def once(case: Any, known: int) -> None:
        if known:  # what is there is read; nothing that is there is changed, or the token would soon be gone
            given_ids = case.path_parameters or {}
            case.path_parameters = {name: known if isinstance(one, int) else one for name, one in given_ids.items()}
        answer = case.call(headers=headers, timeout=20)
        if answer.status_code == 400 and "Got more than" in answer.text:
            return  # the address is longer than the HTTP server reads: nothing of ours was asked
        case.validate_response(answer, checks=list(_CHECKS))
        if mode is GenerationMode.NEGATIVE:
            assert answer.status_code in _REFUSED or answer.status_code < 400, answer.status_code

    once()


def _walk(
    base: str, headers: dict[str, str], examples: Callable[[Any], int], part: slice = slice(None)
) -> tuple[int, list[str]]:
    """How many calls were tried, and what was wrong with them."""
    tried, wrong = 0, []
    for operation in list(_operations(base))[part]:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(operation, mode, headers, examples(operation))
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
    tried, wrong = await asyncio.to_thread(_walk, base, headers, lambda _: examples, slice(part, None, _PARTS))
    assert tried > 150 // _PARTS
    assert wrong == [], "\n".join(wrong)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize(("login", "share"), [("admin", 1), ("boss", 4), ("anna", 4)])
async def test_the_same_for_long(server: WebServer, store: Store, login: str, share: int, part: int) -> None:
    base = f"http://{server.address[0]}:{server.address[1]}"
    headers = {"Authorization": f"Bearer {await make_token(store, f'soak {login} {part}', login)}"}
    some = slice(part, None, _PARTS)
    tried, wrong = await asyncio.to_thread(_walk, base, headers, lambda one: _thorough(one) // share, some)
    assert tried > 250 // _PARTS
    assert wrong == [], "\n".join(wrong)
