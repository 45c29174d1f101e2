"""`cardline crm login` and `cardline crm metadata`: what a CRM wants before it lets us in or understands us."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, urlparse

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, fail, read_settings, run, with_parts
from agent.errors import CardlineError, Misconfigured

if TYPE_CHECKING:
    from agent.parts import Parts
    from agent.settings_crm import CrmSettings


def _find(name: str, kinds: tuple[str, ...]) -> CrmSettings:
    found = next((one for one in read_settings().crm if one.name == name), None)
    if found is None:
        fail(Misconfigured(f"There is no [[crm]] {name} in cardline.toml.", remedy="docs/crm says how to attach one."))
    if found.kind not in kinds:
        fail(Misconfigured(f"{found.kind} has nothing of this kind.", remedy=f"It is for {', '.join(kinds)}."))
    return found


def login(name: Annotated[str, typer.Argument(help=r"Name of the [\[crm]].")]) -> None:
    """Let a person allow Cardline in amoCRM, Kommo or Bitrix24; the tokens are kept encrypted in the database."""
    from linker.crm.registry import LOGINS

    settings = _find(name, tuple(LOGINS))
    module: Any = import_module(LOGINS[settings.kind])
    console.print("Open this address, allow it, and paste the address at which the browser ends (or the code in it):")
    console.print(escape(module.consent_url(settings)), soft_wrap=True)
    code = code_of(typer.prompt("Address or code", hide_input=True))

    async def work(parts: Parts) -> None:
        from linker.crm.vault import DatabaseVault

        await module.log_in(settings, DatabaseVault(parts.store, parts.archive.keys, name), code)

    with_parts(work)
    console.print(f"{name} has let us in. `cardline crm check {name}` shows what it allows.")


def code_of(pasted: str) -> str:
    """The code of an authorisation (RFC 6749, 4.1.2), from the whole address or alone."""
    text = pasted.strip()
    found = parse_qs(urlparse(text).query).get("code", [""])[0] if "://" in text else text
    if not found:
        fail(CardlineError("There is no code in this address.", remedy="Paste the address that has code= in it."))
    return found


def metadata(name: Annotated[str, typer.Argument(help=r"Name of the [\[crm]] of the kind onec.")]) -> None:
    """Compare the names in options with what a 1C base publishes, and propose those that differ."""
    from linker.crm.onec import propose_names
    from linker.crm.onec.names import Proposal

    settings = _find(name, ("onec",))

    async def ask() -> list[Proposal]:
        return await propose_names(settings)

    proposals = run(ask())
    table = Table(box=None, padding=(0, 2))
    for title in ("option", "name in the base", ""):
        table.add_column(title, overflow="fold")
    for one in proposals:
        table.add_row(one.option, escape(one.name), escape(one.note))
    console.print(table)
    changed = [one for one in proposals if one.note]
    console.print("\n[crm.options]" if changed else "All names are there.", markup=False)
    for one in changed:
        console.print(f'{one.option} = "{one.name}"', markup=False, highlight=False)
