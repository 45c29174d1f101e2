"""A mail on its page: what is folded, who signed it, and its own pictures within the document that can do nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.mail.parse import extract_part, parse
from agent.model import CapturedMail, UserRole
from agent.store import accounts
from agent.store.engine import Store
from tests.unit.mail_lab import HEAD
from tests.web_world import PASSWORD, Browser, serve, settings_for

_PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
_MAIL = (
    HEAD
    + b'Content-Type: multipart/related; boundary="r"\r\n\r\n--r\r\nContent-Type: text/html; charset=utf-8\r\n\r\n'
    + "<p>Договор готов.</p><p>С уважением,<br>Анна</p><blockquote>Где договор?</blockquote>".encode()
    + b'<img src="cid:logo@x"><img src="cid:program@x"><img src="cid:nothing@x"><img src="https://example.com/t.gif">'
    + b"\r\n--r\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(_PNG)
    + b"\r\n--r\r\nContent-Type: image/png\r\nContent-ID: <program@x>\r\n\r\n<svg onload=alert(1)>\r\n--r--\r\n"
)


async def _cut_out(raw: bytes, part: int) -> tuple[bytes, str, str]:
    return extract_part(raw, part)


@pytest.fixture
async def pages(
    store: Store, archive: Archive, intake: Intake, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, str]]:
    """The page of the mail and its document."""
    mail = CapturedMail(source="test:web", key="1", raw=_MAIL, received=datetime.now(UTC))
    (evidence_id,) = await intake.store_evidence([mail])
    number = await intake.accept_message(evidence_id, parse(_MAIL, {}))
    async with store.begin() as connection:
        await accounts.insert_account(connection, "admin", "Admin", PASSWORD, UserRole.ADMINISTRATOR, None)
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), _cut_out)
    browser = Browser(server)
    assert await browser.log_in("admin") == 303
    _, page = await browser.get(f"/interactions/{number}")
    _, document = await browser.get(f"/interactions/{number}/html")
    yield page, document
    await browser.close()
    await server.stop()


async def test_a_mail_on_its_page(pages: tuple[str, str]) -> None:
    page, document = pages
    folded = re.findall(r'<details class="quoted"><summary>[^<]*</summary><div class="letter">([^<]*)', page)
    assert folded == ["С уважением,\nАнна", "Где договор?"]
    assert '<div class="letter">Договор готов.</div>' in page
    sources = re.findall(r'<img[^>]*?src="([^"]*)"', document)
    assert sources == [f"data:image/png;base64,{base64.b64encode(_PNG).decode()}"]
    assert document.count("<img") == 4
