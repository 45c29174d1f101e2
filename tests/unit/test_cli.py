"""`cardline` as a user meets it: processes, a real embedded PostgreSQL, and one sentence where something is wrong."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from agent.cli import app
from agent.store.embedded import Binaries
from agent.store.postgres import running_url
from tests.unit.commands import Done, Installation

COMMANDS = [
    (),
    ("run",),
    ("demo",),
    ("doctor",),
    ("verify",),
    ("transcribe",),
    ("status",),
    ("worker",),
    ("keys",),
    ("keys", "show"),
    ("keys", "confirm"),
    ("keys", "restore"),
    ("user",),
    ("user", "add"),
    ("user", "invite"),
    ("user", "list"),
    ("user", "password"),
    ("user", "reset-totp"),
    ("token",),
    ("token", "add"),
    ("token", "list"),
    ("token", "revoke"),
    ("database",),
    ("database", "dump"),
    ("database", "load"),
]
SECRET = "hunter2-is-a-secret"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One installation for the tests that do not mind each other."""
    return Installation(tmp_path_factory.mktemp("installed"))


def assert_one_sentence(done: Done, *words: str) -> None:
    """Exit 1, nothing on standard output, one line that names the remedy, and no traceback."""
    assert done.code == 1, done
    assert done.out == ""
    said = [line for line in done.err.splitlines() if line.startswith("cardline:")]
    assert len(said) == 1, done.err
    assert done.err.endswith(said[0] + "\n"), done.err
    assert "Traceback" not in done.err
    for one in words:
        assert one in said[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_help(command: tuple[str, ...], installed: Installation) -> None:
    done = await installed.run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage" in done.out


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _paths(below, (*path, name))


def test_help_loses_no_table_name_to_markup() -> None:
    paths = list(_paths(typer.main.get_command(app)))
    assert len(paths) > 30
    for path in paths:
        done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0, path
        assert "[]" not in done.output, path


async def test_an_unknown_command_is_told(installed: Installation) -> None:
    done = await installed.run("nonsense")
    assert done.code == 2
    assert "nonsense" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("run", "nonsense = 1", "nonsense: there is no such setting."),
        ("doctor", "web = 1", "web: it should be a table, [web]."),  # the brackets are no markup
        ("verify", "web = {", "cannot be read"),
        ("keys show", f'database = {{ url = ["{SECRET}"] }}', "database.url"),
        ("worker general", f'mailbox = "{SECRET}"', "mailbox"),
    ],
)
async def test_wrong_configuration(command: str, text: str, words: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.config.write_text(text)
    done = await installation.run(*command.split())
    assert_one_sentence(done, words, "Correct cardline.toml")
    assert SECRET not in done.err
    assert not installation.data.exists()


async def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.config.unlink()
    assert_one_sentence(await installation.run("doctor"), str(installation.config), "--config")


@pytest.mark.parametrize("command", ["run", "verify", "keys show", "user add anna --password long-enough"])
async def test_a_data_directory_that_cannot_be(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = await Installation(tmp_path, data_dir=str(tmp_path / "file" / "data")).run(*command.split())
    assert_one_sentence(done)


@pytest.mark.parametrize("command", ["verify", "user add anna --password long-enough"])
async def test_a_database_that_is_away(command: str, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://cardline:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/cardline"
        done = await Installation(tmp_path, f'database = {{ url = "{url}" }}').run(*command.split())
    assert_one_sentence(done, "does not answer", "Check that the database server runs")
    assert SECRET not in done.err


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for section in ("smtp", "web", "siprec"):
            done = await Installation(tmp_path).run("run", **{f"CARDLINE_{section.upper()}__PORT": port})
            assert_one_sentence(done, "ddress already in use", port, f"{section}.port", "cardline.toml")


async def test_a_command_does_not_promise_to_try_again(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        place = f'host = "127.0.0.1"\nport = {taken.getsockname()[1]}\ntls = false'
        mailbox = f'[[mailbox]]\nname = "Anna"\nuser = "anna"\npassword = "{SECRET}"\n{place}\n'
        done = await Installation(tmp_path, extra=mailbox).run("mailbox", "test", "Anna")
    assert_one_sentence(done, "cannot be reached", "then try again")
    assert "by itself" not in done.err


async def test_keys_are_shown_whole_and_confirmed(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    shown = await installation.run("keys", "show", COLUMNS="40")
    assert shown.code == 0
    name, key = shown.out.splitlines()[0].split()
    assert (name, len(bytes.fromhex(key))) == ("master-0001.key", 32)
    assert key == (installation.data / "keys" / name).read_text().strip()
    code = shown.out.split("cardline keys confirm ")[1].strip()
    assert_one_sentence(await installation.run("keys", "confirm", "00000000"), "not that of these keys", "keys show")
    assert not (installation.data / "keys" / "saved-elsewhere").exists()
    confirmed = await installation.run("keys", "confirm", code.upper())
    assert (confirmed.code, confirmed.out) == (0, "Confirmed.\n")
    assert (await installation.run("keys", "show")).out == shown.out


async def test_verify_on_a_fresh_installation(tmp_path: Path) -> None:
    done = await Installation(tmp_path).run("verify")
    assert (done.code, done.out) == (0, "All 0 links hold.\n")


async def test_accounts_without_a_running_service(installed: Installation) -> None:
    done = await installed.run("user", "add", "Anna[x]", "--role", "administrator", typed="long-enough\n" * 2)
    assert done.code == 0
    assert done.out.endswith("Anna[x] may log in as administrator.\n")
    assert "long-enough" not in done.out + done.err
    again = await installed.run("user", "add", "anna[X]", "--password", "long-enough-too")
    assert_one_sentence(again, "The login anna[x] is taken.", "Choose another one.")
    short = await installed.run("user", "add", "boris", "--password", "short")
    assert_one_sentence(short, "The password is too short.", "at least 8 characters")
    empty = await installed.run("user", "add", "  ", "--password", "long-enough")
    assert_one_sentence(empty, "The login is empty.")
    unknown = await installed.run("user", "add", "boris", "--password", "long-enough", "--role", "king")
    assert unknown.code == 2
    assert "Traceback" not in unknown.err


async def test_somebody_is_invited_listed_and_given_a_password(installed: Installation) -> None:
    invited = await installed.run("user", "invite", "Olga", "--role", "supervisor")
    assert invited.code == 0
    assert "/invitation/" in invited.out.splitlines()[0]
    assert "72 hours" in invited.out
    listed = await installed.run("user", "list")
    assert "olga" in listed.out
    assert (await installed.run("user", "password", "olga", "--password", "long-enough")).code == 0
    none = await installed.run("user", "reset-totp", "olga")
    assert_one_sentence(none, "olga has no second factor.", "cardline user list")
    unknown = await installed.run("user", "password", "nobody", "--password", "long-enough")
    assert_one_sentence(unknown, "There is no login nobody.", "cardline user list")
    team = await installed.run("user", "add", "petr", "--password", "long-enough", "--team", "North")
    assert_one_sentence(team, "Only a supervisor leads teams.", "--role supervisor")


async def test_two_passwords_that_differ_make_no_account(installed: Installation) -> None:
    done = await installed.run("user", "add", "gleb", typed="long-enough\nlong-enuogh\n")
    assert done.code != 0
    assert "may log in" not in done.out
    assert "Traceback" not in done.err


async def test_beside_a_running_service(tmp_path: Path) -> None:
    """The service's own database is used, everything lands in it, and a second service is refused."""
    installation = Installation(tmp_path)
    dump = tmp_path / "a dump.pgdump"
    async with installation.service() as service:
        added = await installation.run("user", "add", "vera", "--password", "long-enough", "--employee", "Vera")
        assert (added.code, added.out) == (0, "vera may log in as manager.\n")
        url = running_url(installation.data)
        assert url is not None
        names = "SELECT login, employee.name FROM account JOIN employee ON employee.id = employee_id"
        async with await psycopg.AsyncConnection.connect(url) as connection:
            assert await (await connection.execute(names)).fetchall() == [("vera", "Vera")]
        assert (await installation.run("verify")).out == "All 0 links hold.\n"
        written = await installation.run("database", "dump", str(dump))
        assert (written.code, written.out) == (0, f"Written: {dump}\n")
        second = await installation.run("run")
        assert_one_sentence(second, "Another Cardline already runs", "data_dir")
        assert service.returncode is None
    binaries = Binaries()
    command = [str(binaries.folder(binaries.newest) / "pg_restore"), "--list", str(dump)]
    listed = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "TABLE DATA public client_card" in listed.stdout
    assert dump.stat().st_mode & 0o077 == 0  # everything the company knows stands in it


async def test_a_dump_that_cannot_be_written(installed: Installation, tmp_path: Path) -> None:
    done = await installed.run("database", "dump", str(tmp_path / "missing" / "x.dump"))
    assert_one_sentence(done)


async def test_after_a_loss_keys_and_dump_make_the_installation_again(installed: Installation, tmp_path: Path) -> None:
    """As deploy/README.md says it, on a machine that has nothing but what was saved."""
    assert (await installed.run("user", "add", "zoya", "--password", "long-enough")).code == 0
    saved, dump = await installed.run("keys", "show"), tmp_path / "saved.dump"
    assert (await installed.run("database", "dump", str(dump))).code == 0
    (tmp_path / "new").mkdir()
    anew = Installation(tmp_path / "new")
    restored = await anew.run("keys", "restore", "-", typed=saved.out)
    assert restored.code == 0, restored.err
    assert saved.out.split()[-1] in restored.out  # the check code, which the saved lines end with
    assert (await anew.run("database", "load", str(dump))).code == 0
    assert "zoya" in (await anew.run("user", "list")).out
    assert (await anew.run("keys", "show")).out == saved.out
    assert (await anew.run("verify")).code == 0
    twice = await anew.run("database", "load", str(dump))
    assert_one_sentence(twice, "not empty", "move data_dir/postgres aside")
    assert "zoya" in (await anew.run("user", "list")).out


async def test_what_is_no_dump_leaves_an_empty_database(tmp_path: Path) -> None:
    installation, nonsense = Installation(tmp_path), tmp_path / "nonsense.dump"
    assert_one_sentence(await installation.run("database", "load", str(nonsense)), "There is no file")
    nonsense.write_bytes(b"nonsense")
    assert_one_sentence(await installation.run("database", "load", str(nonsense)), "pg_restore failed")
    assert (await installation.run("user", "list")).code == 0


async def test_keys_that_are_there_are_never_replaced(installed: Installation) -> None:
    before = (await installed.run("keys", "show")).out
    other = await installed.run("keys", "restore", "-", typed=f"master-0001.key {'ab' * 32}\n")
    assert_one_sentence(other, "Another master key 1 lies in", "Move it aside")
    none = await installed.run("keys", "restore", "-", typed="master-0001.key 12\n")
    assert_one_sentence(none, "no key in these lines", "cardline keys show")
    assert (await installed.run("keys", "show")).out == before


def test_the_command_itself_loads_no_database_and_no_web() -> None:
    """What a command needs it loads itself, so that `--help` and completion answer at once."""
    code = "import agent.cli, sys; print(sorted({'sqlalchemy', 'aiohttp', 'numpy', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
