"""The command `cardline`. Every command says what went wrong in one sentence and what to do about it, and exits 1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.errors import CardlineError, Misconfigured
from agent.logs import configure_logging
from agent.model import UserRole
from agent.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys = typer.Typer(no_args_is_help=True, help="The master keys of the archive.")
user = typer.Typer(no_args_is_help=True, help="Who may log in.")
token = typer.Typer(no_args_is_help=True, help="What CRMs and other programs may do.")
database = typer.Typer(no_args_is_help=True, help="The database itself.")
app.add_typer(keys, name="keys")
app.add_typer(user, name="user")
app.add_typer(token, name="token")
app.add_typer(database, name="database")
console = Console(soft_wrap=True)  # lines are for copying: a key or a path broken in two is of no use


class State:
    """What the options before the command said."""

    config: Path | None = None


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="CARDLINE_CONFIG", help="The file cardline.toml."),
    ] = None,
) -> None:
    """Calls and mails of a sales team, recorded, transcribed and on the client's card."""
    State.config = config if config and str(config) != "." else None


@app.command()
def run() -> None:
    """Run the service until it is told to stop (Ctrl-C or SIGTERM)."""
    from agent.app import Service

    settings = _settings()
    _run(Service(settings, config=State.config).run())


@app.command(hidden=True)
def worker(kind: str, alone: bool = False) -> None:
    """Do durable jobs; `cardline run` starts its own workers. With --alone on a further machine."""
    from agent.processes import leave_with_parent
    from agent.worker import run_worker

    settings = _settings()
    if not alone:
        leave_with_parent()
    _run(run_worker(settings, kind))


@app.command()
def demo(check: bool = False, keep: Path | None = None) -> None:
    """Place real calls and send real mails into a service of its own, and show the clients' histories."""
    from agent.demo.run import run_demo

    configure_logging("text", level="WARNING")
    raise typer.Exit(_run(run_demo(check=check, data_dir=keep)))


@app.command()
def doctor() -> None:
    """Check everything this installation needs, and say what to do about what is missing."""
    from agent.doctor import examine

    findings = _run(examine(_settings()))
    marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[red]fault[/]"}
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        table.add_row(marks[finding.level], escape(finding.subject), escape(finding.text))
    console.print(table, soft_wrap=False)
    raise typer.Exit(any(finding.level == "fault" for finding in findings))


@app.command()
def verify() -> None:
    """Prove that nothing in the archive was changed or removed: every link of the chain and every stored byte."""
    from agent.archive.chain import verify as verify_chain
    from agent.parts import Parts, reach_database
    from agent.store.migrate import migrate

    async def check() -> bool:
        settings = _settings()
        async with reach_database(settings) as url:
            await migrate(url)
            parts = Parts(settings, url)
            verdict = await verify_chain(parts.store, parts.archive)
            await parts.close()
        if verdict.first_bad is None:
            console.print(f"All {verdict.links} links hold.")
            return True
        console.print(f"{verdict.links} links hold. Link {verdict.first_bad} does not: {escape(verdict.problem)}.")
        return False

    raise typer.Exit(0 if _run(check()) else 1)


@keys.command("show")
def keys_show() -> None:
    """Print the master keys and their check code, to be saved away from this machine."""
    ring = _key_ring()
    console.print(ring.export(), end="", highlight=False)
    console.print(f"\nSave these lines away from this machine, then run: cardline keys confirm {ring.check_code()}")


@keys.command("confirm")
def keys_confirm(code: str) -> None:
    """Confirm that the keys were saved elsewhere; the code stands below them in `cardline keys show`."""
    ring = _key_ring()
    try:
        ring.confirm(code)
    except CardlineError as error:
        _fail(error)
    console.print("Confirmed.")


@user.command("add")
def user_add(
    login: str,
    role: Annotated[UserRole, typer.Option(help="What this person may do.")] = UserRole.MANAGER,
    name: str = "",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
    employee: Annotated[str, typer.Option(help="Name of the employee this person is; made where it is new.")] = "",
) -> None:
    """Let somebody log in."""
    from agent.parts import Parts, reach_database
    from agent.store import accounts, employees
    from agent.store.migrate import migrate

    async def add() -> None:
        settings = _settings()
        async with reach_database(settings) as url:
            await migrate(url)
            parts = Parts(settings, url)
            async with parts.store.begin() as connection:
                employee_id = await employees.find_or_insert_employee(connection, employee) if employee else None
                await accounts.insert_account(connection, login, name, password, role, employee_id)
            await parts.close()

    _run(add())
    console.print(f"{escape(login)} may log in as {role}.")


@token.command("add")
def token_add(
    name: str,
    scope: Annotated[list[str], typer.Option(help="What it may do: calls:pause.")],
    account: Annotated[str, typer.Option(help="Login whose rights it has; without one it sees every call.")] = "",
) -> None:
    """Let a program in. The token is shown once and kept nowhere."""
    from agent.store import accounts, tokens

    async def add(connection: AsyncConnection) -> str:
        found = await accounts.find_account(connection, account) if account else None
        if account and found is None:
            raise Misconfigured(f"There is no login {account}.", remedy="Add it first with `cardline user add`.")
        return await tokens.insert_token(connection, name, scope, account_id=found.id if found else None)

    made = _in_database(add)
    console.print(made, highlight=False)
    console.print("Send it as: Authorization: Bearer … It is shown only now.", highlight=False)


@token.command("list")
def token_list() -> None:
    """All tokens there are and were."""
    from agent.store import tokens

    table = Table(box=None, padding=(0, 2))
    for title in ("name", "may", "account", "made", "last used", "revoked"):
        table.add_column(title)
    for one in _in_database(tokens.list_tokens):
        times = [f"{moment:%Y-%m-%d %H:%M}" if moment else "" for moment in (one.created, one.used, one.revoked)]
        table.add_row(*(escape(text) for text in (one.name, ", ".join(one.scopes), one.login, *times)))
    console.print(table, soft_wrap=False)


@token.command("revoke")
def token_revoke(name: str) -> None:
    """Shut a program out at once and for good."""
    from agent.store import tokens

    if not _in_database(lambda connection: tokens.revoke_token(connection, name)):
        _fail(CardlineError(f"There is no token {name} to revoke.", remedy="See `cardline token list`."))
    console.print(f"{escape(name)} may do nothing any more.")


@database.command("dump")
def database_dump(target: Path) -> None:
    """Write everything the database holds to one file, for a backup or another machine."""
    from agent.parts import reach_database
    from agent.store.postgres import dump_database

    async def dump() -> None:
        async with reach_database(_settings()) as url:
            await dump_database(url, target)

    _run(dump())
    console.print(f"Written: {escape(str(target))}")


def _settings() -> Settings:
    try:
        settings = load_settings(State.config)
    except CardlineError as error:
        _fail(error)
    configure_logging(settings.log_format)
    return settings


def _in_database(work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Do something in one transaction of the installation's database."""
    from agent.parts import reach_database
    from agent.store.engine import Store
    from agent.store.migrate import migrate

    async def do() -> T:
        async with reach_database(_settings()) as url:
            await migrate(url)
            store = Store(url)
            try:
                async with store.begin() as connection:
                    return await work(connection)
            finally:
                await store.close()

    done: T = _run(do())
    return done


def _key_ring() -> Any:
    from agent.archive.keys import KeyRing

    try:
        return KeyRing.open_or_create(_settings().data_dir / "keys")
    except CardlineError as error:
        _fail(error)
    except OSError as error:
        _fail(CardlineError(f"The key folder cannot be read: {error.strerror}.", remedy="Run as the service's user."))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except CardlineError as error:
        _fail(error)
    except OSError as error:  # a port that is taken, a disk that is full: it says so itself
        _fail(CardlineError(f"{error}.", remedy="Put that right and start again."))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(error: CardlineError) -> NoReturn:
    sentence = escape(" ".join(str(error).split()))
    Console(stderr=True, soft_wrap=True).print(f"[red]cardline:[/] {sentence}", highlight=False)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the distribution."""
    app()


if __name__ == "__main__":
    main()
