"""Which PostgreSQL is used: the one given by URL, or the embedded one, kept running and upgraded when need be."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

import psycopg
import structlog

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store.embedded import Binaries, Cluster, Lock, OperatingUser, is_ready

log = structlog.get_logger()


class EmbeddedPostgres:
    """Owns the embedded server for the life of the service: start, restart after a crash, stop.

    A cluster of an older major version is never touched in place: it is started by its own programs, dumped, and the
    dump is loaded into a fresh cluster of the new version beside it. The old folder stays until a person removes it.
    """

    def __init__(self, data_dir: Path, *, run_as: str = "") -> None:
        self._root = data_dir.absolute() / "postgres"
        self._binaries = Binaries()
        self._user = OperatingUser(run_as)
        self._lock: Lock | None = None
        self._cluster: Cluster | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """libpq URL; stays the same over restarts of the server."""
        assert self._cluster is not None
        return self._cluster.url

    async def start(self) -> None:
        """Create, upgrade or recover what is there, and wait until it answers.

        Raises:
            Misconfigured: another Cardline runs here, or the programs for the database that lies here are missing.
            DatabaseUnavailable: the server does not come up.
        """
        self._root.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._lock = Lock(self._root / "lock")
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        newest = self._cluster_of(max([self._binaries.newest, *self._majors()]))
        if not newest.exists:
            await self._create_or_upgrade(newest)
        self._cluster = newest
        newest.start()  # on this thread: the server is to end when the thread that started it does
        await newest.wait_ready()
        _url_file(self._root).write_text(newest.url)
        self._watcher = asyncio.create_task(self._keep_running(), name="embedded-postgres")

    async def stop(self) -> None:
        """End the server in order and let the next Cardline in."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.stop)
        if self._lock is not None:
            _url_file(self._root).unlink(missing_ok=True)
            self._lock.release()

    def _cluster_of(self, major: int) -> Cluster:
        log_file = self._root / "postgres.log"
        return Cluster(self._root / str(major), self._binaries.folder(major), self._user, log_file=log_file)

    async def _create_or_upgrade(self, newest: Cluster) -> None:
        older = self._older_major()
        if older is None:
            await asyncio.to_thread(newest.create)
            await asyncio.to_thread(newest.mark_ready)
            return
        log.warning("database_upgrade_started", from_major=older, to_major=self._binaries.newest)
        dump = self._root / f"{older}.dump"
        await self._dump(self._cluster_of(older), newest.binaries, dump)
        await self._load(newest, dump)
        log.warning("database_upgrade_finished", kept=str(self._root / str(older)), dump=str(dump))

    def _older_major(self) -> int | None:
        return max((major for major in self._majors() if major < self._binaries.newest), default=None)

    def _majors(self) -> list[int]:
        """Versions of which a whole database lies here."""
        return [int(path.name) for path in self._root.iterdir() if path.name.isdecimal() and is_ready(path)]

    async def _dump(self, cluster: Cluster, binaries: Path, dump: Path) -> None:
        """Run the old server once more and write everything it holds to ``dump``, complete or not at all."""
        cluster.start()
        try:
            await cluster.wait_ready()
            partial = dump.with_suffix(".partial")
            await asyncio.to_thread(_run_pg, binaries / "pg_dump", cluster.url, ["-Fc", f"--file={partial}"])
            partial.replace(dump)
        finally:
            await asyncio.to_thread(cluster.stop)

    async def _load(self, cluster: Cluster, dump: Path) -> None:
        """Fill a fresh cluster; until it is complete it carries no mark of being ready, so a crash starts over."""
        await asyncio.to_thread(cluster.create)
        cluster.start()
        try:
            await cluster.wait_ready()
            arguments = ["--exit-on-error", "--no-owner", str(dump)]
            await asyncio.to_thread(_run_pg, cluster.binaries / "pg_restore", cluster.url, arguments)
        finally:
            await asyncio.to_thread(cluster.stop)
        await asyncio.to_thread(cluster.mark_ready)

    async def _keep_running(self) -> None:
        """Restart the server whenever it ends: recovery replays its log, nothing committed is lost."""
        assert self._cluster is not None
        while True:
            code = await self._cluster.wait_ended()
            log.error("embedded_postgres_ended", exit_code=code)
            try:
                await asyncio.to_thread(self._cluster.start)
                await self._cluster.wait_ready()
                log.warning("embedded_postgres_restarted")
            except Exception as error:  # whatever it is, keep trying: senders keep their mail meanwhile
                log.warning("embedded_postgres_not_restarted", error=str(error))
                await asyncio.sleep(1)


def _run_pg(program: Path, url: str, arguments: list[str]) -> None:
    """Run a client program as ourselves; what it writes is readable by nobody else, since a dump holds everything.

    Raises:
        DatabaseUnavailable: it failed; the text carries its last words.
    """
    done = subprocess.run(
        [str(program), f"--dbname={url}", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        umask=0o077,
    )
    if done.returncode:
        raise DatabaseUnavailable(
            f"{program.name} failed: {done.stderr.strip()[-2000:]}.",
            remedy="What was there is untouched; look at free space and permissions, and start again.",
        )


def running_url(data_dir: Path) -> str | None:
    """URL of the embedded database of a service that runs in ``data_dir`` just now; None while none does."""
    root = data_dir / "postgres"
    if not (root / "lock").exists():
        return None
    try:
        Lock(root / "lock").release()
    except Misconfigured:
        with contextlib.suppress(FileNotFoundError):
            return _url_file(root).read_text()
    return None


def _url_file(root: Path) -> Path:
    return root / "url"


async def dump_database(url: str, target: Path) -> None:
    """Write a custom-format dump of the database at ``url`` to ``target`` (`cardline database dump`)."""
    binaries = Binaries()
    await asyncio.to_thread(_run_pg, binaries.folder(binaries.newest) / "pg_dump", url, ["-Fc", f"--file={target}"])


async def load_database(url: str, source: Path) -> None:
    """Fill the empty database at ``url`` from such a dump (`cardline database load`): all of it or nothing.

    Raises:
        Misconfigured: there is no such file, or the database has tables already; nothing was changed.
        DatabaseUnavailable: it failed; the text carries the last words of pg_restore.
    """
    if not source.is_file():
        raise Misconfigured(f"There is no file {source}.", remedy="Name what `cardline database dump` has written.")
    if await asyncio.to_thread(_has_tables, url):
        raise Misconfigured(
            "The database is not empty, and a dump is never laid over what is there.",
            remedy="Stop the service and move data_dir/postgres aside, or name an empty database in database.url.",
        )
    binaries = Binaries()
    arguments = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", str(source)]
    await asyncio.to_thread(_run_pg, binaries.folder(binaries.newest) / "pg_restore", url, arguments)


def _has_tables(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public' LIMIT 1").fetchone()
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"The database does not answer: {str(error).strip().splitlines()[0]}.") from None
    return found is not None
