"""The page of a call over HTTP: peaks, words, comments, corrections, links to a moment, who may save a file."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncCursor
from sqlalchemy import func, insert, select

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Disposition, Mark, MarkKind, Utterance
from agent.store import comments, erasures, history, outlines, transcripts
from agent.store.engine import Store
from agent.store.schema import (
    audit_entry,
    blob,
    chain_link,
    comment,
    recording,
    recording_outline,
    seal,
    utterance_correction,
)
from agent.web.app import WebServer
from agent.web.comments import parse_clock
from agent.web.moments import Presence, interruptions, list_moments, transfers
from agent.web.pages import load_static
from agent.web.texts import Texts
from tests.unit.call_world import LINES, STARTED, Heard, a_call_worth_hearing, an_hour
from tests.unit.web_pages import HOSTILE, Tags, cut_out, people, server, world
from tests.web_world import MARIA, Browser, Builder, World, serve, settings_for

__all__ = ["people", "server", "world"]


@pytest.fixture(scope="module")
def builder(store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    found = Builder(store, archive, intake, settings_for(tmp_path_factory.getbasetemp()))
    found._number = 1000  # keys of its own beside the world's
    return found


@pytest.fixture(scope="module")
async def heard(world: World, builder: Builder) -> Heard:
    return await a_call_worth_hearing(builder)


async def spoken(store: Store, call: int) -> list[transcripts.Spoken]:
    async with store.begin() as connection:
        return list((await transcripts.list_transcripts(connection, [call]))[0].utterances)


async def acts(store: Store, action: str) -> int:
    async with store.begin() as connection:
        query = select(func.count()).where(audit_entry.c.action == action)
        return int((await connection.execute(query)).scalar_one())


async def json_of(browser: Browser, path: str) -> Any:
    async with browser.http.get(path) as answer:
        assert answer.status == 200, path
        return await answer.json()


async def test_the_page_says_what_vouches_for_the_recording_and_who_may_hear_it(
    people: dict[str, Browser], heard: Heard, store: Store
) -> None:
    """Its digest, its place in the chain, the first seal that covers it; in both languages."""
    async with store.begin() as connection:
        query = select(blob.c.name, blob.c.id).join(recording, recording.c.blob_id == blob.c.id)
        name, number = (await connection.execute(query.where(recording.c.id == heard.recording))).one()
    boss = people["boss"]
    _, page = await boss.get(f"/interactions/{heard.call}")
    assert f"SHA-256 <code>{name}</code>" in page
    assert Texts("ru")("evidence_unchained") in page
    assert Texts("ru")("allowed_own") in page
    async with store.begin() as connection:
        link = {"blob_id": number, "previous": b"0" * 32, "digest": b"1" * 32, "chained_at": STARTED}
        await connection.execute(insert(chain_link).values(sequence=71, **link))
    _, page = await boss.get(f"/interactions/{heard.call}")
    assert "№ 71" in page
    assert Texts("ru")("seal_waits") in page
    async with store.begin() as connection:
        made = {"number": 3, "length": 80, "sealed_at": STARTED}
        await connection.execute(insert(seal).values(statement=b"s", signature=b"s", **made))
    _, page = await boss.get(f"/interactions/{heard.call}")
    assert "№ 3 от" in page
    _, page = await boss.get(f"/interactions/{heard.call}", **{"Accept-Language": "en"})
    assert "Who may hear it" in page


# --- What a player draws ----------------------------------------------------------------------------------------------


async def test_peaks_show_who_speaks_when(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    told = await json_of(people["anna"], f"/recordings/{heard.recording}/peaks")
    first, second = (base64.b64decode(one) for one in told["channels"])
    assert told["bucket_ms"] == 50
    assert len(first) == len(second) == 60 * 20
    for channel, start, end, _ in LINES:
        inside = (first, second)[channel][int(start * 20) + 1 : int(end * 20) - 1]
        assert min(inside) >= 120, f"{channel} at {start}"
    assert max(first[30 * 20 : 40 * 20]) <= 1
    assert told["silences"] == [[29.25, 40.75], [51.25, 59.75]]
    async with store.begin() as connection:
        assert await outlines.find_outline(connection, heard.recording) is not None, "measured once"
    assert await json_of(people["boss"], f"/recordings/{heard.recording}/peaks") == told
    async with people["anna"].http.get(f"/recordings/{heard.recording}/peaks") as answer:
        tag = answer.headers["ETag"]
    assert (await people["anna"].get(f"/recordings/{heard.recording}/peaks", **{"If-None-Match": tag}))[0] == 304


async def test_looking_is_not_listening(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    before = await acts(store, "recording_played")
    for path in (f"/interactions/{heard.call}", f"/recordings/{heard.copy}/peaks", f"/recordings/{heard.copy}/words"):
        assert (await people["boss"].get(path))[0] == 200
    assert await acts(store, "recording_played") == before
    for first in ("0-99", "100-199", "0-"):
        await people["boss"].get(f"/recordings/{heard.copy}", Range=f"bytes={first}")
    assert await acts(store, "recording_played") == before + 1


async def test_words_come_with_their_times(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    told = await json_of(people["anna"], f"/recordings/{heard.recording}/words")
    lines = await spoken(store, heard.call)
    assert list(map(int, told)) == [one.id for one in lines]
    first = told[str(lines[0].id)]
    assert [one[2].strip() for one in first] == ["Здравствуйте,", "это", "Мария."]
    assert first[1][:2] == [2.0, 3.0]


# --- Rights -----------------------------------------------------------------------------------------------------------


async def test_nothing_of_a_foreign_call_exists(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    line = (await spoken(store, heard.call))[0].id
    for name in ("ivan", "nobody"):
        browser = people[name]
        for path in (f"/interactions/{heard.call}?at=5", f"/recordings/{heard.recording}/peaks"):
            assert (await browser.get(path))[0] == 404, f"{path} as {name}"
        assert (await browser.get(f"/recordings/{heard.recording}/words"))[0] == 404
        assert (await browser.get(f"/interactions/{heard.call}?edit={line}", **{"HX-Request": "true"}))[0] == 404
        assert await browser.post(f"/interactions/{heard.call}/comments", text="мимо") == 404
        assert await browser.post(f"/utterances/{line}", text="мимо") == 404
    assert (await spoken(store, heard.call))[0].text == LINES[0][3]


async def test_a_line_is_not_given_out_under_another_call(
    people: dict[str, Browser], heard: Heard, world: World, store: Store
) -> None:
    line = (await spoken(store, heard.call))[0].id
    path = f"/interactions/{world.camomiles_call}?line={line}"
    assert (await people["ivan"].get(path, **{"HX-Request": "true"}))[0] == 404


async def test_saving_a_file_is_a_right_of_its_own(
    people: dict[str, Browser], heard: Heard, store: Store, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = f"/recordings/{heard.recording}"
    before = await acts(store, "recording_downloaded")
    assert (await people["anna"].get(path))[0] == 200
    assert (await people["anna"].get(f"{path}?download=1"))[0] == 403
    assert (await people["anna"].get(path, **{"Sec-Fetch-Dest": "document"}))[0] == 403
    assert (await people["ivan"].get(f"{path}?download=1"))[0] == 404
    assert "download=1" not in (await people["anna"].get(f"/interactions/{heard.call}"))[1]
    assert await acts(store, "recording_downloaded") == before
    for _ in range(2):
        assert (await people["boss"].get(f"{path}?download=1"))[0] == 200
    await people["boss"].get(f"{path}?download=1", Range="bytes=100-199")
    await people["boss"].get(f"{path}?download=1", Range="bytes=200-299")
    assert await acts(store, "recording_downloaded") == before + 2, "each download, not what continues one"
    assert "download=1" in (await people["boss"].get(f"/interactions/{heard.call}"))[1]
    settings = settings_for(tmp_path_factory.getbasetemp(), managers_download=True)
    other = await serve(store, archive, settings, cut_out)
    browser = Browser(other)
    try:
        assert await browser.log_in("anna") == 303
        assert (await browser.get(f"{path}?download=1"))[0] == 200
    finally:
        await browser.close()
        await other.stop()


# --- Comments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("73.2", 73_200), ("1:13", 73_000), ("1:02:03", 3_723_000), ("0:05,5", 5500), ("", None), ("soon", None)],
)
def test_times_are_read_as_people_write_them(text: str, milliseconds: int | None) -> None:
    assert parse_clock(text) == milliseconds


async def test_a_comment_at_a_second_and_who_may_remove_it(
    people: dict[str, Browser], heard: Heard, store: Store
) -> None:
    page = f"/interactions/{heard.call}"
    form = {"text": f"Обещала счёт {HOSTILE}\r\nвторая строка", "at": "0:21", "recording": str(heard.recording)}
    assert await people["anna"].post(f"{page}/comments", **form) == 303
    assert await people["boss"].post(f"{page}/comments", text="Хороший разговор") == 303
    async with store.begin() as connection:
        whole, at_second = await comments.list_comments(connection, heard.call)
    assert (whole.recording_id, whole.at_ms, whole.author) == (None, None, "Пётр Босс")
    assert (at_second.recording_id, at_second.at_ms, at_second.author) == (heard.recording, 21_000, "Анна Петрова")
    assert at_second.text.endswith("\nвторая строка")
    _, text = await people["boss"].get(page)
    assert Tags(text).bad == []
    assert f'data-recording="{heard.recording}" data-start="21.00"' in text
    assert await people["boss"].post(f"/comments/{at_second.id}/remove") == 403
    assert await people["ivan"].post(f"/comments/{at_second.id}/remove") == 404
    assert await people["anna"].post(f"/comments/{at_second.id}/remove") == 303
    assert await people["anna"].post(f"/comments/{at_second.id}/remove") == 404
    assert await people["admin"].post(f"/comments/{whole.id}/remove") == 303
    async with store.begin() as connection:
        assert await comments.list_comments(connection, heard.call) == []
        assert set((await connection.execute(select(comment.c.text))).scalars()) == {""}


async def test_a_comment_that_cannot_be_is_refused_with_words(people: dict[str, Browser], heard: Heard) -> None:
    browser, path = people["anna"], f"/interactions/{heard.call}/comments"
    token = await browser.token()
    for form in ({"text": "  "}, {"text": "когда?", "at": "soon"}):
        async with browser.http.post(path, data={**form, "csrf": token}) as answer:
            assert "не сохранён" in await answer.text() or "was not saved" in await answer.text()
    assert await browser.post(path, text="x", at="1", recording="999999") == 404
    async with browser.http.post(path, data={"text": "x", "csrf": token}, headers={"HX-Request": "1"}) as answer:
        part = await answer.text()
    assert answer.status == 200
    assert "<html" not in part
    assert 'id="comments"' in part


async def test_a_second_behind_the_end_is_the_end(store: Store, heard: Heard, world: World) -> None:
    async with store.begin() as connection:
        number = await comments.add_comment(
            connection, heard.call, "конец", account_id=1, recording_id=heard.recording, at_ms=999_000
        )
        (found,) = [one for one in await comments.list_comments(connection, heard.call) if one.id == number]
        assert found.at_ms == 60_000
        await comments.remove_comment(connection, found.id)


# --- The text put right -----------------------------------------------------------------------------------------------


async def test_corrected_words_are_what_everybody_reads(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    line = (await spoken(store, heard.call))[3]
    right = f"Сто тридцать тысяч {HOSTILE}"
    assert await people["anna"].post(f"/utterances/{line.id}", text=right) == 303
    found = (await spoken(store, heard.call))[3]
    assert (found.text, found.machine, found.corrected_by) == (right, LINES[3][3], "anna")
    async with store.begin() as connection:
        (entry,) = await history.load_entries(connection, [heard.call])
    assert entry.transcripts[0].utterances[3].text == right, "cards, CRMs and exports read it from here"
    _, page = await people["boss"].get(f"/interactions/{heard.call}")
    assert Tags(page).bad == []
    assert LINES[3][3] in page, "the machine's words are one click away"
    assert await people["boss"].post(f"/utterances/{line.id}", text="Сто сорок") == 303
    assert await people["boss"].post(f"/utterances/{line.id}", text="", undo="1") == 303
    found = (await spoken(store, heard.call))[3]
    assert (found.text, found.machine, found.corrected_by) == (LINES[3][3], "", "")
    async with store.begin() as connection:
        rows = (await connection.execute(select(utterance_correction).order_by(utterance_correction.c.id))).all()
    assert [(row.by, row.ended_by) for row in rows] == [("anna", "boss"), ("boss", "boss")], "who and when stays"


async def test_a_line_is_corrected_without_the_rest_of_the_page(
    people: dict[str, Browser], heard: Heard, store: Store
) -> None:
    line = (await spoken(store, heard.call))[1]
    partly = {"HX-Request": "true"}
    status, form = await people["anna"].get(f"/interactions/{heard.call}?edit={line.id}", **partly)
    assert status == 200
    assert "<html" not in form
    assert "<textarea" in form
    _, whole = await people["anna"].get(f"/interactions/{heard.call}?edit={line.id}")
    assert whole.count("<textarea") == 2, "the form of the line and that of comments"
    token = await people["anna"].token()
    data = {"text": "Добрый вечер!", "csrf": token}
    async with people["anna"].http.post(f"/utterances/{line.id}", data=data, headers=partly) as answer:
        shown = await answer.text()
    assert shown.startswith(f'<div class="bubble" id="u{line.id}"')
    assert "Добрый вечер!" in shown
    assert await people["anna"].post(f"/utterances/{line.id}", text="", undo="1") == 303


async def test_nothing_said_is_no_correction(people: dict[str, Browser], heard: Heard, store: Store) -> None:
    before = await acts(store, "transcript_corrected")
    line = (await spoken(store, heard.call))[2]
    for text in ("", "   ", line.text):
        assert await people["anna"].post(f"/utterances/{line.id}", text=text) == 303
    assert (await spoken(store, heard.call))[2].corrected_by == ""
    assert await acts(store, "transcript_corrected") == before


# --- The page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "second"), [("21.5", "21.50"), ("9999", "60.00"), ("-3", None), ("nan", None)])
async def test_a_link_to_a_moment_opens_there(
    people: dict[str, Browser], heard: Heard, given: str, second: str | None
) -> None:
    status, page = await people["anna"].get(f"/interactions/{heard.call}?at={given}")
    assert status == 200
    found = re.search(rf'src="/recordings/{heard.recording}(#t=[0-9.]+)?"', page)
    assert found is not None
    assert found[1] == (f"#t={second}" if second else None), "without script the browser's own player begins there"


async def test_the_other_recording_is_folded_unless_the_link_is_to_it(people: dict[str, Browser], heard: Heard) -> None:
    _, page = await people["anna"].get(f"/interactions/{heard.call}")
    assert '<details class="quoted">' in page
    _, page = await people["anna"].get(f"/interactions/{heard.call}?at=3&recording={heard.copy}")
    assert '<details class="quoted" open>' in page
    assert f'src="/recordings/{heard.copy}#t=3.00"' in page


async def test_an_hour_costs_no_statement_that_a_minute_does_not(
    people: dict[str, Browser], heard: Heard, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = await an_hour(builder)
    asked: list[str] = []
    execute = AsyncCursor.execute

    async def note(cursor: AsyncCursor[Any], statement: bytes | str, *more: Any, **named: Any) -> AsyncCursor[Any]:
        asked.append(statement if isinstance(statement, str) else statement.decode())
        return await execute(cursor, statement, *more, **named)

    monkeypatch.setattr(AsyncCursor, "execute", note)
    found = []
    for call in (heard.call, hour.call):
        asked.clear()
        status, page = await people["boss"].get(f"/interactions/{call}")
        assert status == 200
        found.append([one for one in asked if one not in ("BEGIN", "COMMIT")])
    assert page.count("data-line") == 800
    minute, hour_long = found
    assert set(hour_long) <= set(minute)
    assert len(hour_long) <= len(minute) <= 20, found


async def test_a_call_in_progress_can_be_listened_in_to_from_its_page(
    people: dict[str, Browser], world: World, builder: Builder
) -> None:
    call = await builder.call(
        MARIA, "101", STARTED, talk=None, ended=False, disposition=Disposition.IN_PROGRESS, capture_id="going-on"
    )
    status, page = await people["boss"].get(f"/interactions/{call}")
    assert status == 200
    assert "live-bar" in page
    assert "data-player" not in page
    assert 'id="comments"' in page


async def test_what_npm_brings_never_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    for name in ("htmx.js", "callpage.js", "htmx.LICENSE"):
        (tmp_path / "vendor" / name).write_text("theirs")
    (tmp_path / "callpage.js").write_text("ours")
    found = load_static(tmp_path)
    assert found.has("htmx.js")
    assert not found.has("htmx.LICENSE")
    assert found.files["callpage.js"][0] == b"ours"
    assert not load_static(tmp_path / "vendor").has("uplot.js")


async def test_the_page_asks_only_for_modules_that_were_built(
    people: dict[str, Browser], heard: Heard, server: WebServer
) -> None:
    _, page = await people["anna"].get(f"/interactions/{heard.call}")
    assert ("/htmx.js" in page) == load_static().has("htmx.js")


async def test_an_erasure_takes_comments_corrections_and_outlines_along(
    people: dict[str, Browser], builder: Builder, store: Store, world: World
) -> None:
    heard = await a_call_worth_hearing(builder)
    line = (await spoken(store, heard.call))[0]
    assert await people["anna"].post(f"/utterances/{line.id}", text="тайна") == 303
    assert await people["anna"].post(f"/interactions/{heard.call}/comments", text="тайна") == 303
    await json_of(people["anna"], f"/recordings/{heard.recording}/peaks")
    async with store.begin() as connection:
        act = await erasures.insert_erasure(
            connection, at=STARTED, by="admin", reason="asked", basis="law", subject="Maria", links=[], blobs=0
        )
        await erasures.wipe(connection, [heard.call], act.id, "erased")
    async with store.begin() as connection:
        for table, column in (
            (utterance_correction, utterance_correction.c.text),
            (comment, comment.c.text),
        ):
            assert "тайна" not in set((await connection.execute(select(column).select_from(table))).scalars())
        ids = set((await connection.execute(select(recording_outline.c.recording_id))).scalars())
    assert heard.recording not in ids


# --- Moments (pure) ---------------------------------------------------------------------------------------------------


def said(channel: int, start: float, end: float) -> Utterance:
    return Utterance(channel=channel, start=start, end=end, text="…", confidence=1)


def test_who_begins_while_the_other_speaks_interrupts() -> None:
    lines = [said(0, 0, 5), said(1, 3, 8), said(0, 9, 12), said(1, 10, 10.6), said(1, 12.2, 14), said(0, 13.8, 16)]
    found = [(one.channel, one.start, one.end) for one in interruptions(lines)]
    assert found == [(1, 3, 5)], "a short yes and a few tenths of a second are none"


def test_marks_gaps_and_interruptions_are_in_order() -> None:
    marks = [Mark(kind=MarkKind.HOLD, channel=0, start_ms=9000, end_ms=9500)]
    found = list_moments(marks, [(1.0, 2.0, "lost")], [said(0, 3, 8), said(1, 5, 9)])
    assert [(one.kind, one.start) for one in found] == [("gap", 1.0), ("interruption", 5), ("hold", 9.0)]


def test_who_comes_and_goes_within_the_call_is_told() -> None:
    def at(seconds: float) -> Any:
        return STARTED + timedelta(seconds=seconds)

    present = [
        Presence(name="Мария", channel=0, joined=at(0), left=at(60)),
        Presence(name="Анна", channel=1, joined=at(1), left=at(30)),
        Presence(name="Иван", channel=1, joined=at(31), left=None),
        Presence(name="Неизвестно", channel=None, joined=None, left=None),
    ]
    found = [(one.kind, one.start, one.text) for one in transfers(present, STARTED, 60)]
    assert found == [("left", 30, "Анна"), ("joined", 31, "Иван")]
