"""What tests share: a database, an archive and the door to both, fresh for each test module."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from agent.archive.blobs import Archive, open_archive
from agent.store.engine import Store
from tests.postgres import PostgresForTests

if TYPE_CHECKING:
    from agent.intake import Intake


# The same examples each time: a change is judged by what it changed. HYPOTHESIS_PROFILE=searching looks for new ones.
# No example is judged by the time it takes: the machine may be busy.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresForTests]:
    """The server of this test run, started when the first test asks for it."""
    server = PostgresForTests(tmp_path_factory.mktemp("postgres"))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="module")
async def store(postgres: PostgresForTests) -> AsyncIterator[Store]:
    """An empty database of this module."""
    store = Store(await postgres.new_database())
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive with keys of its own in a temporary folder."""
    return open_archive(tmp_path_factory.mktemp("archive"), "")


@pytest.fixture(scope="module")
def intake(store: Store, archive: Archive) -> Intake:
    """The door, on this module's database and archive, as the host ``test``."""
    from agent.intake import Intake

    return Intake(store, archive, host="test")
