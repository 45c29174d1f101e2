"""A mail's page over HTTP: its conversation, pictures only where asked for, files looked at, its source, its proofs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model_mail import ParsedAttachment
from agent.store import attachments, messages
from agent.store.attachments import Words, WordsState
from agent.store.engine import Store
from agent.store.schema import audit_entry, message
from agent.web.app import WebServer
from tests.unit.web_pages import HOSTILE, Tags, people, world
from tests.web_world import MARIA_MAIL, NOW, Browser, Builder, World, serve, settings_for

__all__ = ["people", "world"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
ANNA, MARIA = ("Анна Петрова", "anna@example.com"), (f"Мария {HOSTILE}", MARIA_MAIL)


async def cut(plain: bytes, part: int) -> tuple[bytes, str, str]:
    """Stands in for the mail side: parts lie behind the header, one a line of stars."""
    return plain.split(b"*****")[part], "x", "image/png"


@pytest.fixture(scope="module")
async def server(
    store: Store, archive: Archive, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut)
    yield server
    await server.stop()


def file(part: int, content: bytes, name: str, media_type: str, **more: str) -> ParsedAttachment:
    return ParsedAttachment(
        part=part,
        name=name,
        media_type=media_type,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        **more,
    )


@pytest.fixture(scope="module")
async def thread(store: Store, archive: Archive, intake: Intake, world: World) -> tuple[list[int], int]:
    """Three mails of one conversation, the middle one with files; and the evidence of that."""
    builder = Builder(store, archive, intake, settings_for("."))
    builder._number = 30_000
    start = NOW - timedelta(days=2)
    _, first = await builder.mail(ANNA, MARIA, start, "Столы", "Посылаю.", message_id="t1@x")
    html = '<p>Вот</p><img src="cid:logo"><img alt="pixel">'
    picture = file(1, PNG, f"логотип {HOSTILE}.png", "text/html", sniffed_type="image/png", content_id="logo")
    words = file(2, b"price", "цены.txt", "text/plain")
    raw = b"Subject: x\r\n\r\n*****" + PNG + b"*****price"
    proof, second = await builder.mail(
        MARIA, ANNA, start + timedelta(hours=1), "Re: Столы", "Вот ответ.", message_id="t2@x", reply_to="t1@x",
        html=html, attachments=(picture, words), raw=raw,
    )  # fmt: skip
    _, third = await builder.mail(
        ANNA, MARIA, start + timedelta(hours=2), "Re: Столы", f"Итого {HOSTILE}", message_id="t3@x", reply_to="t2@x"
    )
    return [first, second, third], proof


async def _file(store: Store, interaction_id: int, name: str) -> int:
    async with store.begin() as connection:
        found = await messages.list_attachments(connection, [interaction_id])
    return next(one.id for one in found if one.name.startswith(name))


async def test_the_conversation_is_told_from_the_oldest_to_the_newest(
    people: dict[str, Browser], thread: tuple[list[int], int]
) -> None:
    (first, second, third), _ = thread
    status, page = await people["anna"].get(f"/interactions/{second}")
    assert status == 200
    assert Tags(page).bad == []
    before, _, after = page.partition(f'id="entry-{second}"')
    assert f'href="/interactions/{first}"' in before
    assert f'href="/interactions/{third}"' in after
    assert "3 письма" in page
    assert "Вот ответ." in page
    assert (await people["ivan"].get(f"/interactions/{second}"))[0] == 404


async def test_a_private_mail_is_missing_in_its_conversation(
    people: dict[str, Browser], thread: tuple[list[int], int], store: Store
) -> None:
    (first, second, _), _ = thread
    try:
        async with store.begin() as connection:
            private = update(message).where(message.c.interaction_id == first)
            await connection.execute(private.values(category="private"))
        _, page = await people["boss"].get(f"/interactions/{second}")
        assert f"/interactions/{first}" not in page
        assert "Посылаю" not in page
        assert "2 письма" in page
    finally:
        async with store.begin() as connection:
            back = update(message).where(message.c.interaction_id == first)
            await connection.execute(back.values(category="conversation"))


async def test_pictures_are_shown_where_one_asks_for_them_and_those_from_elsewhere_never(
    people: dict[str, Browser], thread: tuple[list[int], int]
) -> None:
    (_, second, _), _ = thread
    anna, path = people["anna"], f"/interactions/{second}"
    _, page = await anna.get(path)
    assert f"{path}?pictures=1#formatted" in page
    assert "никогда" in page, "it says that remote pictures are never loaded"
    assert "data:image" not in (await anna.get(f"{path}/html"))[1]
    assert "data:image/png;base64," in (await anna.get(f"{path}/html?pictures=1"))[1]
    _, page = await anna.get(f"{path}?pictures=1")
    assert f'src="{path}/html?pictures=1"' in page


async def test_a_picture_goes_out_as_what_its_bytes_are(
    people: dict[str, Browser], thread: tuple[list[int], int], store: Store
) -> None:
    (_, second, _), _ = thread
    number = await _file(store, second, "логотип")
    async with people["anna"].http.get(f"/attachments/{number}/picture") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "image/png"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert await answer.read() == PNG
    plain = await _file(store, second, "цены")
    assert (await people["anna"].get(f"/attachments/{plain}/picture"))[0] == 404, "it is no picture"
    for path in (f"/attachments/{number}/picture", f"/attachments/{number}/view"):
        assert (await people["ivan"].get(path))[0] == 404


async def test_a_file_is_looked_at_as_its_words_and_that_is_noted_once(
    people: dict[str, Browser], thread: tuple[list[int], int], store: Store
) -> None:
    (_, second, _), _ = thread
    number = await _file(store, second, "цены")
    assert f"/attachments/{number}/view" not in (await people["anna"].get(f"/interactions/{second}"))[1]
    async with store.begin() as connection:
        read = Words(attachment_id=number, state=WordsState.READ, text=f"Стол 100 {HOSTILE}")
        await attachments.save_words(connection, [read])
    assert f"/attachments/{number}/view" in (await people["anna"].get(f"/interactions/{second}"))[1]
    for _ in range(2):
        status, page = await people["anna"].get(f"/attachments/{number}/view")
        assert status == 200
        assert "Стол 100" in page
        assert Tags(page).bad == []
    async with store.begin() as connection:
        query = select(audit_entry.c.id).where(
            audit_entry.c.action == "attachment_viewed", audit_entry.c.subject["attachment_id"].as_integer() == number
        )
        assert len((await connection.execute(query)).all()) == 1
    picture = await _file(store, second, "логотип")
    _, page = await people["anna"].get(f"/attachments/{picture}/view")
    assert "в письме назван text/html" in page
    assert Tags(page).bad == []


async def test_an_administrator_comes_from_a_mail_to_a_rule_about_its_sender(
    people: dict[str, Browser], thread: tuple[list[int], int]
) -> None:
    (_, second, _), _ = thread
    link = f"/mail-rules/0?from={MARIA_MAIL.replace('@', '%40')}"
    assert link in (await people["admin"].get(f"/interactions/{second}"))[1]
    assert "/mail-rules/0" not in (await people["boss"].get(f"/interactions/{second}"))[1]
    _, page = await people["admin"].get(link)
    assert f'value="{MARIA_MAIL}"' in page or f">{MARIA_MAIL}<" in page
    _, page = await people["admin"].get("/mail-rules/0?from=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert Tags(page).bad == []


async def test_the_source_is_text_and_bounded(
    people: dict[str, Browser], thread: tuple[list[int], int], world: World
) -> None:
    _, proof = thread
    status, page = await people["anna"].get(f"/evidence/{proof}/source")
    assert status == 200
    assert "Subject: x" in page
    assert (await people["ivan"].get(f"/evidence/{proof}/source"))[0] == 404
    assert (await people["anna"].get(f"/evidence/{world.unreadable_evidence}/source"))[0] == 404
    assert (await people["boss"].get(f"/evidence/{world.unreadable_evidence}/source"))[0] == 200
    assert (await people["boss"].get("/evidence/999999/source"))[0] == 404


async def test_the_page_tells_what_vouches_for_the_mail(
    people: dict[str, Browser], thread: tuple[list[int], int], archive: Archive, store: Store
) -> None:
    (_, second, _), proof = thread
    _, page = await people["boss"].get(f"/interactions/{second}")
    for words in ("imap:sales", "Запечатанный файл", "Место в цепочке", f"/evidence/{proof}/source"):
        assert words in page, words
