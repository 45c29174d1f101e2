"""`cardline mailbox …` at a live Dovecot, as a person types it."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from tests.peer.dovecot import PASSWORD, USER, Dovecot
from tests.peer.mailbox_lab import dovecot, messages

__all__ = ["dovecot"]  # a fixture

pytestmark = pytest.mark.timeout(120)


def config(folder: Path, server: Dovecot, password: str = PASSWORD) -> str:
    file = folder / "cardline.toml"
    file.write_text(
        f'data_dir = "{folder / "data"}"\n[[mailbox]]\nname = "Anna"\nhost = "127.0.0.1"\nport = {server.port}\n'
        f'tls = false\nuser = "{USER}"\npassword = "{password}"\n'
    )
    return str(file)


async def test_a_mailbox_is_tried_and_its_folders_are_named(dovecot: Dovecot, tmp_path: Path) -> None:
    await asyncio.to_thread(dovecot.append, "INBOX", messages(3))
    with dovecot.client() as client:
        client.create("Junk")
    arguments = ["--config", config(tmp_path, dovecot), "mailbox", "test", "Anna"]
    said = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert said.exit_code == 0, said.output
    assert "Logged in. 3 messages; new ones are seen at once." in said.output
    assert [line.split()[0] for line in said.output.splitlines() if "is read" in line] == ["INBOX", "Отправленное"]
    assert "junk" in said.output


async def test_a_wrong_password_is_one_sentence(dovecot: Dovecot, tmp_path: Path) -> None:
    arguments = ["--config", config(tmp_path, dovecot, "wrong-one"), "mailbox", "test", "Anna"]
    said = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert said.exit_code == 1
    assert "refuses the login" in said.output
    assert "wrong-one" not in said.output


async def test_a_server_that_is_away_is_never_printed_to_be_pasted(tmp_path: Path) -> None:
    """A mailbox is not promised untried."""
    (tmp_path / "cardline.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n')
    arguments = ["--config", str(tmp_path / "cardline.toml"), "mailbox", "add", "--provider", "imap"]
    arguments += ["--user", USER, "--host", "host.invalid"]
    said = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=f"{PASSWORD}\n")
    assert said.exit_code == 1
    assert "cannot be reached" in said.output
    assert "[[mailbox]]" not in said.output
    assert PASSWORD not in said.output
    assert tomllib.loads((tmp_path / "cardline.toml").read_text()).keys() == {"data_dir"}
