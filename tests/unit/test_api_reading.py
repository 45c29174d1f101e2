"""The API, read: every list and every noun as its reader may see it, page by page, and what changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.model import LinkState, Utterance
from agent.store import audit, links, talks
from agent.store.engine import Store
from agent.transcribe.afterwards import save_dialogue
from agent.transcribe.dialogue import Dialogue
from agent.web.api.limits import Buckets
from agent.web.app import WebServer
from tests.unit.api_lab import Program, make_token, page_of_boss, programs
from tests.unit.test_web_said import TALK
from tests.unit.web_pages import HOSTILE, server, world
from tests.web_world import MARIA, NOW, SAID, STRANGER, Browser, World

__all__ = ["page_of_boss", "programs", "server", "world"]


# --- Who asks ---------------------------------------------------------------------------------------------------------


async def test_everybody_is_told_who_he_is(programs: dict[str, Program]) -> None:
    for name, role in (("admin", "administrator"), ("boss", "supervisor"), ("anna", "manager"), ("crm", "supervisor")):
        me = await programs[name].get("/me")
        assert me["role"] == role
        assert me["token"]["scopes"] == ["admin", "calls:pause", "listen", "read", "write"]
    assert (await programs["crm"].get("/me"))["account_id"] is None


async def test_without_a_token_nothing_is_told(programs: dict[str, Program]) -> None:
    for path in ("/me", "/cards", "/interactions/1", "/recordings/1", "/events", "/openapi.json"):
        answer = await programs["stranger"].ask("GET", path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_scope_opens_what_it_is_for(server: WebServer, store: Store, world: World) -> None:
    base = f"http://{server.address[0]}:{server.address[1]}"
    reader = Program(base, await make_token(store, "reader", scopes=("read",)))
    ear = Program(base, await make_token(store, "ear", scopes=("listen",)))
    try:
        assert (await reader.ask("GET", "/cards")).status == 200
        assert (await reader.ask("POST", "/cards", {"name": "X"})).status == 403
        assert (await reader.ask("GET", f"/recordings/{world.marias_recording}")).status == 403
        assert (await ear.ask("GET", f"/recordings/{world.marias_recording}")).status == 200
        refused = await ear.ask("GET", "/cards")
        assert refused.status == 403
        assert "read" in refused.json["detail"]
    finally:
        await reader.http.close()
        await ear.http.close()


async def test_a_token_has_the_role_of_its_account(programs: dict[str, Program]) -> None:
    assert (await programs["anna"].ask("GET", "/sources")).status == 403
    assert (await programs["boss"].ask("GET", "/audit")).status == 403
    assert (await programs["crm"].ask("POST", "/employees", {"name": "Пётр"})).status == 403
    assert (await programs["admin"].ask("GET", "/audit")).status == 200


async def test_a_page_uses_its_login(page_of_boss: Browser, world: World) -> None:
    status, text = await page_of_boss.get("/api/v1/me")
    assert (status, json.loads(text)["token"]) == (200, None)
    note = {"text": "со страницы"}
    path = f"/api/v1/cards/{world.maria}/notes"
    async with page_of_boss.http.post(path, json=note) as answer:
        assert answer.status == 403
    token = await page_of_boss.token()
    async with page_of_boss.http.post(path, json=note, headers={"X-CSRF-Token": token}) as answer:
        assert answer.status == 201


# --- Cards ------------------------------------------------------------------------------------------------------------


async def test_cards_are_listed_as_they_may_be_seen(programs: dict[str, Program], world: World) -> None:
    names = {name: {one["id"] for one in (await programs[name].get("/cards"))["items"]} for name in ("boss", "anna")}
    assert {world.maria, world.camomile} <= names["boss"]
    assert world.maria in names["anna"]
    assert world.camomile not in names["anna"]
    assert (await programs["nobody"].get("/cards"))["items"] == []
    found = await programs["boss"].get("/cards", q="495 000-00-11")
    assert [one["id"] for one in found["items"]] == [world.maria]
    assert found["items"][0]["contact_points"] == [MARIA, "maria@client.example.org"]


async def test_a_card_is_told_with_its_contact_points(programs: dict[str, Program], world: World) -> None:
    card = await programs["anna"].get(f"/cards/{world.maria}")
    assert card["name"] == "Мария Смирнова"
    assert card["responsible"]["name"] == "Анна Петрова"
    assert [one["value"] for one in card["contact_points"]] == [MARIA, "maria@client.example.org"]
    for path in (f"/cards/{world.camomile}", "/cards/999999", f"/cards/{world.camomile}/notes"):
        assert (await programs["anna"].ask("GET", path)).status == 404


async def test_pages_of_a_list_lead_to_each_other_and_lose_nothing(programs: dict[str, Program]) -> None:
    everything = [one["id"] for one in (await programs["boss"].get("/interactions", limit="200"))["items"]]
    seen: list[int] = []
    answer = await programs["boss"].ask("GET", "/interactions", query={"limit": "1"})
    while True:
        page = answer.json
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        assert answer.headers["Link"] == f'<{page["next"]}>; rel="next"'
        answer = await programs["boss"].ask("GET", page["next"].removeprefix("/api/v1"))
        assert answer.status == 200
    assert seen == everything
    assert len(set(seen)) == len(seen) >= 4


@pytest.mark.parametrize("cursor", ["x", "AAAA", "я", "AQ" * 40, " "])
async def test_a_cursor_that_was_not_given_is_refused(programs: dict[str, Program], cursor: str) -> None:
    answer = await programs["boss"].ask("GET", "/interactions", query={"cursor": cursor})
    assert (answer.status, answer.json["type"]) == (400, "/api#cursor")


async def test_a_cursor_belongs_to_its_list_and_filters(programs: dict[str, Program]) -> None:
    page = await programs["boss"].get("/interactions", limit="1")
    cursor = page["next"].partition("cursor=")[2].partition("&")[0]
    for path, query in (("/cards", {}), ("/interactions", {"kind": "call"})):
        answer = await programs["boss"].ask("GET", path, query={"cursor": cursor, **query})
        assert answer.status == 400
    assert (await programs["boss"].ask("GET", "/interactions", query={"cursor": cursor, "limit": "3"})).status == 200


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "x"},
        {"card": "-1"},
        {"kind": "fax"},
        {"started_from": "yesterday"},
        {"started_from": "2026-11-22"},
        {"started_from": "2026-11-22T10:00:00"},
        {"started_from": "2026-13-22T10:00:00Z"},
        {"updated_since": "1795341600"},
        {"unknown": "1"},
        {"card": "9" * 30},
    ],
)
async def test_a_wrong_query_says_what_is_wrong(programs: dict[str, Program], query: dict[str, str]) -> None:
    answer = await programs["boss"].ask("GET", "/interactions", query=query, valid=False)
    assert answer.status == 400
    assert answer.json["errors"][0]["at"] == next(iter(query))


# --- Interactions -----------------------------------------------------------------------------------------------------


async def test_interactions_are_filtered(programs: dict[str, Program], world: World) -> None:
    async def ids(who: str = "boss", **query: str) -> set[int]:
        return {one["id"] for one in (await programs[who].get("/interactions", **query))["items"]}

    assert await ids(card=str(world.maria)) == {world.marias_call}
    assert await ids(kind="message") == {world.camomiles_mail}
    assert await ids(direction="outbound") == {world.camomiles_call}
    assert await ids(employee=str(world.ivan)) == {world.camomiles_call, world.camomiles_mail}
    assert world.strangers_call in await ids(state="unknown")
    late = (NOW - timedelta(hours=3)).isoformat()
    assert await ids(started_from=late) == {world.marias_call, world.strangers_call}
    assert await ids(started_to=late) == {world.camomiles_call, world.camomiles_mail}
    thread = (await programs["ivan"].get(f"/interactions/{world.camomiles_mail}"))["message"]["thread_id"]
    assert await ids(thread=str(thread)) == {world.camomiles_mail}
    assert await ids("anna") == {world.marias_call, world.strangers_call}
    assert await ids("anna", thread=str(thread)) == set()
    assert await ids("nobody") == set()
    assert (await programs["anna"].ask("GET", f"/interactions?card={world.camomile}")).status == 404


async def test_a_call_is_told_whole(programs: dict[str, Program], world: World) -> None:
    call = await programs["anna"].get(f"/interactions/{world.marias_call}")
    assert (call["kind"], call["direction"]) == ("call", "inbound")
    assert {one["role"] for one in call["parties"]} == {"employee", "client"}
    (employee,) = [one for one in call["parties"] if one["role"] == "employee"]
    assert employee["employee"]["name"] == "Анна Петрова"
    assert call["links"][0]["card"] == {"id": world.maria, "name": "Мария Смирнова"}
    assert call["links"][0]["reason"]
    (recording,) = call["call"]["recordings"]
    assert recording["seconds"] == 30
    assert recording["transcript"] == {"model": "small", "language": "ru"}
    cut = await programs["ivan"].get(f"/interactions/{world.camomiles_call}")
    (recording,) = cut["call"]["recordings"]
    assert recording["truncated"]
    assert recording["gaps"][0]["start"] == 3.0
    assert HOSTILE in cut["flags"][0]


async def test_a_transcript_is_told_with_its_times(programs: dict[str, Program], world: World) -> None:
    (told,) = (await programs["anna"].get(f"/interactions/{world.marias_call}/transcripts"))["items"]
    assert [(one["channel"], one["start"], one["text"]) for one in told["utterances"]] == list(SAID)
    assert "words" not in told["utterances"][0]
    (told,) = (await programs["anna"].get(f"/interactions/{world.marias_call}/transcripts", words="true"))["items"]
    assert told["utterances"][0]["words"] == []
    path = f"/interactions/{world.marias_call}/transcripts"
    assert (await programs["ivan"].ask("GET", path)).status == 404


async def test_figures_masks_and_older_transcripts_are_told(
    programs: dict[str, Program], world: World, store: Store
) -> None:
    path = f"/interactions/{world.camomiles_call}"
    (before,) = (await programs["ivan"].get(path))["call"]["recordings"]
    assert before["talk"] is None
    dialogue = Dialogue(
        language="ru",
        utterances=(Utterance(channel=1, start=1, end=4, text="4111 1111 1111 1111", confidence=0.9, interrupts=True),),
    )
    async with store.begin() as connection:
        await save_dialogue(connection, dialogue, recording_id=before["id"], model="large-v3")
        await talks.save_talk(connection, replace(TALK, recording_id=before["id"]))
    (told,) = (await programs["ivan"].get(path))["call"]["recordings"]
    first, second = told["talk"]["channels"]
    assert (first["talk"], first["patience"], second["patience"]) == (17.0, None, 0.75)
    assert first["share"] == pytest.approx(17 / 42)
    assert told["transcript"] == {"model": "large-v3", "language": "ru"}
    (shown,) = (await programs["ivan"].get(f"{path}/transcripts"))["items"]
    (line,) = shown["utterances"]
    assert (line["text"], line["interrupts"]) == ("••••", True)
    assert [(one["why"], one["start"], one["end"]) for one in shown["masked"]] == [("card", 0.85, 4.15)]
    both = (await programs["ivan"].get(f"{path}/transcripts", all="true"))["items"]
    assert [one["model"] for one in both] == ["large-v3", "small"], "the one that is shown first"


async def test_a_mail_is_told_whole_and_its_files_are_given(programs: dict[str, Program], world: World) -> None:
    mail = (await programs["ivan"].get(f"/interactions/{world.camomiles_mail}"))["message"]
    assert mail["text"].startswith("Текст письма")
    assert mail["has_html"]
    (file,) = mail["attachments"]
    for url in (file["url"], f"/api/v1/evidence/{world.camomiles_evidence}/original"):
        answer = await programs["ivan"].ask("GET", url.removeprefix("/api/v1"))
        assert answer.status == 200
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert (await programs["anna"].ask("GET", url.removeprefix("/api/v1"))).status == 404
    assert (await programs["ivan"].ask("GET", f"/interactions/{world.camomiles_mail}/html")).status == 200
    (proof,) = (await programs["ivan"].get(f"/interactions/{world.camomiles_mail}/evidence"))["items"]
    assert proof["source"] == "imap:sales"
    assert len(proof["original"]["blob"]) == 64
    unread = await programs["boss"].get("/unreadable")
    assert world.unreadable_evidence in [one["id"] for one in unread["items"]]


async def test_cards_that_are_hidden_are_not_named_in_reasons(
    programs: dict[str, Program], world: World, store: Store
) -> None:
    """A call of Anna's put on Ivan's card: she sees the call, and neither the card nor its name."""
    call = (await programs["anna"].get(f"/interactions/{world.strangers_call}"))["links"][0]
    assert call["state"] == "unknown"
    async with store.begin() as connection:
        (before,) = await links.list_links(connection, [world.strangers_call])
        candidates = ((world.camomile, 60, ("it has the name of the other side",)),)
        put = links.Link(
            interaction_id=world.strangers_call,
            card_id=None,
            started=before.started,
            state=LinkState.AMBIGUOUS,
            reason=f"{STRANGER} is on 2 cards: Мария, ООО «Ромашка»",
            candidates=candidates,
        )
        await links.replace_links(connection, [world.strangers_call], [put])
    try:
        (told,) = (await programs["anna"].get(f"/interactions/{world.strangers_call}"))["links"]
        assert (told["candidates"], told["reason"]) == ([], "")
        (seen,) = (await programs["boss"].get(f"/interactions/{world.strangers_call}"))["links"]
        assert seen["candidates"][0]["card"]["id"] == world.camomile
        groups = (await programs["anna"].get("/unsorted"))["items"]
        assert [one["candidates"] for one in groups if one["state"] == "ambiguous"] == [[]]
    finally:
        async with store.begin() as connection:
            await links.replace_links(connection, [world.strangers_call], [before])


async def test_sound_is_given_by_ranges(programs: dict[str, Program], world: World, store: Store) -> None:
    path = f"/recordings/{world.marias_recording}"
    whole = await programs["crm"].ask("GET", path)
    part = await programs["crm"].ask("GET", path, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, whole.body[100:200])
    head = await programs["crm"].ask("HEAD", path)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(whole.body)))
    again = await programs["crm"].ask("GET", path, headers={"If-None-Match": whole.headers["ETag"]})
    assert again.status == 304
    assert (await programs["ivan"].ask("GET", path)).status == 404
    entries = (await programs["admin"].get("/audit", action=audit.RECORDING_PLAYED))["items"]
    assert {"recording_id": world.marias_recording, "interaction_id": world.marias_call} in [
        {name: one["subject"][name] for name in ("recording_id", "interaction_id")} for one in entries
    ]


# --- What changed -----------------------------------------------------------------------------------------------------


async def test_an_answer_that_is_known_is_not_sent_again(programs: dict[str, Program], world: World) -> None:
    path = f"/cards/{world.maria}"
    first = await programs["anna"].ask("GET", path)
    tag = first.headers["ETag"]
    assert not tag.startswith("W/")
    for header in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        again = await programs["anna"].ask("GET", path, headers={"If-None-Match": header})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert (await programs["anna"].ask("GET", path, headers={"If-None-Match": '"other"'})).status == 200


async def test_large_answers_are_compressed_for_whoever_takes_it(programs: dict[str, Program]) -> None:
    path = "/api/v1/openapi.json"
    http = programs["anna"].http
    async with http.get(path, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        tag, text = packed.headers["ETag"], await packed.read()
    async with http.get(path, headers={"Accept-Encoding": "identity"}) as plain:
        assert "Content-Encoding" not in plain.headers
        assert await plain.read() == text
        assert plain.headers["ETag"] != tag, "a strong tag is that of one encoding"
    async with http.get(path, headers={"Accept-Encoding": "gzip;q=0", "If-None-Match": tag}) as known:
        assert known.status == 304


async def test_what_changed_comes_oldest_first_and_nothing_is_missed(
    programs: dict[str, Program], world: World, store: Store
) -> None:
    long_ago = (NOW - timedelta(days=30)).isoformat()
    first = await programs["boss"].get("/interactions", updated_since=long_ago)
    moments = [one["changed"] for one in first["items"]]
    assert moments == sorted(moments)
    assert {one["id"] for one in first["items"]} >= {world.marias_call, world.camomiles_mail}
    since = first["complete_upto"]
    assert datetime.fromisoformat(since).tzinfo is not None
    changed = await programs["ivan"].ask(
        "PUT", f"/interactions/{world.camomiles_call}/card", {"decision": "card", "card_id": world.camomile}
    )
    assert changed.status == 200
    later = await programs["boss"].get("/interactions", updated_since=since)
    assert world.camomiles_call in [one["id"] for one in later["items"]]
    assert world.camomiles_call not in [
        one["id"] for one in (await programs["anna"].get("/interactions", updated_since=since))["items"]
    ]
    walked: list[int] = []
    page: Any = await programs["boss"].get("/interactions", updated_since=long_ago, limit="2")
    while True:
        walked += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        page = (await programs["boss"].ask("GET", page["next"].removeprefix("/api/v1"))).json
    assert set(walked) >= {one["id"] for one in first["items"]}


async def test_a_change_that_is_committed_late_is_not_missed(
    programs: dict[str, Program], world: World, store: Store
) -> None:
    """While a transaction that has changed something is open, nobody is told that he has everything."""
    async with store.begin() as connection:
        (before,) = await links.list_links(connection, [world.marias_call])
        await links.replace_links(connection, [world.marias_call], [])
        asked = await programs["boss"].get("/interactions", updated_since=datetime.now(NOW.tzinfo).isoformat())
        await links.replace_links(connection, [world.marias_call], [before])
    told = await programs["boss"].get("/interactions", updated_since=asked["complete_upto"])
    assert world.marias_call in [one["id"] for one in told["items"]]


async def test_what_became_private_is_gone(programs: dict[str, Program], world: World, store: Store) -> None:
    since = (await programs["boss"].get("/interactions", updated_since=NOW.isoformat()))["complete_upto"]
    decided = await programs["anna"].ask(
        "POST", "/unsorted/decision", {"identity": {"kind": "phone", "value": STRANGER}, "decision": "private"}
    )
    assert decided.status == 201
    told = await programs["boss"].get("/interactions", updated_since=since)
    assert world.strangers_call in told["gone"]
    assert world.strangers_call not in [one["id"] for one in told["items"]]
    assert (await programs["boss"].ask("GET", f"/interactions/{world.strangers_call}")).status == 404
    assert (await programs["boss"].ask("DELETE", f"/decisions/{decided.json['id']}")).status == 204
    assert (await programs["boss"].ask("GET", f"/interactions/{world.strangers_call}")).status == 200


# --- The rest ---------------------------------------------------------------------------------------------------------


async def test_every_other_list_is_told(programs: dict[str, Program], store: Store) -> None:
    for path in (
        "/sources",
        "/crms",
        "/crms/failed",
        "/decisions",
        "/line-policies",
        "/duplicates",
        "/extensions",
        "/teams",
        "/employees",
        "/calls",
        "/unsorted",
        "/unreadable",
    ):
        assert isinstance((await programs["admin"].get(path))["items"], list), path
    people = (await programs["anna"].get("/employees"))["items"]
    assert {one["name"] for one in people} >= {"Анна Петрова", "Иван Сидоров"}
    assert all(one["identities"] == [] for one in people)
    assert any(one["identities"] for one in (await programs["boss"].get("/employees"))["items"])
    states = {one["source"]: one["state"] for one in (await programs["boss"].get("/sources"))["items"]}
    assert states["imap:sales"] == "login_failed"


async def test_the_specification_is_served_in_both_forms(programs: dict[str, Program]) -> None:
    told = await programs["crm"].get("/openapi.json")
    assert told["openapi"].startswith("3.1")
    answer = await programs["crm"].ask("GET", "/openapi.yaml")
    assert answer.body.startswith(b"# The contract")


async def test_what_is_not_there_says_so(programs: dict[str, Program]) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/cards", 405), ("POST", "/me", 405)):
        async with programs["boss"].http.request(method, f"/api/v1{path}") as answer:
            assert answer.status == status
            assert answer.content_type == "application/problem+json"
            if status == 405:
                assert "GET" in answer.headers["Allow"]


def test_a_bucket_lets_a_burst_through_and_then_so_many_a_minute() -> None:
    now = [0.0]
    buckets = Buckets(60, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(10)] == [0.0] * 10
    wait = buckets.take("a")
    assert 0 < wait <= 1
    assert buckets.take("b") == 0
    now[0] += wait
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0


async def test_who_asks_too_often_is_told_when_to_come_again(
    programs: dict[str, Program], server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.web.api.limits.Buckets.take", lambda self, owner: 2.2)
    answer = await programs["boss"].ask("GET", "/me")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert (await programs["stranger"].ask("GET", "/me")).status == 401
