"""`cardline doctor`: everything, or one kind of source closely by `cardline doctor <kind>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

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


@doctor.command()
def speech(
    alone: Annotated[bool, typer.Option(help="As a further machine, which records no calls itself.")] = False,
    seconds: Annotated[float, typer.Option(help="How long each model is measured.", min=1, max=600)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Figures for a program.")] = False,
) -> None:
    """Measure this machine: how fast each speech model is, and how many hours of talk a day it keeps up with."""
    from agent.commandline.speech import examine_speech

    examine_speech(read_settings(), alone=alone, as_json=as_json, seconds=seconds)


def show(findings: Sequence[Finding]) -> None:
    """As a table; exit 1 where something is at fault."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        table.add_row(_MARKS[finding.level], escape(finding.subject), escape(finding.text))
    console.print(table, soft_wrap=False)
    raise typer.Exit(any(finding.level == "fault" for finding in findings))
