"""`cardline smtp hash`: a password for [[smtp.account]] as it may stand in a file that others read."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.commandline.base import run

smtp = typer.Typer(no_args_is_help=True, help="The door for mail.")


@smtp.callback()
def _smtp() -> None:
    """Keep ``hash`` a command of its own, though it is the only one."""


@smtp.command("hash")
def hash_password(
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Ask for a password and print its hash."""
    from agent.store import passwords

    typer.echo(run(passwords.hash_password(password)))
