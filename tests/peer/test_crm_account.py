"""The contract against a real account: `make check-crm CRM=amocrm`, with a [[crm]] of that name in cardline.toml.

It makes one card, «Cardline check», with an invented number, and leaves it; calls and mails on it are taken away again.
The account must not be one that people sell with.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.settings import load_settings
from linker.crm import registry
from linker.crm.facts import CardToCreate, ExternalId
from linker.crm.protocol import Capability, Crm
from tests.peer.crm_contract import PHONE, Place, a_call, a_mail, a_recording, a_transcript, sought
from tests.peer.crm_lab import MemoryVault

NAME = os.environ.get("CARDLINE_CHECK_CRM", "")
pytestmark = pytest.mark.skipif(not NAME, reason="no account is named: make check-crm CRM=name")


class Account(Place):
    """A real one."""

    def __init__(self, crm: Crm, card: ExternalId, employee: str) -> None:
        self.crm, self.card, self.employee = crm, card, employee


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    """The account with its card. A login by OAuth2 is not used: its tokens belong to the service; give a key."""
    whole = load_settings(Path(os.environ.get("CARDLINE_CONFIG", "cardline.toml")))
    named = {one.name: one for one in whole.crm}
    assert NAME in named, f"there is no [[crm]] {NAME} in cardline.toml"
    settings = named[NAME]
    crm = registry.connect(settings, whole, MemoryVault())
    found = await crm.find_cards([PHONE])
    asked = CardToCreate(key="cardline-check", name="Cardline check", kind="person", identities=(PHONE,))
    card = found[0].id if found else await crm.create_card(asked)
    users = [one for one in await crm.list_users() if one.is_active]
    yield Account(crm, card, users[0].id)
    await crm.close()


async def test_the_check_is_green(account: Account) -> None:
    assert [one for one in await account.crm.check() if one.level == "fault"] == []


async def test_a_call_comes_is_found_changes_and_goes(account: Account) -> None:
    call, crm = a_call(account, key=f"cardline-{os.urandom(10).hex()}"), account.crm
    logged = await crm.log_call(call)
    try:
        found = await crm.find_logged(sought(call))
        assert found is not None
        assert found.id == logged.id
        if crm.scorecard.can(Capability.LINK_RECORDING):
            logged = await crm.attach_recording(logged, call, a_recording(1, upload=False))
        if crm.scorecard.can(Capability.TRANSCRIPT):
            for line in ("Алло?", "Здравствуйте."):
                logged = await crm.attach_transcript(logged, call, a_transcript(line))
        logged = await crm.update(logged, replace(call, title="Проверка"))
    finally:
        await crm.withdraw(logged)
    await crm.withdraw(logged)
    if crm.scorecard.can(Capability.READ_CARDS):
        assert (await crm.read_changes("")).cursor


async def test_a_mail_comes_is_found_and_goes(account: Account) -> None:
    mail, crm = a_mail(account, key=f"cardline-{os.urandom(10).hex()}"), account.crm
    logged = await crm.log_mail(mail)
    try:
        assert await crm.find_logged(sought(mail)) is not None
    finally:
        await crm.withdraw(logged)
