"""The page Find over HTTP: what is found and where it leads, hostile words, cursors, and searches that are kept."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from agent.store import search
from agent.store.engine import Store
from agent.store.searchindex import Indexer
from agent.web.findquery import FindQuery, query_of, read_cursor
from agent.web.snippets import mark, snippet
from tests.unit.web_pages import (
    HOSTILE,
    Tags,
    guest,
    people,
    server,
    world,
)
from tests.web_world import Browser, World

__all__ = ["guest", "people", "server", "world"]


@pytest.fixture(scope="module", autouse=True)
async def indexed(store: Store, world: World) -> None:
    async with store.begin() as connection:
        await search.refill(connection)
    await Indexer(store).index()


async def _get(browser: Browser, path: str, *, status: int = 200) -> str:
    answer, text = await browser.get(path)
    assert answer == status, path
    assert Tags(text).bad == []
    return text


async def test_a_line_is_found_in_any_form_and_opens_at_its_second(people: dict[str, Browser], world: World) -> None:
    text = await _get(people["boss"], "/find?q=предложением")
    assert re.search(r'href="/interactions/\d+\?at=1\.0"', text)
    assert "<mark>предложение</mark>" in text


async def test_hostile_words_stay_words(people: dict[str, Browser]) -> None:
    for path in ("alert", "onerror", "<script>alert(1)</script>", '"><script>alert(1)</script>', HOSTILE):
        text = await _get(people["admin"], "/find?" + urlencode({"q": path}))
        assert "<script>alert" not in text
    text = await _get(people["admin"], "/find?q=alert")
    assert "&lt;<mark>" in text or "<mark>alert</mark>" in text


async def test_a_manager_never_meets_what_is_not_his(people: dict[str, Browser], world: World) -> None:
    for typed in ("предложением", "0011", "Мария"):
        boss, ivan = await _get(people["boss"], f"/find?q={typed}"), await _get(people["ivan"], f"/find?q={typed}")
        assert "/interactions/" in boss
        assert "/interactions/" not in ivan, typed
        assert "/cards/" not in ivan, typed
    assert "/interactions/" in await _get(people["anna"], "/find?q=предложением")


@pytest.mark.parametrize(
    "path",
    [
        "/find",
        "/find?q=",
        "/find?q=%00%00",
        "/find?q=и+в+на",
        "/find?q=самолёт",
        "/find?kind=call",
        "/find?kind=x&way=y&who=z&card=-1&from=2026-13-01&to=9999-12-31&min=a&max=999999999999&tag=%27&order=?",
        "/find?q=слово&after=1.2",
        "/find?q=слово&after=999999999999999999.1.0",
        "/find?q=слово&after=0.99999999999999999999.0",
        "/find?q=(((%26%26|!:*%27%27",
        "/find?card=999999999999999999",
        "/find?q=" + "слово " * 40,
        "/find?from=2020-01-01&to=2020-01-02&order=new",
    ],
)
async def test_whatever_the_address_says_there_is_a_page(people: dict[str, Browser], path: str) -> None:
    for name in ("admin", "anna", "nobody"):
        await _get(people[name], path)


async def test_both_languages(people: dict[str, Browser]) -> None:
    browser = people["admin"]
    await browser.get("/language/en?next=/find")
    assert "Searches" not in await _get(browser, "/find?q=предложение")
    assert "Save this search" in await _get(browser, "/find?q=предложение")
    await browser.get("/language/ru?next=/find")
    assert "Сохранить поиск" in await _get(browser, "/find?q=предложение")


async def test_searches_are_kept_by_their_owner(people: dict[str, Browser]) -> None:
    boss, anna = people["boss"], people["anna"]
    asked = "q=предложение&kind=call&evil=1"
    assert await boss.post("/find/saved", name="Предложения <b>", query=asked) == 303
    text = await _get(boss, "/find")
    assert "Предложения &lt;b&gt;" in text
    assert "evil" not in text
    number = re.findall(r"/find/saved/(\d+)/remove", text)[0]
    assert "Предложения" not in await _get(anna, "/find")
    assert await anna.post(f"/find/saved/{number}/remove") == 404
    assert await boss.post("/find/saved", name="", query="q=x") == 303
    assert await boss.post("/find/saved", name="пустой", query="") == 400
    assert await boss.post(f"/find/saved/{number}/remove") == 303
    assert "Предложения" not in await _get(boss, "/find")


async def test_the_list_of_clients_in_every_order(people: dict[str, Browser]) -> None:
    def names(text: str) -> list[str]:
        return re.findall(r'<span class="client-name">(\S+)', text)

    boss = people["boss"]
    newest = names(await _get(boss, "/cards"))
    assert sorted(newest) == names(await _get(boss, "/cards?by=name"))
    assert set(names(await _get(boss, "/cards?by=responsible"))) == set(newest)
    assert names(await _get(boss, "/cards?by=responsible"))[0] == "Мария"
    assert names(await _get(boss, "/cards?by=name&from=1")) == sorted(newest)[1:]
    anna = re.search(r'<option value="(\d+)">Анна', await _get(boss, "/cards"))
    assert anna is not None
    assert names(await _get(boss, f"/cards?who={anna[1]}")) == ["Мария"]
    assert names(await _get(boss, "/cards?stage=x")) == []
    for odd in ("by=x", "who=-1", "from=99999999999", "who=999999999999999999", "stage=%00"):
        await _get(people["anna"], f"/cards?{odd}")


def test_an_address_is_read_and_written_back() -> None:
    query = FindQuery(q="a b", kind="mail", who=3, since="2026-01-02", least=5, order="new")
    assert query_of(query.parts()) == query
    assert query.url(without="who") == "/find?q=a+b&kind=mail&from=2026-01-02&min=5&order=new"
    assert query_of({"q": "\0 a\n b ", "from": "2026-02-30", "who": "٣"}) == FindQuery(q="a b")
    assert read_cursor("1.2.3.4") is None
    assert read_cursor("--1.2.3") is None
    assert FindQuery().is_empty
    assert query.filters(None).at_least == 300
    assert query.filters(None).since is not None


def test_snippets_show_the_best_place_and_lose_nothing() -> None:
    text = f"начало {'слово ' * 100}нашлось здесь и ёлка <b> нашлось {'конец ' * 100}"
    pieces, score = snippet(text, lambda word: word in ("нашлось", "ёлка"))
    assert score == 2
    assert [words for words, marked in pieces if marked] == ["нашлось", "ёлка", "нашлось"]
    assert pieces[0][0] == "… "
    assert pieces[-1][0] == " …"
    assert len("".join(words for words, _ in pieces)) < 240
    assert mark("a <b> c", "b".__eq__) == (("a <", False), ("b", True), ("> c", False))
    assert snippet("", lambda _: True) == ((), 0)
    assert snippet("я" * 5000, lambda _: False)[0][0] == ("я" * 220, False)
