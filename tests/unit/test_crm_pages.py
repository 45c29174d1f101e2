"""What CRMs are given a link to, and the page on which a person sees what they could not be told."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from agent.model import SourceState
from agent.store import connectors, deliveries, employees, mirror, outbox, shares, undelivered
from agent.store.engine import Store
from agent.web.shared import Window
from tests.unit.web_pages import Tags, people, server, world
from tests.web_world import Browser, World

__all__ = ["people", "server", "world"]


async def _delivery(store: Store, interaction_id: int) -> int:
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("office", "tryton", True)])
        await outbox.want(connection, [interaction_id], whatever_age=True)
        query = text("SELECT id FROM delivery WHERE interaction_id = :id")
        return int((await connection.execute(query, {"id": interaction_id})).scalar_one())


async def _audited(store: Store) -> int:
    async with store.begin() as connection:
        query = text("SELECT count(*) FROM audit_entry WHERE action = 'recording_played_by_link'")
        return int((await connection.execute(query)).scalar_one())


async def test_a_link_plays_by_ranges_until_it_is_revoked(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    number = await _delivery(store, world.marias_call)
    async with store.begin() as connection:
        token = await shares.share(connection, world.marias_recording, number)
    http = people["stranger"].http
    async with http.get(f"/shared/{token}.mp3") as answer:
        whole = await answer.read()
        assert (answer.status, answer.content_type) == (200, "audio/mpeg")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert whole[:1] == b"\xff"
    async with http.get(f"/shared/{token}.mp3", headers={"Range": "bytes=1000-1999"}) as answer:
        assert (answer.status, await answer.read()) == (206, whole[1000:2000])
        assert answer.headers["Content-Range"] == f"bytes 1000-1999/{len(whole)}"
    async with http.get(f"/shared/{token}.mp3", headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416
    async with http.head(f"/shared/{token}.mp3") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(whole)))
    assert await _audited(store) == 1, "once, however many ranges"
    async with store.begin() as connection:
        again = await shares.share(connection, world.marias_recording, number)
    async with http.get(f"/shared/{token}.mp3") as answer:
        assert answer.status == 404
    async with http.get(f"/shared/{again}.mp3") as answer:
        assert answer.status == 200
    async with store.begin() as connection:
        assert await shares.revoke(connection, number) == 1
        assert await shares.revoke(connection, number) == 0
    async with http.get(f"/shared/{again}.mp3") as answer:
        assert answer.status == 404
    for _ in range(40):
        async with http.get(f"/shared/{'x' * 32}.mp3") as answer:
            status = answer.status
    assert status == 429


async def test_failed_deliveries_are_seen_and_tried_again(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    number = await _delivery(store, world.camomiles_call)
    async with store.begin() as connection:
        office = await connectors.find_connector(connection, "office")
        assert office is not None
        claimed = await deliveries.claim(connection, office.id, most=50, lease=60)
        for one in claimed:
            await deliveries.give_up(
                connection, one, failure="CrmRefused", problem="<b>It refuses.</b>", remedy="Ask it nicely."
            )
    status, page = await people["boss"].get("/crm")
    assert status == 200
    assert "&lt;b&gt;It refuses.&lt;/b&gt;" in page
    assert "Ask it nicely." in page
    assert (await people["anna"].get("/crm"))[0] == 403
    assert re.search(rf'name="delivery" value="{number}"', page)
    form = {"csrf": await people["boss"].token(), "delivery": str(number)}
    async with people["boss"].http.post("/crm/retry", data=form, allow_redirects=False) as answer:
        assert answer.status == 303
    async with store.begin() as connection:
        assert number not in [one.id for one in await undelivered.list_failed(connection)]
        state = await connection.execute(text("SELECT state FROM delivery WHERE id = :id"), {"id": number})
        assert state.scalar_one() == "waiting"


async def test_an_employee_is_mapped_by_a_person(people: dict[str, Browser], world: World, store: Store) -> None:
    await _delivery(store, world.camomiles_call)
    async with store.begin() as connection:
        office = await connectors.find_connector(connection, "office")
        assert office is not None
        insert = "INSERT INTO crm_user (connector_id, external_id, name) VALUES (:id, '7', 'Iwan')"
        await connection.execute(text(insert), {"id": office.id})
    _, page = await people["admin"].get("/crm")
    assert "Iwan" in page
    path, form = f"/crm/{office.id}/users", {"csrf": await people["admin"].token(), "employee": str(world.ivan)}
    for user, expected in (("8", 404), ("7", 303)):
        async with people["admin"].http.post(path, data={**form, "user": user}, allow_redirects=False) as answer:
            assert answer.status == expected
    _, page = await people["admin"].get("/crm")
    assert f'name="employee" value="{world.ivan}"' not in page


async def _add_users(store: Store, *rows: tuple[str, str, str, str]) -> int:
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("users", "bitrix24", True)])
        found = await connectors.find_connector(connection, "users")
        assert found is not None
        users = [mirror.UserRow(external_id=a, name=b, address=c, extension=d) for a, b, c, d in rows]
        await mirror.save_users(connection, found.id, users)
    return found.id


async def test_employees_are_proposed_from_the_users_of_a_crm(
    people: dict[str, Browser], world: World, store: Store
) -> None:
    hostile = "<b>Вера</b> & Co"
    async with store.begin() as connection:
        ivan = (await employees.list_names(connection))[world.ivan]
    number = await _add_users(
        store, ("11", ivan.upper(), "", ""), ("12", hostile, "Vera@Example.com", "177"), ("13", "Лев", "", "178")
    )
    admin = people["admin"]
    _, page = await admin.get("/crm")
    assert Tags(page).bad == []
    assert "&lt;b&gt;Вера&lt;/b&gt;" in page
    assert "Vera@Example.com, 177" in page
    assert f'name="employee" value="{world.ivan}"' in page, "whose name an employee has is proposed as that one"
    path = f"/crm/{number}/users"
    for wrong in ("", "x", "-1", "٣", "9" * 30):
        assert await admin.post(path, employee=wrong, user="12") == 400, wrong
    assert await admin.post(path, employee="new", user="99") == 404
    assert await admin.post(path, employee="new", user="12") == 303
    assert await admin.post(path, employee="new", user="12") == 404, "she is somebody here by now"
    assert await admin.post(path, employee=str(world.ivan), user="11") == 303
    assert await admin.post(path, employee="all") == 303
    async with store.begin() as connection:
        users = {one.external_id: one.employee_id for one in await mirror.list_users(connection, number)}
        found = {one.id: one for one in await employees.list_employees(connection)}
    assert users["11"] == world.ivan
    vera, lev = found[users["12"] or 0], found[users["13"] or 0]
    assert (vera.name, sorted(one.identity.value for one in vera.identities)) == (hostile, ["177", "vera@example.com"])
    assert (lev.name, [one.identity.value for one in lev.identities]) == ("Лев", ["178"])
    _, page = await admin.get("/crm")
    assert f"users-{number}" not in page
    for other in ("boss", "anna"):
        assert await people[other].post(path, employee="all") == 403


async def test_what_somebody_has_is_not_given_to_a_user_of_a_crm(people: dict[str, Browser], store: Store) -> None:
    async with store.begin() as connection:
        held = next(one for one in await employees.list_employees(connection) if one.identities)
    taken = held.identities[0].identity
    row = ("21", "Another", "", taken.value) if "@" not in taken.value else ("21", "Another", taken.value, "")
    number = await _add_users(store, row)
    assert await people["admin"].post(f"/crm/{number}/users", employee="new", user="21") == 303
    async with store.begin() as connection:
        holders = await employees.find_holders(connection, [taken])
    assert [one.employee_id for one in holders] == [held.id]


async def test_a_crm_that_is_left_alone_goes_on_at_once(people: dict[str, Browser], store: Store) -> None:
    number = await _add_users(store)
    async with store.begin() as connection:
        problem = "The CRM asks for fewer requests. Nothing is lost; it is tried again by itself."
        await connectors.pause(connection, number, seconds=86400, state=SourceState.RUNNING, problem=problem)
        paused = await connectors.find_connector(connection, "users")
    assert paused is not None
    assert paused.is_paused
    boss = people["boss"]
    _, page = await boss.get("/crm")
    assert "CRM просит делать запросы реже. <b>Ничего не потеряно: повторится само.</b>" in page
    assert await boss.post("/crm/retry", connector="999999") == 404
    assert await boss.post("/crm/retry", connector=str(number)) == 303
    async with store.begin() as connection:
        going = await connectors.find_connector(connection, "users")
    assert going is not None
    assert not going.is_paused


@pytest.mark.parametrize("most", [1, 3])
def test_a_window_forgets(most: int) -> None:
    now = [0.0]
    window = Window(most, clock=lambda: now[0])
    for _ in range(most):
        assert not window.is_full("a")
        window.note("a")
    assert window.is_full("a")
    assert not window.is_full("b")
    now[0] = 601.0
    assert not window.is_full("a")
