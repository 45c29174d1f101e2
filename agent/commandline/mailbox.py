"""`cardline mailbox …`: attach a mailbox step by step, and see whether one can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, fail, in_database, read_settings
from agent.errors import CardlineError, Misconfigured

if TYPE_CHECKING:
    from agent.mail.imap.oauth import Logins
    from agent.settings import MailboxSettings, Settings

mailbox = typer.Typer(no_args_is_help=True, help="Mailboxes that are read over IMAP.")

_CONSENT_SECONDS = 600.0
_REMEDY = "Put that right and run the command again."


@mailbox.command("add")
def add(
    provider: Annotated[str, typer.Option(help="gmail, microsoft365, exchange, yandex, mailru or imap.")] = "",
    name: Annotated[str, typer.Option(help="Name of the mailbox in pages and logs; the address unless given.")] = "",
    user: Annotated[str, typer.Option(help="Login name, most often the address.")] = "",
    host: Annotated[str, typer.Option(help="IMAP server, where the provider has no fixed one.")] = "",
    paste: Annotated[
        bool, typer.Option(help="The browser is on another machine: paste the address it ends at.")
    ] = False,
) -> None:
    """Ask what is needed, log in, look into the folders, and print what to paste into cardline.toml."""
    from agent.mail.imap.presets import PRESETS

    settings = read_settings()
    if not provider:
        for key, one in PRESETS.items():
            console.print(f"  [bold]{key:13}[/] {escape(one.title)}")
        provider = typer.prompt("Provider")
    if provider not in PRESETS:
        fail(Misconfigured(f"There is no provider {provider}.", remedy=f"Take one of {', '.join(PRESETS)}."))
    preset = PRESETS[provider]
    console.print(f"{escape(preset.hint)} See {preset.page}.")
    user = user or typer.prompt("Login (most often the address)")
    values: dict[str, Any] = {"name": name or user, "host": preset.host or host or typer.prompt("IMAP server")}
    values |= {"user": user, "connections": preset.connections} | _credentials(preset.auth)
    made = _made(values)
    if made.name in {one.name for one in settings.mailbox}:
        fail(Misconfigured(f"There is a mailbox {made.name} already.", remedy="Give another name with --name."))
    _login(settings, made, paste=paste)
    _show(made, _logins(settings))
    _print_table(values)


@mailbox.command("login")
def login(
    name: str,
    paste: Annotated[
        bool, typer.Option(help="The browser is on another machine: paste the address it ends at.")
    ] = False,
) -> None:
    """Log in anew to a mailbox that uses tokens."""
    settings = read_settings()
    one = _find(settings, name)
    _login(settings, one, paste=paste)
    _show(one, _logins(settings))


@mailbox.command("test")
def test(name: str) -> None:
    """Log in and say which folders would be read; nothing is fetched and nothing changed."""
    settings = read_settings()
    _show(_find(settings, name), _logins(settings))


@mailbox.command("list")
def list_mailboxes() -> None:
    """All mailboxes with their state, as the sources page shows it."""
    from agent.store import sources

    statuses = {one.source: one for one in in_database(sources.list_statuses)}
    table = Table(box=None, padding=(0, 2))
    for title in ("name", "server", "login", "state", "since", ""):
        table.add_column(title)
    for one in read_settings().mailbox:
        status = statuses.get(f"imap:{one.name}")
        state = (status.state.value, f"{status.changed:%Y-%m-%d %H:%M}", status.detail) if status else ("", "", "")
        table.add_row(*(escape(text) for text in (one.name, one.host, one.user, *state)))
    console.print(table, soft_wrap=False)


def _credentials(auth: str) -> dict[str, Any]:
    if auth == "password":
        return {"password": typer.prompt("Password or application password", hide_input=True)}
    found: dict[str, Any] = {"client_id": typer.prompt("Client id of your application (empty: use a password)", "")}
    if not found["client_id"]:
        return {"password": typer.prompt("Application password", hide_input=True)}
    if auth == "google":
        found["client_secret"] = typer.prompt("Client secret", "", hide_input=True)
    else:
        found["tenant"] = typer.prompt("Directory (tenant) id or domain", "organizations")
        secret = typer.prompt("Client secret (empty: a person logs in by code)", "", hide_input=True)
        if secret:
            found["client_secret"], auth = secret, "microsoft-application"
    return {"auth": auth} | found


def _made(values: dict[str, Any]) -> MailboxSettings:
    from agent.settings import MailboxSettings

    try:
        return MailboxSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        fail(Misconfigured(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}.", remedy=_REMEDY))


def _find(settings: Settings, name: str) -> MailboxSettings:
    found = next((one for one in settings.mailbox if one.name == name), None)
    if found is None:
        fail(Misconfigured(f"There is no mailbox {name} in cardline.toml.", remedy="See `cardline mailbox list`."))
    return found


def _logins(settings: Settings) -> Logins:
    from agent.archive.keys import KeyRing
    from agent.mail.imap.oauth import Logins
    from agent.mail.imap.tokens import TokenStore

    try:
        keys = KeyRing.open_or_create(settings.data_dir / "keys")
    except OSError as error:
        fail(CardlineError(f"The key folder cannot be read: {error.strerror}.", remedy="Run as the service's user."))
    except CardlineError as error:
        fail(error)
    return Logins(TokenStore(settings.data_dir / "tokens", keys))


def _login(settings: Settings, one: MailboxSettings, *, paste: bool) -> None:
    """Where a person has to log in in a browser, let that be done."""
    try:
        if one.auth == "google":
            _login_google(_logins(settings), one, paste=paste)
        elif one.auth == "microsoft":
            _logins(settings).microsoft_login(one, lambda words: console.print(escape(words)))
    except CardlineError as error:
        fail(error)
    except OSError as error:
        fail(CardlineError(f"{error}.", remedy=_REMEDY))


def _login_google(logins: Logins, one: MailboxSettings, *, paste: bool) -> None:
    from agent.mail.imap.consent import Loopback, code_in

    with Loopback() as loopback:
        address, state, verifier = logins.google_consent(one, loopback.address)
        console.print("Open this address in a browser and consent:")
        console.print(address, highlight=False, markup=False)
        if paste:
            answer = typer.prompt("Then copy the address the browser ends at (it shows an error) and paste it here")
            code = code_in(answer, state)
            if code is None:
                fail(Misconfigured("That address is no answer to this question.", remedy=_REMEDY))
        else:
            code = loopback.wait(state, _CONSENT_SECONDS)
        logins.google_login(one, loopback.address, code, verifier)


def _show(one: MailboxSettings, logins: Logins) -> None:
    """Log in and print which folders are read, which not and why."""
    from agent.mail.imap.folders import choose
    from agent.mail.imap.session import ImapSession

    try:
        session = ImapSession(one, logins.source(one))
        try:
            choice = choose(session.list_folders(), one.folders, one.skip_folders)
            counts = {name: session.examine(name).exists for name in choice.read}
            can_idle = session.can_idle
        finally:
            session.close()
    except CardlineError as error:
        fail(error)
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, count in counts.items():
        table.add_row(escape(name), f"{count:,}", "is read")
    for name, reason in choice.left_out:
        table.add_row(escape(name), "", f"[dim]{escape(reason)}[/]")
    console.print(table, soft_wrap=False)
    told = "at once" if can_idle else f"every {one.poll_seconds} s"
    console.print(f"Logged in. {sum(counts.values()):,} messages; new ones are seen {told}.")
    if choice.missing:
        fail(Misconfigured(f"There is no folder {', '.join(choice.missing)}.", remedy=_REMEDY))


def _print_table(values: dict[str, Any]) -> None:
    from agent.mail.imap.presets import table

    console.print("\nPaste this into cardline.toml (mode 0600) and restart the service:\n")
    console.print(table(values), highlight=False, markup=False)
