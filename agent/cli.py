"""The command `cardline`. Every command says what went wrong in one sentence and what to do about it, and exits 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import State, console, fail, in_database, read_settings, run
from agent.commandline.crm import crm
from agent.commandline.doctor import doctor
from agent.commandline.erase import erase
from agent.commandline.export import export
from agent.commandline.imports import imports
from agent.commandline.mailbox import mailbox
from agent.commandline.seal import chain, seal
from agent.commandline.smtp import smtp
from agent.commandline.speech import model
from agent.commandline.transcribing import status, transcribe
from agent.commandline.user import user
from agent.commandline.verify import verify
from agent.errors import CardlineError, Misconfigured
from agent.logs import configure_logging

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys = typer.Typer(no_args_is_help=True, help="The master keys of the archive.")
token = typer.Typer(no_args_is_help=True, help="What CRMs and other programs may do.")
database = typer.Typer(no_args_is_help=True, help="The database itself.")
app.add_typer(keys, name="keys")
app.add_typer(user, name="user")
app.add_typer(token, name="token")
app.add_typer(database, name="database")
app.add_typer(doctor, name="doctor")
app.add_typer(seal, name="seal")
app.add_typer(chain, name="chain")
app.command()(verify)
app.command()(erase)
app.command()(export)
app.command()(transcribe)
app.command()(status)
app.add_typer(mailbox, name="mailbox")
app.add_typer(smtp, name="smtp")
app.add_typer(imports, name="import")
app.add_typer(crm, name="crm")
app.add_typer(model, name="model")


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="CARDLINE_CONFIG", help="The file cardline.toml."),
    ] = None,
) -> None:
    """Calls and mails of a sales team, recorded, transcribed and on the client's card."""
    State.config = config if config and str(config) != "." else None


@app.command("run")
def run_service() -> None:
    """Run the service until it is told to stop (Ctrl-C or SIGTERM)."""
    from agent.app import Service

    settings = read_settings()
    run(Service(settings, config=State.config).run())


@app.command(hidden=True)
def worker(kind: str, alone: bool = False) -> None:
    """Do durable jobs; `cardline run` starts its own workers. With --alone on a further machine."""
    from agent.processes import leave_with_parent
    from agent.worker import run_worker, suit_memory

    suit_memory(kind)
    settings = read_settings()
    if not alone:
        leave_with_parent()
    run(run_worker(settings, kind, beside_service=not alone))


@app.command()
def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Clean up at the end, and exit 0 only if every expected entry is there.")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Folder for its data, which then stays.")] = None,
    crm_name: Annotated[str, typer.Option("--crm", help="A CRM that is told as well: tryton.")] = "",
) -> None:
    """Place real calls and send real mails into a service of its own, and show the clients' histories."""
    from agent.demo.run import run_demo

    configure_logging("text", level="WARNING")
    raise typer.Exit(run(run_demo(check=check, data_dir=keep, crm=crm_name)))


@keys.command("show")
def keys_show() -> None:
    """Print the master keys and their check code, to be saved away from this machine."""
    ring = _key_ring()
    console.print(ring.export(), end="", highlight=False)
    console.print(f"\nSave these lines away from this machine, then run: cardline keys confirm {ring.check_code()}")


@keys.command("confirm")
def keys_confirm(code: Annotated[str, typer.Argument(help="The check code.")]) -> None:
    """Confirm that the keys were saved elsewhere; the code stands below them in `cardline keys show`."""
    ring = _key_ring()
    try:
        ring.confirm(code)
    except CardlineError as error:
        fail(error)
    console.print("Confirmed.")


@keys.command("restore")
def keys_restore(
    saved: Annotated[typer.FileText, typer.Argument(help="The lines that were saved; - reads them as they are typed.")],
) -> None:
    """Put saved master keys back after a loss; a key that is there is never replaced."""
    from agent.archive.keys import KeyRing

    try:
        ring = KeyRing.restore(read_settings().data_dir / "keys", saved.read())
    except CardlineError as error:
        fail(error)
    except OSError as error:
        fail(CardlineError(f"The key folder cannot be written: {error.strerror}.", remedy="Run as the service's user."))
    console.print(f"The keys are back; their check code is {ring.check_code()}.", highlight=False)


@token.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="Name of the program, in lists and in the audit log.")],
    scope: Annotated[list[str], typer.Option(help="What it may do: read, write, listen, calls:pause, admin.")],
    account: Annotated[str, typer.Option(help="Login whose rights it has; without one it sees every call.")] = "",
) -> None:
    """Let a program in. The token is shown once and kept nowhere."""
    from agent.store import accounts, tokens

    async def add(connection: AsyncConnection) -> str:
        found = await accounts.find_account(connection, account) if account else None
        if account and found is None:
            raise Misconfigured(f"There is no login {account}.", remedy="Add it first with `cardline user add`.")
        return await tokens.insert_token(connection, name, scope, account_id=found.id if found else None)

    made = in_database(add)
    console.print(made, highlight=False)
    console.print("Send it as: Authorization: Bearer … It is shown only now.", highlight=False)


@token.command("list")
def token_list() -> None:
    """All tokens there are and were."""
    from agent.store import tokens

    table = Table(box=None, padding=(0, 2))
    for title in ("name", "may", "account", "made", "last used", "revoked"):
        table.add_column(title)
    for one in in_database(tokens.list_tokens):
        times = [f"{moment:%Y-%m-%d %H:%M}" if moment else "" for moment in (one.created, one.used, one.revoked)]
        table.add_row(*(escape(text) for text in (one.name, ", ".join(one.scopes), one.login, *times)))
    console.print(table, soft_wrap=False)


@token.command("revoke")
def token_revoke(name: Annotated[str, typer.Argument(help="As `cardline token list` has it.")]) -> None:
    """Shut a program out at once and for good."""
    from agent.store import tokens

    if not in_database(lambda connection: tokens.revoke_token(connection, name)):
        fail(CardlineError(f"There is no token {name} to revoke.", remedy="See `cardline token list`."))
    console.print(f"{escape(name)} may do nothing any more.")


@database.command("dump")
def database_dump(target: Annotated[Path, typer.Argument(help="File to write; it is for you alone.")]) -> None:
    """Write everything the database holds to one file, for a backup or another machine."""
    from agent.parts import reach_database
    from agent.store.postgres import dump_database

    async def dump() -> None:
        async with reach_database(read_settings()) as url:
            await dump_database(url, target)

    run(dump())
    console.print(f"Written: {escape(str(target))}")


@database.command("load")
def database_load(
    source: Annotated[Path, typer.Argument(help="What `cardline database dump` has written.")],
) -> None:
    """Fill the empty database of a new installation from a dump: deploy/README.md, «After a loss»."""
    from agent.parts import reach_database
    from agent.store.migrate import migrate
    from agent.store.postgres import load_database

    async def load() -> None:
        async with reach_database(read_settings()) as url:
            await load_database(url, source)
            await migrate(url)

    run(load())
    console.print("Loaded. Run `cardline verify` once the keys and the blobs are back as well.", highlight=False)


def _key_ring() -> Any:
    from agent.archive.keys import KeyRing

    try:
        return KeyRing.open_or_create(read_settings().data_dir / "keys")
    except CardlineError as error:
        fail(error)
    except OSError as error:
        fail(CardlineError(f"The key folder cannot be read: {error.strerror}.", remedy="Run as the service's user."))


def main() -> None:
    """Entry point of the distribution."""
    app()


if __name__ == "__main__":
    main()
