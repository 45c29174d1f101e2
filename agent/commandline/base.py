"""What every command does alike: reads the settings, reaches the database, says one sentence where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from agent.errors import CardlineError, MailboxThrottled, Unavailable
from agent.logs import configure_logging
from agent.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from agent.parts import Parts

T = TypeVar("T")

console = Console(soft_wrap=True)  # lines are for copying: a key or a path broken in two is of no use


class State:
    """What the options before the command said."""

    config: Path | None = None


def read_settings() -> Settings:
    """The settings of this installation; logs are configured by them."""
    try:
        settings = load_settings(State.config)
    except CardlineError as error:
        fail(error)
    configure_logging(settings.log_format)
    return settings


def with_parts(work: Callable[[Parts], Awaitable[T]]) -> T:
    """Do something with store and archive of the installation, whether the service runs or not."""
    from agent.parts import Parts, reach_database
    from agent.store.migrate import migrate

    async def do() -> T:
        settings = read_settings()
        async with reach_database(settings) as url:
            await migrate(url)
            parts = Parts(settings, url)
            try:
                return await work(parts)
            finally:
                await parts.close()

    return run(do())


def in_database(work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Do something in one transaction of the installation's database."""
    from agent.parts import reach_database
    from agent.store.engine import Store
    from agent.store.migrate import migrate

    async def do() -> T:
        async with reach_database(read_settings()) as url:
            await migrate(url)
            store = Store(url)
            try:
                async with store.begin() as connection:
                    return await work(connection)
            finally:
                await store.close()

    return run(do())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what goes wrong ends the command with one sentence."""
    try:
        return asyncio.run(work)
    except CardlineError as error:
        fail(error)
    except OSError as error:  # a port that is taken, a disk that is full: it says so itself
        fail(CardlineError(f"{error}.", remedy="Put that right and start again."))
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C; the demo is also told that its terminal is closed
        raise typer.Exit(130) from None


def in_words(error: CardlineError) -> str:
    """What a command says of it: nothing is tried again by itself once the command has ended."""
    is_away = isinstance(error, Unavailable) and not isinstance(error, MailboxThrottled)
    if is_away and error.remedy == Unavailable.remedy:
        return f"{error.what} Check the address and the way there (name, port, firewall), then try again."
    return str(error)


def fail(error: CardlineError) -> NoReturn:
    """Say what is wrong and what to do about it; exit 1."""
    sentence = escape(" ".join(in_words(error).split()))
    Console(stderr=True, soft_wrap=True).print(f"[red]cardline:[/] {sentence}", highlight=False)
    raise typer.Exit(1)
