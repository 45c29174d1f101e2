"""Mail rules and meetings in a real Chromium: pages fit a desk and a telephone, and a rule is tried by its button."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.async_api import Browser as Chromium
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model_mail import ParsedAttendee, ParsedInvitation
from agent.store.engine import Store
from agent.web.app import WebServer
from linker.link import Linker
from tests.peer.test_web_browser import SIZES, chromium, picture, server, visiting, world
from tests.unit.linking import accept_mail, do_link_jobs, parsed_mail, parties_of
from tests.web_world import MARIA_MAIL, NOW, World, settings_for

__all__ = ["chromium", "server", "world"]

ANNA = "anna@example.com"
TOLD = ParsedInvitation(
    part=1,
    method="REQUEST",
    uid="browser-1",
    sequence=0,
    recurrence_id=None,
    start=NOW - timedelta(hours=20),
    end=NOW - timedelta(hours=19),
    is_all_day=False,
    is_recurring=False,
    status="confirmed",
    organizer=ParsedAttendee(address=ANNA, name="", status=""),
    attendees=(ParsedAttendee(address=MARIA_MAIL, name="Мария Смирнова", status="tentative"),),
    summary="Показ столов и шкафов в новом зале",
    location="Москва, ул. Примерная, 1",
)


@pytest.fixture(scope="module")
async def arranged(store: Store, archive: Archive, intake: Intake, world: World) -> int:
    """A meeting of yesterday that nothing confirms, and an offer; the meeting's id."""
    for key, more in {
        "invite": {"subject": "Приглашение", "invitations": (TOLD,)},
        "offer": {"subject": "Коммерческое предложение и счёт на оплату № 15"},
    }.items():
        one = parsed_mail(key, parties_of(f"{ANNA} > {MARIA_MAIL}", "mail"), sent=NOW)
        await accept_mail(intake, replace(one, **more), received=NOW)  # type: ignore[arg-type]
    await do_link_jobs(store, Linker(store, settings_for(".")))
    async with store.begin() as connection:
        return int((await connection.execute(text("SELECT interaction_id FROM meeting"))).scalar_one())


@pytest.mark.parametrize("size", SIZES)
async def test_the_pages_fit_the_screen(
    chromium: Chromium, server: WebServer, world: World, arranged: int, size: str
) -> None:
    pages = {
        "mail-rules": "/mail-rules",
        "mail-rule": "/mail-rules/6",
        "meeting": f"/interactions/{arranged}",
        "card-mails": f"/cards/{world.maria}",
    }
    async with visiting(chromium, server, viewport=SIZES[size], is_mobile=size != "desktop") as visit:
        await visit.log_in("admin")
        for name, path in pages.items():
            await visit.go(path)
            width = await visit.page.evaluate("document.documentElement.scrollWidth")
            await picture(visit.page, f"{name}-{size}")
            assert width <= SIZES[size]["width"], (name, width)


async def test_a_rule_is_tried_and_a_meeting_was_held(
    chromium: Chromium, server: WebServer, world: World, arranged: int
) -> None:
    async with visiting(chromium, server, viewport=SIZES["desktop"]) as visit:
        await visit.log_in("admin")
        await visit.go("/mail-rules/0")
        await visit.page.fill("input[name=name]", "Приглашения")
        await visit.page.select_option("select[name=result]", "category:newsletter")
        await visit.page.fill("textarea[name=field_subject]", "приглаш*")
        await visit.page.check("input[name=enabled]")
        await visit.page.click("button[formaction$='/try']")
        assert "переписка → рассылки: 1" in " ".join((await visit.page.inner_text("main")).split())
        await visit.go(f"/interactions/{arranged}")
        await visit.page.click("button[value=held]")
        assert await visit.page.locator("button[value='']").count() == 1
