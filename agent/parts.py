"""What every process of an installation has in common: settings, the database, the archive and the door."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from agent import jobs
from agent.archive.blobs import Archive, open_archive
from agent.archive.notary import Notary
from agent.archive.rereading import Rereader
from agent.errors import DatabaseUnavailable, Misconfigured
from agent.intake import Intake
from agent.settings import Settings
from agent.store.engine import Store
from agent.store.postgres import EmbeddedPostgres, running_url


class Parts:
    """What every process of an installation has: settings, store, archive, intake."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.store = Store(url)
        self.archive: Archive = open_archive(settings.data_dir, settings.archive.url)
        self.intake = Intake(self.store, self.archive, host=settings.host)
        self._beside: list[asyncio.Task[None]] = []

    def notary(self) -> Notary:
        """Who seals the chain with this machine's key; copies of seals are carried away by jobs."""
        keys, seal = self.settings.data_dir / "keys", self.settings.seal
        return Notary(self.store, keys, targets=seal.targets, announce=jobs.carry_seal, every_links=seal.every_links)

    def rereader(self) -> Rereader:
        """Who proves stored blobs again and again."""
        seal = self.settings.seal
        return Rereader(self.store, self.archive, days=seal.reread_days, megabytes_a_second=seal.reread_megabytes)

    def beside(self, work: Coroutine[None, None, None]) -> None:
        """Have something go on beside the rest until `close`."""
        self._beside.append(asyncio.create_task(work))

    async def close(self) -> None:
        """Give back what is shared."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.store.close()


def prepare_data_dir(settings: Settings) -> None:
    """Make the data directory, private to this user.

    Raises:
        Misconfigured: it cannot be made or written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        (settings.data_dir / "captures").mkdir(mode=0o700, exist_ok=True)
        if not os.access(settings.data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise Misconfigured(
            f"The data directory {settings.data_dir} cannot be used: {error.strerror}.",
            remedy="Give data_dir a folder that this user may write.",
        ) from None


@asynccontextmanager
async def reach_database(settings: Settings) -> AsyncIterator[str]:
    """URL of the database for a command that may run beside the service: its embedded one, else `database`.

    Raises:
        DatabaseUnavailable: with a remedy for the person at the keyboard, since a command is not tried again by itself.
    """
    running = None if settings.database.url.get_secret_value() else running_url(settings.data_dir)
    try:
        if running is not None:
            yield running
        else:
            async with database(settings) as url:
                yield url
    except DatabaseUnavailable as error:
        if error.remedy != DatabaseUnavailable.remedy:
            raise
        remedy = "Check that the database server runs and that database.url is right."
        raise DatabaseUnavailable(error.what, remedy=remedy) from error


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """URL of the database for the length of the block: the one given, or the embedded one, run by this process."""
    given = settings.database.url.get_secret_value()
    if given:
        yield given
        return
    prepare_data_dir(settings)
    embedded = EmbeddedPostgres(settings.data_dir, run_as=settings.database.run_as)
    await embedded.start()
    try:
        yield embedded.url
    finally:
        await embedded.stop()
