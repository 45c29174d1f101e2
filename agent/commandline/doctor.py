"""`cardline doctor`: everything, or one kind of source closely by `cardline doctor <kind>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, read_settings, run

if TYPE_CHECKING:
    from agent.doctor import Finding

doctor = typer.Typer(invoke_without_command=True, help="Check this installation, and say what to do about it.")

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[red]fault[/]"}


@doctor.callback()
def everything(context: typer.Context) -> None:
    """Check everything this installation needs, and say what to do about what is missing."""
    if context.invoked_subcommand is None:
        from agent.doctor import examine

        show(run(examine(read_settings())))


@doctor.command()
def provider() -> None:
    """Check every virtual PBX: its address, what it told last, its statistics, its recordings."""
    from agent.commandline.provider import examine_providers

    show(run(examine_providers(read_settings())))


@doctor.command()
def asterisk() -> None:
    """Check every Asterisk down to sound that arrives, and print the lines that its configuration needs."""
    from agent.commandline.asterisk import examine_asterisk, lines_to_paste

    settings = read_settings()
    findings = run(examine_asterisk(settings))
    console.print(lines_to_paste(settings), highlight=False, markup=False)
    show(findings)


def show(findings: Sequence[Finding]) -> None:
    """As a table; exit 1 where something is at fault."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        table.add_row(_MARKS[finding.level], escape(finding.subject), escape(finding.text))
    console.print(table, soft_wrap=False)
    raise typer.Exit(any(finding.level == "fault" for finding in findings))
