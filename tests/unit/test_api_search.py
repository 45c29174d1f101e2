"""The API, finding: what the page Find finds, for programs, each what is his."""

from __future__ import annotations

import pytest

from agent.store.engine import Store
from agent.store.searchindex import Indexer
from tests.unit.api_lab import Program, programs
from tests.unit.web_pages import server, world
from tests.web_world import NOW, World

__all__ = ["programs", "server", "world"]


@pytest.fixture(scope="module", autouse=True)
async def _indexed(store: Store, world: World) -> None:
    await Indexer(store).index()


async def test_words_are_found_at_their_second(programs: dict[str, Program], world: World) -> None:
    (found,) = (await programs["anna"].get("/search", q="поставка"))["items"]
    assert (found["interaction_id"], found["kind"]) == (world.marias_call, "call")
    assert 7.2 in [place["second"] for place in found["places"]]
    assert any("поставки" in place["found"] for place in found["places"])
    for order in ("best", "newest"):
        told = await programs["boss"].get("/search", q="заявка", order=order)
        assert [one["interaction_id"] for one in told["items"]] == [world.camomiles_mail]
    assert (await programs["ivan"].get("/search", q="поставка"))["items"] == []
    assert (await programs["nobody"].get("/search", q="поставка"))["items"] == []


async def test_filters_alone_are_a_question_and_nothing_is_none(programs: dict[str, Program], world: World) -> None:
    told = await programs["boss"].get("/search", card=str(world.maria), order="newest")
    assert world.marias_call in [one["interaction_id"] for one in told["items"]]
    answer = await programs["boss"].ask("GET", "/search", query={"order": "newest"})
    assert answer.status == 400
    assert (await programs["boss"].get("/search", q="и"))["only_stop_words"]


async def test_pages_of_the_newest_lead_on(programs: dict[str, Program], world: World) -> None:
    seen: list[int] = []
    answer = await programs["boss"].ask("GET", "/search", query={"kind": "call", "order": "newest", "limit": "1"})
    while True:
        assert answer.status == 200
        seen += [one["interaction_id"] for one in answer.json["items"]]
        if answer.json["next"] is None:
            break
        answer = await programs["boss"].ask("GET", answer.json["next"].removeprefix("/api/v1"))
    assert seen == [world.marias_call, world.strangers_call, world.camomiles_call]


async def test_a_comment_is_found_at_its_second_and_is_a_change(
    programs: dict[str, Program], store: Store, world: World
) -> None:
    boss, path = programs["boss"], f"/interactions/{world.marias_call}/comments"
    since = (await boss.get("/interactions", updated_since=NOW.isoformat()))["complete_upto"]
    body = {"text": "Обещала каталог дверей", "recording_id": world.marias_recording, "second": 21.5}
    made = await boss.ask("POST", path, body)
    assert made.status == 201
    assert (await boss.ask("POST", path, {"text": "Каталог отправлен"})).status == 201
    told = await boss.get("/interactions", updated_since=since)
    assert [one["id"] for one in told["items"]] == [world.marias_call]
    await Indexer(store).index()
    (found,) = (await programs["anna"].get("/search", q="каталоги"))["items"]
    assert found["interaction_id"] == world.marias_call
    assert [(one["second"], one["comment"], one["found"]) for one in found["places"]] == [
        (None, True, ["Каталог"]),
        (21.5, True, ["каталог"]),
    ]
    (one,) = (await programs["anna"].get("/search", q="двери"))["items"]
    assert one["url"] == f"/interactions/{world.marias_call}?at=21.5&recording={world.marias_recording}"
    (both,) = (await programs["anna"].get("/search", q="двери предложение"))["items"]
    assert [place["comment"] for place in both["places"]] == [False, True], "what was said, and what was noted"
    for name in ("ivan", "nobody"):
        assert (await programs[name].get("/search", q="каталог"))["items"] == [], name
    assert (await boss.ask("DELETE", f"/comments/{made.json['id']}")).status == 204
    await Indexer(store).index()
    assert (await boss.get("/search", q="двери"))["items"] == []
