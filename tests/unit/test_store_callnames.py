"""Names that a speech model is told to expect in a call: of cards, firms, employees and what a source said."""

from __future__ import annotations

from pathlib import Path

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.store import callnames
from agent.store.engine import Store
from tests.web_world import ANNA, MARIA, NOW, Builder


async def test_names_of_the_people_and_firms_of_a_call_each_once(
    store: Store, archive: Archive, intake: Intake, tmp_path: Path
) -> None:
    builder = Builder(store, archive, intake, Settings(data_dir=tmp_path))
    await builder.employee("Анна Белова", Identity(kind=IdentityKind.PHONE, value=ANNA))
    firm = await builder.card("ООО «Ромашка»", kind="company")
    await builder.card("Мария Котова", Identity(kind=IdentityKind.PHONE, value=MARIA), company_id=firm)
    await builder.card("Никто отсюда", Identity(kind=IdentityKind.PHONE, value="+74950000099"))
    call = await builder.call(MARIA, ANNA, NOW, caller_name="Maria K.")
    recording = await builder.recording(call, NOW, b"sound", 30)
    async with store.begin() as connection:
        names = await callnames.find_call_names(connection, recording)
        nobody = await callnames.find_call_names(connection, 10**9)
    assert names[:2] == ["Мария Котова", "ООО «Ромашка»"]
    assert sorted(names[2:]) == ["Maria K.", "Анна Белова"]
    assert nobody == []
