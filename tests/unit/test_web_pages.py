"""What the pages show over HTTP, on a real database and archive: escaping, ranges, search, sorting."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession
from sqlalchemy import select, update

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.store import accounts, cards, history
from agent.store.engine import Store
from agent.store.recordings import find_recording
from agent.store.schema import audit_entry, blob
from agent.web.app import WebServer
from linker.link import Linker
from tests.unit.web_pages import (
    HOSTILE,
    PRICE_LIST,
    RAW_MAIL,
    Tags,
    cut_out,
    people,
    server,
    world,
)
from tests.web_world import MARIA, NOW, STRANGER, Browser, Builder, World, phone, serve, settings_for

__all__ = ["people", "server", "world"]


async def test_nothing_from_outside_becomes_markup(people: dict[str, Browser], world: World) -> None:
    paths = [
        "/cards",
        f"/cards/{world.camomile}",
        f"/interactions/{world.camomiles_call}",
        f"/interactions/{world.camomiles_mail}",
        f"/interactions/{world.strangers_call}",
        "/unsorted",
        "/sources",
        "/employees",
        f"/cards?q={HOSTILE.replace('{', '%7B').replace('&', '%26').replace('#', '%23')}",
    ]
    seen = 0
    for path in paths:
        status, text = await people["admin"].get(path)
        assert status == 200, path
        assert Tags(text).bad == [], path
        assert "49" not in re.findall(r"&#39;&#34;(.{0,12})", text), path
        seen += text.count("&lt;script&gt;alert(1)")
    assert seen >= 10, "the hostile words are shown, as words"


async def test_every_answer_carries_the_policy(people: dict[str, Browser], world: World) -> None:
    for path in ("/cards", "/healthz", "/nothing", "/login", f"/recordings/{world.marias_recording}", "/unsorted"):
        async with people["admin"].http.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_formatted_mail_is_a_document_that_can_do_nothing(people: dict[str, Browser], world: World) -> None:
    async with people["ivan"].http.get(f"/interactions/{world.camomiles_mail}/html") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "sandbox" in policy
        assert "allow-scripts" not in policy
        assert "allow-same-origin" not in policy
        assert "script-src" not in policy
        assert "img-src data:;" in policy
        assert "с оформлением" in await answer.text()
    _, page = await people["ivan"].get(f"/interactions/{world.camomiles_mail}")
    frame = re.search(r"<iframe[^>]*>", page)
    assert frame is not None
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame[0]
    assert (await people["anna"].get(f"/interactions/{world.marias_call}/html"))[0] == 404


async def test_an_attachment_is_always_a_file_to_save(people: dict[str, Browser], world: World) -> None:
    async with people["ivan"].http.get(f"/attachments/{world.camomiles_attachment}") as answer:
        assert await answer.read() == PRICE_LIST
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert "X-Evil" not in answer.headers
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    async with people["ivan"].http.get(f"/evidence/{world.camomiles_evidence}/original") as answer:
        assert await answer.read() == RAW_MAIL


async def test_a_card_tells_times_people_reason_and_what_was_said(people: dict[str, Browser], world: World) -> None:
    people["anna"].http.cookie_jar.update_cookies({"cardline_language": "en"}, people["anna"].base)
    status, text = await people["anna"].get(f"/cards/{world.maria}")
    assert status == 200
    for words in (
        "Incoming call",
        "answered",
        "+7 495 000-00-11",
        "Анна Петрова",
        "rang <b>0:06</b>",
        "talked <b>0:30</b>",
        f'src="/recordings/{world.marias_recording}"',
        'preload="none"',
        "доставка входит в цену",
        "phone +7 495 000-00-11 is the card&#39;s",
        "today",
    ):
        assert words.lower() in text.lower(), words
    people["anna"].http.cookie_jar.update_cookies({"cardline_language": "ru"}, people["anna"].base)
    _, russian = await people["anna"].get(f"/cards/{world.maria}")
    assert "Входящий звонок" in russian
    assert "телефон +7 495 000-00-11 есть на карточке" in russian


@pytest.mark.parametrize("search", ["смирн", "495 000-00-11", "8 (495) 000-00-11", "+7495000001", "maria@cl"])
async def test_search_finds_by_name_number_and_address(people: dict[str, Browser], search: str) -> None:
    async with people["boss"].http.get("/cards", params={"q": search}) as answer:
        text = await answer.text()
    assert "Мария Смирнова" in text
    assert "Ромашка" not in text


@pytest.mark.parametrize("search", ["%", "_", "\\", "' OR 1=1 --", "\0", "000-00-99", "9" * 300])
async def test_odd_searches_find_nothing_and_break_nothing(people: dict[str, Browser], search: str) -> None:
    async with people["boss"].http.get("/cards", params={"q": search}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("after", ["x", "1", "1.x", "9" * 17 + ".1", "-" + "9" * 16 + ".1", "1.1.1", "٣.١"])
async def test_a_made_up_position_is_refused(people: dict[str, Browser], world: World, after: str) -> None:
    for path in ("/cards", f"/cards/{world.maria}"):
        async with people["boss"].http.get(path, params={"after": after}) as answer:
            assert answer.status in (200, 400)


async def test_of_two_recorders_the_fuller_is_read_and_a_continuation_too(
    people: dict[str, Browser], world: World, store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    builder = Builder(store, archive, intake, settings_for(tmp_path))
    builder._number = 1000
    began = NOW - timedelta(days=9)
    number = await builder.call(MARIA, "101", began, talk=60)

    async def record(after: float, seconds: float, *words: str) -> int:
        said = [(0, place, text) for place, text in enumerate(words)]
        start = began + timedelta(seconds=after)
        return await builder.recording(number, start, words[0].encode(), seconds, said=said)

    copy = await record(1, 20, "Плохо слышно", "two")
    whole = await record(0, 30, "Хорошо слышно", "zwei")
    rest = await record(35, 25, "Итоги", "three")
    for path in (f"/cards/{world.maria}", f"/interactions/{number}"):
        _, text = await people["boss"].get(path)
        entry = text.partition(f'id="entry-{number}"')[2].partition("</article>")[0]
        folded = "".join(one.partition("</details>")[0] for one in entry.split('<details class="quoted">')[1:])
        assert f"/recordings/{copy}" in folded
        assert "Плохо слышно" in folded
        for there in (whole, rest):
            assert f"/recordings/{there}" in entry
            assert f"/recordings/{there}" not in folded
        assert "Хорошо слышно" in entry
        assert "Итоги" in entry
        assert "Хорошо слышно" not in folded
        assert "Итоги" not in folded


# --- Recordings -------------------------------------------------------------------------------------------------------


async def test_ranges_give_exactly_the_bytes_asked_for(people: dict[str, Browser], world: World) -> None:
    http, path = people["anna"].http, f"/recordings/{world.marias_recording}"
    async with http.get(path) as answer:
        whole = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "audio/flac"
        assert answer.headers["Accept-Ranges"] == "bytes"
        etag = answer.headers["ETag"]
    assert whole[:4] == b"fLaC"
    assert len(whole) > 300_000, "longer than one chunk"
    size = len(whole)
    for header, expected in (
        ("bytes=0-0", whole[:1]),
        ("bytes=65530-65545", whole[65530:65546]),
        (f"bytes={size - 5}-", whole[-5:]),
        ("bytes=-7", whole[-7:]),
        (f"bytes=10-{size * 2}", whole[10:]),
    ):
        async with http.get(path, headers={"Range": header}) as answer:
            assert answer.status == 206, header
            assert await answer.read() == expected, header
            start = size - len(expected) if header != "bytes=0-0" and "65530" not in header else None
            if start is not None:
                assert answer.headers["Content-Range"] == f"bytes {start}-{size - 1}/{size}"
    for header in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}"):
        async with http.get(path, headers={"Range": header}) as answer:
            assert answer.status == 416, header
            assert answer.headers["Content-Range"] == f"bytes */{size}"
    async with http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'}) as answer:
        assert answer.status == 200
        assert await answer.read() == whole
    async with http.get(path, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    async with http.head(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(size)
        assert await answer.read() == b""


async def test_listening_is_noted_once_and_looking_at_headers_is_not(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    path = f"/recordings/{world.camomiles_recording}"
    async with people["boss"].http.head(path):
        pass
    for start in range(0, 100, 10):
        async with people["boss"].http.get(path, headers={"Range": f"bytes={start}-{start + 9}"}):
            pass
    async with people["boss"].http.get(f"{path}?download=1") as answer:
        assert "attachment" in answer.headers["Content-Disposition"]
    async with store.begin() as connection:
        boss = await accounts.find_account(connection, "boss")
        assert boss is not None
        query = select(audit_entry.c.action).where(
            audit_entry.c.account_id == boss.id, audit_entry.c.action.startswith("recording")
        )
        query = query.where(audit_entry.c.subject["recording_id"].as_integer() == world.camomiles_recording)
        actions = sorted((await connection.execute(query)).scalars())
    assert actions.count("recording_downloaded") == 1
    assert actions.count("recording_played") == 1


async def test_an_erased_and_an_altered_recording_say_what_happened(
    people: dict[str, Browser], world: World, store: Store, archive: Archive, intake: Intake
) -> None:
    settings = settings_for(".")
    builder = Builder(store, archive, intake, settings)
    builder._number = 5000
    number = await builder.recording(world.camomiles_call, NOW, b"fLaC" + b"x" * 200_000, 1)
    async with store.begin() as connection:
        found = await find_recording(connection, number)
        assert found is not None
        await connection.execute(update(blob).where(blob.c.name == found.blob.name).values(wrapped_key=b"\1" * 72))
    assert (await people["boss"].get(f"/recordings/{number}"))[0] == 500
    async with store.begin() as connection:
        await connection.execute(update(blob).where(blob.c.name == found.blob.name).values(wrapped_key=None))
    status, text = await people["boss"].get(f"/recordings/{number}")
    assert status == 410
    assert "audit log" in text


# --- Sorting ----------------------------------------------------------------------------------------------------------


async def test_only_what_waits_for_him_can_be_sorted_by_a_manager(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    form = {"kind": "phone", "value": STRANGER, "name": "Захват"}
    assert await people["ivan"].post("/unsorted/card", **form) == 404
    assert await people["anna"].post("/unsorted/card", **{**form, "value": MARIA}) == 404
    assert await people["anna"].post("/unsorted/card", **{**form, "kind": "nonsense"}) == 400
    assert await people["anna"].post("/unsorted/card", **{**form, "name": "  "}) == 400
    foreign = {"kind": "phone", "value": STRANGER, "card": f"Ромашка №{world.camomile}"}
    assert await people["anna"].post("/unsorted/contact-point", **foreign) == 404
    assert await people["anna"].post("/unsorted/decision", **foreign) == 404


async def test_a_person_makes_a_card_and_the_past_follows(
    people: dict[str, Browser], world: World, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    form = {"kind": "phone", "value": STRANGER, "name": "  Новый   Клиент "}
    assert await people["anna"].post("/unsorted/card", **form) == 303
    await Linker(store, settings_for(tmp_path_factory.getbasetemp())).link([world.strangers_call])
    async with store.begin() as connection:
        (candidate,) = await cards.find_candidates(connection, [phone(STRANGER)])
        (position,) = await history.list_history(connection, candidate.card_id)
    assert candidate.card_name == "Новый Клиент"
    assert position.id == world.strangers_call
    assert (await people["anna"].get(f"/cards/{candidate.card_id}"))[0] == 200
    assert "495 000-00-33" not in (await people["anna"].get("/unsorted"))[1]


async def test_an_ambiguous_contact_is_decided_by_a_person(
    people: dict[str, Browser], world: World, store: Store, archive: Archive, intake: Intake
) -> None:
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 9000
    first = await builder.card("Первый", phone("+74950000055"))
    second = await builder.card("Второй", phone("+74950000055"))
    number = await builder.call("+74950000055", "101", NOW)
    _, text = await people["boss"].get("/unsorted")
    assert "Первый" in text
    assert "Второй" in text
    form = {"kind": "phone", "value": "+74950000055", "card": f"№{second}"}
    assert await people["boss"].post("/unsorted/decision", **form) == 303
    await builder.linker.link([number])  # the rules leave it alone
    async with store.begin() as connection:
        assert [one.id for one in await history.list_history(connection, second)] == [number]
        assert await history.list_history(connection, first) == []


async def test_an_administrator_adds_an_employee_and_what_is_his(people: dict[str, Browser]) -> None:
    admin = people["admin"]
    assert await admin.post("/employees", name="Новая Сотрудница") == 303
    _, text = await admin.get("/employees")
    found = re.search(r'id="employee-(\d+)">\s*<h2>Новая Сотрудница', text)
    assert found is not None
    path = f"/employees/{found[1]}/identities"
    assert await admin.post(path, value="207", valid_from="2026-11-01") == 303
    assert await admin.post(path, value="Nova@Пример.рф") == 303
    assert await admin.post(path, value="no number") == 400
    assert await admin.post(path, value="208", valid_from="yesterday") == 400
    assert await admin.post(path, value="208", valid_from="0001-01-01") in (303, 400)
    assert await admin.post("/employees/999999/identities", value="209") == 404
    _, text = await admin.get("/employees")
    assert "207" in text
    assert "nova@xn--e1afmkfd.xn--p1ai" in text


# --- For machines -----------------------------------------------------------------------------------------------------


async def test_health_and_figures(server: WebServer, people: dict[str, Browser]) -> None:
    assert await people["stranger"].get("/healthz") == (200, "ok\n")
    assert "process_" in (await people["stranger"].get("/metrics"))[1]
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert (await people["stranger"].get("/metrics", **forwarded))[0] == 404
    assert (await people["boss"].get("/metrics", **forwarded))[0] == 404
    assert (await people["admin"].get("/metrics", **forwarded))[0] == 200


async def test_static_files_are_kept_for_ever_under_their_digest(people: dict[str, Browser]) -> None:
    _, text = await people["stranger"].get("/login")
    styles = re.findall(r'href="(/static/[^"]+\.css)"', text)
    assert styles
    for style in styles:
        async with people["stranger"].http.get(style) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert (await people["stranger"].get(re.sub("/static/[0-9a-f]+/", "/static/00/", style)))[0] == 404


async def test_a_database_that_is_away_is_a_503_and_not_a_traceback(archive: Archive, tmp_path: object) -> None:
    away = Store(f"postgresql:///none?host={tmp_path}&user=cardline")
    server = await serve(away, archive, settings_for(tmp_path), cut_out)
    try:
        async with ClientSession(f"http://{server.address[0]}:{server.address[1]}") as http:
            async with http.get("/cards", headers={"Cookie": "cardline_session=x"}) as answer:
                assert answer.status == 503
                assert "Retry-After" in answer.headers
                assert "Traceback" not in await answer.text()
            async with http.get("/healthz") as answer:
                assert answer.status == 200
    finally:
        await server.stop()
        await away.close()
