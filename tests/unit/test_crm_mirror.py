"""What is read of a CRM: users become employees, cards are made, followed and merged."""

from __future__ import annotations

from sqlalchemy import text

from agent.store import cards, mirror
from linker.crm.facts import Changes, CrmUser, ExternalId, Gone
from tests.unit.crm_world import PETROVA, World, contact, reader, soon, world
from tests.web_world import phone

__all__ = ["world"]


async def test_employees_are_users(world: World) -> None:
    await world.builder.call(PETROVA, "101", soon())
    await world.deliver()
    assert [one.activity.employee for one in world.crm.on("1")] == [None]
    office = await world.office()
    async with world.store.begin() as connection:
        assert await mirror.list_unmapped(connection, office.id) == [(world.anna, "Anna")]
    world.crm.users = [CrmUser(id="7", name="Anna", address="anna@cardline.example.com")]
    await reader(world).read("office")
    await world.deliver()
    assert [one.activity.employee for one in world.crm.on("1")] == ["7"]
    async with world.store.begin() as connection:
        assert await mirror.list_unmapped(connection, office.id) == []


async def test_the_mirror_makes_follows_and_merges_cards(world: World) -> None:
    unknown = await world.builder.call("+74950000044", "101", soon())
    kept = contact("1", "Petrova A.", phone(PETROVA), phone("+74950000044"))
    other = contact("3", "Sidorova", phone("+74950000055"))
    world.crm.changes.append(Changes(cursor="a", cards=[kept, other]))
    await reader(world).read("office")
    async with world.store.begin() as connection:
        petrova = await cards.find_card(connection, world.petrova)
        assert petrova is not None
        assert (petrova.name, len(petrova.contact_points)) == ("Petrova A.", 2), "it is the one with her number"
    await world.builder.linker.link([unknown])
    await world.deliver()
    assert len(world.crm.on("1")) == 1
    office = await world.office()
    assert (office.cursor, office.read_problem) == ("a", "")

    gone = Gone(id=ExternalId(kind="contact", id="3"), merged_into=ExternalId(kind="contact", id="1"))
    world.crm.changes.append(Changes(cursor="b", gone=[gone], cards=[]))
    async with world.store.begin() as connection:
        await connection.execute(text("UPDATE connector SET read_at = NULL"))
    await reader(world).read("office")
    async with world.store.begin() as connection:
        (found,) = await cards.find_candidates(connection, [phone("+74950000055")])
        assert found.card_id == world.petrova
    async with world.store.begin() as connection:
        await connection.execute(text("UPDATE connector SET read_at = NULL"))
    world.crm.changes.append(Changes(cursor="c", cards=[contact("1", "Petrova A.", phone(PETROVA))]))
    await reader(world).read("office")
    async with world.store.begin() as connection:
        assert await cards.find_candidates(connection, [phone("+74950000044")]) == []
