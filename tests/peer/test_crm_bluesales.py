"""BlueSales against its emulator: the contract, and what is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import SecretStr

from linker.crm.bluesales import connect
from linker.crm.bluesales.blocks import LONGEST_COMMENT, drop_block, find_block, list_keys, put_block
from linker.crm.facts import ExternalId
from linker.crm.protocol import Crm, CrmLimit
from tests.peer.crm_bluesales_emulator import BlueSalesEmulator
from tests.peer.crm_contract import ADDRESS, OTHER_PHONE, PHONE, CrmContract, Lab, a_call
from tests.peer.crm_emulator import Standing
from tests.peer.crm_lab import MemoryVault, crm_settings, whole_settings


class BlueLab(Lab):
    """An account with two customers."""

    emulator: BlueSalesEmulator

    def __init__(self, emulator: BlueSalesEmulator) -> None:
        self.emulator = emulator
        self.employee, self.other_employee = "p", "v"
        options = {"requests_a_second": "1000"}
        login, password = emulator.login
        self.settings = crm_settings("bluesales", emulator.url, user=login, password=password, options=options)
        self.crm = connect(self.settings, whole_settings(), MemoryVault())
        number = emulator.add_card(fullName="Анна", phone=PHONE.value, email=ADDRESS.value, comments="Любит чай.")
        self.card = ExternalId(kind="customer", id=str(number))
        self.other_card = self.add_card(OTHER_PHONE.value)

    def standing(self) -> Sequence[Standing]:
        return self.emulator.standing()

    def add_card(self, phone: str) -> ExternalId:
        return ExternalId(kind="customer", id=str(self.emulator.add_card(fullName="Клиент", phone=phone)))

    def delete_card(self, card: ExternalId) -> None:
        del self.emulator.customers[int(card.id)]

    async def wrong_key(self) -> Crm:
        wrong = self.settings.model_copy(update={"password": SecretStr("wrong")})
        return connect(wrong, whole_settings(), MemoryVault())


@pytest.fixture
async def lab() -> AsyncIterator[BlueLab]:
    """An account."""
    async with BlueSalesEmulator() as emulator:
        lab = BlueLab(emulator)
        yield lab
        await lab.crm.close()


class TestBlueSales(CrmContract):
    """The contract; what a person wrote is never touched."""

    @pytest.fixture(autouse=True)
    def tea(self, lab: BlueLab) -> AsyncIterator[None]:  # type: ignore[misc]
        yield
        assert str(lab.emulator.customers[int(lab.card.id)]["comments"]).startswith("Любит чай.")

    def after_a_while(self, cursor: str) -> str:
        return json.dumps({**json.loads(cursor), "due": 0})


async def test_somebody_at_work_is_waited_for(lab: BlueLab) -> None:
    lab.emulator.online_seconds = 42
    with pytest.raises(CrmLimit) as limit:
        await lab.crm.log_call(a_call(lab))
    assert limit.value.retry_after == 43


async def test_entries_of_one_customer_at_once_are_all_kept(lab: BlueLab) -> None:
    keys = [f"cardline-{number:020}" for number in range(5)]
    await asyncio.gather(*(lab.crm.log_call(a_call(lab, key=key)) for key in keys))
    assert {one.key for one in lab.standing()} == set(keys)


def test_blocks_are_put_found_and_dropped() -> None:
    comment = put_block("Любит чай.\r\n", "cardline-a", "раз\n[cardline-b]\nне блок")
    comment = put_block(comment, "cardline-c", "два")
    assert list_keys(comment) == ["cardline-c", "cardline-a"]
    assert find_block(comment, "cardline-a") == "раз\n[cardline-b]\nне блок"
    assert find_block(comment, "cardline-b") is None
    assert put_block(comment, "cardline-a", "раз\n[cardline-b]\nне блок") == comment
    assert drop_block(drop_block(comment, "cardline-a"), "cardline-c") == "Любит чай.\n"


def test_a_comment_that_grows_too_long_loses_its_oldest_entries() -> None:
    comment = "Любит чай.\n"
    for number in range(20):
        comment = put_block(comment, f"cardline-{number:02}", "слово " * 500)
        assert len(comment) <= LONGEST_COMMENT
    assert list_keys(comment)[0] == "cardline-19"
    assert "cardline-00" not in comment
    assert comment.startswith("Любит чай.\n")
